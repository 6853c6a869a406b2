"""What a data set's labels allow: by what weights are chosen, what is scored, and what is read."""

from __future__ import annotations

import math

import pytest

from jomold_dist.data.format.manifest import Manifest, RecordLayout, SplitInfo
from jomold_dist.labels import CategorySet
from jomold_dist.training.progress import Best
from jomold_dist.training.selection import LAST, LOSS, selection_of, splits_of_run, why_unscored

DENSE = {"train": False, "val": True, "test": True}
WEAK = dict.fromkeys(DENSE, False)
TRAIN = {"train": False}


def set_of(splits: dict[str, bool]) -> Manifest:
    """A data set of these splits, with dense labels or without."""
    infos = {name: SplitInfo(name, 1, dense, RecordLayout(0, {}), ()) for name, dense in splits.items()}
    return Manifest("made up", 5, CategorySet(("a",)), {}, infos)


@pytest.mark.parametrize(
    ("splits", "asked", "by"),
    [
        (DENSE, "segment_type", "segment_type"),
        (DENSE, "event_audio", "event_audio"),
        (DENSE, LOSS, LOSS),
        (DENSE, LAST, LAST),
        (WEAK, "segment_type", LOSS),
        (WEAK, LOSS, LOSS),
        (WEAK, LAST, LAST),
        (TRAIN, "segment_type", LAST),
        (TRAIN, LOSS, LAST),
        (TRAIN, LAST, LAST),
    ],
)
def test_what_is_asked_holds_as_far_as_the_labels_allow(splits: dict[str, bool], asked: str, by: str) -> None:
    found = selection_of(asked, set_of(splits))
    assert found.by == by
    assert bool(found.because) == (by != asked)


@pytest.mark.parametrize(
    ("splits", "asked", "told"),
    [
        (WEAK, "segment_type", "val has no dense labels: kept is the epoch of the lowest loss on val"),
        (TRAIN, "segment_type", "the data set has no val: kept is the last epoch"),
        (DENSE, LOSS, "kept is the epoch of the lowest loss on val"),
        (DENSE, LAST, "kept is the last epoch"),
    ],
)
def test_it_is_said_plainly(splits: dict[str, bool], asked: str, told: str) -> None:
    assert selection_of(asked, set_of(splits)).kept == told


@pytest.mark.parametrize(
    ("splits", "why", "read"),
    [
        (DENSE, "", ("train", "val", "test")),
        (WEAK, "test has no dense labels", ("train", "val")),
        (TRAIN, "the data set has no test", ("train",)),
        ({"train": False, "test": True}, "", ("train", "test")),
        ({"train": False, "val": True}, "the data set has no test", ("train", "val")),
        (DENSE | {"more": True}, "", ("train", "val", "test")),
    ],
)
def test_only_what_can_be_scored_is(splits: dict[str, bool], why: str, read: tuple[str, ...]) -> None:
    assert why_unscored(set_of(splits)) == why
    assert splits_of_run(set_of(splits)) == read


@pytest.mark.parametrize(("ties", "epoch"), [("first", 1), ("last", 3)])
def test_the_lowest_loss_is_the_best(ties: str, epoch: int) -> None:
    selection, best = selection_of(LOSS, set_of(DENSE)), Best()
    for number, loss in enumerate([0.5, 0.25, 0.75, 0.25]):
        best.update(number, 7, selection.score({LOSS: loss, "segment_type": 10.0 * number}), ties)
    assert (best.epoch, selection.text(best.score)) == (epoch, "0.2500")


def test_the_last_epoch_needs_no_number() -> None:
    selection, best = selection_of("segment_type", set_of(TRAIN)), Best()
    assert all(best.update(number, 7, selection.score({}), "always") for number in range(3))
    assert best.epoch == 2
    assert math.isfinite(best.score)  # a checkpoint holds it
