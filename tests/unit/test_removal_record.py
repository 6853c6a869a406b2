from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.data.format.manifest import Manifest, RecordLayout, ShardInfo, SplitInfo
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.reading.source import Folder
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet
from jomold_dist.methods.base import Mask, Method
from jomold_dist.training.removals import Labels, RemovalRecord, counted, joined, read_present, removed_from_both
from jomold_dist.training.step import StepReport

WORLD = World(0, 1, 0, 1, torch.device("cpu"))
# two videos labelled a; x shows it and is silent, y sounds it and does not show it
PRESENT = {"x": np.array([[0, 0], [1, 0]], dtype=bool), "y": np.array([[1, 0], [0, 0]], dtype=bool)}


def manifest() -> Manifest:
    shard = ShardInfo("train/shard-000000.tar", 2, 0, "", np.array([2, 0]))
    split = SplitInfo("train", 1, False, RecordLayout(0, {}), (shard,))
    return Manifest("m", 1, CategorySet(("a", "b")), {}, {"train": split})


class Looking(Method):
    columns, removes = 1, True


class Deciding(Looking):
    """One that never looks at labels, and whose masks are of its own kind."""

    columns = 0
    masks = (Mask("frames", 1), Mask("again", 1))


def record(present: dict[str, np.ndarray] | None, method: type[Method] = Looking) -> RemovalRecord:
    return RemovalRecord(manifest(), present, method)


def report(keys: tuple[str, ...], visual: list[bool]) -> StepReport:
    candidates = np.array([[0, 0], [2, 1]])
    mask = np.array(visual, dtype=np.int64)
    return StepReport(Ask.NOTHING, 2, mask, np.zeros(len(keys), dtype=np.int64), keys, candidates, 1.0, np.zeros(7))


def test_removals_are_counted_and_judged() -> None:
    removals = record(PRESENT)
    removals.add(report(("x", "x"), [False, True]))  # rightly from audio, wrongly from visual
    removals.add(report(("y",), [True]))  # rightly
    first = removals.end_epoch(WORLD)
    assert first == {
        "removed_audio": 1, "precision_audio": 1.0, "recall_audio": 1.0,
        "removed_visual": 2, "precision_visual": 0.5, "recall_visual": 1.0,
    }  # fmt: skip
    removals.add(report(("x",), [False]))
    second = removals.end_epoch(WORLD)
    assert (second["removed_visual"], second["recall_visual"]) == (0, 0.0)
    assert "precision_visual" not in second
    total = removals.summary()["total"]
    assert total["visual"] == {
        "modality": "visual", "labels": 2, "candidates": 9, "removed": 2, "noise": 1, "precision": 0.5, "recall": 0.5
    }  # fmt: skip
    assert removals.ledger().splitlines() == [
        "filename,modality,category,epochs_removed,epochs",
        "x,audio,a,2,2",
        "x,visual,a,1,2",
        "y,visual,a,1,2",
    ]


def test_without_a_known_truth_nothing_is_judged() -> None:
    removals = record(None)
    removals.add(report(("x",), [True]))
    assert removals.end_epoch(WORLD) == {"removed_audio": 0, "removed_visual": 1}
    assert removals.summary()["total"]["visual"] == {
        "modality": "visual", "labels": 2, "candidates": 3, "removed": 1
    }  # fmt: skip


def test_masks_of_another_kind_are_told_as_they_are() -> None:
    removals = record(PRESENT, Deciding)
    removals.add(report(("x", "x"), [False, True]))  # wrongly: x shows a
    removals.add(report(("y",), [True]))  # rightly
    removals.end_epoch(WORLD)
    found = removals.summary()
    assert {name: (e["modality"], e["candidates"], e["precision"]) for name, e in found["total"].items()} == {
        "frames": ("visual", None, 0.0),
        "again": ("visual", None, 0.5),
    }
    assert found["both"] is None
    assert [*found["categories"]["b"]] == ["frames", "again"]


def test_the_truth_is_only_asked_for_where_there_can_be_one(tmp_path: Path) -> None:
    file = tmp_path / truth_name("train")
    file.parent.mkdir()
    present = np.stack([PRESENT["x"], PRESENT["y"]]).astype(np.uint8)
    np.savez(file, keys=np.array(["x", "y"]), present=present)
    source, simulated = Folder(tmp_path), dataclasses.replace(manifest(), simulated={"seed": 1})
    found = read_present(source, simulated)
    assert found is not None
    assert {key: present.tolist() for key, present in found.items()} == {k: v.tolist() for k, v in PRESENT.items()}
    for other, message in (
        ({"keys": np.array(["x"]), "present": present[:1]}, "of shape"),  # of another data set
        ({"keys": np.array(["x", "y"]), "present": np.ones_like(present)}, "more events than there are labels"),
    ):
        np.savez(file, **other)
        with pytest.raises(DataError, match=rf"truth/train.npz is damaged \(.*{message}"):
            read_present(source, simulated)
    file.write_bytes(file.read_bytes()[:-30])
    assert read_present(source, manifest()) is None  # a bucket may refuse to tell of files that are not there
    with pytest.raises(DataError, match=r"truth/train.npz is damaged \(.*--repair"):
        read_present(source, simulated)
    file.unlink()
    assert read_present(source, simulated) is None


ROWS = st.lists(st.tuples(st.text("ab1-", min_size=1, max_size=4), st.integers(0, 1), st.integers(0, 3)), max_size=20)


@given(st.lists(ROWS, max_size=5))
def test_labels_are_counted_as_a_dictionary_counts_them(parts: list[list[tuple[str, int, int]]]) -> None:
    def labels(rows: list[tuple[str, int, int]]) -> Labels:
        keys, modality, category = zip(*rows, strict=True) if rows else ((), (), ())
        once = np.ones(len(rows), np.int32)
        return Labels(np.array(keys, np.bytes_), np.array(modality, np.int8), np.array(category, np.int32), once)

    found = Labels.none()
    for part in parts:
        found = counted(joined([found, labels(part)]))
    wanted = sorted(Counter(row for part in parts for row in part).items())
    assert list(zip(*(column.tolist() for column in found), strict=True)) == [
        (key.encode(), modality, category, epochs) for (key, modality, category), epochs in wanted
    ]


@given(st.sets(st.tuples(st.text("ab1-", min_size=1, max_size=4), st.integers(0, 1), st.integers(0, 3))))
def test_labels_removed_from_both_modalities_are_counted(rows: set[tuple[str, int, int]]) -> None:
    keys, modality, category = zip(*rows, strict=True) if rows else ((), (), ())
    once = np.ones(len(rows), np.int32)
    labels = Labels(np.array(keys, np.bytes_), np.array(modality, np.int8), np.array(category, np.int32), once)
    both = [sum((key, 0, c) in rows and (key, 1, c) in rows for key in {row[0] for row in rows}) for c in range(4)]
    assert removed_from_both(labels, 4).tolist() == both


def test_two_steps_that_remove_a_label_from_one_modality_each_are_not_both() -> None:
    removals = record(PRESENT)
    removals.add(report(("x",), [False]))
    removals.end_epoch(WORLD)
    removals.add(report(("x",), [True]))
    removals.end_epoch(WORLD)
    assert removals.summary()["both"] == {}
    removals.add(report(("y", "x", "y"), [True, False, False]))
    removals.end_epoch(WORLD)
    assert removals.summary()["both"] == {"a": 1}


def test_a_state_of_another_training_is_refused() -> None:
    state = record(PRESENT).state()
    for name, other in (("removed", np.zeros((2, 3), int)), ("label_key", np.zeros(2)), ("epochs", None)):
        with pytest.raises(DataError, match=f"is not of this training: {name}$"):
            record(PRESENT).load_state({k: v for k, v in (state | {name: other}).items() if v is not None})


def test_a_record_goes_on_from_its_state() -> None:
    first, second = record(PRESENT), record(PRESENT)
    first.add(report(("x", "y"), [True, False]))
    first.collect(WORLD)
    second.load_state(first.state())
    for removals in (first, second):
        removals.end_epoch(WORLD)
        removals.add(report(("y", "x"), [False, True]))
        removals.end_epoch(WORLD)
    assert first.ledger() == second.ledger()
    assert first.summary() == second.summary()
    assert first.ledger().splitlines()[1:] == ["x,visual,a,2,2", "y,audio,a,2,2"]
