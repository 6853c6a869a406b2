"""What a run would do on some number of ranks: steps, videos, bytes and memory, from its config and manifest.

Sizes are in bytes, and for the rank that has most of it. Nothing is read but the manifest, and nothing is computed
that a real run would compute: the network is built without values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import read_ahead_videos
from jomold_dist.data.reading.plan import EpochPlan, rank_shards
from jomold_dist.data.reading.resident import resident_bytes, resident_row_bytes
from jomold_dist.data.reading.shards import MAX_OPEN
from jomold_dist.data.reading.shares import steps_of_pass, steps_per_epoch
from jomold_dist.denoising.exchange import row_capacity, sent_bytes
from jomold_dist.methods.base import Method
from jomold_dist.methods.registry import method_class
from jomold_dist.training.selection import splits_of_run, why_unscored
from jomold_dist.training.trained import Trained

STATES = {"adam": 2, "adamw": 2, "sgd": 0}  # tensors of a parameter's size that an optimizer keeps of it
COUNTER_BYTES = 4  # and a count of its steps, where it keeps any
FLOAT = 4


@dataclass(frozen=True)
class StageForecast:
    """One stage: epochs, optimizer steps (or batches, where nothing is trained), and what it sends and stores."""

    name: str
    epochs: int
    steps_per_epoch: int
    sent: int = 0
    """Exchanged by a rank at a step."""
    checkpoint: int = 0
    """One checkpoint: present and best weights, and the optimizer's state."""

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class MemoryForecast:
    """What a rank holds while the model is trained, without activations, libraries, and the kernel's file cache."""

    parameters: int
    gradients: int
    optimizer: int
    """Its state; with ZeRO also the rank's float32 share of the parameters."""
    copies: int
    """The network that validates, and the best weights so far."""
    read_ahead: int
    """Blocks and batches of the loader, at most."""
    kept: int
    """What the method keeps across steps, at most."""

    @property
    def training(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.copies + self.read_ahead + self.kept


@dataclass(frozen=True)
class Forecast:
    """What a run on `ranks` ranks would do."""

    ranks: int
    stages: tuple[StageForecast, ...]
    videos_per_epoch: int
    videos_per_step: int
    bytes_per_epoch: int
    bytes_per_step: int
    shards: int
    """Different shards that a rank reads in the first epoch."""
    shards_of_pass: int
    """Different shards of its slice of the training videos, for noise ratios and the like."""
    bytes_of_validation: int
    """What it reads of its slice of val; 0 without that split."""
    open_files: int
    """Shards that a rank keeps open at once, at most."""
    data_set: int
    """All shards of the splits that the run reads: what a cache of remote shards needs to hold them all."""
    resident: int
    """The resident files of these splits, on each node; 0 if nothing is resident."""
    memory: MemoryForecast


def forecast(config: Config, manifest: Manifest, ranks: int) -> Forecast:
    """The forecast of a run that preflight lets pass."""
    splits = splits_of_run(manifest)
    train, batch = manifest.split("train"), config.train.batch_size
    share, step_share = -(-train.videos // ranks), -(-min(batch, train.videos) // ranks)
    plan = EpochPlan(train.shard_sizes, config.data.streams, config.data.block, config.run.seed, epoch=0)
    shards, in_order = (
        max(len(rank_shards(each, rank, ranks)) for rank in range(ranks))
        for each in (plan, replace(plan, shuffle=False))
    )
    val = manifest.splits.get("val")
    record = train.record.bytes
    return Forecast(
        ranks=ranks,
        stages=stage_forecasts(config, manifest, ranks),
        videos_per_epoch=share,
        videos_per_step=step_share,
        bytes_per_epoch=share * record,
        bytes_per_step=step_share * record,
        shards=shards,
        shards_of_pass=in_order,
        bytes_of_validation=0 if val is None else -(-val.videos // ranks) * val.record.bytes,
        open_files=min(shards, MAX_OPEN),
        data_set=sum(shard.bytes for name in splits for shard in manifest.split(name).shards),
        resident=sum(resident_bytes(manifest, name) for name in splits) if config.data.resident else 0,
        memory=_memory(config, manifest, ranks),
    )


def stage_forecasts(config: Config, manifest: Manifest, ranks: int) -> tuple[StageForecast, ...]:
    """The method's stages and, where there is something to score, the evaluation."""
    train, found = manifest.split("train"), []
    for stage in method_class(config.method).stages(config):
        if isinstance(stage, Trained):
            own = stage.settings(config)
            columns = stage.method.columns if stage.method.chooses(own) else 0
            capacity = row_capacity(own.train.batch_size, ranks, train.max_labels)
            sent = sent_bytes(capacity, columns, _most_sums(stage.method, own, manifest))
            fold = stage.fold(train.videos)
            videos = train.videos if fold is None else int(fold.count(np.array(train.videos)))
            steps = steps_per_epoch(videos, own.train.batch_size)
            checkpoint = _checkpoint_bytes(stage.method, own, manifest)
            found.append(StageForecast(stage.name, own.train.epochs, steps, sent, checkpoint))
        else:
            passes, _ = stage.passes(config)
            steps = stage.steps(config, train.videos, ranks) if passes else 0
            found.append(StageForecast(stage.name, max(passes, 1), steps))
    if not why_unscored(manifest):
        evaluation = steps_of_pass(manifest.split("test").videos, config.train.batch_size, ranks)
        found.append(StageForecast("evaluation", 1, evaluation))
    return tuple(found)


def _most_sums(method: type[Method], config: Config, manifest: Manifest) -> int:
    """How many sums travel with a step, if no term of the loss is left out."""
    with torch.device("meta"):
        network = method.network(config, manifest)
    terms = len(network.modalities) + 1 + method.segment_targets + len(network.own_terms)
    return terms + 1 + len(method.masks)


@dataclass(frozen=True)
class _Weights:
    """Bytes of a network: all of it, what is trained, and what its optimizer keeps."""

    all: int
    trained: int
    optimizer: int


def _weights(method: type[Method], config: Config, manifest: Manifest) -> _Weights:
    with torch.device("meta"):
        network = method.network(config, manifest)
    size = 8 if config.train.precision == "float64" else FLOAT
    numbers = {name: tensor.numel() for name, tensor in network.state_dict().items()}
    trained = [p.numel() for p in network.parameters()]
    states = STATES[config.train.optimizer]
    optimizer = states * size * sum(trained) + (COUNTER_BYTES * len(trained) if states else 0)
    return _Weights(size * sum(numbers.values()), size * sum(trained), optimizer)


def _checkpoint_bytes(method: type[Method], config: Config, manifest: Manifest) -> int:
    weights = _weights(method, config, manifest)
    return 2 * weights.all + weights.optimizer


def _memory(config: Config, manifest: Manifest, ranks: int) -> MemoryForecast:
    weights = _weights(method_class(config.method), config, manifest)
    zero = config.deepspeed.zero_stage if config.train.engine == "deepspeed" else 0

    def shared(size: int, from_stage: int) -> int:
        return -(-size // ranks) if zero >= from_stage else size

    return MemoryForecast(
        parameters=shared(weights.all, 3),
        gradients=shared(weights.trained, 2),
        optimizer=shared(weights.optimizer, 1) + (-(-weights.trained // ranks) if zero else 0),
        copies=2 * weights.all,
        read_ahead=_read_ahead(config, manifest, ranks),
        kept=method_class(config.method).kept_bytes(config, manifest, ranks),
    )


def _read_ahead(config: Config, manifest: Manifest, ranks: int) -> int:
    train, data = manifest.split("train"), config.data
    stages = method_class(config.method).stages(config)
    largest = max(
        stage.settings(config).train.batch_size if isinstance(stage, Trained) else stage.passes(config)[1]
        for stage in stages
    )
    blocks, batches = read_ahead_videos(train.videos, largest, ranks, data.streams, data.block, data.threads)
    if data.resident:
        return batches * resident_row_bytes(manifest)
    return (blocks + batches) * train.record.bytes
