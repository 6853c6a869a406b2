from __future__ import annotations

import math
from dataclasses import fields
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising import mixture as module
from jomold_dist.denoising.evidence import HIGHEST, LOWEST
from jomold_dist.denoising.mixture import (
    BINS_PER_UNIT,
    STEPS,
    MixtureParameters,
    count_cells,
    fit_mixture,
    pattern_probabilities,
)

Labels = tuple[np.ndarray, np.ndarray, np.ndarray]  # category, audio, visual


def drawn(
    counts: list[int], weights: tuple[float, float, float] = (0.6, 0.3, 0.1), seed: int = 0, signal: float = 3.0
) -> tuple[Labels, np.ndarray]:
    """So many labels of each category, and what is there of each: (n, 2)."""
    random = np.random.default_rng(seed)
    category = np.repeat(np.arange(len(counts)), counts)
    there = np.array([[1, 1], [1, 0], [0, 1]], dtype=bool)[random.choice(3, len(category), p=weights)]
    probit = np.where(there, signal + 1.2 * random.standard_normal(there.shape), random.standard_normal(there.shape))
    probit = probit.clip(LOWEST, HIGHEST - 1e-9)
    return (category, probit[:, 0], probit[:, 1]), there


def in_the_middle(probit: np.ndarray) -> np.ndarray:
    """Probits moved to the middles of their bins."""
    return LOWEST + (np.floor((probit - LOWEST) * BINS_PER_UNIT) + 0.5) / BINS_PER_UNIT


def plain_fit(labels: Labels, categories: int) -> MixtureParameters:
    """`fit_mixture` label by label and category by category, without cells."""
    members = [[(a, v) for k, a, v in zip(*labels, strict=True) if k == c] for c in range(categories)]
    weights = [list(module.START_WEIGHTS) for _ in members]
    mean = [[[0.0, module.SMALLEST_GAP] for _ in members] for _ in range(2)]  # by modality, category, state
    sd = [[[1.0, 1.0] for _ in members] for _ in range(2)]
    correlation = 0.0
    for c, own in enumerate(members):
        for m in range(2):
            if own:
                mean[m][c][1] = max(
                    sorted(x[m] for x in own)[math.ceil(module.START_QUANTILE * len(own)) - 1], module.SMALLEST_GAP
                )
                sd[m][c][1] = max(mean[m][c][1] / 2, 1)
    for _ in range(module.ITERATIONS):
        shares = [
            [plain_patterns(MixtureParameters(weights, mean, sd, correlation), c, x) for x in own]  # type: ignore[arg-type]
            for c, own in enumerate(members)
        ]
        scores = [
            (share[0], *(plain_score(mean[m][c], sd[m][c], x[m]) for m in range(2)))
            for c, own in enumerate(members)
            for share, x in zip(shares[c], own, strict=True)
        ]
        squares = sum(w * (a * a + v * v) for w, a, v in scores) / 2
        after = min(
            max(sum(w * a * v for w, a, v in scores) / (squares + module.ANCHOR_COUNT), 0), module.LARGEST_CORRELATION
        )
        change, correlation = abs(after - correlation), after

        votes = [min(len(own), module.MOST_VOTES) for own in members]
        totals = [[sum(share[p] for share in own) for p in range(3)] for own in shares]
        sizes = [max(len(own), 1) for own in members]
        shared = [
            sum(v * t[p] / n for v, t, n in zip(votes, totals, sizes, strict=True)) / sum(votes) for p in range(3)
        ]
        few = module.PATTERN_COUNT
        for c, own in enumerate(members):
            new = [(totals[c][p] + few * shared[p]) / (len(own) + few) for p in range(3)]
            change = max(change, *(abs(a - b) for a, b in zip(new, weights[c], strict=True)))
            weights[c] = new

        # (weight, probit) of the labels by modality, category and state
        parts = [
            [
                [
                    [(share[0] + share[1 + m] if state else share[2 - m], x[m]) for share, x in zip(*pair, strict=True)]
                    for state in range(2)
                ]
                for pair in zip(shares, members, strict=True)
            ]
            for m in range(2)
        ]
        everywhere = [parts[m][c][0] for m in range(2) for c in range(categories)]
        low = plain_shared(everywhere, 1, [0.0] * len(everywhere), module.ANCHOR_COUNT, 0.0)
        new_mean = [[[0.0, 0.0] for _ in members] for _ in range(2)]
        for m in range(2):
            high = plain_shared([parts[m][c][1] for c in range(categories)], 1, [0.0] * categories)
            for c, own in enumerate(members):
                absent = plain_mean(parts[m][c][0], low, module.ABSENT_COUNT)
                middle = sum(x[m] for x in own) / max(len(own), 1)
                apart = absent + (middle - absent) / (1 - shared[2 - m])
                present = plain_mean(parts[m][c][1], (high + apart) / 2 if own else high, module.PRESENT_COUNT)
                new_mean[m][c] = [absent, max(present, absent + module.SMALLEST_GAP)]
        middles = [new_mean[m][c][0] for m in range(2) for c in range(categories)]
        narrow = plain_shared(everywhere, 2, middles, module.ANCHOR_COUNT, 1.0)
        for m in range(2):
            variances = []
            for c in range(categories):
                few = module.ABSENT_COUNT
                absent = plain_mean([(w, (z - new_mean[m][c][0]) ** 2) for w, z in parts[m][c][0]], narrow, few)
                variances.append(max(absent, module.SMALLEST_SD**2))
            top = below = 0.0
            for c in range(categories):
                count = sum(w for w, _ in parts[m][c][1])
                if count > 0:
                    vote = min(count, module.MOST_VOTES)
                    own_variance = sum(w * (z - new_mean[m][c][1]) ** 2 for w, z in parts[m][c][1]) / count
                    top += vote * (own_variance - variances[c])
                    below += vote * (new_mean[m][c][1] - new_mean[m][c][0]) ** 2
            widening = max(top / below, module.SMALLEST_WIDENING**2)
            for c in range(categories):
                absent, present = new_mean[m][c]
                squares = [(w, (z - present) ** 2) for w, z in parts[m][c][1]]
                common = variances[c] + widening * (present - absent) ** 2
                wide = max(plain_mean(squares, common, module.PRESENT_SD_COUNT), variances[c])
                new = [math.sqrt(variances[c]), math.sqrt(wide)]
                before, now = mean[m][c] + sd[m][c], new_mean[m][c] + new
                change = max(change, *(abs(a - b) for a, b in zip(before, now, strict=True)))
                mean[m][c], sd[m][c] = new_mean[m][c], new
        if change < module.TOLERANCE:
            break
    by_state = (np.array(part).transpose(0, 2, 1) for part in (mean, sd))
    return MixtureParameters(np.array(weights), *by_state, np.array(correlation))


def plain_mean(part: list[tuple[float, float]], common: float, count: float) -> float:
    return (sum(w * z for w, z in part) + count * common) / (sum(w for w, _ in part) + count)


def plain_shared(
    parts: list[list[tuple[float, float]]], power: int, around: list[float], count: float = 0.0, anchor: float = 0.0
) -> float:
    """The mean of a power of the distances from `around`, every category with so many votes as it has labels, up to
    MOST_VOTES; and `count` votes for the anchor."""
    top, votes = count * anchor, count
    for part, middle in zip(parts, around, strict=True):
        labels = sum(w for w, _ in part)
        if labels > 0:
            vote = min(labels, module.MOST_VOTES)
            top += vote * sum(w * (z - middle) ** power for w, z in part) / labels
            votes += vote
    return top / votes


def plain_ratio(mean: tuple[float, float], sd: tuple[float, float], x: float) -> float:
    """log p(x | present) − log p(x | absent)."""
    return ((x - mean[0]) / sd[0]) ** 2 / 2 - ((x - mean[1]) / sd[1]) ** 2 / 2 + math.log(sd[0] / sd[1])


@cache
def plain_lowest(mean: tuple[float, float], sd: tuple[float, float]) -> float:
    """Below it evidence counts as if it were there: where the ratio turns or is exp(−STRONGEST), found by halving."""
    turn = -1e9
    if sd[1] > sd[0]:
        turn = (mean[0] / sd[0] ** 2 - mean[1] / sd[1] ** 2) / (1 / sd[0] ** 2 - 1 / sd[1] ** 2)
    low, high = max(turn, -1e4), 1e4
    if plain_ratio(mean, sd, low) >= -module.STRONGEST:
        return low
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if plain_ratio(mean, sd, middle) > -module.STRONGEST else (middle, high)
    return high


def plain_score(mean: list[float], sd: list[float], x: float) -> float:
    score = (max(x, plain_lowest(tuple(mean), tuple(sd))) - mean[1]) / sd[1]
    return min(max(score, -module.FARTHEST), module.FARTHEST)


def plain_patterns(mixture: MixtureParameters, c: int, label: tuple[float, float]) -> list[float]:
    """Bayes' rule for one label, parameters by modality, category and state: patterns both, audio only, visual only."""
    r, weights = float(mixture.correlation), mixture.weights[c]
    mean, sd = ([list(part[m][c]) for m in range(2)] for part in (mixture.mean, mixture.sd))
    x = [max(label[m], plain_lowest(tuple(mean[m]), tuple(sd[m]))) for m in range(2)]
    absent = [NormalDist(mean[m][0], sd[m][0]).pdf(x[m]) for m in range(2)]
    present = [NormalDist(mean[m][1], sd[m][1]).pdf(x[m]) for m in range(2)]
    a, v = (plain_score(mean[m], sd[m], label[m]) for m in range(2))
    together = math.exp((a * a + v * v) / 2 - (a * a - 2 * r * a * v + v * v) / 2 / (1 - r * r)) / math.sqrt(1 - r * r)
    together *= present[0] * present[1]
    joint = [weights[0] * together, weights[1] * present[0] * absent[1], weights[2] * absent[0] * present[1]]
    return [part / sum(joint) for part in joint]


def assert_close(mixture: MixtureParameters, other: MixtureParameters, tolerance: float) -> None:
    for field in fields(MixtureParameters):
        np.testing.assert_allclose(getattr(mixture, field.name), getattr(other, field.name), atol=tolerance)


def test_cells_count_labels_by_their_bins() -> None:
    edges = np.array([LOWEST - 1, LOWEST, LOWEST + 1 / BINS_PER_UNIT, HIGHEST, HIGHEST + 1])
    cells = count_cells(np.array([0, 0, 0, 2, 2]), edges, edges[::-1], 3)
    assert cells.shape == (3, STEPS, STEPS)
    found = [tuple(cell) for cell in np.argwhere(cells)]
    last = STEPS - 1
    assert found == [(0, 0, last), (0, 1, 1), (2, last, 0)]
    assert cells[0, 0, last] == cells[2, last, 0] == 2


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_cells_of_any_parts_add_up(seed: int, parts: int) -> None:
    labels, _ = drawn([13, 0, 40], seed=seed)
    part = np.random.default_rng(seed).integers(0, parts, 53)
    total = sum(count_cells(*(column[part == number] for column in labels), 3) for number in range(parts))
    assert np.array_equal(total, count_cells(*labels, 3))


@pytest.mark.parametrize("counts", [[150], [90, 40, 3, 0, 1], [1], [0, 2]])
def test_the_fit_is_that_of_a_plain_loop(counts: list[int]) -> None:
    (category, audio, visual), _ = drawn(counts)
    labels = (category, in_the_middle(audio), in_the_middle(visual))
    fitted, plain = fit_mixture(count_cells(*labels, len(counts))), plain_fit(labels, len(counts))
    assert_close(fitted, plain, 1e-9)
    found = pattern_probabilities(fitted, category, audio, visual)
    by_category = MixtureParameters(
        plain.weights, *(part.transpose(0, 2, 1) for part in (plain.mean, plain.sd)), plain.correlation
    )
    expected = [plain_patterns(by_category, c, (a, v)) for c, a, v in zip(category, audio, visual, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_cells_are_narrow_enough() -> None:
    """Posteriors from cells, and from the probits themselves."""
    labels, _ = drawn([120, 40, 10])
    exact = pattern_probabilities(plain_fit(labels, 3), *labels)
    np.testing.assert_allclose(pattern_probabilities(fit_mixture(count_cells(*labels, 3)), *labels), exact, atol=0.03)


def test_noise_is_found_where_it_is() -> None:
    labels, there = drawn([2000, 500, 100])
    mixture = fit_mixture(count_cells(*labels, 3))
    patterns = pattern_probabilities(mixture, *labels)
    audible, visible = patterns[:, 0] + patterns[:, 1], patterns[:, 0] + patterns[:, 2]
    assert ((audible > 0.5) == there[:, 0]).mean() > 0.92
    assert ((visible > 0.5) == there[:, 1]).mean() > 0.92
    truth = [[1 - there[labels[0] == c, m].mean() for c in range(3)] for m in range(2)]
    np.testing.assert_allclose(np.stack([mixture.weights[:, 2], mixture.weights[:, 1]]), truth, atol=0.05)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_labels_give_probabilities_that_rise_with_the_evidence(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    category = np.repeat(np.arange(len(counts)), counts)
    audio, visual = (
        random.choice(random.uniform(LOWEST, HIGHEST, data.draw(st.integers(1, 9))), len(category)) for _ in range(2)
    )
    mixture = fit_mixture(count_cells(category, audio, visual, len(counts)))
    steps = np.linspace(LOWEST, HIGHEST, 25)
    for c in range(len(counts)):
        for other in (LOWEST, 0.0, HIGHEST):
            for swapped in (False, True):
                evidence = (steps, np.full(25, other))
                patterns = pattern_probabilities(mixture, np.full(25, c), *(evidence[::-1] if swapped else evidence))
                assert np.isfinite(patterns).all()
                np.testing.assert_allclose(patterns.sum(1), 1, atol=1e-12)
                there = patterns[:, 0] + patterns[:, 2 if swapped else 1]
                assert (np.diff(there) >= -0.01).all()


def test_without_labels_there_is_a_mixture_all_the_same() -> None:
    mixture = fit_mixture(np.zeros((2, STEPS, STEPS), dtype=np.int64))
    assert pattern_probabilities(mixture, np.array([], dtype=int), np.array([]), np.array([])).shape == (0, 3)
    np.testing.assert_allclose(mixture.weights.sum(1), 1)


def test_extreme_evidence_of_very_many_labels() -> None:
    """Where narrow Gaussians lie far apart, densities are beyond what float64 holds."""
    cells = np.zeros((2, STEPS, STEPS), dtype=np.int64)
    cells[0, 16, 16] = cells[0, 17, STEPS - 1] = cells[0, STEPS - 1, 17] = cells[0, STEPS - 1, STEPS - 1] = 10**9
    cells[1, 0, 0] = 1
    mixture = fit_mixture(cells)
    probit = np.array([LOWEST, 0.0, HIGHEST])
    audio, visual = (side.ravel() for side in np.meshgrid(probit, probit))
    patterns = pattern_probabilities(mixture, np.zeros(9, dtype=np.int64), audio, visual)
    assert np.isfinite(patterns).all()
    np.testing.assert_allclose(patterns[[5, 7, 8]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=0.01)
