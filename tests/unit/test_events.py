"""Events as rows: which there are, in which order, and how probable each is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jomold_dist.evaluation import event_rows
from jomold_dist.evaluation.events import in_seconds


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


@pytest.mark.parametrize(
    ("segments", "seconds", "times"),
    [
        (5, 2.0, [0, 2, 4, 6, 8, 10]),
        (10, 1.0, list(range(11))),
        (20, 0.5, [number / 2 for number in range(21)]),
        (10, 0.96, [0.0, 0.96, 1.92, 2.88, 3.84, 4.8, 5.76, 6.72, 7.68, 8.64, 9.6]),
        (4, 0.1, [0.0, 0.1, 0.2, 0.3, 0.4]),
        (3, 1 / 3, [0.0, 0.333333, 0.666667, 1.0]),
    ],
)
def test_times_are_seconds_with_as_many_digits_as_needed(segments: int, seconds: float, times: list[float]) -> None:
    found = in_seconds(np.arange(segments + 1), seconds).tolist()
    assert [repr(time) for time in found] == [repr(time) for time in times]


def test_events_are_told_in_seconds() -> None:
    heard = torch.zeros(1, 28, 20, dtype=torch.bool)
    heard[0, 27, 3:] = True
    rows = event_rows(heard, torch.zeros_like(heard), torch.ones(1, 20, 2, 28), 0.5)
    assert [column.tolist() for column in rows] == [[0], [1.5], [10.0], [27], [0], [1.0]]


def test_no_event_is_no_row() -> None:
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    rows = event_rows(nothing, nothing, torch.zeros(2, 4, 2, 3), 1.0)
    assert all(len(column) == 0 for column in rows)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    nothing = torch.zeros(2, 3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="probabilities"):
        event_rows(nothing, nothing, torch.zeros(2, 3, 2, 4), 1.0)
