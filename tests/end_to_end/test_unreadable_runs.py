"""A run folder whose files cannot be read, are damaged, or are another run's: one message, and nothing is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished, Tiny
from launchers_help import Outcome, files_below, run_here
from safetensors import safe_open
from safetensors.torch import save_file

from jomold_dist.commands.start import recorded_exit_code
from tests.unreadable import unreadable

Capture = pytest.CaptureFixture[str]

LAST = "checkpoints/model-e0002-s00000000"
OF_EVERY_START = {".lock", "config.yaml", "environment.json", "report.html", "status.json"}


@pytest.fixture
def folder(finished: Finished, tmp_path: Path) -> Path:
    """A run that is finished, and can be trained for another epoch."""
    return shutil.copytree(finished.folder, tmp_path / "run")


def results(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_below(folder).items() if name not in OF_EVERY_START}


def refused(outcome: Outcome, *parts: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.err.count("error: ") == 1
    assert "Traceback" not in outcome.err
    for part in parts:
        assert part in outcome.err


def go_on(capsys: Capture, tiny: Tiny, folder: Path, *overrides: str) -> Outcome:
    return run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}", "train.epochs=3", *overrides)


NEEDED = {
    "owner.json": errno.EACCES,
    "history.jsonl": errno.EIO,
    "noise_ratios.json": errno.EACCES,
    "checkpoints": errno.ESTALE,
    "checkpoints/estimator.safetensors": errno.EACCES,
    "checkpoints/model.safetensors": errno.EIO,
    f"{LAST}/COMPLETE.json": errno.EACCES,
    f"{LAST}/state.json": errno.ESTALE,
    f"{LAST}/model.safetensors": errno.EIO,
    f"{LAST}/optimizer.safetensors": errno.EACCES,
}


@pytest.mark.parametrize("name", NEEDED)
def test_training_ends_and_loses_nothing(name: str, tiny: Tiny, folder: Path, capsys: Capture) -> None:
    before = results(folder)
    with unreadable(folder / name, NEEDED[name]):
        outcome = go_on(capsys, tiny, folder)
    refused(
        outcome, f"{folder / name} cannot be read: {os.strerror(NEEDED[name])}", "make it readable, or move it away"
    )
    assert results(folder) == before


def test_training_goes_on_once_it_is_readable(tiny: Tiny, folder: Path, capsys: Capture) -> None:
    with unreadable(folder / LAST / "best.safetensors", errno.EACCES):
        refused(go_on(capsys, tiny, folder), "best.safetensors cannot be read")
    outcome = go_on(capsys, tiny, folder)
    assert outcome.code == 0
    assert "model: going on in epoch 3, after step 0 of 3" in outcome.err


def test_a_finished_run_does_not_need_its_checkpoint(tiny: Tiny, folder: Path, capsys: Capture) -> None:
    before = results(folder)
    with unreadable(folder / LAST / "model.safetensors"):
        outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}")
    assert outcome.code == 0
    assert "The run is finished; old checkpoints stay" in outcome.err
    assert results(folder) == before


def test_a_finished_run_without_a_table_of_its_removals_is_finished(tiny: Tiny, folder: Path, capsys: Capture) -> None:
    (folder / "removals.json").write_text("{")
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}")
    assert outcome.code == 0, outcome.err
    assert "no table of the removals:" in outcome.err
    assert f"{folder / 'removals.json'} is damaged" in outcome.err
    assert f"run folder: {folder}" in outcome.out
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize("script", ["evaluate", "predict"])
@pytest.mark.parametrize("name", ["checkpoints/model.safetensors", f"{LAST}/best.safetensors", "checkpoints"])
def test_a_model_that_cannot_be_read(name: str, script: str, tiny: Tiny, folder: Path, capsys: Capture) -> None:
    if name != "checkpoints/model.safetensors":  # as of a run that is training
        (folder / "checkpoints" / "model.safetensors").unlink()
    before = files_below(folder.parent)
    more = ("--shards", tiny.shards, "--out", folder.parent / "events.csv") if script == "predict" else ()
    with unreadable(folder / name, errno.EACCES):
        refused(run_here(capsys, script, "--run", folder, *more), f"{folder / name} cannot be read: Permission denied")
    assert files_below(folder.parent) == before


def rewrite_info(weights: Path, **info: object) -> None:
    """Other metadata of a weights file."""
    with safe_open(weights, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, weights, metadata | {key: json.dumps(value) for key, value in info.items()})


def notes_of(weights: Path) -> dict[str, str]:
    with safe_open(weights, "pt") as file:
        notes: dict[str, str] = json.loads(file.metadata()["notes"])
    return notes


def of_another_run(weights: Path) -> None:
    notes = notes_of(weights)
    owner = json.loads(notes["owner"]) | {"config": "another"}
    rewrite_info(weights, notes=notes | {"owner": json.dumps(owner, sort_keys=True)})


def of_the_model(weights: Path) -> None:
    shutil.copyfile(weights.with_name("model.safetensors"), weights)


def of_other_categories(weights: Path) -> None:
    rewrite_info(weights, categories=["Speech", "Car", "Dog", "Cat", "Horn"])


def without_a_note(weights: Path) -> None:
    rewrite_info(weights, segments=7, notes={k: v for k, v in notes_of(weights).items() if k != "owner"})


FOREIGN: dict[Callable[[Path], None], str] = {
    of_another_run: "owner",
    of_the_model: "form, stage",
    of_other_categories: "categories",
    without_a_note: "segments",
}


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda f: f.__name__)
def test_finished_weights_of_something_else(
    foreign: Callable[[Path], None], tiny: Tiny, folder: Path, capsys: Capture
) -> None:
    weights = folder / "checkpoints" / "estimator.safetensors"
    foreign(weights)
    before = results(folder)
    refused(go_on(capsys, tiny, folder), f"{weights} is not of this run: it is of another {FOREIGN[foreign]}")
    assert results(folder) == before


def rewrite_state(place: Path, changes: dict[str, object], lacking: tuple[str, ...]) -> None:
    """Another state.json, as if it had been written so."""
    state = json.loads((place / "state.json").read_text()) | changes
    content = json.dumps({k: v for k, v in state.items() if k not in lacking}).encode()
    (place / "state.json").write_bytes(content)
    marker = json.loads((place / "COMPLETE.json").read_text())
    marker["files"]["state.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (place / "COMPLETE.json").write_text(json.dumps(marker))


def test_a_checkpoint_of_another_version(tiny: Tiny, folder: Path, capsys: Capture) -> None:
    for changes, lacking, message in (
        ({}, ("sums", "history"), "is not of this training: it lacks sums, history"),
        ({"format": 2}, (), "was written by another version of jomold_dist: it has format 2, this version reads 1"),
    ):
        rewrite_state(folder / LAST, changes, lacking)
        before = results(folder)
        refused(go_on(capsys, tiny, folder), f"checkpoint {folder / LAST} {message}")
        assert results(folder) == before


def damage_history(folder: Path) -> Path:
    (folder / "history.jsonl").write_text('{"stage": "model"}\n{"epoch"')
    return folder / "history.jsonl"


def damage_owner(folder: Path) -> Path:
    (folder / "owner.json").write_text("[" * 100_000)
    return folder / "owner.json"


def damage_ratios(folder: Path) -> Path:
    (folder / "noise_ratios.json").write_text("{")
    return folder / "noise_ratios.json"


def other_names(folder: Path) -> Path:
    path = folder / "noise_ratios.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": ["a", "b", "c", "d", "e"]}))
    return path


@pytest.mark.parametrize("damage", [damage_history, damage_owner, damage_ratios, other_names], ids=lambda d: d.__name__)
def test_damage_is_one_message(damage: Callable[[Path], Path], tiny: Tiny, folder: Path, capsys: Capture) -> None:
    damaged = damage(folder)
    before = results(folder)
    refused(go_on(capsys, tiny, folder), damaged.name)
    assert results(folder) == before


def test_a_damaged_config_of_the_same_run_is_written_anew(tiny: Tiny, folder: Path, capsys: Capture) -> None:
    (folder / "config.yaml").write_text("{")
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}")
    assert outcome.code == 0
    (folder / "config.yaml").write_text("{")
    refused(go_on(capsys, tiny, folder, "run.seed=5"), f"{folder} belongs to another config", "is not valid YAML")


def test_ratios_of_a_file_go_to_the_categories_that_it_names(
    tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    ratios = json.loads((finished.folder / "noise_ratios.json").read_text())
    ratios["audio"] = [0.1, 0.2, 0.3, 0.4, 0.5]
    turned = {name: values[::-1] for name, values in ratios.items()}
    file, folder = tmp_path / "ratios.json", tmp_path / "run"
    file.write_text(json.dumps(turned))
    overrides = ("denoise.ratios=file", f"denoise.ratio_file={file}", "train.epochs=1")
    assert go_on(capsys, tiny, folder, *overrides).code == 0
    assert json.loads((folder / "noise_ratios.json").read_text()) == ratios
    file.write_text(json.dumps(turned | {"visual": [0.5] * 5}))
    before = results(folder)
    refused(go_on(capsys, tiny, folder, *overrides), f"{file} has other ratios than", "Choose another run.dir")
    assert results(folder) == before
    np.savez(tmp_path / "ratios.npz", **(turned | {"categories": np.array([*"abcde"])}))
    overrides = ("denoise.ratios=file", f"denoise.ratio_file={tmp_path / 'ratios.npz'}")
    refused(go_on(capsys, tiny, tmp_path / "new", *overrides), "is for other categories than the data set's: without")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "code"), [('{"exit_code": 75}', 75), ('{"state": "running"}', None), ("{", None), ("[]", None)]
)
def test_a_status_is_read_or_told_to_be_unusable(
    content: str, code: int | None, tmp_path: Path, capsys: Capture
) -> None:
    status = tmp_path / "status.json"
    status.write_text(content)
    assert recorded_exit_code(status) == code
    assert ("status.json" in capsys.readouterr().err) == (content in ("{", "[]"))
    with unreadable(status, errno.EACCES):
        assert recorded_exit_code(status) is None
    assert f"{status} cannot be read: Permission denied" in capsys.readouterr().err
