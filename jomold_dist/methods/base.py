"""What every method is: the labels of a batch in, targets and losses out.

Shapes: b videos of a rank, C categories, N labels ("rows") of the whole optimizer batch, K columns, M masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.removal import Rows
from jomold_dist.labels import MODALITIES
from jomold_dist.models.losses import binary_cross_entropy, label_loss, smooth_targets
from jomold_dist.models.network import Network, Parsing
from jomold_dist.models.registry import build_network

if TYPE_CHECKING:
    from jomold_dist.distributed.world import World
    from jomold_dist.training.stage import Stage


@dataclass(frozen=True)
class Targets:
    """What one network's predictions of b videos are trained towards. Weights None: every entry weighs 1; 0 leaves an
    entry out of the loss.

    `segments` are for a method that has targets for them: its class says so in `segment_targets`.
    """

    audio: Tensor  # (b, C)
    visual: Tensor  # (b, C)
    video: Tensor  # (b, C)
    audio_weight: Tensor | None = None
    visual_weight: Tensor | None = None
    video_weight: Tensor | None = None
    segments: Tensor | None = None  # (b, T, 2, C), audio first
    segments_weight: Tensor | None = None

    def part(self, rows: slice) -> Targets:
        """The targets of some of the videos."""
        return replace(self, **{k: v[rows] for k, v in vars(self).items() if v is not None})


@dataclass(frozen=True)
class Moment:
    """Where in its training a method is: optimizer step from 0 over all epochs."""

    step: int
    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""
        return self.step // self.steps_per_epoch


class Mask(NamedTuple):
    """One set of labels that a method takes out, of the targets of one modality."""

    name: str
    modality: int  # of MODALITIES


class Choice(NamedTuple):
    """Which labels are taken out, by row, and how many the method has looked at."""

    masks: Tensor  # bool (M, N)
    candidates: Tensor  # int64 (M, C)


class Method(ABC):
    """Every label is a target of both modalities, and nothing is removed. A subclass changes what it wants else.

    A method takes labels out in one of two ways. With `columns`, each label of the optimizer batch travels to every
    rank with so many numbers (such as its losses), and `choose` decides over all of them; without, or where the method
    `chooses` not, `masks_of` decides on the labels alone.

    What it is to keep across steps comes in `remember` and `end_epoch`, and goes into checkpoints by `state` and
    `load_state`.
    """

    columns: ClassVar[int] = 0
    """Numbers of a label, found before each decision. 0: none, and labels do not travel."""
    masks: ClassVar[tuple[Mask, ...]] = tuple(Mask(name, number) for number, name in enumerate(MODALITIES))
    """The sets of labels that it may take out."""
    removes: ClassVar[bool] = False
    """Whether it ever takes one out, so that there is something to record."""
    both_modalities: ClassVar[bool] = False
    """Whether it needs a network that sees and hears."""
    han_without_removals: ClassVar[bool] = False
    """Whether it is `han` as long as it takes no label out. Each class says so for itself."""
    truncates: ClassVar[bool] = False
    """Whether it takes trunc(noise ratio × labels of a category in the optimizer batch) out, so that small batches
    reach few categories, which is told."""
    segment_targets: ClassVar[bool] = False
    """Whether it has targets for segments."""

    def __init__(self, config: Config, manifest: Manifest, found: Mapping[str, Any], device: torch.device) -> None:
        """`found` holds what earlier stages have left, by the stage's name."""
        self.config, self.manifest, self.device = config, manifest, device

    @classmethod
    @abstractmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        """The stages before evaluation, in their order."""

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        """What in the config does not fit the data set."""
        return []

    @classmethod
    def essential(cls, config: Config) -> Config:
        """The config with what the method does not look at set to the defaults, by which runs are known to be alike.
        Each class says so for itself: what it inherits is not asked."""
        return config

    @classmethod
    def chooses(cls, config: Config) -> bool:
        """Whether `choose` decides. A method with columns that does not choose has them for `remember`: they stay on
        the rank of their label, and `masks_of` decides."""
        return cls.columns > 0

    @classmethod
    def ranked_videos(cls, config: Config, manifest: Manifest) -> int:
        """How many videos' labels are ranked together, where the method `truncates`."""
        return config.train.batch_size

    @classmethod
    def network(cls, config: Config, manifest: Manifest) -> Network:
        """What is trained, with fresh parameters from torch's default generator."""
        return build_network(config.model, manifest)

    def weights(self, network: Network) -> dict[str, float]:
        """The terms of the loss and the factor of each."""
        loss = self.config.loss
        names = [*network.modalities, "video", *(["segment"] if self.segment_targets else [])]
        configured = network.configured_terms
        own = {name: getattr(loss, name) if name in configured else 1.0 for name in network.own_terms}
        return {name: getattr(loss, name) for name in names} | {k: v for k, v in own.items() if v > 0}

    def score(self, network: Network, begun: Any, outputs: Any | None) -> tuple[Tensor, ...]:
        """What columns are made of, each (b, C), of b videos: `begun` is what `network.begin` gave. Called without
        gradient, with the outputs of the gradient pass unless that has not been taken yet."""
        raise NotImplementedError(f"{type(self).__name__} has columns but no score")

    def columns_of(self, *scored: Tensor) -> Tensor:
        """The columns (n, K) of labels whose scores, as `score` gave them, are these (n,)."""
        raise NotImplementedError(f"{type(self).__name__} has columns but no columns_of")

    def positive_targets(self) -> tuple[float, float]:
        """The target that a label has unless it is taken out: audio, visual."""
        return 1.0, (1 + self.config.loss.visual_smoothing) / 2

    def positive_losses(self, *scored: Tensor) -> Tensor:
        """Losses (n, 2) of labels whose audio and visual probabilities are these (n,), against the targets that they
        have unless they are taken out."""
        losses = [binary_cross_entropy(p, y) for p, y in zip(scored, self.positive_targets(), strict=True)]
        return torch.stack(losses, dim=1)

    def choose(self, rows: Rows, moment: Moment) -> Choice:
        """The labels that are taken out, of the whole optimizer batch; the same on every rank."""
        raise NotImplementedError(f"{type(self).__name__} has columns but no choose")

    def masks_of(self, batch: Batch, labels: Tensor, moment: Moment) -> Tensor | None:
        """The labels that are taken out without a look at the batch's other labels: bool (M, b, C), or None for none.
        `labels` (b, C) are the batch's on the method's device."""
        return None

    def targets(self, batch: Batch, labels: Tensor, removed: Tensor, moment: Moment) -> tuple[Targets, ...]:
        """One set of targets a network. `removed` (M, b, C) are the labels taken out: here their target is exactly 0,
        and the whole video's labels stay."""
        smoothing = self.config.loss.visual_smoothing
        targets = Targets(
            audio=smooth_targets(labels & ~removed[0], 1.0),
            visual=smooth_targets(labels, smoothing).masked_fill(removed[1], 0.0),
            video=smooth_targets(labels, 1.0),
        )
        return (targets,)

    def remember(self, batch: Batch, columns: Tensor, rows: Rows, moment: Moment) -> None:  # noqa: B027, as below
        """What is to be kept of a step that was taken; skipped ones are not told. `columns` (n, K) are those of the
        labels of this rank's batch, in the order of `batch.labels.nonzero()`, and `rows` those of the whole optimizer
        batch (none, unless the method chooses)."""

    def end_epoch(self, moment: Moment, world: World) -> None:  # noqa: B027
        """Collective, after an epoch's last step: what is to be found from what was kept. `moment` is that of the next
        epoch's first step."""

    def state(self, world: World) -> dict[str, np.ndarray]:
        """Collective: what brings back what is kept, for rank 0 to write into a checkpoint. It must not depend on the
        number of ranks, and another number of them may go on from it."""
        return {}

    def load_state(self, state: Mapping[str, np.ndarray], world: World) -> None:  # noqa: B027
        """Collective: the inverse of `state`. Rank 0 gets what was written, the others get nothing."""

    @classmethod
    def kept_bytes(cls, config: Config, manifest: Manifest, ranks: int) -> int:
        """How much memory what it keeps takes on the rank that has most of it."""
        return 0

    def losses(self, network: Network, outputs: Any, targets: tuple[Targets, ...]) -> dict[str, Tensor]:
        """The terms of the loss, each (b,) and without its factor: means over a video's labels or segments."""
        (own,) = targets
        terms = parsing_losses(network.parsing(outputs), own, network.modalities)
        return terms | network.terms(outputs, self.config.loss)


def parsing_losses(parsing: Parsing, targets: Targets, modalities: tuple[str, ...]) -> dict[str, Tensor]:
    """Binary cross-entropies of a parsing, each (b,), of the modalities that it has."""
    terms = {}
    for name in (*modalities, "video"):
        target, weight = getattr(targets, name), getattr(targets, f"{name}_weight")
        terms[name] = label_loss(getattr(parsing, f"{name}_prob"), target, weight)
    if targets.segments is not None:
        prob, target, weight = parsing.segment_prob, targets.segments, targets.segments_weight
        if len(modalities) < len(MODALITIES):  # what a network lacks is no mistake of its
            own = [MODALITIES.index(name) for name in modalities]
            prob, target = prob[:, :, own], target[:, :, own]
            weight = None if weight is None else weight[:, :, own]
        terms["segment"] = label_loss(prob, target, weight)
    return terms
