"""One optimizer step: rank, exchange, clean, learn.

b is the rank's videos of the optimizer batch, C categories. Every rank calls the step for every optimizer batch, also
with no videos of its own, and takes the same number of micro-batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from jomold_dist.data.loader import Batch
from jomold_dist.denoising.exchange import Exchanged, OwnRows, exchange_rows
from jomold_dist.denoising.methods import LossWeights, Method, Moment, Targets
from jomold_dist.denoising.removal import Removal, Rows, scatter_rows
from jomold_dist.distributed.engine import make_engine
from jomold_dist.distributed.world import World, gather_objects
from jomold_dist.errors import NonFiniteError
from jomold_dist.models.han import HybridAttentionNetwork, Parsing
from jomold_dist.training.stopwatch import Stopwatch

TERMS = ("audio", "visual", "video", "contrastive")
COMPUTE_DTYPES = {"float32": None, "bf16": torch.bfloat16, "float64": None}


@dataclass(frozen=True)
class StepSettings:
    """What a stage sets for its steps."""

    weights: LossWeights
    cross_modal: bool
    seed: int


@dataclass(frozen=True)
class StepReport:
    """What a step tells: whether all ranks were asked to stop, and which of this rank's labels were removed."""

    stop: bool
    videos: int
    category: np.ndarray  # (n,) int64
    visual: np.ndarray  # (n,) bool: removed from the visual modality, else from the audio modality
    keys: tuple[str, ...]  # (n,)


class Passes(nn.Module):
    """Both passes over a network in one forward call, as engines need it, with the ranking pass timed."""

    def __init__(self, network: HybridAttentionNetwork, stopwatch: Stopwatch) -> None:
        super().__init__()
        self.network = network
        self._stopwatch = stopwatch

    def forward(
        self, audio: Tensor, frames: Tensor, motion: Tensor | None, cross_modal: bool, ranking: bool, dropout: bool
    ) -> tuple[Parsing, tuple[Tensor, Tensor] | None]:
        """The gradient pass and, if `ranking`, the ranking pass's probabilities (b, C)."""
        begun = self.network.begin(audio, frames, motion)
        ranked = None
        if ranking:
            with self._stopwatch.span("ranking"):
                ranked = self.network.rank(begun, dropout)
        return self.network.parse(begun, cross_modal), ranked


class TrainStep:
    """Trains a method's network, optimizer batch by optimizer batch."""

    def __init__(
        self,
        method: Method,
        network: HybridAttentionNetwork,
        world: World,
        settings: StepSettings,
        stopwatch: Stopwatch,
        capacity: int,
    ) -> None:
        train = method.config.train
        network.compute_dtype = COMPUTE_DTYPES[train.precision]
        self.network = network.to(world.device, torch.float64 if train.precision == "float64" else torch.float32)
        for name, parameter in network.named_parameters():
            if "cross_attention" in name:  # DDP expects a gradient of every parameter that asks for one
                parameter.requires_grad_(settings.cross_modal)
        self.engine = make_engine(Passes(network, stopwatch), world, train)
        self._method, self._world, self._settings, self._stopwatch = method, world, settings, stopwatch
        self._ranking_dropout = method.config.denoise.ranking_dropout
        self._micro_batch = train.micro_batch_size
        self._capacity = capacity
        self._categories = len(method.manifest.categories)
        self._sums = torch.zeros(len(TERMS) + 1, dtype=torch.float64, device=world.device)

    def __call__(self, batch: Batch, moment: Moment, learning_rate: float, stop: bool = False) -> StepReport:
        """Collective: one optimizer step over the batch that all ranks hold together.

        Raises NonFiniteError on every rank, before the optimizer step, for a feature or a gradient that is not finite.
        """
        seed_step(self._settings.seed, moment.step, self._world.rank)
        self.network.train()
        labels = batch.labels.to(self._world.device, non_blocking=True)
        video, category = batch.labels.nonzero(as_tuple=True)
        own = OwnRows(*(t.to(self._world.device) for t in (video, category, batch.position[video])))
        features = {k: v.to(self._world.device, non_blocking=True) for k, v in batch.features.items()}
        parts = self._parts(batch)
        first: tuple[Parsing, tuple[Tensor, Tensor] | None] | None = None
        ranked = None
        with self.engine.part(last=len(parts) == 1):
            if len(parts) == 1:  # one micro-batch: both passes share what they have in common
                first = self._forward(features, parts[0], self._method.needs_ranking)
                ranked = first[1]
            elif self._method.needs_ranking:
                ranked = self._ranking_pass(features, parts)
            exchanged, removed_rows = self._exchange(batch, own, ranked, features, moment, stop)
            removed = scatter_rows(removed_rows, own.video, own.category, labels.shape)
            targets = self._method.targets(labels, removed)
            if first is not None:
                self._learn(first[0], targets, parts[0], exchanged.videos)
        if first is None:
            for number, part in enumerate(parts):
                with self.engine.part(last=number == len(parts) - 1):
                    self._learn(self._forward(features, part, False)[0], targets, part, exchanged.videos)
        norm = self.engine.clip_gradient()
        report = self._read_back(batch, exchanged, removed_rows, video, category, norm, moment)
        self.engine.step(learning_rate)
        return report

    def take_sums(self) -> Tensor:
        """This rank's loss sums since the last call, one a term, and its count of videos: float64 (5,)."""
        sums, self._sums = self._sums, torch.zeros_like(self._sums)
        return sums

    def _parts(self, batch: Batch) -> list[slice]:
        """The micro-batches, as many on every rank: the rank with the most videos decides."""
        largest = -(-batch.total // self._world.size)
        size = min(self._micro_batch or largest, largest)
        return [slice(start, start + size) for start in range(0, largest, size)]

    def _forward(
        self, features: dict[str, Tensor], part: slice, ranking: bool
    ) -> tuple[Parsing, tuple[Tensor, Tensor] | None]:
        cross_modal = self._settings.cross_modal
        return self.engine.forward(*_in_order(features, part), cross_modal, ranking, self._ranking_dropout)

    def _ranking_pass(self, features: dict[str, Tensor], parts: list[slice]) -> tuple[Tensor, Tensor]:
        """The ranking pass over all micro-batches before the first of them learns: probabilities (b, C)."""
        with self._stopwatch.span("ranking"), torch.no_grad():
            each = [
                self.network.rank(self.network.begin(*_in_order(features, part)), self._ranking_dropout)
                for part in parts
            ]
        return torch.cat([a for a, _ in each]), torch.cat([v for _, v in each])

    def _exchange(
        self,
        batch: Batch,
        own: OwnRows,
        ranked: tuple[Tensor, Tensor] | None,
        features: dict[str, Tensor],
        moment: Moment,
        stop: bool,
    ) -> tuple[Exchanged, Removal]:
        """Collective: what all ranks know, and which of this rank's positives the method removes."""
        with self._stopwatch.span("ranking"):
            losses = None
            if ranked is not None:
                losses = self._method.ranking_losses(*(p.detach()[own.video, own.category] for p in ranked))
            finite = torch.stack([f.sum((1, 2), dtype=torch.float32).isfinite() for f in features.values()]).all(0)
        with self._stopwatch.span("exchange"):
            exchanged = exchange_rows(
                own,
                losses,
                finite,
                batch.position.to(self._world.device),
                stop=stop,
                capacity=self._capacity,
                categories=self._categories,
                world=self._world,
            )
        with self._stopwatch.span("ranking"):
            if losses is not None:
                removed = self._method.remove(exchanged.rows, moment)
                return exchanged, exchanged.own(removed, self._world.rank, len(own.category))
            nothing = torch.zeros(len(own.category), device=self._world.device)
            return exchanged, self._method.remove(Rows(own.position, own.category, nothing, nothing), moment)

    def _learn(self, parsing: Parsing, targets: Targets, part: slice, videos: Tensor) -> None:
        """Adds one micro-batch's gradient of the loss over the whole optimizer batch."""
        weights = self._settings.weights
        terms = self._method.losses(parsing, targets.part(part), weights)
        segments = parsing.segment_prob.shape[1]
        per = {name: segments if name == "contrastive" else self._categories for name in terms}
        loss = sum((getattr(weights, name) / per[name]) * term for name, term in terms.items()) / videos
        self.engine.backward(loss)
        for name, term in terms.items():
            self._sums[TERMS.index(name)] += term.detach() / per[name]
        self._sums[-1] += len(parsing.video_prob)

    def _read_back(
        self,
        batch: Batch,
        exchanged: Exchanged,
        removed: Removal,
        video: Tensor,
        category: Tensor,
        norm: Tensor,
        moment: Moment,
    ) -> StepReport:
        """The step's one read-back from the GPU, and the errors that all ranks raise together."""
        flags = [exchanged.stop, exchanged.bad_position, exchanged.repeated, norm.isfinite(), exchanged.videos]
        head = torch.stack([f.to(torch.int64) for f in flags])
        told = torch.cat([head, removed.audio.to(torch.int64), removed.visual.to(torch.int64)]).cpu()
        stop, bad_position, repeated, norm_is_finite, videos = told[: len(flags)].tolist()
        if repeated:
            raise RuntimeError(f"step {moment.step}: two ranks hold the same video; the order of the data is broken")
        if bad_position >= 0:
            mine = [k for k, p in zip(batch.keys, batch.position.tolist(), strict=True) if p == bad_position]
            names = [k for keys in gather_objects(mine, self._world) for k in keys]
            raise NonFiniteError(
                f"step {moment.step}: features of video {', '.join(names)} are not finite (NaN or infinity); "
                "check the shards with tools/verify_shards.py"
            )
        if not norm_is_finite:
            raise NonFiniteError(
                f"step {moment.step}: the gradient is not finite; a lower train.learning_rate or "
                "train.clip_grad_norm may help"
            )
        audio, visual = (told[len(flags) :].view(2, -1) > 0).numpy()
        rows = np.concatenate([np.flatnonzero(audio), np.flatnonzero(visual)])
        own_video = video.numpy()[rows]
        return StepReport(
            stop=bool(stop),
            videos=videos,
            category=category.numpy()[rows],
            visual=np.arange(len(rows)) >= audio.sum(),
            keys=tuple(batch.keys[v] for v in own_video),
        )


def _in_order(features: dict[str, Tensor], part: slice) -> tuple[Tensor, Tensor, Tensor | None]:
    motion = features.get("motion")
    return features["audio"][part], features["frames"][part], None if motion is None else motion[part]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's default generators, which dropout uses, for one step of one rank.

    A step's random numbers depend on nothing before it, so a resumed run repeats them without saved states.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))
