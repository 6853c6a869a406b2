"""A run from its first stage to its scores: estimator, noise ratios, training, evaluation.

A stage whose result is in the run's folder is skipped. `STAGES` names what a method's `stages()` may ask for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from jomold_dist.config import Config
from jomold_dist.denoising.methods import METHODS, Han, LossWeights
from jomold_dist.denoising.noise_ratio import (
    Predictions,
    given_ratios,
    ratios_of,
    read_noise_ratios,
    write_predictions,
)
from jomold_dist.denoising.separation import probability_sums
from jomold_dist.distributed.world import (
    World,
    agree_on_errors,
    barrier,
    broadcast_object,
    gather_to_main,
    sum_over_ranks,
)
from jomold_dist.errors import UserError
from jomold_dist.files import write_json, write_text
from jomold_dist.models.han import HybridAttentionNetwork
from jomold_dist.models.weights import load_model, read_info
from jomold_dist.training.advice import estimator_advice, reach_advice
from jomold_dist.training.checkpoint import newest_checkpoint, prune_checkpoints
from jomold_dist.training.done import has_ratios, is_trained
from jomold_dist.training.evaluate import Evaluation, evaluate, predict_labels
from jomold_dist.training.loop import FitSettings, fit
from jomold_dist.training.passes import COMPUTE_DTYPES
from jomold_dist.training.recorder import Cell
from jomold_dist.training.removals import RemovalRecord, read_present
from jomold_dist.training.run import Run
from jomold_dist.training.run_reading import UnusableFileError, read_scores
from jomold_dist.training.scores import RunScores, ScoredModel

logger = logging.getLogger(__name__)

EVALUATION = "evaluation"


def run_stages(run: Run, until: str | None = None) -> Evaluation | None:
    """Collective: every stage of the run's method whose result is not there yet, then the scores on test.

    With `until`, one of the method's stages, it is the last one, and there are no scores.
    """
    for stage in METHODS[run.config.method].stages(run.config):
        _stage(run, stage, *STAGES[stage])
        if stage == until:
            return None
    _stage(run, EVALUATION, _evaluated, _evaluate_test)
    if run.world.is_main and (bad := run.bad_videos.summary()):
        logger.warning(bad)
        run.recorder.artifact(run.folder.bad_videos)
    if run.world.is_main:
        _remove_checkpoints(run)
    with agree_on_errors(run.world):
        scores = _own_scores(run) if run.world.is_main else None
    found: RunScores = broadcast_object(scores, run.world)
    return found.found


def _remove_checkpoints(run: Run) -> None:
    """Of a finished run's checkpoints, the model's last one stays: more epochs go on from it."""
    folder = run.folder.checkpoints
    prune_checkpoints(folder, "estimator", run.owner, None, 0)
    try:
        prune_checkpoints(folder, "model", run.owner, newest_checkpoint(folder, "model"), 1)
    except UserError as error:
        logger.warning("%s. The run is finished; old checkpoints stay", error)


def _stage(run: Run, name: str, is_done: Callable[[Run], bool], body: Callable[[Run], None]) -> None:
    """Collective: a stage, unless rank 0 finds its result."""
    with agree_on_errors(run.world):
        done = is_done(run) if run.world.is_main else None
    if broadcast_object(done, run.world):
        logger.info("%s: done before, skipped", name)
        run.recorder.finished(name)
        return
    run.raise_if_stopped()
    with agree_on_errors(run.world):
        if run.world.is_main:
            with run.folder.writes():
                run.folder.write_status("running", stage=name)
    with run.recorder.stage(name):
        body(run)
    barrier(run.world)


def _estimator_is_there(run: Run) -> bool:
    return is_trained(run, "estimator", run.config.estimator.epochs, run.config.estimator.cross_modal)


def _train_estimator(run: Run) -> None:
    config = run.config.estimator
    settings = FitSettings(
        "estimator",
        config.epochs,
        run.config.estimator_batch_size,
        LossWeights.of(config.loss),
        config.cross_modal,
    )
    best = fit(run, Han(run.config, run.manifest, None, run.world.device), settings, RemovalRecord(run.manifest, None))
    with _results(run) as is_main:
        if is_main:
            run.folder.complete("estimator", best)


def _find_noise_ratios(run: Run) -> None:
    denoise, names = run.config.denoise, run.manifest.categories.names
    with agree_on_errors(run.world):
        given = given_ratios(denoise, names)
    warnings: list[str] = []
    if given is not None:
        ratios = given
    else:
        network = _load(run, run.folder.weights("estimator"))
        with run.loader("train", False, run.config.estimator_batch_size) as loader:
            found = predict_labels(
                network,
                run.batches(loader),
                run.manifest.split("train"),
                run.world,
                run.config.estimator.cross_modal,
                denoise.mean_batch_size,
                run.config.train.non_finite == "skip",
            )
        counts = found.noise_counts(denoise.audio_threshold, denoise.visual_threshold, denoise.visual_scale)
        ratios = ratios_of(sum_over_ranks(counts.to(run.world.device), run.world).cpu())
        sums = sum_over_ranks(probability_sums(found).to(run.world.device), run.world).cpu()
        warnings = estimator_advice(found, sums, ratios, run.config, run.manifest)
        if run.config.estimator.keep_predictions:
            _keep_predictions(run, found)
    with _results(run) as is_main:
        if is_main:
            table = {"category": names, "audio": ratios.audio.tolist(), "visual": ratios.visual.tolist()}
            table |= _true_noise_ratios(run)
            run.recorder.table("noise_ratios", table)
            write_json(run.folder.noise_ratios, {"categories": names, **{k: table[k] for k in ("audio", "visual")}})
            logger.info("noise ratios: mean audio %.3f, mean visual %.3f", ratios.audio.mean(), ratios.visual.mean())
            for warning in warnings:
                logger.warning(warning)
            advice = reach_advice(ratios, run.config, run.manifest)
            logger.log(advice.level, advice.text)
            run.recorder.table("reach", advice.table)


def _keep_predictions(run: Run, own: Predictions) -> None:
    """Collective: the predictions of all ranks in one file, which rank 0 writes."""
    gathered = gather_to_main((own.category, own.audio, own.visual), run.world)
    with _results(run) as is_main:
        if is_main:
            category, audio, visual = (torch.cat(column) for column in zip(*gathered, strict=True))
            whole = Predictions(category, audio, visual, own.audio_mean, own.visual_mean)
            write_predictions(run.folder.predictions, whole)


@contextmanager
def _results(run: Run) -> Iterator[bool]:
    """Collective at its end: a block in which rank 0 writes results; yields whether this is rank 0. What goes wrong
    there is an error on every rank."""
    with agree_on_errors(run.world), run.folder.writes():
        yield run.world.is_main


def _true_noise_ratios(run: Run) -> dict[str, list[float]]:
    """The true ratios of a simulated training split, by column name; nothing where no truth is known."""
    present = read_present(run.source, run.manifest)
    if present is None:
        return {}
    labels = run.manifest.split("train").positives
    there = sum(p.astype(int) for p in present.values())
    noise = (labels - there) / labels.clip(min=1)
    return {"true_audio": noise[0].tolist(), "true_visual": noise[1].tolist()}


def _model_is_there(run: Run) -> bool:
    return is_trained(run, "model", run.config.train.epochs, cross_modal=True)


def _train_model(run: Run) -> None:
    config = run.config
    read, truth = None, None
    with agree_on_errors(run.world):
        if run.world.is_main:
            truth = read_present(run.source, run.manifest)
            if "noise_ratios" in METHODS[config.method].stages(config):
                read = read_noise_ratios(run.folder.noise_ratios, run.manifest.categories.names)
    ratios = broadcast_object(read, run.world)
    method = METHODS[config.method](config, run.manifest, ratios, run.world.device)
    removals = RemovalRecord(run.manifest, truth)
    weights = LossWeights.of(config.loss)
    best = fit(run, method, FitSettings("model", config.train.epochs, config.train.batch_size, weights, True), removals)
    with _results(run) as is_main:
        if is_main:
            write_json(run.folder.removals, removals.summary())
            write_text(run.folder.removed_labels, removals.ledger())
            run.recorder.table("removals", removals.table())
            run.recorder.artifact(run.folder.removed_labels)
            run.recorder.model(best)
            run.folder.scores.unlink(missing_ok=True)  # of a shorter training, which this one went on with
            run.folder.complete("model", best)  # last: it marks the stage as done


def _evaluated(run: Run) -> bool:
    return _own_scores(run) is not None


def _own_scores(run: Run) -> RunScores | None:
    """What scores.json holds; None if it is not there, damaged, or of another data set or length of training.
    UnreadableError."""
    try:
        scores = read_scores(run.folder)
    except UnusableFileError:
        return None
    own = (scores.data.manifest, scores.model.epochs) == (run.manifest.digest, run.config.train.epochs)
    return scores if own else None


def _evaluate_test(run: Run) -> None:
    weights = run.folder.weights("model")
    found = evaluate_model(run, "test", _load(run, weights))
    with _results(run) as is_main:
        if is_main:
            model = ScoredModel.of(run.folder.name_of(weights), read_info(weights).notes)
            write_json(run.folder.scores, RunScores.of("test", run.manifest, model, found).to_json())
            run.recorder.metrics({f"test/{name}": value for name, value in found.scores.items()}, step=0)
            columns: dict[str, Sequence[Cell]] = {"category": run.manifest.categories.names}
            columns |= {f"videos_{modality}": [*counts.values()] for modality, counts in found.videos.items()}
            columns |= {metric: [*values.values()] for metric, values in found.per_category.items()}
            run.recorder.table("scores_per_category", columns)
            run.recorder.artifact(run.folder.scores)
            logger.info("test: %s", ", ".join(f"{name} {value:.1f}" for name, value in found.scores.items()))


def evaluate_model(run: Run, split: str, network: HybridAttentionNetwork) -> Evaluation:
    """Collective: the scores of a model on a split."""
    with run.loader(split, shuffle=False) as loader:
        return evaluate(network, run.batches(loader), loader.videos, run.world, True, run.manifest.categories.names)


def _load(run: Run, weights: Path) -> HybridAttentionNetwork:
    """Collective: the network of a weights file, which rank 0 reads, on every rank's device, computing as in
    training."""
    with agree_on_errors(run.world):
        read = load_model(weights) if run.world.is_main else None
    return ready_to_compute(broadcast_object(read, run.world), run.config, run.world)


def ready_to_compute(network: HybridAttentionNetwork, config: Config, world: World) -> HybridAttentionNetwork:
    """The network on this rank's device, computing as in training."""
    network.compute_dtype = COMPUTE_DTYPES[config.train.precision]
    return network.to(world.device)


STAGES: dict[str, tuple[Callable[[Run], bool], Callable[[Run], None]]] = {
    "estimator": (_estimator_is_there, _train_estimator),
    "noise_ratios": (has_ratios, _find_noise_ratios),
    "train": (_model_is_there, _train_model),
}
