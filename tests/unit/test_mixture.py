from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising import mixture as module
from jomold_dist.denoising.evidence import HIGHEST, LOWEST
from jomold_dist.denoising.mixture import (
    BINS_PER_UNIT,
    STEPS,
    Mixture,
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


def plain_fit(labels: Labels, categories: int) -> Mixture:
    """`fit_mixture` label by label and category by category, without cells."""
    members = [[(a, v) for k, a, v in zip(*labels, strict=True) if k == c] for c in range(categories)]
    weights = [list(module.START_WEIGHTS) for _ in members]
    mean = [[[0.0, module.GAP] for _ in members] for _ in range(2)]
    sd = [[[1.0, 1.0] for _ in members] for _ in range(2)]
    for c, own in enumerate(members):
        for m in range(2):
            if own:
                quartile = sorted(label[m] for label in own)[math.ceil(module.START_QUANTILE * len(own)) - 1]
                mean[m][c][1] = max(quartile, module.GAP)
    for _ in range(module.ITERATIONS):
        shares = [[plain_patterns(weights[c], mean, sd, c, label) for label in own] for c, own in enumerate(members)]
        everyone = [share for own in shares for share in own]
        shared = [sum(share[p] for share in everyone) / len(everyone) for p in range(3)]
        new = [
            [
                (sum(share[p] for share in own) + module.PATTERN_COUNT * shared[p]) / (len(own) + module.PATTERN_COUNT)
                for p in range(3)
            ]
            for own in shares
        ]
        change = max(abs(a - b) for c in range(categories) for a, b in zip(new[c], weights[c], strict=True))
        weights = new
        for m in range(2):
            there = [[share[0] + share[1 + m] for share in own] for own in shares]
            x = [[label[m] for label in own] for own in members]
            present = [sum(w) for w in there]
            first = [sum(w * z for w, z in zip(there[c], x[c], strict=True)) for c in range(categories)]
            second = [
                sum(w * (z - mean[m][c][1]) ** 2 for w, z in zip(there[c], x[c], strict=True))
                for c in range(categories)
            ]
            votes = [min(p, module.MOST_VOTES) for p in present]
            means = [f / p if p > 0 else 0.0 for f, p in zip(first, present, strict=True)]
            common = sum(v * own for v, own in zip(votes, means, strict=True)) / sum(votes)
            spread = sum(second) / sum(present)
            for c in range(categories):
                lacking = [1 - w for w in there[c]]
                count, few, many = sum(lacking), module.PRESENT_COUNT, module.ABSENT_COUNT
                low = sum(w * z for w, z in zip(lacking, x[c], strict=True)) / (count + many)
                low_square = sum(w * (z - mean[m][c][0]) ** 2 for w, z in zip(lacking, x[c], strict=True))
                high = max((first[c] + few * common) / (present[c] + few), low + module.GAP)
                narrow = math.sqrt((low_square + many) / (count + many))
                wide = math.sqrt((second[c] + few * spread) / (present[c] + few))
                after = [low, high, max(narrow, module.SMALLEST_SD), max(wide, module.SMALLEST_SD)]
                change = max(change, *(abs(a - b) for a, b in zip(after, mean[m][c] + sd[m][c], strict=True)))
                mean[m][c], sd[m][c] = after[:2], after[2:]
        if change < module.TOLERANCE:
            break
    return Mixture(np.array(weights), np.array(mean).transpose(0, 2, 1), np.array(sd).transpose(0, 2, 1))


def plain_patterns(
    weights: list[float], mean: list[list[list[float]]], sd: list[list[list[float]]], c: int, label: tuple[float, float]
) -> list[float]:
    """Bayes' rule for one label: patterns both, audio only, visual only."""
    ratio = []
    for m in range(2):
        (m0, m1), (s0, s1), x = mean[m][c], sd[m][c], label[m]
        if s0 != s1:
            turn = (m0 / s0**2 - m1 / s1**2) / (1 / s0**2 - 1 / s1**2)
            x = max(x, turn) if s1 > s0 else min(x, turn)
        log = ((x - m0) / s0) ** 2 / 2 - ((x - m1) / s1) ** 2 / 2 + math.log(s0 / s1)
        ratio.append(math.exp(min(max(log, -module.FARTHEST), module.FARTHEST)))
    joint = [weights[0] * ratio[0] * ratio[1], weights[1] * ratio[0], weights[2] * ratio[1]]
    return [part / sum(joint) for part in joint]


def assert_close(mixture: Mixture, other: Mixture, tolerance: float) -> None:
    for field in fields(Mixture):
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


@pytest.mark.parametrize("counts", [[300], [200, 60, 3, 0, 1], [1], [0, 2]])
def test_the_fit_is_that_of_a_plain_loop(counts: list[int]) -> None:
    (category, audio, visual), _ = drawn(counts)
    labels = (category, in_the_middle(audio), in_the_middle(visual))
    fitted, plain = fit_mixture(count_cells(*labels, len(counts))), plain_fit(labels, len(counts))
    assert_close(fitted, plain, 1e-9)
    found = pattern_probabilities(fitted, category, audio, visual)
    parameters = (plain.mean.transpose(0, 2, 1).tolist(), plain.sd.transpose(0, 2, 1).tolist())
    expected = [
        plain_patterns(list(plain.weights[c]), *parameters, c, (a, v))
        for c, a, v in zip(category, audio, visual, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_cells_are_narrow_enough() -> None:
    """Posteriors from cells, and from the probits themselves."""
    labels, _ = drawn([200, 60, 20])
    exact = pattern_probabilities(plain_fit(labels, 3), *labels)
    np.testing.assert_allclose(pattern_probabilities(fit_mixture(count_cells(*labels, 3)), *labels), exact, atol=0.01)


def test_noise_is_found_where_it_is() -> None:
    labels, there = drawn([2000, 500, 100])
    mixture = fit_mixture(count_cells(*labels, 3))
    patterns = pattern_probabilities(mixture, *labels)
    audible, visible = patterns[:, 0] + patterns[:, 1], patterns[:, 0] + patterns[:, 2]
    assert ((audible > 0.5) == there[:, 0]).mean() > 0.92
    assert ((visible > 0.5) == there[:, 1]).mean() > 0.92
    truth = [[1 - there[labels[0] == c, m].mean() for c in range(3)] for m in range(2)]
    np.testing.assert_allclose(mixture.noise_ratios(), truth, atol=0.05)


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
                assert (np.diff(there) >= -1e-12).all()


def test_without_labels_there_is_a_mixture_all_the_same() -> None:
    mixture = fit_mixture(np.zeros((2, STEPS, STEPS), dtype=np.int64))
    assert pattern_probabilities(mixture, np.array([], dtype=int), np.array([]), np.array([])).shape == (0, 3)
    np.testing.assert_allclose(mixture.weights.sum(1), 1)
