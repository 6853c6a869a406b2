from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising.controls import drop_large_losses, large_loss_share, placebo


@settings(max_examples=100)
@given(seed=st.integers(0, 2**40), count=st.integers(0, 80))
def test_the_placebo_removes_as_many_labels_as_the_ratios_say(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.random((count, 5)) < 0.4
    ratios = random.choice([0.0, 0.1, 0.5, 0.994, 1.0], (2, 5))
    removed = placebo(labels, ratios, seed)
    assert not (removed & ~labels).any()
    np.testing.assert_array_equal(removed.sum(1), np.round(ratios * labels.sum(0)))
    np.testing.assert_array_equal(placebo(labels, ratios, seed), removed)
    alone = placebo(labels[:, :2], ratios[:, :2], seed)  # what other categories there are does not matter
    np.testing.assert_array_equal(alone, removed[..., :2])


def test_the_placebo_is_independent_by_video_category_modality_and_seed() -> None:
    labels = np.ones((2000, 4), dtype=bool)
    removed = placebo(labels, np.full((2, 4), 0.5), 3)
    masks = [*removed.transpose(0, 2, 1).reshape(8, -1), placebo(labels, np.full((2, 4), 0.5), 4)[0, :, 0]]
    both = np.array([[(a & b).mean() for b in masks] for a in masks])[~np.eye(9, dtype=bool)]
    assert 0.2 < both.min() < both.max() < 0.3  # a quarter is removed in two of them
    assert 0.2 < (masks[0][1:] & masks[0][:-1]).mean() < 0.3


def test_the_share_grows_by_epoch_up_to_a_most() -> None:
    assert [large_loss_share(epoch, 0.1, 0.25) for epoch in range(5)] == [0.0, 0.1, 0.2, 0.25, 0.25]


@settings(max_examples=200)
@given(seed=st.integers(0, 2**40), count=st.integers(0, 60), share=st.sampled_from([0.0, 0.1, 0.29, 0.5, 1.0]))
def test_the_largest_losses_of_the_batch_go(seed: int, count: int, share: float) -> None:
    random = np.random.default_rng(seed)
    labels = random.random((count // 3, 4)) < 0.6
    loss = (random.integers(0, random.choice([1, 3, 10**6]), labels.shape) / 7).astype(np.float32)
    present = sorted((float(loss[i, c]), i, c) for i, c in zip(*np.nonzero(labels), strict=True))
    expected = np.zeros_like(labels)
    for _, video, category in present[len(present) - int(share * len(present)) :]:
        expected[video, category] = True

    category, video = np.nonzero(labels.T)
    padding = random.permutation(np.arange(len(video) + 5) < len(video))  # rows in between that are not valid

    def padded(values: np.ndarray, nonsense: float) -> torch.Tensor:
        wide = np.full(len(padding), nonsense).astype(values.dtype)
        wide[padding] = values
        return torch.from_numpy(wide)

    dropped = drop_large_losses(
        padded(video, -5),
        padded(category, 10**12),
        torch.from_numpy(padding),
        padded(loss[video, category], np.nan),
        share,
    ).numpy()
    assert not dropped[~padding].any()
    found = np.zeros_like(labels)
    found[video, category] = dropped[padding]
    np.testing.assert_array_equal(found, expected)
    order = np.lexsort((category, video))  # rows video by video
    again = drop_large_losses(
        *(torch.from_numpy(a[order]) for a in (video, category, np.ones(len(order), bool), loss[video, category])),
        share,
    )
    np.testing.assert_array_equal(again, dropped[padding][order])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_shape_depends_on_values(device: str) -> None:
    whole = torch.zeros(9, dtype=torch.int64, device=device)
    dropped = drop_large_losses(whole, whole, whole == 0, torch.zeros(9, device=device), 0.3)
    assert dropped.shape == (9,)
