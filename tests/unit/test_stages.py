"""What later stages find of earlier ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.distributed.world import open_world
from jomold_dist.errors import DataError, StoppedError
from jomold_dist.labels import CategorySet
from jomold_dist.training import stages
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.stage import Found, Stage


class Noted(Stage):
    """Notes what it finds, and leaves its name."""

    def __init__(self, name: str, last_reader: str | None = None) -> None:
        self.name, self.last_reader = name, last_reader
        self.found: set[str] = set()

    def is_done(self, run: Run) -> bool:
        return False

    def do(self, run: Run, found: Found) -> None:
        self.found = set(found)

    def read(self, run: Run) -> str:
        return self.name


MANIFEST = Manifest("made up", 2, CategorySet(("x",)), {"audio": FeatureSpec((2, 3), "float32")}, {})


def use(monkeypatch: pytest.MonkeyPatch, *made: Stage) -> None:
    class Method:
        @staticmethod
        def stages(config: Config) -> tuple[Stage, ...]:
            return made

    monkeypatch.setattr(stages, "method_class", lambda name: Method)


def test_what_a_stage_has_left_is_dropped_after_its_last_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (Noted("a"), Noted("b", last_reader="c"), Noted("c"), Noted("d"))
    use(monkeypatch, *made)
    with open_world("cpu") as world:
        stages.run_stages(Run(Config(), MANIFEST, world, RunFolder(tmp_path)), until="d")
    assert [stage.found for stage in made] == [set(), {"a"}, {"a", "b"}, {"a", "c"}]


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [(StoppedError("stopped"), "preempted", 75), (DataError("damaged"), "failed", 2), (ValueError(), "failed", 1)],
)
def test_how_a_run_ends_is_known_before_the_recorder_closes_the_stage(
    error: Exception, state: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing may take longer than whoever has asked the run to stop will wait."""
    found: list[dict[str, object]] = []

    class Failing(Noted):
        def do(self, run: Run, found: Found) -> None:
            raise error

    class Slow(NullRecorder):
        @contextmanager
        def stage(self, name: str, of_model: bool = False) -> Iterator[None]:
            try:
                yield
            finally:
                found.append(json.loads((tmp_path / "status.json").read_text()))

    use(monkeypatch, Failing("a"))
    with open_world("cpu") as world, pytest.raises(type(error)):
        stages.run_stages(Run(Config(), MANIFEST, world, RunFolder(tmp_path), Slow()))
    assert [(status["state"], status["exit_code"]) for status in found] == [(state, code)]
