"""Running trials on Ray Tune: each is a training of its own processes, started, watched and ended by an actor.

What a trial has reached lies in its run folder. So a trial that is started again goes on from its last checkpoint, one
that is finished ends at once, and a sweep needs nothing that Tune keeps.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jomold_dist.errors import USER_ERROR, ConfigError, RunFolderError, StoppedError, UserError
from jomold_dist.files import problem_of
from jomold_dist.places import have_a_home
from jomold_dist.ray_cluster import joined_cluster
from jomold_dist.reading import read_json
from jomold_dist.starting import TRAIN, command, environment
from jomold_dist.stopping import sigterm_as_ctrl_c
from jomold_dist.supervising import end_with_parent
from jomold_dist.training.trained import MODEL
from jomold_dist.tuning.config import SweepConfig
from jomold_dist.tuning.costs import add_time
from jomold_dist.tuning.outcomes import Ended
from jomold_dist.tuning.run_results import SCORE, read_epochs
from jomold_dist.tuning.watcher import Teller, Watcher

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # read when ray.tune is imported
have_a_home()
import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler  # noqa: E402

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """A training as a trial starts it."""

    title: str
    """What people call it."""
    folder: str
    """Its run folder, absolute."""
    config: str
    """Its settings, a YAML file."""
    log: str
    """Where to put what it says."""
    stage: str
    """The stage whose epochs are reported."""
    metric: str
    """The score on val that is reported."""
    options: tuple[str, ...] = ()
    """Further arguments of the launcher."""


class TrialError(Exception):
    """A trial's training failed. The message says why."""


@contextmanager
def cluster(asked: SweepConfig) -> Iterator[None]:
    """The Ray cluster of a sweep. ConfigError if it cannot be joined, or if no node of it has what a trial takes."""
    with joined_cluster("sweep.address", asked.address):
        _refuse_too_large(asked)
        yield


def need(asked: SweepConfig) -> dict[str, float]:
    """What a trial takes of one node."""
    return {"CPU": float(asked.workers * asked.cpus)} | ({"GPU": asked.workers * asked.gpus} if asked.gpus else {})


def _refuse_too_large(asked: SweepConfig) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = need(asked)
    if any(all(node.get(kind, 0) >= amount for kind, amount in wanted.items()) for node in nodes):
        return
    of = " and ".join(f"{amount:g} {kind}" for kind, amount in wanted.items())
    there = "; ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
    raise ConfigError(
        f"a trial of {asked.workers} x sweep.cpus = {asked.cpus}, sweep.gpus = {asked.gpus:g} takes {of}, which no "
        f"node has (there are: {there}); ask for less, or join a larger cluster with sweep.address"
    )


def run_jobs(
    jobs: Sequence[Job],
    variables: Mapping[str, str],
    asked: SweepConfig,
    epochs: int,
    place: Path,
    tell: Teller,
) -> dict[str, Ended]:
    """Run all jobs, as many at once as there is room for; how each ended, by its folder. Trials that fail are started
    again as often as the sweep allows, and do not end the others.

    `variables` are for the trials' environment, and come into no file; `epochs` is the most that a job trains; `place`
    is where Tune keeps its files. StoppedError once this process was asked to stop: trials that are running make a
    checkpoint first. RunFolderError if `place` cannot be written.
    """
    if not jobs:
        return {}
    competing = {job.title for job in jobs if job.stage == MODEL and job.metric == asked.metric}
    watcher = _Callback(competing, len(jobs), asked.metric, tell)
    try:
        tuner = _tuner(jobs, variables, asked, epochs, place, watcher)
        with sigterm_as_ctrl_c():  # Tune leaves its own handler of Ctrl-C behind, which does nothing any more
            tuner.fit()
    except ConnectionError:  # Ray's
        raise
    except OSError as error:
        raise RunFolderError(f"{place} cannot be written: {problem_of(error)}") from None
    if len(watcher.ended) < len(jobs):  # Tune returns as usual after Ctrl-C
        raise StoppedError(f"stopped with {len(watcher.ended)} of {len(jobs)} trials ended; the same command goes on")
    return watcher.ended


def _tuner(
    jobs: Sequence[Job], variables: Mapping[str, str], asked: SweepConfig, epochs: int, place: Path, watcher: _Callback
) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_train, variables=dict(variables)), tune.PlacementGroupFactory([need(asked)])
        ),
        param_space={"job": tune.grid_search([asdict(job) for job in jobs]), "workers": asked.workers,
                     "cpus": asked.cpus},
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode="max",
            scheduler=_scheduler(asked, epochs),
            max_concurrent_trials=asked.concurrent,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            name=f"start-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=str(place),
            failure_config=tune.FailureConfig(max_failures=asked.retries),
            callbacks=[watcher],
            verbose=0,
        ),
    )  # fmt: skip


def _scheduler(asked: SweepConfig, epochs: int) -> TrialScheduler:
    if asked.scheduler == "asha":
        # it also ends what reaches max_t, and after the last epoch a trial still has its scores on test to find
        return ASHAScheduler(time_attr="epoch", max_t=epochs + 1, grace_period=min(asked.grace_epochs, epochs))
    return FIFOScheduler()


def _name(trial: Any) -> str:
    return Path(trial.config["job"]["folder"]).name


class _Callback(Watcher, tune.Callback):
    """As Tune takes it."""


def _train(parameters: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """A trial, in an actor of its own: one training, whose epochs are reported as they come."""
    job, workers = Job(**parameters["job"]), parameters["workers"]
    launcher = [Path(sys.executable).name]
    if workers > 1:
        launcher = ["torchrun", "--standalone", f"--nproc-per-node={workers}", "--shutdown-timeout=300"]
    began = time.time()
    with Path(job.log).open("ab") as log:
        process = subprocess.Popen(
            command("start", *launcher, *TRAIN, "--config", job.config, *job.options),
            env=environment({**variables, "OMP_NUM_THREADS": str(parameters["cpus"])}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        told = 0
        while True:
            ended = process.poll() is not None
            epochs = read_epochs(Path(job.folder), job.stage, job.metric)
            for line in epochs[told:]:
                tune.report(line)
            told = len(epochs)
            if ended:
                break
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
        add_time(Path(job.folder), time.time() - began)
    last = epochs[-1] if epochs else {"epoch": 0, SCORE: -math.inf}
    if process.returncode == USER_ERROR:  # to try again cannot help
        tune.report({**last, "problem": _failure(job, process.returncode, began)})
    elif process.returncode:
        raise TrialError(_failure(job, process.returncode, began))
    else:
        tune.report({**last, "finished": True})


def _failure(job: Job, code: int, began: float) -> str:
    """Why a training failed, in one line: its own words where it had any."""
    status = Path(job.folder) / "status.json"
    try:
        if status.stat().st_mtime >= began:
            found = read_json(status)
            if found["state"] == "failed":
                return " ".join(str(found["message"]).split())
    except (OSError, ValueError, KeyError, TypeError, UserError):
        pass
    said = Path(job.log).read_text(encoding="utf-8", errors="replace").splitlines()
    own = [line.split("error: ", 1)[1] for line in said[-50:] if re.match(r"(\w+\.py: )?error: ", line)]
    return own[-1] if own else f"exit code {code}; see {job.log}"
