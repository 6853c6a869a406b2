"""What a network finds, as files: every form holds the same events, and they read back as truth."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.data.packing.dense_labels import fill_truth, read_events
from jomold_dist.data.packing.label_files import TableReport
from jomold_dist.data.packing.weak_labels import whole_names
from jomold_dist.errors import DataError
from jomold_dist.evaluation.event_files import EVENT_COLUMNS, Events, form_of
from jomold_dist.labels import CategorySet

CATEGORIES = CategorySet(("Speech", "Dog", "Cello"))
DENSE_HEADER = "filename\tonset\toffset\tevent_labels"


@st.composite
def predictions(draw: st.DrawFn) -> np.ndarray:
    """Audio and visual events, bool (2, N, C, T)."""
    shape = (2, draw(st.integers(0, 4)), len(CATEGORIES), draw(st.integers(1, 10)))
    rows = draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return np.array(rows, dtype=bool).reshape(shape)


def plain_rows(filenames: list[str], events: np.ndarray) -> list[list[str]]:
    """The rows of a prediction file, found by walking every category of every video second by second."""
    rows = []
    for video, filename in enumerate(filenames):
        for modality, name in enumerate(("audio", "visual")):
            for category in range(len(CATEGORIES)):
                seconds = events[modality, video, category].tolist()
                for t, present in enumerate(seconds):
                    if present and (t == 0 or not seconds[t - 1]):
                        end = t
                        while end < len(seconds) and seconds[end]:
                            end += 1
                        rows.append([filename, str(t), str(end), CATEGORIES.names[category], name])
    return rows


def collected(filenames: list[str], events: np.ndarray, form: str) -> Events:
    """All events with a probability of 0.75, a batch a video."""
    found = Events(CATEGORIES, 1.0, form)
    audio, visual = torch.from_numpy(events).unbind(0)
    prob = torch.full((1, events.shape[-1], 2, len(CATEGORIES)), 0.75)
    for number, name in enumerate(filenames):
        found.add([name], audio[number, None], visual[number, None], prob, prob[:, 0])
    return found


@settings(max_examples=60)
@given(events=predictions(), form=st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_written_events_are_the_maximal_runs(
    tmp_path_factory: pytest.TempPathFactory, events: np.ndarray, form: str
) -> None:
    file = tmp_path_factory.mktemp("events") / f"events{form}"
    filenames = [f"video_____{i}_0_10" for i in range(events.shape[1])]
    collected(filenames, events, form).write(file)
    text = file.read_text(encoding="utf-8")
    if form == ".jsonl":
        found = [json.loads(line) for line in text.splitlines()]
        assert all(type(row["onset"]) is int and row["probability"] == 0.75 for row in found)
        rows = [[str(value) for value in row.values()] for row in found]
        assert all(tuple(row) == EVENT_COLUMNS for row in found)
    else:
        header, *rows = csv.reader(text.splitlines(), delimiter="," if form == ".csv" else "\t")
        assert tuple(header) == EVENT_COLUMNS
        assert {row[-1] for row in rows} <= {"0.7500"}
    assert [row[:-1] for row in rows] == plain_rows(filenames, events)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@settings(max_examples=30)
@given(events=predictions())
def test_written_events_read_back_as_truth(tmp_path_factory: pytest.TempPathFactory, events: np.ndarray) -> None:
    """Rows of one modality, cut to the first four columns, are a dense label file."""
    folder = tmp_path_factory.mktemp("events")
    filenames = [f"video_____{i}_0_10" for i in range(events.shape[1])]
    collected(filenames, events, ".tsv").write(folder / "events.tsv")
    lines = [line.split("\t") for line in (folder / "events.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    for modality, name in enumerate(("audio", "visual")):
        mine = ["\t".join(line[:4]) for line in lines if line[4] == name]
        if mine:
            (folder / name).write_text("\n".join([DENSE_HEADER, *mine]), encoding="utf-8")
            report, (categories, segments) = TableReport(folder / name), events.shape[2:]
            dense = fill_truth(report, read_events(report, CATEGORIES, segments), (categories, segments), filenames)
            np.testing.assert_array_equal(dense.truth, events[modality])
            assert report.sound
            assert not report.findings
        else:
            assert not events[modality].any()


def test_arrays_hold_what_counts_and_every_probability(tmp_path: Path) -> None:
    events = np.zeros((2, 3, 3, 4), dtype=bool)
    events[1, 2, 0, 1:3] = True  # the third video shows Speech
    collected(["a", "b", "c"], events, ".npz").write(tmp_path / "events.npz")
    with np.load(tmp_path / "events.npz") as arrays:
        assert arrays["filename"].tolist() == ["a", "b", "c"]
        assert tuple(arrays["categories"].tolist()) == CATEGORIES.names
        np.testing.assert_array_equal(arrays["events"], events.swapaxes(0, 1))
        assert arrays["probability"].dtype == np.float32
        assert arrays["probability"].shape == (3, 2, 3, 4)


def test_the_ending_tells_the_form_and_a_pipe_gets_tabs(tmp_path: Path) -> None:
    assert form_of(tmp_path / "events.JSONL") == ".jsonl"
    for name in ("events", "events.txt", "events.pickle"):
        with pytest.raises(DataError, match=f"{name} does not tell by its ending .* .csv"):
            form_of(tmp_path / name)
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.csv")
    assert [form_of(tmp_path / name) for name in ("pipe", "pipe.csv")] == [".tsv", ".csv"]


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("old", encoding="utf-8")
    found = collected(["a", "\ud800"], np.ones((2, 2, 3, 10), dtype=bool), ".csv")  # the second is no UTF-8
    with pytest.raises(UnicodeError):
        found.write(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="cannot write"):
        found.write(tmp_path / "no" / "events.csv")


def test_whole_names_come_from_weak_label_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text("filename\tevent_labels\n-abcdefghij_30_40\tDog\n", encoding="utf-8")
    other.write_text("filename\tevent_labels\nklmnopqrstu_0_10\tOf another set\n", encoding="utf-8")
    assert whole_names([one, other]) == {"-abcdefghij": "-abcdefghij_30_40", "klmnopqrstu": "klmnopqrstu_0_10"}
    assert whole_names([]) == {}
    other.write_text("filename\tevent_labels\n-abcdefghij_0_10\tDog\nshort\tDog\na=.b\tDog\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"(?s)is called -abcdefghij_30_40 elsewhere .*'-abcdefghij_0_10'.*malformed name"
    ):
        whole_names([one, other])
