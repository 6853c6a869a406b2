"""Tables of events and of truth: times to segments, keys to videos, and what stops."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.data.packing.dense_labels import segments_of
from jomold_dist.data.packing.event_tables import Length, with_event_tables
from jomold_dist.data.packing.label_tables import LabelFile, read_label_tables
from jomold_dist.data.packing.video_labels import LabelSet
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet

CATEGORIES = CategorySet(("Speech", "Male speech, man speaking", "Dog"))
KEYS = ("x_0_10", "x_10_20", "y_0_10")


def labels(folder: Path) -> LabelSet:
    path = folder / "labels.csv"
    path.write_text("key;labels;split\n" + "".join(f"{key};Speech,Dog;val\n" for key in KEYS) + "z;Dog;train\n")
    return read_label_tables([LabelFile(path)], CATEGORIES)


def events(folder: Path, *rows: str, name: str = "events.csv") -> Path:
    path = folder / name
    path.write_text("filename,onset,offset,event_labels,modality,probability\n" + "".join(f"{r},0.9\n" for r in rows))
    return path


def truth(folder: Path, *rows: str) -> Path:
    path = folder / "truth.csv"
    path.write_text("key,label,modality\n" + "".join(f"{row}\n" for row in rows))
    return path


def dense_of(found: LabelSet, video: int, segments: int) -> dict[tuple[int, str], list[int]]:
    """The segments of a video's events by modality and category."""
    lists = found.splits["val"].dense
    assert lists is not None
    result: dict[tuple[int, str], list[int]] = {}
    for index in lists[video].tolist():
        kind, rest = divmod(index, 3 * segments)
        category, segment = divmod(rest, segments)
        result.setdefault((kind, CATEGORIES.names[category]), []).append(segment)
    return result


def test_what_predict_writes_is_read_again(tmp_path: Path) -> None:
    path = events(
        tmp_path,
        "x_10_20,0,4,Dog,audio",
        "x_10_20,6,8,Dog,audio",
        'x_10_20,2,10,"Male speech, man speaking",visual',
        "y_0_10,0,10,Speech,audio",
    )
    found = with_event_tables(labels(tmp_path), {"val": [path]}, {}, Length(5, 2.0))
    assert dense_of(found, 1, 5) == {(0, "Dog"): [0, 1, 3], (1, "Male speech, man speaking"): [1, 2, 3, 4]}
    assert dense_of(found, 0, 5) == {}
    assert dense_of(found, 2, 5) == {(0, "Speech"): [0, 1, 2, 3, 4]}
    assert found.splits["train"].dense is None
    assert "events.csv: nothing of 1 of the 3 videos of val" in found.findings


@given(
    st.integers(0, 200),
    st.integers(1, 200),
    st.sampled_from([(10, 1), (5, 2), (20, Fraction(1, 2)), (28, Fraction(1, 4))]),
)
def test_ends_go_to_the_nearest_border(first: int, length: int, form: tuple[int, Fraction]) -> None:
    """Against exact fractions, in twentieths of a second."""
    segments, seconds = form[0], Fraction(form[1])
    total = segments * seconds
    onset = min(Fraction(first, 20), total - Fraction(1, 20))
    offset = min(onset + Fraction(length, 20), total)
    start, end = segments_of(float(onset), float(offset), segments, float(total))
    wanted = [floor(time / seconds + Fraction(1, 2)) for time in (onset, offset)]
    if wanted[0] == wanted[1]:
        middle = min(floor((onset + offset) / 2 / seconds), segments - 1)
        wanted = [middle, middle + 1]
    assert [start, end] == wanted


def test_several_tables_are_one_and_both_modalities_a_word(tmp_path: Path) -> None:
    first = events(tmp_path, "x_0_10,0,1,Dog,A", "y_0_10,3.4,3.6,Dog,AV")
    second = events(tmp_path, "x_0_10,0.6,2,Dog,heard", "x_10_20,0,1,Dog,Seen", name="more.csv")
    found = with_event_tables(labels(tmp_path), {"val": [first, second]}, {}, Length(10, 1.0))
    assert [dense_of(found, video, 10) for video in range(3)] == [
        {(0, "Dog"): [0, 1]},
        {(1, "Dog"): [0]},
        {(0, "Dog"): [3], (1, "Dog"): [3]},
    ]


def test_harmful_rows_come_in_one_message(tmp_path: Path) -> None:
    path = events(
        tmp_path,
        "x_0_10,0,4,Dgo,audio",
        "x_0_10,0,11,Dog,audio",
        "x_0_10,-1,4,Dog,audio",
        "x_0_10,zero,4,Dog,audio",
        "x_0_10,nan,4,Dog,audio",
        "x_0_10,0,4,Dog,touch",
        "x_0_10,0,10.4,Dog,audio",  # to the end, which is the nearest border
    )
    with pytest.raises(DataError) as caught:
        with_event_tables(labels(tmp_path), {"val": [path]}, {}, Length(10, 1.0))
    message = str(caught.value)
    assert message.startswith("3 problems:")
    assert f"{path}, line 2: unknown category 'Dgo' (did you mean 'Dog'?)" in message
    assert (
        f"{path}, lines 3, 4, 5, 6: onset and offset are seconds from 0 to 10, the end of 10 segments of 1" in message
    )
    assert f"{path}, line 7: the modality is audio, visual or both ('touch')" in message


def test_a_table_of_other_videos_is_refused_and_a_few_rows_are_not(tmp_path: Path) -> None:
    path = events(tmp_path, "x_0_10,0,4,Dog,audio", "x,0,4,Dog,audio", "x_0_10,4,4,Dog,audio")
    found = with_event_tables(labels(tmp_path), {"val": [path]}, {}, Length(10, 1.0))
    assert "events.csv: 1 row of no video of the split: x (line 3)" in found.findings
    assert "events.csv: 1 row with offset ≤ onset: x_0_10 (line 4)" in found.findings
    events(tmp_path, "x,0,4,Dog,audio", "y,0,4,Dog,both", "x_0_10,0,4,Dog,audio")
    with pytest.raises(
        DataError, match="2 of 3 rows are of no video of this split, for instance 'x'; its keys are such"
    ):
        with_event_tables(labels(tmp_path), {"val": [path]}, {}, Length(10, 1.0))
    with pytest.raises(DataError, match=r"--dense test=.*events\.csv: no labels tell of a split 'test'"):
        with_event_tables(labels(tmp_path), {"test": [path]}, {}, Length(10, 1.0))


def test_events_of_what_is_no_label_of_their_video_are_told(tmp_path: Path) -> None:
    path = events(tmp_path, "x_0_10,0,4,Dog,both", *(f'{key},0,4,"Male speech, man speaking",both' for key in KEYS))
    found = with_event_tables(labels(tmp_path), {"val": [path]}, {}, Length(10, 1.0))
    assert found.notes[-1] == "val: heard or seen, and kept, but no labels of their videos: 3"
    assert dense_of(found, 0, 10)[0, "Male speech, man speaking"] == [0, 1, 2, 3]


def test_the_truth_is_of_labels_that_the_videos_have(tmp_path: Path) -> None:
    path = truth(
        tmp_path,
        "x_0_10,Speech,audio",
        "x_0_10,Dog,both",
        "x_10_20,Dog,V",
        'x_10_20,"Male speech, man speaking",A',
        "y_0_10,Dog,AV",
    )
    found = with_event_tables(labels(tmp_path), {}, {"val": [path]}, Length(10, 1.0))
    present = found.splits["val"].present
    assert present is not None
    arrays = present.multi_hot(np.arange(3), 6).reshape(3, 2, 3)
    assert arrays.tolist() == [
        [[True, False, True], [False, False, True]],
        [[False, False, False], [False, False, True]],
        [[False, False, True], [False, False, True]],
    ]
    assert "truth.csv: heard or seen, but no labels of their videos: 1" in found.findings
    assert "truth.csv: labels neither heard nor seen: 2 of 6" in found.findings
