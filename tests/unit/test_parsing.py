from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.evaluation.parsing import event_runs, threshold_parsing


def plain_runs(row: list[bool]) -> list[tuple[int, int]]:
    """Onset and offset of each maximal run, read from left to right."""
    runs: list[tuple[int, int]] = []
    for second, present in enumerate(row):
        if not present:
            continue
        if runs and runs[-1][1] == second:
            runs[-1] = (runs[-1][0], second + 1)
        else:
            runs.append((second, second + 1))
    return runs


@st.composite
def parsings(draw: st.DrawFn) -> np.ndarray:
    """Bool (N, C, T) whose rows are the bits of drawn numbers: empty, full, and everything between."""
    segments = draw(st.sampled_from([1, 2, 3, 7, 10, 13]))
    videos, categories = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    rows = draw(st.lists(st.integers(0, 2**segments - 1), min_size=videos * categories, max_size=videos * categories))
    bits = np.array([[row >> t & 1 for t in range(segments)] for row in rows], dtype=bool)
    return bits.reshape(videos, categories, segments)


@given(parsings())
def test_event_runs_equal_the_plainly_read_ones(parsing: np.ndarray) -> None:
    expected = [
        (video, category, onset, offset)
        for video in range(parsing.shape[0])
        for category in range(parsing.shape[1])
        for onset, offset in plain_runs(parsing[video, category].tolist())
    ]
    runs = event_runs(torch.from_numpy(parsing))
    assert list(zip(*(column.tolist() for column in runs), strict=True)) == expected
    for stored in (parsing, parsing.astype(np.uint8)):  # numpy arrays and 0/1 will do as well
        again = event_runs(stored)
        assert all(torch.equal(a, b) and b.dtype == torch.int64 for a, b in zip(runs, again, strict=True))


def test_runs_of_neighbouring_rows_do_not_join() -> None:
    parsing = torch.zeros(2, 2, 4, dtype=torch.bool)
    parsing[0, 0, 3] = parsing[0, 1, 0] = parsing[1, 0, :] = True
    assert [column.tolist() for column in event_runs(parsing)] == [[0, 0, 1], [0, 1, 0], [3, 0, 0], [4, 1, 4]]


def test_event_runs_refuse_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(N, C, T\)"):
        event_runs(torch.zeros(3, 4))


def plain_threshold(
    segment_prob: torch.Tensor, audio_prob: torch.Tensor, visual_prob: torch.Tensor, threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rule entry by entry."""
    videos, segments, _, categories = segment_prob.shape
    parsing = torch.zeros(2, videos, categories, segments, dtype=torch.bool)
    for modality, video_prob in enumerate((audio_prob, visual_prob)):
        for n in range(videos):
            for c in range(categories):
                for t in range(segments):
                    reached = segment_prob[n, t, modality, c].item() >= threshold
                    parsing[modality, n, c, t] = reached and video_prob[n, c].item() >= threshold
    return parsing[0], parsing[1]


@pytest.mark.parametrize("threshold", [0.25, 0.5])
@pytest.mark.parametrize("segments", [1, 10])
def test_threshold_parsing_equals_the_rule_entry_by_entry(threshold: float, segments: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # Multiples of 1/8, so that many probabilities lie on the threshold itself.
    segment_prob = torch.randint(0, 9, (5, segments, 2, 3), generator=generator) / 8
    audio_prob, visual_prob = torch.randint(0, 9, (2, 5, 3), generator=generator) / 8
    audio, visual = threshold_parsing(segment_prob, audio_prob, visual_prob, threshold)
    expected_audio, expected_visual = plain_threshold(segment_prob, audio_prob, visual_prob, threshold)
    assert audio.shape == visual.shape == (5, 3, segments)
    assert torch.equal(audio, expected_audio)
    assert torch.equal(visual, expected_visual)


def test_each_modality_is_gated_by_its_own_video_probability() -> None:
    segment_prob = torch.full((1, 10, 2, 1), 0.9)
    audio, visual = threshold_parsing(segment_prob, torch.tensor([[0.5]]), torch.tensor([[0.4999]]))
    assert audio.all()
    assert not visual.any()


def test_threshold_parsing_refuses_shapes_that_do_not_belong_together() -> None:
    segment_prob, video_prob = torch.zeros(4, 10, 2, 25), torch.zeros(4, 25)
    with pytest.raises(ValueError, match="segment_prob"):
        threshold_parsing(segment_prob[:, :, 0], video_prob, video_prob)
    with pytest.raises(ValueError, match="visual_prob"):
        threshold_parsing(segment_prob, video_prob, video_prob[:1])
