"""One optimizer step: rank, exchange, clean, learn.

b is the rank's videos of the optimizer batch, C categories. Every rank calls the step for every optimizer batch, also
with no videos of its own, and takes the same number of micro-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.loader import Batch
from jomold_dist.denoising.exchange import Ask, Exchanged, OwnRows, exchange_rows, own_rows
from jomold_dist.denoising.methods import LossWeights, Method, Moment, Targets
from jomold_dist.denoising.removal import Removal, Rows, scatter_rows
from jomold_dist.distributed.engine import make_engine
from jomold_dist.distributed.world import World, gather_rows
from jomold_dist.models.han import HybridAttentionNetwork, Parsing
from jomold_dist.training.finite import FiniteGuard, Learned, Told
from jomold_dist.training.loss_scale import LossScale
from jomold_dist.training.passes import COMPUTE_DTYPES, PREFIX, Passes, in_order
from jomold_dist.training.stopwatch import Stopwatch

TERMS = ("audio", "visual", "video", "contrastive")
ENGINE_STATE = ("weights", "optimizer")


@dataclass(frozen=True)
class StepSettings:
    """What a stage sets for its steps."""

    weights: LossWeights
    cross_modal: bool
    seed: int


@dataclass(frozen=True)
class StepReport:
    """What a step tells: what was asked of all ranks, and which of this rank's labels were removed. A skipped step
    removed nothing."""

    ask: Ask
    videos: int
    category: np.ndarray  # (n,) int64
    visual: np.ndarray  # (n,) bool: removed from the visual modality, else from the audio modality
    keys: tuple[str, ...]  # (n,)
    candidates: np.ndarray  # (2, C) int64: labels of the whole optimizer batch that the method has looked at
    skipped: bool = False


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
        network.to(world.device, torch.float64 if train.precision == "float64" else torch.float32)
        for name, parameter in network.named_parameters():
            if "cross_attention" in name:  # engines expect a gradient of every parameter that asks for one
                parameter.requires_grad_(settings.cross_modal)
        self._loss_scale = LossScale(network.parameters()) if train.precision == "float16" else None
        self._guard = FiniteGuard(world, self._loss_scale, train.non_finite == "skip")
        self.engine = make_engine(Passes(network, stopwatch), world, method.config)
        self._method, self._world, self._settings, self._stopwatch = method, world, settings, stopwatch
        self.network = network
        self._ranking_dropout = method.config.denoise.ranking_dropout
        self._micro_batch = train.micro_batch_size
        self._capacity = capacity
        self._categories = len(method.manifest.categories)
        self._sums = torch.zeros(len(TERMS) + 1, dtype=torch.float64, device=world.device)

    def __call__(self, batch: Batch, moment: Moment, learning_rate: float, ask: Ask = Ask.NOTHING) -> StepReport:
        """Collective: one optimizer step over the batch that all ranks hold together.

        Raises NonFiniteError on every rank, before the optimizer step, for a feature or a gradient that is not finite,
        unless the config says to skip such steps.
        """
        seed_step(self._settings.seed, moment.step, self._world.rank)
        self.network.train()
        labels = batch.labels.to(self._world.device, non_blocking=True)
        here = own_rows(batch.labels, batch.position)
        own = OwnRows(*(t.to(self._world.device) for t in here))
        features = {k: v.to(self._world.device, non_blocking=True) for k, v in batch.features.items()}
        parts = self._parts(batch)
        first: Parsing | None = None
        ranked = None
        learned = Learned(torch.zeros_like(self._sums), [])
        with self.engine.part(last=len(parts) == 1):
            if len(parts) == 1:  # one micro-batch: both passes share what they have in common
                first, ranked = self._forward(features, parts[0], self._method.needs_ranking)
            elif self._method.needs_ranking:
                ranked = self._ranking_pass(features, parts)
            exchanged, removed_rows = self._exchange(batch, own, ranked, features, moment, ask)
            candidates = self._method.candidates(exchanged.rows, moment)
            removed = scatter_rows(removed_rows, own.video, own.category, labels.shape)
            targets = self._method.targets(labels, removed)
            if first is not None:
                self._learn(first, targets, parts[0], exchanged.videos, learned)
        if first is None:
            for number, part in enumerate(parts):
                with self.engine.part(last=number == len(parts) - 1):
                    parsing, _ = self._forward(features, part, False)
                    assert parsing is not None
                    self._learn(parsing, targets, part, exchanged.videos, learned)
        norm = self.engine.clip_gradient()
        told = self._read_back(exchanged, removed_rows, candidates, norm)
        if told.repeated:
            raise RuntimeError(f"step {moment.step}: two ranks hold the same video; the order of the data is broken")
        if self._guard.lets_pass(batch, told, learned, moment.step):
            self._sums += learned.sums
            self.engine.step(learning_rate)
            return self._report(batch, told, here)
        self.engine.skip()
        nothing = np.zeros(0, dtype=np.int64)
        looked_at = np.zeros_like(told.candidates)
        return StepReport(told.ask, told.videos, nothing, nothing.astype(bool), (), looked_at, skipped=True)

    def take_sums(self) -> Tensor:
        """This rank's loss sums since the last call, one a term, and its count of videos: float64 (5,)."""
        sums, self._sums = self._sums, torch.zeros_like(self._sums)
        return sums

    def weights(self) -> dict[str, Tensor]:
        """Collective: the network's weights by name, whole, on every rank."""
        return {name.removeprefix(PREFIX): tensor for name, tensor in self.engine.weights().items()}

    def state(self) -> dict[str, Any]:
        """Collective: what brings the step back, on rank 0: weights and optimizer state by the network's names, each
        rank's loss sums, the loss's scale, and how many steps were skipped last."""
        state = self.engine.full_state()
        return {
            **{
                kind: {name.removeprefix(PREFIX): value for name, value in state[kind].items()} for kind in ENGINE_STATE
            },
            "sums": gather_rows(self._sums, self._world).cpu(),  # (ranks, 5)
            "loss_scale": None if self._loss_scale is None else self._loss_scale.state(),
            "skipped_in_a_row": self._guard.skipped_in_a_row,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Collective: the inverse of `state`; every rank passes the same. With another number of ranks, rank 0 takes
        all the sums over."""
        self.engine.load_full_state({k: {PREFIX + n: v for n, v in state[k].items()} for k in ENGINE_STATE})
        sums = state["sums"].to(self._sums)
        if len(sums) != self._world.size:
            sums = torch.cat([sums.sum(0, keepdim=True), sums.new_zeros(self._world.size - 1, len(self._sums))])
        self._sums = sums[self._world.rank].clone()
        self._guard.skipped_in_a_row = state["skipped_in_a_row"]
        if self._loss_scale is not None and state["loss_scale"] is not None:
            self._loss_scale.load_state(state["loss_scale"])

    def _parts(self, batch: Batch) -> list[slice]:
        """The micro-batches, as many on every rank: the rank with the most videos decides."""
        largest = -(-batch.total // self._world.size)
        size = min(self._micro_batch or largest, largest)
        return [slice(start, start + size) for start in range(0, largest, size)]

    def _forward(
        self, features: dict[str, Tensor], part: slice, ranking: bool
    ) -> tuple[Parsing | None, tuple[Tensor, Tensor] | None]:
        cross_modal = self._settings.cross_modal
        return self.engine.forward(in_order(features, part), cross_modal, ranking, self._ranking_dropout)

    def _ranking_pass(self, features: dict[str, Tensor], parts: list[slice]) -> tuple[Tensor, Tensor]:
        """The ranking pass over all micro-batches before the first of them learns: probabilities (b, C)."""
        with torch.no_grad():
            each = [self.engine.forward(in_order(features, p), None, True, self._ranking_dropout)[1] for p in parts]
        return torch.cat([a for a, _ in each]), torch.cat([v for _, v in each])

    def _exchange(
        self,
        batch: Batch,
        own: OwnRows,
        ranked: tuple[Tensor, Tensor] | None,
        features: dict[str, Tensor],
        moment: Moment,
        ask: Ask,
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
                ask=ask,
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

    def _learn(self, parsing: Parsing, targets: Targets, part: slice, videos: Tensor, learned: Learned) -> None:
        """Adds one micro-batch's gradient of the loss over the whole optimizer batch."""
        weights = self._settings.weights
        terms = self._method.losses(parsing, targets.part(part), weights)
        segments = parsing.segment_prob.shape[1]
        per = {name: segments if name == "contrastive" else self._categories for name in terms}
        loss = sum((getattr(weights, name) / per[name]) * term for name, term in terms.items())
        loss = loss / videos.clamp(min=1)  # a batch of which no video can be used
        self.engine.backward(loss if self._loss_scale is None else self._loss_scale.scale(loss))
        for name, term in terms.items():
            learned.sums[TERMS.index(name)] += term.detach() / per[name]
        learned.sums[-1] += len(parsing.video_prob)
        outputs = (parsing.video_prob, parsing.audio_prob, parsing.visual_prob, parsing.similarity.flatten(1))
        learned.outputs.append(tuple(output.detach() for output in outputs))

    def _read_back(self, exchanged: Exchanged, removed: Removal, candidates: Tensor, norm: Tensor) -> Told:
        """The step's one read-back from the GPU."""
        flags = [exchanged.ask, exchanged.bad_position, exchanged.repeated, norm.isfinite(), exchanged.videos]
        head = torch.stack([f.to(torch.int64) for f in flags])
        masks = torch.cat([removed.audio, removed.visual]).to(torch.int64)
        told = torch.cat([head, candidates.flatten(), masks]).cpu()
        ask, bad_position, repeated, norm_is_finite, videos = told[: len(flags)].tolist()
        counts, rows = told[len(flags) :].split([candidates.numel(), masks.numel()])
        audio, visual = (rows.view(2, -1) > 0).numpy()
        looked_at = counts.view(2, -1).numpy()
        return Told(Ask(ask), bad_position, bool(repeated), bool(norm_is_finite), videos, audio, visual, looked_at)

    def _report(self, batch: Batch, told: Told, own: OwnRows) -> StepReport:
        rows = np.concatenate([np.flatnonzero(told.audio), np.flatnonzero(told.visual)])
        return StepReport(
            ask=told.ask,
            videos=told.videos,
            category=own.category.numpy()[rows],
            visual=np.arange(len(rows)) >= told.audio.sum(),
            keys=tuple(batch.keys[v] for v in own.video.numpy()[rows]),
            candidates=told.candidates,
        )


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's default generators, which dropout uses, for one step of one rank.

    A step's random numbers depend on nothing before it, so a resumed run repeats them without saved states.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))
