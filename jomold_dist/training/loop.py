"""Training one network: epochs, validation, model selection, and what is told of each epoch."""

from __future__ import annotations

import logging
import time
import zlib
from dataclasses import dataclass

import numpy as np
import torch

from jomold_dist.data.loader import Loader
from jomold_dist.denoising.methods import LossWeights, Method, Moment
from jomold_dist.distributed.world import sum_over_ranks
from jomold_dist.errors import StoppedError
from jomold_dist.models.weights import save_model
from jomold_dist.training.evaluate import evaluate
from jomold_dist.training.removals import RemovalRecord
from jomold_dist.training.run import Run
from jomold_dist.training.schedule import learning_rate
from jomold_dist.training.step import TERMS, StepSettings, TrainStep
from jomold_dist.training.stopwatch import Stopwatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitSettings:
    """What distinguishes one training from another in a run."""

    stage: str
    epochs: int
    weights: LossWeights
    cross_modal: bool


@dataclass
class Best:
    """The best epoch so far by the configured score."""

    epoch: int = -1
    score: float = float("-inf")

    def update(self, epoch: int, score: float, ties: str) -> bool:
        """Whether this epoch is the best one now."""
        if score > self.score or (score == self.score and ties == "last"):
            self.epoch, self.score = epoch, score
            return True
        return False


def fit(run: Run, method: Method, settings: FitSettings, removals: RemovalRecord) -> None:
    """Collective: train the method's network; at the end `best_so_far` of the stage holds the best epoch's weights.

    Raises StoppedError on every rank, after a step, once any rank was asked to stop.
    """
    world, config = run.world, run.config
    stage_seed = _stage_seed(config.run.seed, settings.stage)
    torch.manual_seed(stage_seed)
    stopwatch = Stopwatch(world.device)
    best = Best()
    if world.is_main:
        run.folder.start_history(settings.stage)
    with run.loader("train", shuffle=True) as loader, run.loader("val", shuffle=False) as validation:
        capacity = -(-config.train.batch_size // world.size) * run.manifest.split("train").max_labels
        step = TrainStep(
            method,
            method.network(),
            world,
            StepSettings(settings.weights, settings.cross_modal, stage_seed),
            stopwatch,
            capacity,
        )
        for epoch in range(settings.epochs):
            line = _train_epoch(run, step, loader, settings, removals, stopwatch, epoch)
            scores = evaluate(
                step.network, validation, world, settings.cross_modal, run.manifest.categories.names
            ).scores
            better = best.update(epoch, scores[config.train.selection], config.train.selection_ties)
            if not world.is_main:
                continue
            if better:
                notes = {"stage": settings.stage, "epoch": str(epoch + 1), "epochs": str(settings.epochs)}
                info = run.weights_info(settings.cross_modal, notes)
                save_model(run.folder.best_so_far(settings.stage), step.network, info)
            line |= {f"val/{name}": value for name, value in scores.items()}
            _tell(run, settings, epoch, line, best)


def _train_epoch(
    run: Run,
    step: TrainStep,
    loader: Loader,
    settings: FitSettings,
    removals: RemovalRecord,
    stopwatch: Stopwatch,
    epoch: int,
) -> dict[str, float]:
    """Collective: one epoch; its metrics by name."""
    rate = learning_rate(run.config.train, epoch)
    stopwatch.take()
    waited, start, videos = loader.wait_seconds, time.perf_counter(), 0
    batches = run.progress(loader.epoch(epoch), loader.steps, f"{settings.stage} {epoch + 1}/{settings.epochs}")
    for number, batch in enumerate(batches):
        moment = Moment(epoch * loader.steps + number, loader.steps)
        report = step(batch, moment, rate, run.stop_asked())
        removals.add(report)
        videos += report.videos
        if report.stop:
            raise StoppedError(
                f"{settings.stage}: stopped on request in epoch {epoch + 1}, step {number + 1} of {loader.steps}; "
                "finished stages are kept, and the same command goes on with this one from its beginning"
            )
    spans = stopwatch.take()  # waits for the GPU, so that the clock below is right
    seconds = time.perf_counter() - start
    *sums, counted = sum_over_ranks(step.take_sums(), run.world).tolist()
    losses = dict(zip(TERMS, (s / counted for s in sums), strict=True))
    return {
        "train/learning_rate": rate,
        "train/loss": sum(getattr(settings.weights, name) * value for name, value in losses.items()),
        **{f"train/loss_{name}": value for name, value in losses.items()},
        **{f"denoise/{name}": value for name, value in removals.end_epoch(run.world).items()},
        "perf/videos_per_second": videos / seconds,
        "perf/share_data_wait": (loader.wait_seconds - waited) / seconds,
        "perf/share_ranking": spans.get("ranking", 0.0) / seconds,
        "perf/share_exchange": spans.get("exchange", 0.0) / seconds,
    }


def _tell(run: Run, settings: FitSettings, epoch: int, line: dict[str, float], best: Best) -> None:
    run.folder.add_history({"stage": settings.stage, "epoch": epoch + 1, **line})
    run.recorder.metrics(line, step=epoch + 1)
    selection = run.config.train.selection
    removed = "".join(f", removed {name} {line[f'denoise/removed_{name}']:.0f}" for name in ("audio", "visual"))
    logger.info(
        "%s %d/%d: loss %.4f, %s %.1f (best %.1f in epoch %d)%s; %.0f videos/s, "
        "waiting for data %.0f %%, ranking %.0f %%, exchanging %.0f %%",
        settings.stage,
        epoch + 1,
        settings.epochs,
        line["train/loss"],
        selection,
        line[f"val/{selection}"],
        best.score,
        best.epoch + 1,
        removed,
        line["perf/videos_per_second"],
        *(100 * line[f"perf/share_{name}"] for name in ("data_wait", "ranking", "exchange")),
    )


def _stage_seed(seed: int, stage: str) -> int:
    """A seed of its own for every stage of a run."""
    return int(np.random.SeedSequence([seed, zlib.crc32(stage.encode())]).generate_state(1)[0])
