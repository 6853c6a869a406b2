"""A run's folder: to whom it belongs, its status, its history and its results. Written by rank 0 only."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jomold_dist.config import Config, decides
from jomold_dist.config_files import dump_config, load_config
from jomold_dist.data.plan import PLAN_VERSION
from jomold_dist.errors import RunFolderError, UserError
from jomold_dist.files import write_json, write_text, writing

OWNER = "owner.json"


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def noise_ratios(self) -> Path:
        return self.path / "noise_ratios.json"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def scores(self) -> Path:
        return self.path / "scores.json"

    @property
    def removals(self) -> Path:
        return self.path / "removals.json"

    @property
    def removed_labels(self) -> Path:
        return self.path / "removed_labels.csv"

    @property
    def checkpoints(self) -> Path:
        """Finished weights, and the checkpoints of trainings (see `checkpoint.py`)."""
        return self.path / "checkpoints"

    def weights(self, stage: str) -> Path:
        """The finished weights of a stage; they are there only when the stage is done."""
        return self.checkpoints / f"{stage}.safetensors"

    def complete(self, stage: str, best: Path) -> None:
        """Make these weights the stage's result."""
        with writing(self.weights(stage)) as aside:
            shutil.copyfile(best, aside)

    @contextmanager
    def writes(self) -> Iterator[None]:
        """Tells of a full disk and the like inside the block as a RunFolderError."""
        try:
            yield
        except OSError as error:
            raise RunFolderError(f"run.dir {self.path} cannot be written: {error.strerror or error}") from None

    def owner(self, config: Config, manifest_digest: str) -> dict[str, Any]:
        """To whom a run and its checkpoints belong."""
        return {"config": config.digest, "manifest": manifest_digest, "plan": PLAN_VERSION}

    def claim(self, config: Config, manifest_digest: str) -> None:
        """Create the folder for this config and data set, or check that it is theirs.

        RunFolderError if it belongs to another config or data set, holds something else, or cannot be written.
        """
        owner = self.owner(config, manifest_digest)
        try:
            if (self.path / OWNER).exists():
                self._check_owner(config, owner)
            elif self.path.exists() and any(p.name != "checkpoints" for p in self.path.iterdir()):
                raise RunFolderError(f"run.dir {self.path} holds files that are no run's; choose an empty folder")
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            write_text(self.config, dump_config(config))
            write_json(self.path / OWNER, owner)
        except OSError as error:
            raise RunFolderError(f"run.dir {self.path} cannot be used: {error.strerror or error}") from None

    def _check_owner(self, config: Config, owner: dict[str, Any]) -> None:
        try:
            seen = json.loads((self.path / OWNER).read_text(encoding="utf-8"))
            before = load_config(self.config).flat()
        except (ValueError, OSError, UserError) as error:
            raise RunFolderError(f"run.dir {self.path} is damaged ({error}); choose another folder") from None
        now, reasons = config.flat(), []
        finished = self.weights("model").exists()
        if seen == owner and finished and now["train.epochs"] < before["train.epochs"]:
            raise RunFolderError(
                f"run.dir {self.path} was trained for train.epochs = {before['train.epochs']}, which may grow but not "
                f"shrink to {now['train.epochs']}. Choose another run.dir"
            )
        if seen == owner:
            return
        if seen.get("config") != owner["config"]:
            changed = [f"{k} was {before[k]!r} and is {v!r}" for k, v in now.items() if before[k] != v and decides(k)]
            reasons.append("another config: " + ("; ".join(changed[:8]) or "settings of another version"))
        if seen.get("manifest") != owner["manifest"]:
            reasons.append("another data set: the manifest differs")
        if not reasons:
            reasons.append("another version of the canonical order")
        raise RunFolderError(f"run.dir {self.path} belongs to {' and '.join(reasons)}. Choose another run.dir")

    def write_status(self, state: str, **details: Any) -> None:
        """status.json: `state` is running, finished, failed or stopped, with details such as exit code and stage."""
        write_json(self.path / "status.json", {"state": state, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **details})

    def write_history(self, stage: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """The lines of a stage's epochs, after those of the stages before it."""
        there = self.history.read_text(encoding="utf-8").splitlines() if self.history.exists() else []
        others = [line for line in there if json.loads(line)["stage"] != stage]
        write_text(self.history, "".join(line + "\n" for line in [*others, *map(json.dumps, lines)]))
