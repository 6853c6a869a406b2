"""The stage that finds the noise ratios: a constant, a file's, by equation 1 from an estimator's predictions, or from
what is known of each label."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from jomold_dist.config import Config
from jomold_dist.denoising.noise_ratio import (
    NoiseRatios,
    Predictions,
    given_ratios,
    ratios_of,
    read_noise_ratios,
    write_predictions,
)
from jomold_dist.denoising.separation import probability_sums
from jomold_dist.distributed.world import agree_on_errors, broadcast_object, gather_to_main, sum_over_ranks
from jomold_dist.errors import DataError, RunFolderError
from jomold_dist.files import write_json
from jomold_dist.methods.registry import method_class
from jomold_dist.reading import is_there
from jomold_dist.training.advice import estimator_advice, reach_advice
from jomold_dist.training.evaluate import predict_labels
from jomold_dist.training.presence_stage import PRESENCE
from jomold_dist.training.removals import read_present
from jomold_dist.training.run import Run
from jomold_dist.training.stage import Found, Stage, load_trained, results

logger = logging.getLogger(__name__)

NOISE_RATIOS = "noise_ratios"


class FoundRatios(Stage):
    """Leaves noise_ratios.json. Where the config gives no ratios, a subclass finds them."""

    name = NOISE_RATIOS

    def is_done(self, run: Run) -> bool:
        """Whether the run has its noise ratios. RunFolderError if they are damaged or of other categories, or if what
        they came from has others now; UnreadableError."""
        if not is_there(run.folder.noise_ratios):
            return False
        try:
            own = self.read(run)
        except DataError as error:
            raise RunFolderError(f"{error}; move the file away, and it is made anew") from None
        self.check(run, own)
        return True

    def check(self, run: Run, own: NoiseRatios) -> None:
        """RunFolderError if the file that the config names has other ratios than the run's own."""
        denoise = run.config.denoise
        if denoise.ratios == "file":
            given = read_noise_ratios(Path(str(denoise.ratio_file)), run.manifest.categories.names)
            if not all(torch.equal(one, other) for one, other in zip(own, given, strict=True)):
                raise RunFolderError(
                    f"denoise.ratio_file {denoise.ratio_file} has other ratios than {run.folder.noise_ratios}, which "
                    "this run has begun with. Choose another run.dir"
                )

    def read(self, run: Run) -> NoiseRatios:
        return read_noise_ratios(run.folder.noise_ratios, run.manifest.categories.names)

    def find(self, run: Run, found: Found) -> tuple[NoiseRatios, list[str]]:
        """Collective: the ratios, and what is to be said of them."""
        with agree_on_errors(run.world):
            ratios = given_ratios(run.config.denoise, run.manifest.categories.names) if run.world.is_main else None
        return broadcast_object(ratios, run.world), []

    def do(self, run: Run, found: Found) -> None:
        names = run.manifest.categories.names
        ratios, warnings = self.find(run, found)
        whole = run.most_steps is None  # what a few batches lead to means nothing
        with results(run) as is_main:
            if is_main:
                table = {"category": names, "audio": ratios.audio.tolist(), "visual": ratios.visual.tolist()}
                table |= _true_noise_ratios(run)
                run.recorder.table("noise_ratios", table)
                write_json(run.folder.noise_ratios, {"categories": names, **{k: table[k] for k in ("audio", "visual")}})
                logger.info(
                    "noise ratios: mean audio %.3f, mean visual %.3f", ratios.audio.mean(), ratios.visual.mean()
                )
                for warning in warnings if whole else ():
                    logger.warning(warning)
                if method_class(run.config.method).truncates:
                    advice = reach_advice(ratios, run.config, run.manifest)
                    for text in advice.text.splitlines() if whole else ():
                        logger.log(advice.level, text)
                    run.recorder.table("reach", advice.table)


class EstimatedRatios(FoundRatios):
    """By equation 1, from the estimator whose weights have this name."""

    def __init__(self, weights: str) -> None:
        self.weights = weights

    def is_done(self, run: Run) -> bool:
        """Also whether the run has the predictions, if it is to keep them."""
        return super().is_done(run) and (not run.config.estimator.keep_predictions or is_there(run.folder.predictions))

    def passes(self, config: Config) -> tuple[int, int]:
        return 1, config.estimator_batch_size

    def find(self, run: Run, found: Found) -> tuple[NoiseRatios, list[str]]:
        return _estimate(run, self.weights)


class PresenceRatios(FoundRatios):
    """The shares of the labels that are not there, by what an earlier stage has found of each label."""

    def find(self, run: Run, found: Found) -> tuple[NoiseRatios, list[str]]:
        ratios: NoiseRatios = found[PRESENCE].ratios
        return ratios, []

    def check(self, run: Run, own: NoiseRatios) -> None:
        """They come from no file, whatever `denoise.ratios` tells other methods."""


def _estimate(run: Run, weights: str) -> tuple[NoiseRatios, list[str]]:
    """Collective: equation 1 over the training split, and what is to be said of the estimator."""
    denoise, network = run.config.denoise, load_trained(run, run.folder.weights(weights))
    with run.loader("train", False, run.config.estimator_batch_size) as loader:
        found = predict_labels(
            network,
            run.batches(loader),
            run.manifest.split("train"),
            run.world,
            denoise.mean_batch_size,
            run.config.train.non_finite == "skip",
        )
    counts = found.noise_counts(denoise.audio_threshold, denoise.visual_threshold, denoise.visual_scale)
    ratios = ratios_of(sum_over_ranks(counts.to(run.world.device), run.world).cpu())
    sums = sum_over_ranks(probability_sums(found).to(run.world.device), run.world).cpu()
    if run.config.estimator.keep_predictions:
        _keep_predictions(run, found)
    return ratios, estimator_advice(found, sums, ratios, run.config, run.manifest)


def _keep_predictions(run: Run, own: Predictions) -> None:
    """Collective: the predictions of all ranks in one file, which rank 0 writes."""
    gathered = gather_to_main((own.category, own.audio, own.visual), run.world)
    with results(run) as is_main:
        if is_main:
            category, audio, visual = (torch.cat(column) for column in zip(*gathered, strict=True))
            whole = Predictions(category, audio, visual, own.audio_mean, own.visual_mean)
            write_predictions(run.folder.predictions, whole)


def _true_noise_ratios(run: Run) -> dict[str, list[float]]:
    """The true ratios of the training split, by column name; nothing where no truth is known."""
    present = read_present(run.source, run.manifest)
    if present is None:
        return {}
    labels = run.manifest.split("train").positives
    there = sum(p.astype(int) for p in present.values())
    noise = (labels - there) / labels.clip(min=1)
    return {"true_audio": noise[0].tolist(), "true_visual": noise[1].tolist()}
