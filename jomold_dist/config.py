"""Every setting of a run: frozen dataclasses, with the default, the allowed values and the help of each in one place.

`config_files.py` reads them from YAML and overrides. Help texts are the docstrings under the fields.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from jomold_dist.config_denoising import DenoiseConfig, LossConfig
from jomold_dist.config_fields import NO_SETTINGS, Tree, number, place, word
from jomold_dist.config_methods import (
    EstimatorConfig,
    LargeLossConfig,
    MixtureConfig,
    RefineConfig,
    SmallLossConfig,
)
from jomold_dist.config_reporting import LogConfig, MetricsConfig, ProfileConfig
from jomold_dist.config_roles import decides
from jomold_dist.score_names import SCORE_NAMES


@dataclass(frozen=True)
class RunConfig:
    """The run itself: its folder, its seed, its time."""

    dir: str = place("runs/run")
    """Folder of the run: checkpoints, scores, removals. One folder belongs to one config and one data set."""
    seed: int = number(0, 0, 2**32 - 1)
    """Seed of the parameters, the order of the videos and dropout."""
    wall_minutes: float | None = number(None, 0, above=True)
    """Stop with a checkpoint and exit code 75 after so many minutes. None: no limit."""


@dataclass(frozen=True)
class DataConfig:
    """Where the shards lie, and how they are read."""

    shards: str | tuple[str, ...] = place("data/llp", remote=True)
    """Folder of the shards and their manifest, or its URL: http(s)://, s3://, gs:// and whatever else fsspec knows. A
    list of such places is one data set, joined in this order split by split; the sets must have the same categories,
    features and segments."""
    fraction: float = number(1.0, 0, 1, above=True)
    """The first share of the training videos, for a quick look; val and test stay whole. Of several sets it is the
    first share of all their videos, so that a small one may be of the first set alone."""
    streams: int = number(48, 1)
    """Fixed lanes of the canonical order. The number of ranks must divide it; changing it changes the order."""
    block: int = number(32, 1)
    """Videos that are read at once and shuffled among each other within a stream."""
    threads: int = number(2, 1, 64)
    """Threads that read ahead, per rank. The order does not depend on it."""
    resident: bool = False
    """Decode the shards once into a memory-mapped file that all ranks of a node share, and serve batches from it."""
    cache: str | None = place(None)
    """Folder for that file and for shards from a URL. None: `.resident` inside the shards' folder; for a URL,
    `jomold_dist` in the user's cache folder. It should be on a disk of the node's own."""
    cache_gigabytes: float = number(50.0, 0, above=True)
    """How much of shards from a URL is kept; those that were not used for longest go first."""
    prefetch_shards: int = number(2, 0, 1000)
    """How many shards from a URL each rank fetches ahead of need."""
    attempts: int = number(6, 1, 100)
    """How often a transfer is tried, with pauses of about 0.5, 1, 2, 4 … 30 s between attempts."""
    storage: Tree = NO_SETTINGS
    """Options for fsspec's file system, for instance `{anon: true}` for a public bucket. No place for credentials."""
    verify: Literal["digest", "size"] = "digest"
    """What is compared with the manifest before training starts: every shard's SHA-256, or its size only."""
    on_bad_video: Literal["error", "mask"] = "error"
    """A damaged video ends the run, or is left out of its batch, named and counted in the run's bad_videos.csv."""
    max_bad_fraction: float = number(0.01, 0, 1)
    """With `on_bad_video: mask`: a split of which a larger share cannot be used ends the run."""

    @property
    def places(self) -> tuple[str, ...]:
        """Where the data set lies: one place, or those of the sets that are joined."""
        return (self.shards,) if isinstance(self.shards, str) else self.shards

    @property
    def where(self) -> str:
        """The places as messages call them."""
        return ", ".join(self.places)


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    network: str = "han"
    """The network: han (hybrid attention), talnet (audio only), stpn, cmcs (visual only), ave, avsdn, or `module:Class`
    of your own. The settings below but `options` are those of han."""
    layers: int = number(1, 1)
    """Encoder layers."""
    temperature: float = number(0.2, 0, above=True)
    """Temperature of the audio-visual similarity."""
    attention_dropout: float = number(0.1, 0, 0.99)
    """Dropout in the encoder: on attention weights, after attention, in the feed-forward part."""
    classifier_dropout: float = number(0.5, 0, 0.99)
    """Dropout on the visual features before the heads. The paper names none; this is the released code's."""
    gate: Literal["own", "video"] = "own"
    """Whose probability a segment's event needs beside its own: its modality's, or the whole video's (as HAN was
    published)."""
    similarity: Literal["encoded", "projected"] = "encoded"
    """The visual side of the contrastive loss: after the encoder (JoMoLD), or before it (MA)."""
    options: Tree = NO_SETTINGS
    """Settings of another network than han: arguments of its constructor."""


@dataclass(frozen=True)
class TrainConfig:
    """Epochs, batches, optimizer, precision, and which epoch is kept."""

    epochs: int = number(25, 1)
    """Epochs of the model. May grow in a run folder, but with `schedule: cosine`: training then goes on from where it
    ended."""
    batch_size: int = number(128, 1)
    """Videos in an optimizer batch, over all ranks and micro-batches: by default what is ranked together."""
    micro_batch_size: int | None = number(None, 1)
    """Videos that a rank takes through the network at once. None: its whole share of the optimizer batch. It decides no
    removal by itself, but cuts dropout's random numbers otherwise: with dropout another value is another run."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """The optimizer."""
    learning_rate: float = number(5e-4, 0, above=True)
    """The largest learning rate."""
    lr_decay: float = number(0.25, 0, 1, above=True)
    """Factor on the learning rate every `lr_decay_epochs` epochs."""
    lr_decay_epochs: int = number(6, 1)
    """Epochs between two decays."""
    schedule: Literal["step", "cosine", "constant"] = "step"
    """How the learning rate goes on: decays as above, falls to 0 along half a cosine over all epochs, or stays. With
    cosine, the number of epochs is in every rate: another number is another run, in another run folder."""
    lr_warmup_epochs: float = number(0.0, 0)
    """Epochs, also a part of one, over which the learning rate grows step by step to what the schedule says."""
    patience: int | None = number(None, 1)
    """End a training after so many epochs without a better `selection`. None: never. One whose last weights count is
    not ended."""
    validate_every_steps: int | None = number(None, 1)
    """Also validate after so many optimizer steps of an epoch, again and again; the best weights may then be those of
    the middle of an epoch. None: only at its end."""
    weight_decay: float = number(0.0, 0)
    """Weight decay of the optimizer."""
    clip_grad_norm: float | None = number(None, 0, above=True)
    """Largest norm of the gradient. None: no clipping."""
    precision: Literal["float32", "bf16", "float16", "float64"] = "float32"
    """Compute type. Parameters, probabilities and losses stay float32 (float64 with float64, which needs the DDP
    engine). float16 scales the loss by itself."""
    engine: Literal["ddp", "deepspeed"] = "ddp"
    """What averages gradients over ranks and holds the optimizer: torch's DistributedDataParallel, or DeepSpeed."""
    non_finite: Literal["stop", "skip"] = "stop"
    """A feature, loss or gradient that is not finite: end with the videos' names, or name them and skip the step
    (noise ratios: leave the videos out)."""
    selection: Literal[(*SCORE_NAMES, "loss", "last")] = "segment_type"  # type: ignore[valid-type]
    """The validation score by which the best epoch is chosen (`released`: event_audio). The paper does not say which;
    this is HAN's. `loss`: the lowest loss on val's weak labels, also where val has no dense labels to score against.
    `last`: the last epoch, also where there is no val."""
    selection_ties: Literal["first", "last"] = "first"
    """Which of equally good epochs is kept (`released`: last)."""


@dataclass(frozen=True)
class CheckpointConfig:
    """When a training is saved, and how many checkpoints are kept."""

    every_minutes: float | None = number(5.0, 0, above=True)
    """Minutes between two checkpoints of a training. None: not by the clock."""
    every_steps: int | None = number(None, 1)
    """Optimizer steps between two checkpoints of a training. None: not by steps."""
    keep: int = number(2, 1)
    """Newest checkpoints that are kept."""


@dataclass(frozen=True)
class DeepSpeedConfig:
    """What DeepSpeed does, with `train.engine: deepspeed`."""

    zero_stage: Literal[0, 1, 2, 3] = 1
    """What the ranks share out with `train.engine: deepspeed`: nothing (0), the optimizer's state (1: two thirds of the
    memory that Adam needs, for no more traffic than DDP), gradients too (2), parameters too (3)."""
    extra: Tree = NO_SETTINGS
    """Settings of DeepSpeed's own, passed on as they are, such as `{comms_logger: {enabled: true}}`. Keys that
    DeepSpeed does not know, and those that other settings decide, are refused. A file's replaces that of its `base:` as
    a whole; an override may name one of them, as in `deepspeed.extra.comms_logger.enabled=true`."""


@dataclass(frozen=True)
class DistributedConfig:
    """The device, and the ranks' patience with each other."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. auto: a GPU if there is one a rank, else the CPU."""
    timeout_seconds: float = number(600.0, 1)
    """How long a rank waits for the others before it gives up."""


@dataclass(frozen=True)
class TrackingConfig:
    """How the run is recorded in MLflow."""

    enabled: bool = True
    """Record the run in MLflow."""
    uri: str | None = place(None, services=("databricks", "databricks-uc", "uc"), remote=True)
    """MLflow's tracking URI, without name and password, for which there are MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD. None: MLFLOW_TRACKING_URI if set, else an sqlite store beside the run folders."""
    experiment: str = "jomold_dist"
    """MLflow's experiment."""
    name: str | None = None
    """How MLflow calls the run. None: as its folder."""
    parent: str | None = None
    """Id of the MLflow run of which this one is a part: a sweep's."""
    system_metrics: bool = True
    """Record the load of rank 0's machine every ten seconds: processor, memory, disk, network, GPUs."""
    register_model: str | None = None
    """A registered model of MLflow, made where it is missing, of which the finished network becomes a new version."""


@dataclass(frozen=True)
class Config:
    """All settings of one run."""

    method: str = word("jomold")
    """What the network is trained towards: a name of docs/methods.md, or `module:Class` of your own."""
    imports: tuple[str, ...] = ()
    """Modules of your own that are imported first, for instance because they register methods; `--import` adds some."""
    recipe: Literal["paper", "released"] = "paper"
    """A bundle of settings: as the paper says, or as the released code does. Settings given by name win over it."""
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    small_loss: SmallLossConfig = field(default_factory=SmallLossConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    large_loss: LargeLossConfig = field(default_factory=LargeLossConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    deepspeed: DeepSpeedConfig = field(default_factory=DeepSpeedConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    log: LogConfig = field(default_factory=LogConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    profile: ProfileConfig = field(default_factory=ProfileConfig)

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted name; tuples become lists, a free mapping is one setting."""
        return dict(_flatten("", dataclasses.asdict(self)))

    @property
    def estimator_batch_size(self) -> int:
        """Videos in an optimizer batch of the estimator, over all ranks and micro-batches."""
        return self.estimator.batch_size or self.train.batch_size

    def decides(self, name: str) -> bool:
        """Whether a setting decides a run's result. With a cosine, the number of epochs is in every learning rate."""
        return decides(name) or (name == "train.epochs" and self.train.schedule == "cosine")

    @property
    def digest(self) -> str:
        """SHA-256 of the settings that decide a run's result; a run folder belongs to it."""
        deciding = {k: v for k, v in self.flat().items() if self.decides(k)}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def _flatten(prefix: str, tree: dict[str, Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, dict) and not isinstance(value, Tree):
            flat += _flatten(f"{prefix}{name}.", value)
        else:
            flat.append((prefix + name, list(value) if isinstance(value, tuple) else value))
    return flat
