from __future__ import annotations

import csv
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jomold_dist.errors import DataError
from jomold_dist.evaluation import (
    CATEGORY_SCORE_NAMES,
    SCORE_NAMES,
    category_counts,
    category_scores,
    mean_scores,
    parsing_scores,
    threshold_parsing,
    video_scores,
)
from jomold_dist.labels import LLP_CATEGORIES

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

# --- a plainly written evaluator: one video, one category, one event at a time ---


def plain_events(row: list[bool]) -> list[set[int]]:
    """The maximal runs, each as the set of its segments."""
    events: list[set[int]] = []
    previous = False
    for second, present in enumerate(row):
        if present and not previous:
            events.append(set())
        if present:
            events[-1].add(second)
        previous = present
    return events


def plain_counts(predicted: list[bool], truth: list[bool], level: str) -> tuple[int, int, int]:
    """TP, FP, FN of one category of one video."""
    if level == "segment":
        pairs = list(zip(predicted, truth, strict=True))
        return pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
    found, wanted = plain_events(predicted), plain_events(truth)

    def matches(one: set[int], other: set[int]) -> bool:
        return Fraction(len(one & other), len(one | other)) >= Fraction(1, 2)

    right = sum(any(matches(event, other) for other in wanted) for event in found)
    missed = sum(not any(matches(event, other) for other in found) for event in wanted)
    return right, len(found) - right, missed


def plain_f1(counts: list[tuple[int, int, int]]) -> Fraction:
    """Mean F1 over the categories with truth or prediction; 1 if there is none."""
    scores = [Fraction(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in counts if tp + fp + fn > 0]
    return sum(scores, Fraction(0)) / len(scores) if scores else Fraction(1)


def plain_video(modalities: np.ndarray) -> list[Fraction]:
    """The ten scores of one video; bool (4, C, T): audio, visual, audio truth, visual truth."""
    audio, visual, audio_truth, visual_truth = modalities
    pairs = [(audio, audio_truth), (visual, visual_truth), (audio & visual, audio_truth & visual_truth)]
    scores: list[Fraction] = []
    for level in ("segment", "event"):
        counts = [
            [plain_counts(p, t, level) for p, t in zip(predicted.tolist(), truth.tolist(), strict=True)]
            for predicted, truth in pairs
        ]
        kinds = [plain_f1(c) for c in counts]
        both = [(a[0] + v[0], a[1] + v[1], a[2] + v[2]) for a, v in zip(counts[0], counts[1], strict=True)]
        scores += [*kinds, sum(kinds, Fraction(0)) / 3, plain_f1(both)]
    return scores


def plain_categories(modalities: np.ndarray) -> np.ndarray:
    """TP, FP, FN over all videos: int (6, C, 3); `modalities` is bool (4, N, C, T)."""
    audio, visual, audio_truth, visual_truth = modalities
    pairs = [(audio, audio_truth), (visual, visual_truth), (audio & visual, audio_truth & visual_truth)]
    counts = np.zeros((6, audio.shape[1], 3), dtype=np.int64)
    for (row, (level, (predicted, truth))), n, c in product(
        enumerate(product(("segment", "event"), pairs)), range(audio.shape[0]), range(audio.shape[1])
    ):
        counts[row, c] += plain_counts(predicted[n, c].tolist(), truth[n, c].tolist(), level)
    return counts


# --- generated cases ---


@st.composite
def cases(draw: st.DrawFn, segments: tuple[int, ...] = (1, 2, 4, 10, 13)) -> np.ndarray:
    """Bool (4, N, C, T), predictions and truth of both modalities; rows are the bits of drawn numbers."""
    length = draw(st.sampled_from(segments))
    shape = (4, draw(st.integers(1, 4)), draw(st.integers(1, 4)), length)
    rows = int(np.prod(shape[:3]))
    row = st.one_of(st.integers(0, 2**length - 1), st.sampled_from([0, 2**length - 1]))
    numbers = np.array(draw(st.lists(row, min_size=rows, max_size=rows)), dtype=np.int64)
    return (numbers[:, None] >> np.arange(length) & 1).astype(bool).reshape(shape)


def tensors(modalities: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    audio, visual, audio_truth, visual_truth = torch.from_numpy(modalities)
    return audio, visual, audio_truth, visual_truth


@given(cases())
def test_scores_equal_the_plain_evaluator(modalities: np.ndarray) -> None:
    expected = [plain_video(modalities[:, n]) for n in range(modalities.shape[1])]
    rows = video_scores(*tensors(modalities))
    assert rows.shape == (modalities.shape[1], 10)
    assert rows.dtype == torch.float64
    np.testing.assert_allclose(rows.numpy(), np.array(expected, dtype=np.float64), rtol=0, atol=1e-13)
    means = [float(100 * sum(column, Fraction(0)) / len(column)) for column in zip(*expected, strict=True)]
    scores = parsing_scores(*tensors(modalities))
    assert tuple(scores) == SCORE_NAMES
    np.testing.assert_allclose(list(scores.values()), means, rtol=0, atol=1e-11)


@given(cases())
def test_category_counts_equal_the_plain_evaluator(modalities: np.ndarray) -> None:
    expected = plain_categories(modalities)
    counts = category_counts(*tensors(modalities))
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), expected)
    scores = category_scores(counts)
    assert tuple(scores) == CATEGORY_SCORE_NAMES
    for row, name in enumerate(CATEGORY_SCORE_NAMES):
        plain = [float(100 * plain_f1([tuple(c)])) if any(c) else None for c in expected[row].tolist()]
        assert scores[name] == pytest.approx(plain, abs=1e-11)


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_a_single_modality_has_a_score_a_level(modality: str) -> None:
    """Its own two, as they are beside the others; what the other modality's predictions are does not count."""
    rows = torch.linspace(0, 1, 30, dtype=torch.float64).reshape(3, 10)
    names = (f"segment_{modality}", f"event_{modality}")
    every = mean_scores(rows)
    assert mean_scores(rows, (modality,)) == {name: every[name] for name in names}
    counts = torch.arange(36).reshape(6, 2, 3)
    assert category_scores(counts, [modality]) == {name: category_scores(counts)[name] for name in names}
    for modalities in ((), ("audio", "motion"), ("audio", "audio")):
        with pytest.raises(ValueError, match="modalities must be one or both of audio, visual"):
            mean_scores(rows, modalities)


def test_every_pair_of_rows_of_five_segments() -> None:
    rows = np.array(list(product([False, True], repeat=5)))  # (32, 5)
    predicted, truth = (side.reshape(-1, 1, 5) for side in np.broadcast_arrays(rows[:, None], rows[None]))
    modalities = np.stack([predicted, predicted, truth, truth])
    expected = [plain_video(modalities[:, n]) for n in range(len(predicted))]
    actual = video_scores(*tensors(modalities)).numpy()
    np.testing.assert_allclose(actual, np.array(expected, dtype=np.float64), rtol=0, atol=1e-13)


def video(*spans: tuple[int, int], segments: int = 10) -> Tensor:
    """One video with one category, present in the given [onset, offset)."""
    parsing = torch.zeros(1, 1, segments, dtype=torch.bool)
    for onset, offset in spans:
        parsing[..., onset:offset] = True
    return parsing


def test_an_event_matches_at_iou_one_half_exactly() -> None:
    nothing = video()
    half, less = video((0, 4)), video((0, 3))  # IoU 4/8 and 3/7 with what is predicted
    at_half = video_scores(video((0, 8)), nothing, half, nothing)[0, SCORE_NAMES.index("event_audio")]
    below = video_scores(video((0, 7)), nothing, less, nothing)[0, SCORE_NAMES.index("event_audio")]
    assert (at_half.item(), below.item()) == (1.0, 0.0)


def test_one_event_is_not_two() -> None:
    """A long prediction over two events finds the one that it mostly is, and misses the other."""
    nothing = video()
    counts = category_counts(video((0, 10)), nothing, video((0, 6), (7, 10)), nothing)
    assert counts[CATEGORY_SCORE_NAMES.index("event_audio"), 0].tolist() == [1, 0, 1]


def test_av_is_what_is_present_in_both_in_the_same_segment() -> None:
    """Audible and visible, but never at once: no AV event, so its score is that of a video with nothing."""
    audio, visual = video((0, 5)), video((5, 10))
    scores = parsing_scores(audio, visual, audio, visual)
    assert scores["segment_av"] == scores["event_av"] == 100.0
    missed = parsing_scores(audio, visual, audio, video((4, 10)))
    assert missed["segment_av"] == missed["event_av"] == 0.0


def test_a_video_with_neither_truth_nor_prediction_counts_one() -> None:
    nothing = video()
    assert set(parsing_scores(nothing, nothing, nothing, nothing).values()) == {100.0}
    spoken = video((0, 10))
    scores = parsing_scores(spoken, nothing, nothing, nothing)
    assert (scores["segment_audio"], scores["segment_visual"], scores["segment_event"]) == (0.0, 100.0, 0.0)


def test_zero_and_one_instead_of_bool() -> None:
    modalities = np.random.default_rng(1).random((4, 6, 3, 10)) < 0.5
    assert torch.equal(video_scores(*tensors(modalities)), video_scores(*tensors(modalities.astype(np.uint8))))


def test_refuses_shapes_that_differ_and_no_video() -> None:
    parsing = torch.zeros(3, 25, 10, dtype=torch.bool)
    with pytest.raises(ValueError, match="one shape"):
        video_scores(parsing, parsing, parsing, parsing[:, :, :9])
    with pytest.raises(ValueError, match="one shape"):
        category_counts(parsing[0], parsing[0], parsing[0], parsing[0])
    with pytest.raises(DataError, match="no video"):
        parsing_scores(parsing[:0], parsing[:0], parsing[:0], parsing[:0])


# --- ranks ---


@settings(max_examples=50)
@given(st.data())
def test_scores_are_the_same_bits_for_every_split_over_ranks(data: st.DataObject) -> None:
    videos, categories = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([1, 3, 25, 70]))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    modalities = generator.random((4, videos, categories, 10)) < generator.random((4, videos, categories, 1)) ** 2
    ranks = data.draw(st.integers(1, 8))
    owner = np.array(data.draw(st.lists(st.integers(0, ranks - 1), min_size=videos, max_size=videos)))
    index = [np.flatnonzero(owner == rank) for rank in range(ranks)]  # a rank may have no video
    parts = [tensors(modalities[:, rows]) for rows in index]

    whole = video_scores(*tensors(modalities))
    arrived = torch.cat([video_scores(*part) for part in parts])
    gathered = torch.empty_like(whole)
    gathered[np.concatenate(index)] = arrived
    assert gathered.numpy().tobytes() == whole.numpy().tobytes()
    assert mean_scores(gathered) == mean_scores(arrived) == parsing_scores(*tensors(modalities))
    summed = torch.stack([category_counts(*part) for part in parts]).sum(0)
    assert torch.equal(summed, category_counts(*tensors(modalities)))


# --- golden figures ---


def golden_rows(name: str) -> list[dict[str, str]]:
    with (GOLDEN / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def golden_truth(modality: str, names: list[str]) -> Tensor:
    """The union of a modality's rows, bool (N, C, T)."""
    truth = torch.zeros(len(names), len(LLP_CATEGORIES), 10, dtype=torch.bool)
    for row in golden_rows(f"metrics_eval_{modality}.csv"):
        video, category = names.index(row["filename"]), LLP_CATEGORIES.index(row["event_labels"])
        truth[video, category, int(row["onset"]) : int(row["offset"])] = True
    return truth


def test_golden_scores() -> None:
    with np.load(GOLDEN / "metrics.npz") as file:
        figures = {name: file[name] for name in file.files}
    names = [row["filename"] for row in golden_rows("metrics_set.csv")]
    audio, visual = threshold_parsing(
        *(torch.from_numpy(figures[name]) for name in ("segment_prob", "audio_prob", "visual_prob"))
    )
    predicted_nothing = ~(audio | visual).flatten(1).any(1)
    predicted_all = (audio & visual).flatten(1).all(1)
    truth = golden_truth("audio", names), golden_truth("visual", names)
    assert predicted_nothing.any()
    assert predicted_all.any()
    assert not (truth[0] | truth[1]).flatten(1).any(1).all()  # some have no annotation

    scores = parsing_scores(audio, visual, *truth)
    assert tuple(scores) == SCORE_NAMES
    np.testing.assert_allclose(list(scores.values()), figures["scores"], rtol=0, atol=1e-6)
