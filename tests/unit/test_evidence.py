from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising.evidence import (
    BINS,
    BINS_PER_UNIT,
    FEWEST_ABSENTS,
    HIGHEST,
    LIMIT,
    LINEAR_FROM,
    LOWEST,
    AbsentCounts,
    probits,
)

CPU = torch.device("cpu")


def counts_of(logit: np.ndarray, labels: np.ndarray) -> np.ndarray:
    counts = AbsentCounts(labels.shape[1], CPU)
    counts.add(torch.from_numpy(logit), torch.from_numpy(labels))
    return counts.counts.numpy()


def places(absents: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """Of logits of one category, among absents."""
    counts = counts_of(absents[:, None], np.zeros((len(absents), 1), dtype=bool))
    return probits(counts, logit, np.zeros(len(logit), dtype=np.int64))


def test_absents_are_counted_in_the_bins_that_their_logits_fall_into() -> None:
    width = 1 / BINS_PER_UNIT
    logit = np.array([-LIMIT - 9, -LIMIT, -LIMIT + width, -width / 2, 0.0, width, LIMIT - width / 2, LIMIT, 99.0])
    counts = counts_of(logit[:, None], np.zeros((9, 1), dtype=bool))[0]
    middle = BINS // 2
    expected = {0: 2, 1: 1, middle - 1: 1, middle: 1, middle + 1: 1, BINS - 1: 3}
    assert {int(place): int(counts[place]) for place in np.flatnonzero(counts)} == expected


def test_only_videos_without_the_label_are_counted() -> None:
    logit = np.zeros((3, 2), dtype=np.float32)
    labels = np.array([[True, False], [True, False], [False, False]])
    assert counts_of(logit, labels).sum(1).tolist() == [1, 3]


@settings(max_examples=30)
@given(st.data())
def test_counts_of_any_parts_add_up(data: st.DataObject) -> None:
    videos, categories = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    logit = (12 * random.standard_normal((videos, categories))).astype(dtype)
    labels = random.random((videos, categories)) < 0.3
    part = random.integers(0, 3, videos)
    parts = AbsentCounts(categories, CPU)
    for number in range(3):
        parts.add(torch.from_numpy(logit[part == number]), torch.from_numpy(labels[part == number]))
    assert np.array_equal(parts.counts, counts_of(logit, labels))


@pytest.mark.parametrize(("center", "spread"), [(0.0, 1.0), (-6.0, 0.2), (3.0, 2.0)])
def test_absents_become_standard_normal_whatever_their_scale(center: float, spread: float) -> None:
    normal = np.random.default_rng(0).standard_normal(20_000)
    probit = places(center + spread * normal, center + spread * np.linspace(-2, 2, 9))
    np.testing.assert_allclose(probit, np.linspace(-2, 2, 9), atol=0.06)


def test_probits_are_the_ranks_among_absents() -> None:
    """Absents that fill no bin twice, compared with a plain count."""
    random = np.random.default_rng(1)
    absents = np.sort(random.choice(np.arange(-600, 600), 500, replace=False) / BINS_PER_UNIT)
    logit = absents[[20, 100, 250, 400, 480]] + 0.5 / BINS_PER_UNIT  # the middles of their bins
    expected = [NormalDist().inv_cdf(((absents < x - 1e-3).sum() - 0.5) / 500) for x in logit]
    np.testing.assert_allclose(places(absents, logit), expected, atol=1e-9)


def test_beyond_the_98th_percentile_it_is_a_line() -> None:
    absents = np.random.default_rng(2).standard_normal(5000)
    edge = float(np.quantile(absents, LINEAR_FROM))
    steps = edge + np.array([0.5, 1.0, 1.5, 2.0, 40.0])
    probit = places(absents, steps)
    np.testing.assert_allclose(np.diff(probit[:4]), 0.5, atol=0.03)
    assert probit[4] == HIGHEST
    assert places(absents, np.array([-40.0]))[0] == LOWEST


@settings(max_examples=50)
@given(st.data())
def test_probits_are_finite_and_never_fall_where_logits_rise(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, distinct = data.draw(st.integers(0, 200)), data.draw(st.integers(1, 9))
    absents = random.choice(20 * random.standard_normal(distinct), count)
    probit = places(absents, np.linspace(-2 * LIMIT, 2 * LIMIT, 999))
    assert np.isfinite(probit).all()
    assert (np.diff(probit) >= 0).all()
    assert probit.min() >= LOWEST
    assert probit.max() <= HIGHEST


def test_absents_that_are_all_alike_are_at_zero() -> None:
    np.testing.assert_allclose(places(np.full(100, -3.0), np.array([-3 + 0.5 / BINS_PER_UNIT])), 0, atol=1e-12)


def test_a_category_with_few_absents_is_compared_with_those_of_all() -> None:
    logit = np.concatenate([np.random.default_rng(3).standard_normal((500, 1)), np.full((500, 1), 9.0)], axis=1)
    labels = np.zeros((500, 2), dtype=bool)
    labels[FEWEST_ABSENTS - 1 :, 1] = True
    probit = probits(counts_of(logit, labels), np.array([0.0, 0.0]), np.array([0, 1]))
    assert abs(probit[1] - probit[0]) < 0.1


def test_without_absents_nothing_is_known() -> None:
    assert places(np.zeros(0), np.array([-5.0, 0.0, 5.0])).tolist() == [0, 0, 0]
