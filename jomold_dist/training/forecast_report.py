"""A forecast as text: three markdown tables, and what they leave out."""

from __future__ import annotations

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.source import source_of
from jomold_dist.methods.registry import method_class
from jomold_dist.tables import markdown_table
from jomold_dist.training.advice import forecast_advice
from jomold_dist.training.forecast import Forecast
from jomold_dist.training.ratio_stage import NOISE_RATIOS

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def forecast_report(found: Forecast, config: Config, manifest: Manifest) -> str:
    """What `--dry-run` prints."""
    ranks = f"{found.ranks} rank{'' if found.ranks == 1 else 's'}"
    videos = ", ".join(f"{split.videos:,} {name}" for name, split in manifest.splits.items())
    stages = [
        [
            stage.name,
            f"{stage.epochs}",
            f"{stage.steps_per_epoch:,}",
            f"{stage.steps:,}",
            amount(stage.sent) if stage.sent else "-",
            amount(stage.sent * found.ranks) if stage.sent else "-",
            amount(stage.checkpoint) if stage.checkpoint else "-",
        ]
        for stage in found.stages
    ]
    columns = ["stage", "epochs", "steps an epoch", "steps", "sent a step", "received a step", "checkpoint"]
    reading = [
        ["videos an epoch", f"{found.videos_per_epoch:,}"],
        ["videos a step", f"{found.videos_per_step:,}"],
        ["read an epoch", amount(found.bytes_per_epoch)],
        ["read a step", amount(found.bytes_per_step)],
        ["different shards, first epoch", f"{found.shards:,}"],
        ["different shards, a pass in the set's order", f"{found.shards_of_pass:,}"],
        *([["read a validation", amount(found.bytes_of_validation)]] if found.bytes_of_validation else []),
        ["shards open at once, at most", f"{found.open_files:,}"],
    ]
    memory = found.memory
    parts = [
        ["parameters", amount(memory.parameters)],
        ["gradients", amount(memory.gradients)],
        ["optimizer", amount(memory.optimizer)],
        ["network for validation, best weights", amount(memory.copies)],
        ["read ahead, at most", amount(memory.read_ahead)],
        *([["kept by the method across steps, at most", amount(memory.kept)]] if memory.kept else []),
        ["together", amount(memory.training)],
    ]
    lines = [
        f"dry run: {config.method} on {ranks}, nothing was written and no rank was started",
        f"{manifest.name}: {videos} videos, {len(manifest.categories)} categories; shards {amount(found.data_set)}",
    ]
    if source_of(config.data).is_remote:
        most = amount(int(1e9 * config.data.cache_gigabytes))
        lines.append(
            f"cache of a node: {amount(found.data_set)} to hold every shard; data.cache_gigabytes allows {most}"
        )
    if config.data.resident:
        lines.append(f"resident files of a node: {amount(found.resident)}")
    if any(stage.name == NOISE_RATIOS for stage in found.stages) and method_class(config.method).truncates:
        lines.append(forecast_advice(config, manifest))
    lines += ["", markdown_table(columns, stages), "", markdown_table(["a rank reads", "at most"], reading)]
    lines += ["", markdown_table(["a rank's memory in training", config.train.engine], parts), ""]
    lines.append("Not included in the memory: activations (they grow with the videos a rank takes at once, see")
    lines.append("train.micro_batch_size), the libraries, and what is passed between ranks.")
    lines.append("A checkpoint also holds the record of removals, some 20 B a removed label, and what a method keeps.")
    lines.append(f"{config.checkpoint.keep} checkpoints are kept, and one more lies there while it is written.")
    return "\n".join(lines)


def amount(size: int) -> str:
    """A size in decimal units, three digits."""
    number, unit = float(size), 0
    while number >= 1000 and unit < len(UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {UNITS[unit]}" if number < 999.5 else f"{number:.0f} {UNITS[unit]}"
