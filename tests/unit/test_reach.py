from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch

from jomold_dist.data.reading.plan import EpochPlan
from jomold_dist.denoising.reach import batch_labels, reach
from jomold_dist.denoising.removal import Rows, count_candidates, find_extremes


def by_enumeration(ratio: float, labels: int, videos: int, batch_size: int) -> float:
    """The mean of an epoch's candidates: each batch of the epoch is any choice of videos, all equally often."""
    total = 0.0
    for start in range(0, videos, batch_size):
        size = min(batch_size, videos - start)
        choices = [sum(video < labels for video in chosen) for chosen in combinations(range(videos), size)]
        total += sum(int(ratio * n) for n in choices) / len(choices)
    return total


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 7, 9, 20])
def test_expectation_is_that_of_all_batches_that_there_can_be(batch_size: int) -> None:
    ratios, labels = np.array([[0.0, 0.3, 0.5, 1.0, 0.6], [1.0, 0.7, 0.1, 0.34, 0.5]]), np.array([4, 9, 0, 3, 6])
    found = reach(ratios, labels, 9, batch_size)
    expected = [[by_enumeration(r, k, 9, batch_size) for r, k in zip(row, labels, strict=True)] for row in ratios]
    np.testing.assert_allclose(found.candidates, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.intended, ratios * labels)
    assert (found.candidates <= found.intended + 1e-12).all()


def test_numbers_of_labels_in_a_batch_are_hypergeometric() -> None:
    there, chance = batch_labels(60, 25, 40)
    assert (there.min(), there.max()) == (5, 25)  # 35 videos are without the label
    exact = [comb(25, n) * comb(35, 40 - n) / comb(60, 40) for n in there.tolist()]
    np.testing.assert_allclose(chance, exact, rtol=1e-12)


def test_large_sets_lose_no_digits() -> None:
    there, chance = batch_labels(100_000_000, 5_000_000, 4096)
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    assert there @ chance == pytest.approx(4096 * 0.05, rel=1e-12)


def test_expectation_is_what_shuffled_epochs_give_on_the_average() -> None:
    """The plan's order is no free shuffle, but the videos' labels do not know of it; the ranking counts itself."""
    videos, batch_size, epochs = 400, 32, 60
    generator = np.random.default_rng(5)
    ratios, labels = np.array([[0.05, 0.2, 0.9], [0.5, 0.25, 0.5]]), np.array([200, 40, 12])
    counts = np.zeros((epochs, 2, 3))
    for epoch in range(epochs):
        has = np.stack([generator.permutation(videos) < count for count in labels], axis=1)  # (N, C)
        shard, row = EpochPlan(np.full(4, 100), 8, 16, 0, epoch).locate(np.arange(videos))
        dealt = has[shard * 100 + row]
        for start in range(0, videos, batch_size):
            position, category = torch.from_numpy(dealt[start : start + batch_size]).nonzero(as_tuple=True)
            rows = Rows(position, category, torch.zeros(len(position), 2), torch.ones(len(position), dtype=torch.bool))
            counts[epoch] += count_candidates(rows, find_extremes(rows, *torch.from_numpy(ratios)), 3).numpy()
    spread = counts.std(0) / np.sqrt(epochs)
    assert (np.abs(counts.mean(0) - reach(ratios, labels, videos, batch_size).candidates) <= 5 * spread + 1e-9).all()


def test_larger_batches_reach_more_categories() -> None:
    """Of a frequent and a rare category, the frequent one hides how little of the rare is reached."""
    labels = np.array([5000, 300, 300])
    ratios = np.array([[0.02, 0.02, 0.0], [0.99, 0.2, 0.0]])
    reached = {size: reach(ratios, labels, 10_000, size) for size in (32, 128, 512)}
    assert {size: found.reached.sum(1).tolist() for size, found in reached.items()} == {
        32: [0, 1], 128: [1, 2], 512: [1, 2]
    }  # fmt: skip
    assert [found.noisy.sum(1).tolist() for found in reached.values()] == [[2, 2]] * 3
    shares = np.array([found.shares for found in reached.values()])
    assert (np.diff(shares, axis=0) > 0).all()
    assert shares[0, 0] < 1e-6
    assert shares[2, 1] > 0.99


def test_a_batch_of_everything_reaches_all_that_is_meant_but_a_fraction() -> None:
    found = reach(np.array([[0.35]]), np.array([10]), 40, 4096)
    assert (found.candidates.item(), found.intended.item()) == (3.0, 3.5)
    assert reach(np.array([[0.0]]), np.array([10]), 40, 8).shares.tolist() == [0.0]
