"""The same extraction over the nodes of a Ray cluster, by Ray Data: actors open the encoders once each, and files go
through them. Features come back to the process that has started it, which alone writes: so nodes need to see the video
files and the models, not the output, and what lies there is as from one machine.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import ray
import ray.data
from ray.exceptions import ObjectLostError, RayActorError, RayError, WorkerCrashedError

from jomold_dist.data.format.extraction_file import ExtractedFeature
from jomold_dist.errors import ConfigError
from jomold_dist.extraction.encoding.encoders import Encoder
from jomold_dist.extraction.jobs.job import ENDED, Opening, Outcome, extract_file, features_of, outcome_of
from jomold_dist.ray_cluster import joined_cluster, reason, working_copy
from jomold_dist.wording import number_of

MOST_BLOCKS = 10_000  # into which the files are divided; each is handed back when all of it is done
LOST = (RayActorError, WorkerCrashedError, ObjectLostError)


class RayExtraction:
    """The extraction on the Ray cluster that is named, or on one of this machine's own. A context manager, which joins
    and leaves it. `jobs` actors of a CPU each, and of a GPU each if the encoders are on one; None: as many as the
    cluster has.

    ConfigError where `out` would end with a submitted job, where there is no such cluster, where it lacks a GPU, or
    where its nodes cannot open the encoders.
    """

    def __init__(self, opening: Opening, jobs: int | None, out: Path) -> None:
        self._opening, self._jobs, self._out = opening, jobs, out
        self._needs: Any = {"num_cpus": 1} | ({"num_gpus": 1} if opening.on_gpu else {})
        self._stack = ExitStack()
        self.features: dict[str, ExtractedFeature] = {}

    def __enter__(self) -> RayExtraction:
        with ExitStack() as stack:
            stack.enter_context(joined_cluster())
            if working_copy() is not None and not self._out.is_absolute():
                raise ConfigError(
                    f"--out {self._out}: relative to this job's copy of the working directory, which only lasts as "
                    "long as the job; give an absolute path"
                )
            kind = "GPU" if self._opening.on_gpu else "CPU"
            there = int(ray.cluster_resources().get(kind, 0))
            if not there:
                raise ConfigError(f"the Ray cluster has no {kind}; choose another --device, or another cluster")
            self._jobs = there if self._jobs is None else min(self._jobs, there)
            describe = ray.remote(_describe).options(max_retries=0, **self._needs)
            try:
                self.features = ray.get(describe.remote(self._opening))
            except RayError as error:
                raise _told(error) from None
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is told by us, in a line
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def workers(self, files: int) -> str:
        """By how many actors so many files go through, for people."""
        return f"{number_of(max(1, min(self._jobs or 1, files)), 'actor')} of Ray"

    def outcomes(self, files: Mapping[str, Path]) -> Generator[Outcome]:
        """What came of each file, in the order in which Ray hands them back. Where a process or a node is lost, what it
        had is done again; a file at which one ends although it is alone is given up."""
        left, jobs = dict(files), self._jobs or 1
        while left:
            before = len(left)
            try:
                for outcome in self._handed_back(left, jobs):
                    del left[outcome.key]
                    yield outcome
            except LOST:
                if len(left) == before:  # one of the first ones ends whoever takes it
                    for key in list(left)[:jobs]:
                        yield self._alone(key, left.pop(key))
            except RayError as error:
                raise _told(error) from None

    def _handed_back(self, files: Mapping[str, Path], jobs: int) -> Iterator[Outcome]:
        rows = [{"key": key, "path": str(path)} for key, path in files.items()]
        with warnings.catch_warnings():
            # Ray means to take `ray_remote_args_fn` away, and offers nothing else by which actors are not restarted
            warnings.simplefilter("ignore", DeprecationWarning)
            done = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map(
                cast(Any, _Extractor),
                fn_constructor_args=(self._opening.known_by(self.features),),
                concurrency=min(jobs, len(rows)),
                ray_remote_args_fn=_no_second_try,
                **self._needs,
            )
        for row in done.iter_rows():
            yield _outcome(row, self.features)

    def _alone(self, key: str, path: Path) -> Outcome:
        try:
            (outcome,) = self._handed_back({key: path}, 1)
            return outcome
        except LOST:
            return Outcome(key, problem=ENDED)


def _no_second_try() -> dict[str, Any]:
    """Ray Data would give a file that ends its actor to others without end."""
    return {"max_restarts": 0, "max_task_retries": 0}


def _describe(opening: Opening) -> dict[str, ExtractedFeature]:
    return features_of(opening, opening.open())


class _Extractor:
    """An actor."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    @cached_property
    def _encoders(self) -> dict[str, Encoder]:
        return self._opening.open()  # where an error is one of the task, and not a lost actor

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        path = Path(row["path"])
        extract = partial(extract_file, path, self._encoders, self._opening.sampling)
        outcome = outcome_of(row["key"], path, extract)
        arrays = {feature: outcome.arrays.get(feature, b"") for feature, _ in self._opening.names}
        return {"key": outcome.key, "problem": outcome.problem, "notes": json.dumps(outcome.notes), **arrays}


def _outcome(row: Mapping[str, Any], features: Mapping[str, object]) -> Outcome:
    if row["problem"]:
        return Outcome(row["key"], problem=row["problem"])
    notes = tuple((kind, text) for kind, text in json.loads(row["notes"]))
    return Outcome(row["key"], {name: row[name] for name in features}, notes)


def _told(error: RayError) -> ConfigError:
    return ConfigError(f"the extraction on Ray has ended: {reason(error)}")
