"""A run folder that a group shares: one member stops the run, another goes on with it."""

from __future__ import annotations

import os
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from launchers_help import run_here

from jomold_dist.commands.evaluate import main as evaluate
from jomold_dist.commands.train import main as train
from tests.shard_fixtures import write_dataset

ANNA, BERT, GROUP = 61001, 61002, 61003
SETTINGS = {
    "data": {"streams": 4, "block": 4},
    "denoise": {"warmup_epochs": None, "audio_threshold": 0.95, "visual_threshold": 1.0},
    "estimator": {"epochs": 1},
    "train": {"epochs": 3, "batch_size": 12},
    "checkpoint": {"every_steps": 1},
    "tracking": {"enabled": False},
    "distributed": {"device": "cpu"},
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two other users")


@pytest.fixture
def place(capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    """A folder that everybody can enter (those of pytest belong to one user), with data, a config, and one for the
    group."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        if as_member(ANNA, place / "log", lambda: 0 if (place / "tiny.yaml").parent.is_dir() else 1):
            pytest.skip(f"other users cannot enter {place}")
        write_dataset(place / "data", {"train": 48, "val": 8, "test": 8})
        settings = SETTINGS | {"data": SETTINGS["data"] | {"shards": str(place / "data")}}
        (place / "tiny.yaml").write_text(yaml.safe_dump(settings))
        for epochs in (3, 4):  # imports what a start and a later one need
            words = ("--config", place / "tiny.yaml", f"run.dir={place / 'alone'}", f"train.epochs={epochs}")
            assert run_here(capsys, "train", *words).code == 0
        (place / "team").mkdir()
        os.chown(place / "team", 0, GROUP)
        (place / "team").chmod(0o2775)
        yield place


def start_as(user: int, log: Path, main, *arguments: object) -> int:  # type: ignore[no-untyped-def]
    """A process of a member of the group with umask 002. It is a fork of this one: other users may be unable to read
    this Python. Everything that it needs must be imported."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setgroups([GROUP])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        os.umask(0o002)
        os.chdir("/")
        sys.stdout = sys.stderr = log.open("a")
        sys.argv = ["program", *map(str, arguments)]
        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def as_member(user: int, log: Path, main, *arguments: object) -> int:  # type: ignore[no-untyped-def]
    if not log.exists():
        log.touch()
        log.chmod(0o666)
    return end(start_as(user, log, main, *arguments))


def test_one_stops_and_another_goes_on(place: Path) -> None:
    folder, log = place / "team" / "run", place / "log"
    arguments = ("--config", place / "tiny.yaml", f"run.dir={folder}")
    child = start_as(ANNA, log, train, *arguments)
    while not any(folder.glob("checkpoints/model-e0001-*/COMPLETE.json")) and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.01)
    os.kill(child, signal.SIGTERM)
    assert end(child) == 75, log.read_text()
    for path in (folder, *folder.rglob("*")):
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (ANNA, GROUP), path
        assert stat.S_IMODE(found.st_mode) == (0o2775 if path.is_dir() else 0o664), path
    assert as_member(BERT, log, train, *arguments) == 0, log.read_text()
    said = log.read_text()
    assert "model: going on in epoch 2" in said
    assert "damaged" not in said
    assert "cannot" not in said
    assert {path.stat().st_uid for path in folder.glob("checkpoints/model*")} == {BERT}
    assert as_member(ANNA, log, evaluate, "--run", folder, "--split", "val") == 0, log.read_text()
    assert as_member(ANNA, log, train, *arguments, "train.epochs=4") == 0, log.read_text()
    assert "model: going on in epoch 4" in log.read_text()


def test_what_one_keeps_to_himself_is_left_alone(place: Path) -> None:
    """As files were when safetensors gave them their mode."""
    folder, log = place / "team" / "run", place / "log"
    arguments = ("--config", place / "tiny.yaml", f"run.dir={folder}")
    assert as_member(ANNA, log, train, *arguments) == 0, log.read_text()
    last = next(folder.glob("checkpoints/model-e*"))
    for path in (last / "best.safetensors", folder / "checkpoints" / "model.safetensors"):
        kept = path.read_bytes()
        path.chmod(0o600)
        for main, words in ((train, (*arguments, "train.epochs=4")), (evaluate, ("--run", folder))):
            if main is evaluate and path.parent == last:
                continue
            log.write_text("")
            assert as_member(BERT, log, main, *words) == 2
            assert log.read_text().count("error: ") == 1
            assert f"{path} cannot be read: Permission denied" in log.read_text()
        assert path.read_bytes() == kept
        path.chmod(0o664)
