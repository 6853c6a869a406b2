"""A run's folder: to whom it belongs, its status, its history and its results. Written by rank 0 only, but for `stacks`
and `profile`, where each rank has files of its own."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.config_files import dump_config, load_config
from jomold_dist.data.reading.plan import PLAN_VERSION
from jomold_dist.distributed.stacks import STACKS
from jomold_dist.errors import DataError, RunFolderError, StoppedError, UnreadableError, UserError, exit_code
from jomold_dist.files import problem_of, write_json, write_text, writing
from jomold_dist.locks import LockHeldError, locked
from jomold_dist.models.weights import copy_weights, read_info
from jomold_dist.reading import ABSENT, is_folder, is_there, parse_json, read_json, reading
from jomold_dist.times import now_iso

OWNER = "owner.json"
LOCK = ".lock"
ENDED_EARLY = "ended_early"  # in the history's line of a training's last epoch, if more were allowed
BEST_WITHIN = "best_within"  # in that of an epoch whose best moment was before its end: which, and its scores on val
CHECKPOINTS, PROFILE = "checkpoints", "profile"
LEAVING_SECONDS = 45.0


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def environment(self) -> Path:
        """With what, where and how the run was started, each time (see `provenance.py`)."""
        return self.path / "environment.json"

    @property
    def stacks(self) -> Path:
        """Where the threads of each rank were when it hung or crashed; not there while none did."""
        return self.path / STACKS

    @property
    def profile(self) -> Path:
        """Traces of some steps of each stage, with `profile.steps`."""
        return self.path / PROFILE

    @property
    def noise_ratios(self) -> Path:
        return self.path / "noise_ratios.json"

    @property
    def predictions(self) -> Path:
        """What the estimator predicts for the training labels, where it is to be kept."""
        return self.path / "estimator_predictions.npz"

    @property
    def refined_labels(self) -> Path:
        """The labels that a stage has marked for removal, where the method has such a stage."""
        return self.path / "refined_labels.npz"

    def labels(self, round_name: str = "") -> Path:
        """Every training label with its evidence and its probabilities, where the method finds them: the last ones, or
        those of an earlier round."""
        return self.path / f"labels{round_name}.parquet"

    def mixture(self, round_name: str = "") -> Path:
        """The fitted mixture of each category, by which these probabilities were found."""
        return self.path / f"mixture{round_name}.json"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def steps(self) -> Path:
        """A line for every so many optimizer steps."""
        return self.path / "steps.jsonl"

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
    def bad_videos(self) -> Path:
        """Videos that were left out of their batches; not there while none was."""
        return self.path / "bad_videos.csv"

    @property
    def report(self) -> Path:
        """All of this as one page."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """Finished weights, and the checkpoints of trainings (see `checkpoint.py`)."""
        return self.path / CHECKPOINTS

    def weights(self, stage: str) -> Path:
        """The finished weights of a stage; they are there only when the stage is done."""
        return self.checkpoints / f"{stage}.safetensors"

    def name_of(self, file: Path) -> str:
        """A file's path below this folder, or the whole one if it lies elsewhere."""
        place, here = file.absolute(), self.path.absolute()
        return str(place.relative_to(here) if place.is_relative_to(here) else place)

    def complete(self, stage: str, best: Path, epochs: int) -> None:
        """Make these weights the stage's result for so many epochs. A training that ended early is the result for more
        epochs than its last checkpoint knew of."""
        with writing(self.weights(stage)) as aside:
            copy_weights(best, aside, {"epochs": str(epochs)})

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

    @contextmanager
    def claimed(self, config: Config, manifest_digest: str) -> Iterator[None]:
        """Create the folder for this config and data set, or check that it is theirs, and keep other starts out of it
        for the length of the block, or the life of the process.

        RunFolderError if it belongs to another config or data set, holds something else, is in use, or cannot be
        written.
        """
        with ExitStack() as stack:
            self.check(config, manifest_digest)
            with self._usable():
                stack.enter_context(locked(self.path / LOCK, LEAVING_SECONDS))  # an earlier start may be just leaving
                self.checkpoints.mkdir(exist_ok=True)
                write_json(self.path / OWNER, self.owner(config, manifest_digest))
                write_text(self.config, dump_config(config))
            yield

    def check(self, config: Config, manifest_digest: str) -> None:
        """RunFolderError if the folder cannot become, or is not, that of this config and data set. Writes nothing."""
        with self._usable():
            if is_there(self.path / OWNER):
                self._check_owner(config, self.owner(config, manifest_digest))
            elif self._holds_other_files():
                raise RunFolderError(f"run.dir {self.path} holds files that are no run's; choose an empty folder")
            there = next(place for place in (self.path, *self.path.absolute().parents) if is_there(place))
            if not is_folder(there):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Tells of a folder that cannot be made, read, written or locked as a RunFolderError."""
        try:
            yield
        except OSError as error:
            raise RunFolderError(f"run.dir {self.path} cannot be used: {problem_of(error)}") from None
        except UnreadableError as error:
            raise UnreadableError(f"run.dir {self.path}: {error}") from None
        except LockHeldError as holder:
            raise RunFolderError(
                f"run.dir {self.path} is in use by {holder}; wait for its end, or choose another run.dir"
            ) from None

    def _holds_other_files(self) -> bool:
        """Hidden files may be what a killed start has left, and the others here what another rank has that sees another
        folder under this path than rank 0."""
        own = (CHECKPOINTS, STACKS, PROFILE)
        with reading(self.path):
            return is_there(self.path) and any(p.name[0] != "." and p.name not in own for p in self.path.iterdir())

    def _check_owner(self, config: Config, owner: dict[str, Any]) -> None:
        try:
            seen = read_json(self.path / OWNER)
            if not isinstance(seen, dict):
                raise ValueError("it has another form")
        except (*ABSENT, ValueError) as error:
            raise RunFolderError(f"run.dir {self.path} is damaged: {OWNER}: {error}; choose another folder") from None
        if seen == owner:
            self._check_epochs(config.train.epochs)
            return
        before: dict[str, Any] = {}
        unknown = "settings of another version"
        try:
            before = load_config(self.config).flat()
        except UserError as error:
            unknown = str(error)
        now, reasons = config.flat(), []
        if seen.get("config") != owner["config"]:
            changed = [
                f"{k} was {before[k]!r} and is {v!r}"
                for k, v in now.items()
                if k in before and before[k] != v and config.decides(k)
            ]
            reasons.append("another config: " + ("; ".join(changed[:8]) or unknown))
            if config.train.schedule == "cosine" and before.get("train.epochs") != config.train.epochs:
                reasons[-1] += " (with train.schedule = cosine, each learning rate hangs on the number of epochs)"
        if seen.get("manifest") != owner["manifest"]:
            reasons.append("another data set: the manifest differs")
        if not reasons:
            reasons.append("another version of the canonical order")
        raise RunFolderError(f"run.dir {self.path} belongs to {' and '.join(reasons)}. Choose another run.dir")

    def _check_epochs(self, epochs: int) -> None:
        """RunFolderError if the finished model has more epochs."""
        try:
            trained = int(read_info(self.weights("model")).notes["epochs"])
        except (DataError, KeyError, ValueError):  # not finished, or damaged, which its stage will find
            return
        if epochs < trained:
            raise RunFolderError(
                f"run.dir {self.path} was trained for train.epochs = {trained}, which may grow but not shrink to "
                f"{epochs}. Choose another run.dir"
            )

    def write_status(self, state: str, **details: Any) -> None:
        """status.json: `state` is running, finished, failed or preempted, with details such as exit code and stage."""
        write_json(self.status, {"state": state, "time": now_iso(), **details})

    def write_end(self, error: BaseException) -> None:
        """status.json of a run that ends with this error. A full disk does not hide the error."""
        state = "preempted" if isinstance(error, StoppedError) else "failed"
        with suppress(OSError):
            self.write_status(state, exit_code=exit_code(error), message=f"{error}" or type(error).__name__)

    def has_history(self, stage: str) -> bool:
        """Whether an epoch of the stage was ever finished."""
        return any(of == stage for of, _ in self._history_lines())

    def write_history(self, stage: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """The lines of a stage's epochs, after those of the stages before it."""
        others = [line for of, line in self._history_lines() if of != stage]
        write_text(self.history, "".join(line + "\n" for line in [*others, *map(json.dumps, lines)]))

    def _history_lines(self) -> list[tuple[str, str]]:
        """The stage of each line, and the line. RunFolderError if the history is damaged; UnreadableError."""
        try:
            with reading(self.history):
                lines = self.history.read_text(encoding="utf-8").splitlines()
            return [(parse_json(line)["stage"], line) for line in lines]
        except FileNotFoundError:
            return []
        except (*ABSENT, ValueError, KeyError, TypeError) as error:
            raise RunFolderError(f"{self.history} is damaged ({error!r}); mend it, or move it away") from None
