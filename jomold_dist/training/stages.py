"""A run from its first stage to its scores. A stage whose result is in the run's folder is skipped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jomold_dist.distributed.world import agree_on_errors, barrier, broadcast_object
from jomold_dist.errors import UserError
from jomold_dist.files import write_json
from jomold_dist.methods.registry import method_class
from jomold_dist.models.network import Network
from jomold_dist.models.weights import read_info
from jomold_dist.training.checkpoint import newest_checkpoint, prune_checkpoints
from jomold_dist.training.evaluate import Evaluation, evaluate
from jomold_dist.training.run import Run
from jomold_dist.training.run_reading import UnusableFileError, read_scores
from jomold_dist.training.scores import RunScores, ScoredModel
from jomold_dist.training.selection import why_unscored
from jomold_dist.training.stage import Found, Stage, load_trained, results
from jomold_dist.training.trained import MODEL, Trained

logger = logging.getLogger(__name__)


def run_stages(run: Run, until: str | None = None) -> Evaluation | None:
    """Collective: every stage of the run's method whose result is not there yet, then the scores on test.

    With `until`, one of the method's stages, it is the last one, and there are no scores; nor are there where test has
    no dense labels, or the data set no test.
    """
    stages = method_class(run.config.method).stages(run.config)
    found: dict[str, Any] = {}
    for stage in stages:
        _take(run, stage, found)
        if stage.name == until:
            return None
        for read in [each.name for each in stages if each.last_reader == stage.name]:
            found.pop(read, None)
        with agree_on_errors(run.world):
            left = stage.read(run) if run.world.is_main else None
        found[stage.name] = broadcast_object(left, run.world)
    unscored = why_unscored(run.manifest)
    if not unscored:
        _take(run, Evaluated(), found)
    if run.world.is_main and (bad := run.bad_videos.summary()):
        logger.warning(bad)
    if run.world.is_main:
        _remove_checkpoints(run, stages)
    if unscored:
        return None
    with agree_on_errors(run.world):
        scores = _own_scores(run) if run.world.is_main else None
    own: RunScores = broadcast_object(scores, run.world)
    return own.found


def _take(run: Run, stage: Stage, found: Found) -> None:
    """Collective: a stage, unless rank 0 finds its result."""
    with agree_on_errors(run.world):
        done = stage.is_done(run) if run.world.is_main else None
    if broadcast_object(done, run.world):
        logger.info("%s: done before, skipped", stage.name)
        run.recorder.finished(stage.name)
        return
    run.raise_if_stopped()
    with agree_on_errors(run.world):
        if run.world.is_main:
            with run.folder.writes():
                run.folder.write_status("running", stage=stage.name)
    with run.watch.task(stage.name), run.recorder.stage(stage.name, stage.makes_model), _status_kept(run):
        stage.do(run, found)
    barrier(run.world)


@contextmanager
def _status_kept(run: Run) -> Iterator[None]:
    """An error inside is in status.json before the recorder closes the stage, which may take longer than whoever has
    asked the run to stop will wait."""
    try:
        yield
    except BaseException as error:
        if run.world.is_main:
            run.folder.write_end(error)
        raise


def _remove_checkpoints(run: Run, stages: Sequence[Stage]) -> None:
    """Of a finished run's checkpoints, the model's last one stays: more epochs go on from it."""
    folder = run.folder.checkpoints
    for stage in stages:
        if isinstance(stage, Trained) and not stage.makes_model:
            prune_checkpoints(folder, stage.weights, run.owner, None, 0)
    try:
        prune_checkpoints(folder, MODEL, run.owner, newest_checkpoint(folder, MODEL), 1)
    except UserError as error:
        logger.warning("%s. The run is finished; old checkpoints stay", error)


class Evaluated(Stage):
    """Leaves the model's scores on test."""

    name = "evaluation"

    def is_done(self, run: Run) -> bool:
        return _own_scores(run) is not None

    def do(self, run: Run, found: Found) -> None:
        weights = run.folder.weights(MODEL)
        scored = evaluate_model(run, "test", load_trained(run, weights))
        with results(run) as is_main:
            if is_main:
                model = ScoredModel.of(run.folder.name_of(weights), read_info(weights).notes)
                write_json(run.folder.scores, RunScores.of("test", run.manifest, model, scored).to_json())
                logger.info("test: %s", ", ".join(f"{name} {value:.1f}" for name, value in scored.scores.items()))


def _own_scores(run: Run) -> RunScores | None:
    """What scores.json holds; None if it is not there, damaged, or of another data set or length of training.
    UnreadableError."""
    try:
        scores = read_scores(run.folder)
    except UnusableFileError:
        return None
    own = (scores.data.manifest, scores.model.epochs) == (run.manifest.digest, run.config.train.epochs)
    return scores if own else None


def evaluate_model(run: Run, split: str, network: Network) -> Evaluation:
    """Collective: the scores of a model on a split."""
    with run.loader(split, shuffle=False) as loader:
        return evaluate(network, run.batches(loader), loader.videos, run.world, run.manifest.categories.names)
