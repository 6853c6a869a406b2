"""What a run says at its start: on what it works, with what, where, and with which results it goes on."""

from __future__ import annotations

import logging

import torch
import torch.distributed as dist

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.devices import describe_device
from jomold_dist.distributed.world import World, agree_on_errors
from jomold_dist.methods.registry import method_class
from jomold_dist.secrets import blotted
from jomold_dist.training.checkpoint import checkpoints_of
from jomold_dist.training.forecast import stage_forecasts
from jomold_dist.training.profiling import too_short
from jomold_dist.training.run import Run
from jomold_dist.training.selection import LAST, LOSS, selection_of, why_unscored
from jomold_dist.training.stages import Evaluated
from jomold_dist.training.step import micro_batches
from jomold_dist.training.trained import MODEL, Trained
from jomold_dist.wording import number_of

logger = logging.getLogger(__name__)


def tell_start(run: Run, tracked: str | None) -> None:
    """Collective: the lines, from rank 0, and a warning where GPUs stay idle. `tracked` tells where the run can be
    looked at. RunFolderError or UnreadableError if what is there cannot be used."""
    with agree_on_errors(run.world):
        if run.world.is_main:
            for line in banner(run, tracked):
                logger.info("%s", line)
            if run.world.why_cpu:
                logger.warning("computing on CPUs: %s", run.world.why_cpu)
            if run.config.profile.steps is not None:
                for problem in too_short(run.config.profile, _lengths(run, left=True)):
                    logger.warning("%s", problem)


def banner(run: Run, tracked: str | None) -> list[str]:
    """The lines, aligned."""
    config, manifest = run.config, run.manifest
    parts = {
        "data set": _data_set(config, manifest),
        "network": f"{config.model.network}, {_parameters(config, manifest):,} parameters",
        "method": f"{config.method}: {_stages(run)}",
        **_of_the_data(config, manifest),
        "device": _device(config, run.world),
        "batch": batch_text(
            min(config.train.batch_size, manifest.split("train").videos), run.world.size, config.train.micro_batch_size
        ),
        "run folder": f"{run.folder.path}: {_standing(run)}" if run.most_steps is None else "a temporary one",
    }
    if tracked is not None:
        parts["MLflow"] = tracked
    width = max(map(len, parts))
    return [f"{name:<{width}}  {text}" for name, text in parts.items()]


def _of_the_data(config: Config, manifest: Manifest) -> dict[str, str]:
    """What a data set without dense labels, or one that nobody has shuffled, does to training; nothing of others."""
    selection, lines = selection_of(config.train.selection, manifest), {}
    if selection.by in (LOSS, LAST):
        idle = selection.by == LAST and config.train.patience is not None
        lines["weights"] = selection.kept + ("; train.patience has nothing to go by" if idle else "")
    if unscored := why_unscored(manifest):
        lines["scores"] = f"none: {unscored}"
    if manifest.simulated is None and manifest.split("train").shuffled is None:
        lines["order"] = (
            "nobody has shuffled train: videos packed beside each other meet in batches, in which labels are ranked"
        )
    return lines


def batch_text(videos: int, ranks: int, most: int | None) -> str:
    """How an optimizer batch of so many videos is cut into ranks and micro-batches, as every step cuts it."""
    largest, size = micro_batches(videos, ranks, most)
    parts = -(-largest // size)
    about = "" if videos == ranks * largest and largest == parts * size else "at most "
    cut = f"{number_of(ranks, 'rank')} × {about}{number_of(size, 'video')} × {number_of(parts, 'micro-batch', 'es')}"
    return f"{number_of(videos, 'video')} = {cut}" if not about else f"{number_of(videos, 'video')} in {cut}"


def _data_set(config: Config, manifest: Manifest) -> str:
    splits = ", ".join(f"{split.videos:,} {name}" for name, split in manifest.splits.items())
    if manifest.part_of is not None:
        splits += f" (data.fraction = {config.data.fraction:g} of the training videos)"
    real = "" if manifest.simulated is None else " (simulated)"
    place = blotted(config.data.where)
    return f"{manifest.name}{real} in {place}: {splits}; {len(manifest.categories)} categories"


def _parameters(config: Config, manifest: Manifest) -> int:
    """How many numbers the training of the model's network changes."""
    model = next(s for s in method_class(config.method).stages(config) if isinstance(s, Trained) and s.weights == MODEL)
    with torch.device("meta"):
        network = model.method.network(model.settings(config), manifest)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _stages(run: Run) -> str:
    found, trained = stage_forecasts(run.config, run.manifest, run.world.size), _lengths(run)
    if run.most_steps is not None:
        return f"{', '.join(stage.name for stage in found)}; of each split {number_of(run.most_steps, 'batch', 'es')}"
    lengths = {s.name: f" ({s.epochs} × {number_of(s.steps_per_epoch, 'step')})" for s in found if s.name in trained}
    return ", ".join(stage.name + lengths.get(stage.name, "") for stage in found)


def _lengths(run: Run, left: bool = False) -> dict[str, int]:
    """How many steps each training takes, or each that is `left` to do, if it ends at its last epoch."""
    stages = [s for s in method_class(run.config.method).stages(run.config) if isinstance(s, Trained)]
    trained = {s.name for s in stages if not left or not s.is_done(run)}
    found = stage_forecasts(run.config, run.manifest, run.world.size)
    return {stage.name: stage.steps for stage in found if stage.name in trained}


def _device(config: Config, world: World) -> str:
    backend = f" over {dist.get_backend()}" if world.size > 1 else ""
    zero = f", ZeRO {config.deepspeed.zero_stage}" if config.train.engine == "deepspeed" else ""
    where = f"{number_of(world.size, 'rank')} on {describe_device(world.device)}{backend}"
    return f"{where}, {config.train.precision}, {config.train.engine}{zero}"


def _standing(run: Run) -> str:
    """Which stages are done, and from where the next one goes on."""
    done: list[str] = []
    for stage in method_class(run.config.method).stages(run.config):
        if stage.is_done(run):
            done.append(stage.name)
            continue
        places = checkpoints_of(run.folder.checkpoints, stage.weights) if isinstance(stage, Trained) else []
        if places:
            return f"{_done(done)}{stage.name} goes on from checkpoint {places[-1].name}"
        return f"{_done(done)}{stage.name} begins" if done else "new"
    if why_unscored(run.manifest) or Evaluated().is_done(run):
        return "finished, nothing is left to be done"
    return f"{_done(done)}evaluation is left"


def _done(stages: list[str]) -> str:
    return f"{', '.join(stages)} done; " if stages else ""
