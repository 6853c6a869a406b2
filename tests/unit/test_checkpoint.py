"""Checkpoints on disk: complete or absent."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jomold_dist.config import CheckpointConfig
from jomold_dist.errors import ConfigError, DataError, RunFolderError, UnreadableError
from jomold_dist.methods.han import Han
from jomold_dist.models.weights import save_tensors
from jomold_dist.training import checkpoint
from jomold_dist.training.checkpoint import (
    MARKER,
    Checkpoint,
    check_checkpoint,
    checkpoint_name,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from jomold_dist.training.progress import Best, Due, Progress
from jomold_dist.training.trained import Trained
from tests.unreadable import unreadable

OWN, OTHER = {"config": "a"}, {"config": "b"}


def save_weights(path: Path, weights) -> None:  # type: ignore[no-untyped-def]
    save_tensors(path, dict(weights))


def content(epoch: int = 0, size: int = 5) -> Checkpoint:
    weights = {"a.weight": torch.randn(size, 3), "a.bias": torch.randn(3)}
    optimizer = {k: {"exp_avg": torch.randn_like(v), "step": torch.tensor(7.0)} for k, v in weights.items()}
    removals = {"label_key": np.array(["x", "ängström"]), "removed": np.arange(4).reshape(2, 2), "none": np.array([])}
    memory = {"category": np.arange(epoch)}
    best = {k: v + 1 for k, v in weights.items()} if epoch else None
    state = {"owner": OWN, "epoch": epoch, "score": 1 / 3, "low": float("-inf")}
    return Checkpoint(weights, best, optimizer, removals, memory, state)


def write(folder: Path, epoch: int, step: int, stage: str = "model", **state: object) -> Path:
    written = content(epoch)
    written.state.update(state)
    return write_checkpoint(folder, checkpoint_name(stage, epoch, step), written, save_weights)


def prune(folder: Path, newest: Path | None, keep: int) -> None:
    prune_checkpoints(folder, "model", OWN, newest, keep)


@pytest.mark.parametrize("epoch", [0, 3])
def test_what_is_written_is_read(tmp_path: Path, epoch: int) -> None:
    written = content(epoch)
    place = write_checkpoint(tmp_path, checkpoint_name("model", epoch, 2), written, save_weights)
    found = read_checkpoint(place)
    for name, tensor in written.weights.items():
        assert torch.equal(found.weights[name], tensor)
        assert found.best_weights is None if epoch == 0 else torch.equal(found.best_weights[name], tensor + 1)  # type: ignore[index]
        assert set(found.optimizer[name]) == {"exp_avg", "step"}
        assert torch.equal(found.optimizer[name]["exp_avg"], written.optimizer[name]["exp_avg"])
    for name, array in written.removals.items():
        np.testing.assert_array_equal(found.removals[name], array)
    np.testing.assert_array_equal(found.memory["category"], written.memory["category"])
    assert found.state.items() >= written.state.items()
    assert torch.equal(load_file(place / "model.safetensors")["a.bias"], written.weights["a.bias"])
    assert [p.name for p in tmp_path.iterdir()] == [place.name]


def test_the_newest_is_the_furthest(tmp_path: Path) -> None:
    for epoch, step in ((0, 1), (0, 99), (9999, 0), (9999, 123456789), (10000, 0), (10000, 7)):
        place = write(tmp_path, epoch, step)
        assert newest_checkpoint(tmp_path, "model") == place
        prune(tmp_path, place, 2)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_complete_one_of_the_name_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """... and a damaged one is replaced, unless that fails."""
    place = write(tmp_path, 1, 2)
    before = read_checkpoint(place)
    write(tmp_path, 1, 2)
    assert torch.equal(read_checkpoint(place).weights["a.bias"], before.weights["a.bias"])
    damage_flip(place)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", fail)
        with pytest.raises(OSError, match="full"):
            write(tmp_path, 1, 2)
    assert [p.name for p in tmp_path.iterdir()] == [place.name]
    write(tmp_path, 1, 2)
    check_checkpoint(place)


def fail(*arguments: object) -> None:
    raise OSError("the disk is full")


def damage_truncate(place: Path) -> None:
    path = place / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def damage_flip(place: Path) -> None:
    data = bytearray((place / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (place / "model.safetensors").write_bytes(data)


def damage_lose(place: Path) -> None:
    (place / "removals.npz").unlink()


def damage_marker(place: Path) -> None:
    (place / MARKER).write_text("{")


def damage_no_marker(place: Path) -> None:
    (place / MARKER).unlink()


DAMAGES = {
    damage_truncate: "optimizer.safetensors has",
    damage_flip: "model.safetensors is not what was written",
    damage_lose: "removals.npz: No such file",
    damage_marker: "COMPLETE.json: ",
    damage_no_marker: "it has no COMPLETE.json",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path, damage, caplog) -> None:  # type: ignore[no-untyped-def]
    older, newest = write(tmp_path, 1, 2), write(tmp_path, 2, 0)
    write(tmp_path, 5, 0, "estimator")
    assert newest_checkpoint(tmp_path, "model") == newest
    damage(newest)
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match=DAMAGES[damage]):
        check_checkpoint(newest)
    assert newest_checkpoint(tmp_path, "model") == older
    assert str(newest) in caplog.text
    with pytest.raises(DataError):
        read_checkpoint(newest)


def test_checkpoints_are_known_by_their_stage_whatever_it_is_called(tmp_path: Path) -> None:
    stages = ("fold", "fold1", "fold1-e0001", "my-Net.2", "fold[1]")
    for stage in stages:
        write(tmp_path, 1, 3, stage)
        (tmp_path / f".{stage}-e0001-s00000004.partial").mkdir()
    for stage in stages:
        newest = newest_checkpoint(tmp_path, stage)
        assert newest == tmp_path / f"{stage}-e0001-s00000003"
        prune_checkpoints(tmp_path, stage, OWN, newest, keep=1)
        assert not (tmp_path / f".{stage}-e0001-s00000004.partial").exists()
        left = stages[stages.index(stage) + 1 :]
        assert all((tmp_path / f".{other}-e0001-s00000004.partial").exists() for other in left), stage
        prune_checkpoints(tmp_path, stage, OWN, None, keep=0)
        assert {path.name.split("-s000")[0] for path in tmp_path.glob("[!.]*")} == {f"{o}-e0001" for o in left}


@pytest.mark.parametrize("weights", ["", "../model", ".model", "a/b", "a b", "a\n"])
def test_weights_whose_name_is_not_fit_for_a_file_are_refused(weights: str) -> None:
    with pytest.raises(ConfigError, match="stage 'train' of method Han calls its weights"):
        Trained("train", Han, weights)
    assert Trained("train", Han, "my-Net.2").weights == "my-Net.2"


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "missing", "model") is None
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / ".model-e0000-s00000001.partial").mkdir()
    assert newest_checkpoint(tmp_path, "model") is None


def test_the_last_ones_up_to_the_newest_are_kept(tmp_path: Path) -> None:
    places = [write(tmp_path, 0, step) for step in (1, 2, 3, 4, 5)]
    damage_no_marker(places[1])
    damage_flip(places[3])
    (tmp_path / ".model-e0000-s00000009.partial").mkdir()
    other = write(tmp_path, 0, 1, "estimator")
    prune(tmp_path, places[2], 2)
    assert sorted(tmp_path.iterdir()) == sorted([other, places[0], places[2], places[4]])
    prune(tmp_path, None, 2)
    assert list(tmp_path.iterdir()) == [other]


def test_what_may_be_good_is_never_removed(tmp_path: Path) -> None:
    """Another owner's, another version's, one that cannot be read, and one that lies after the newest."""
    foreign, cut_off, mine = write(tmp_path, 0, 1, owner=OTHER), write(tmp_path, 0, 2), write(tmp_path, 0, 3)
    newer, future = write(tmp_path, 0, 4, format=2), write(tmp_path, 0, 5)
    (future / MARKER).write_text(json.dumps({"format": 2, "parts": {}}))
    good, bad_disk = write(tmp_path, 0, 6), write(tmp_path, 0, 7)
    with unreadable(cut_off / "state.json", errno.EACCES), unreadable(bad_disk / "model.safetensors"):
        prune(tmp_path, mine, 1)
    there = [foreign, cut_off, mine, newer, future, good, bad_disk]
    assert sorted(tmp_path.iterdir()) == sorted(there)
    with unreadable(tmp_path):
        prune(tmp_path, None, 1)
    prune(tmp_path, foreign, 1)
    assert sorted(tmp_path.iterdir()) == sorted(there)


ARRAYS = ("removals.npz", "memory.npz")
FILES = (MARKER, "model.safetensors", "best.safetensors", "optimizer.safetensors", *ARRAYS, "state.json")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
@pytest.mark.parametrize("name", FILES)
def test_one_that_cannot_be_read_is_not_passed_over(tmp_path: Path, name: str, number: int) -> None:
    write(tmp_path, 1, 2)
    newest = write(tmp_path, 2, 0)
    before = files_of(tmp_path)
    with unreadable(newest / name, number):
        for look in (lambda: newest_checkpoint(tmp_path, "model"), lambda: write(tmp_path, 2, 0)):
            with pytest.raises(UnreadableError, match=os.strerror(number)) as error:
                look()
            assert str(newest / name) in str(error.value)
    assert files_of(tmp_path) == before


def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    folder = write(tmp_path / "checkpoints", 1, 2).parent
    with unreadable(folder), pytest.raises(UnreadableError, match=r"checkpoints cannot be read: Input/output error"):
        newest_checkpoint(folder, "model")


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    place = write(tmp_path, 1, 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # like a disk that is full
    try:
        with pytest.raises(OSError, match=r"optimizer|model"):
            write_checkpoint(tmp_path, checkpoint_name("model", 1, 3), content(1, 4000), save_weights)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == [place.name]
    check_checkpoint(place)


def test_another_version_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    place = write(tmp_path, 0, 2, format=99)
    for look in (lambda: read_checkpoint(place), lambda: newest_checkpoint(tmp_path, "model")):
        with pytest.raises(RunFolderError, match=r"another version .* has format 99, this version reads 1"):
            look()
    marker = json.loads((place / MARKER).read_text())
    forms: list[object] = [{"parts": []}, [], {"files": {"model.safetensors": 7}}]
    forms.append({"files": {k: v for k, v in marker["files"].items() if k != "removals.npz"}})
    for form in forms:
        (place / MARKER).write_text(json.dumps(form))
        with pytest.raises(RunFolderError, match="another version"):
            newest_checkpoint(tmp_path, "model")


def test_one_of_another_owner_is_not_taken_for_the_own(tmp_path: Path) -> None:
    place = write(tmp_path, 0, 2, owner=OTHER)
    before = files_of(tmp_path)
    with pytest.raises(RunFolderError, match=f"{place} is another run's checkpoint"):
        write(tmp_path, 0, 2)
    assert files_of(tmp_path) == before


def test_progress_survives_json() -> None:
    progress = Progress(epoch=2, step=7, skipped=1, best=Best(1, 100 / 3), history=[{"x": 0.1}, {"x": float("nan")}])
    for each in (progress, Progress()):
        again = Progress.of(json.loads(json.dumps(each.state())), None)
        assert json.dumps(again.state()) == json.dumps(each.state())
        assert again.best.score == each.best.score


def test_checkpoints_are_due_by_steps_or_by_the_clock() -> None:
    due = Due(CheckpointConfig(every_minutes=None, every_steps=3))
    assert [due.after_step() for _ in range(3)] == [False, False, True]
    due.taken()
    assert [due.after_step() for _ in range(3)] == [False, False, True]
    assert Due(CheckpointConfig(every_minutes=1e-9)).after_step()
    assert not any(Due(CheckpointConfig(every_minutes=None)).after_step() for _ in range(100))
