"""What later stages find of earlier ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from jomold_dist.config import Config
from jomold_dist.data.manifest import FeatureSpec, Manifest
from jomold_dist.distributed.world import open_world
from jomold_dist.labels import CategorySet
from jomold_dist.training import stages
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


def test_what_a_stage_has_left_is_dropped_after_its_last_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (Noted("a"), Noted("b", last_reader="c"), Noted("c"), Noted("d"))

    class Method:
        @staticmethod
        def stages(config: Config) -> tuple[Stage, ...]:
            return made

    monkeypatch.setattr(stages, "method_class", lambda name: Method)
    manifest = Manifest("made up", 2, CategorySet(("x",)), {"audio": FeatureSpec((2, 3), "float32")}, {})
    with open_world("cpu") as world:
        stages.run_stages(Run(Config(), manifest, world, RunFolder(tmp_path)), until="d")
    assert [stage.found for stage in made] == [set(), {"a"}, {"a", "b"}, {"a", "c"}]
