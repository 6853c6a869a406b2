"""The most even distribution over a finite set of outcomes that has given expectations.

LLP's statistics are margins (labels per category, intervals per length, …). Whatever they leave open, this leaves as
even as it can be: p(x) ∝ base(x)·exp(θ·f(x)), with θ such that the expectation of f is what the statistics say.
"""

from __future__ import annotations

import numpy as np

_STEPS = 80
_LONGEST = 1.5  # bound of one Newton step in θ; a full step overshoots far from the solution
_RIDGE = 1e-9  # some features are sums of others: their part of the Hessian is singular


def fit(features: np.ndarray, expected: np.ndarray, base: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (S,) and θ (F,) such that `features` (S, F) have the `expected` values (F,) on average.

    `base` (S,) are logarithms of the prior weights of the outcomes; all equal where it is None. An expectation at the
    edge of what is possible is approached, not reached.
    """
    prior = np.zeros(len(features)) if base is None else base
    theta = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        probability = _normalised(prior + features @ theta)
        mean = probability @ features
        gap = expected - mean
        if np.abs(gap).max() < 1e-8:
            break
        centred = features - mean
        hessian = (centred * probability[:, None]).T @ centred + _RIDGE * np.eye(len(theta))
        step = np.linalg.solve(hessian, gap)
        theta += step * min(1.0, _LONGEST / np.abs(step).max())
    return _normalised(prior + features @ theta), theta


def _normalised(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
