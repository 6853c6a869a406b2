"""Events as rows: which there are, in which order, and how probable each is."""

from __future__ import annotations

import pytest
import torch

from jomold_dist.evaluation import event_rows


def test_an_event_has_the_mean_probability_of_its_segments() -> None:
    """Against a plain reading, video by video and category by category."""
    generator = torch.Generator().manual_seed(0)
    prob = torch.rand(3, 6, 2, 4, generator=generator)  # (N, T, 2, C)
    decided = (prob > 0.4).permute(2, 0, 3, 1)  # (2, N, C, T)
    rows = event_rows(*decided.unbind(0), prob, 1.0)
    expected = []
    for video in range(3):
        for modality in range(2):
            for category in range(4):
                segments = decided[modality, video, category].tolist()
                onset = 0
                while onset < 6:
                    offset = onset
                    while offset < 6 and segments[offset]:
                        offset += 1
                    if offset > onset:
                        mean = prob[video, onset:offset, modality, category].double().mean().item()
                        expected.append((video, onset, offset, category, modality, pytest.approx(mean)))
                    onset = offset + 1
    assert list(zip(*(column.tolist() for column in rows), strict=True)) == expected
    assert len(expected) > 10


def test_no_event_is_no_row() -> None:
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    rows = event_rows(nothing, nothing, torch.zeros(2, 4, 2, 3), 1.0)
    assert all(len(column) == 0 for column in rows)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="probabilities"):
        event_rows(nothing, nothing, torch.zeros(2, 3, 2, 4), 1.0)
