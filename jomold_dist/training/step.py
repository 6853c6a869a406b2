"""One optimizer step: rank, exchange, clean, learn.

b is the rank's videos of the optimizer batch, n its padded labels, C categories, M masks. Every rank calls the step for
every optimizer batch, also with no videos of its own, and takes the same number of micro-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.exchange import Exchanged, OwnRows, exchange_rows, own_rows
from jomold_dist.distributed.engine import make_engine
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import World, gather_rows
from jomold_dist.errors import DataError
from jomold_dist.labels import MODALITIES
from jomold_dist.methods.base import Method, Moment, Targets
from jomold_dist.models.network import Network
from jomold_dist.training.finite import FiniteGuard, Learned, StepSummary
from jomold_dist.training.loss_scale import LossScale
from jomold_dist.training.passes import COMPUTE_DTYPES, PREFIX, Passes
from jomold_dist.training.step_sums import StepSums
from jomold_dist.training.stopwatch import Stopwatch

ENGINE_STATE = ("weights", "optimizer")


@dataclass(frozen=True)
class StepReport:
    """What a step tells: what was asked of all ranks, and which of this rank's labels were taken out: of a skipped step
    none. All but the labels is the same on every rank."""

    ask: Ask
    videos: int
    mask: np.ndarray  # (r,) int64: out of which of the method's masks
    category: np.ndarray  # (r,) int64
    keys: tuple[str, ...]  # (r,)
    candidates: np.ndarray  # (M, C) int64: labels of the whole optimizer batch that the method has looked at
    gradient_norm: float  # of the whole batch, before it is clipped
    sums: np.ndarray  # (S,) float64: `TrainStep.sums` of all ranks, before this step
    skipped: bool = False


@dataclass(frozen=True)
class Upload:
    """A rank's part of a batch on its device."""

    features: dict[str, Tensor]
    labels: Tensor  # bool (b, C)
    position: Tensor  # (b,)
    rows: OwnRows


@dataclass(frozen=True)
class Decision:
    """What the optimizer batch is trained towards."""

    exchanged: Exchanged
    columns: Tensor  # (n, K): of this rank's labels
    removed: Tensor  # bool (M, n): of this rank's labels
    candidates: Tensor  # int64 (M, C)
    targets: tuple[Targets, ...]


class TrainStep:
    """Trains a method's network, optimizer batch by optimizer batch."""

    def __init__(
        self, method: Method, network: Network, world: World, seed: int, stopwatch: Stopwatch, capacity: int
    ) -> None:
        train = method.config.train
        network.compute_dtype = COMPUTE_DTYPES[train.precision]
        network.to(world.device, torch.float64 if train.precision == "float64" else torch.float32)
        self._loss_scale = LossScale(network.parameters()) if train.precision == "float16" else None
        self._guard = FiniteGuard(world, self._loss_scale, train.non_finite == "skip")
        self.engine = make_engine(Passes(network, method, stopwatch), world, method.config)
        self.method, self._world, self._seed, self._stopwatch = method, world, seed, stopwatch
        self.network = network
        self.sums = StepSums(method.weights(network), tuple(mask.name for mask in method.masks))
        """What is summed up over steps."""
        self.failure: DataError | None = None
        """Why this rank asked all to end."""
        live = [MODALITIES[mask.modality] in network.modalities for mask in method.masks]
        self._live_masks = None if all(live) else torch.tensor(live, device=world.device)[:, None]  # (M, 1)
        self._chooses = method.chooses(method.config)
        self._micro_batch = train.micro_batch_size
        self._capacity = capacity
        self._categories = len(method.manifest.categories)
        self._sums = torch.zeros(len(self.sums), dtype=torch.float64, device=world.device)

    def __call__(self, batch: Batch, moment: Moment, learning_rate: float, ask: Ask = Ask.NOTHING) -> StepReport:
        """Collective: one optimizer step over the batch that all ranks hold together.

        Raises NonFiniteError on every rank, before the optimizer step, for a feature or a gradient that is not finite,
        unless the config says to skip such steps.
        """
        seed_step(self._seed, moment.step, self._world.rank)
        self.network.train()
        positives = int(np.count_nonzero(batch.labels.numpy()))
        if positives > self._capacity:
            self.failure = DataError(
                f"the {len(batch.labels)} videos {batch.keys[0]} … {batch.keys[-1]} have more than the "
                f"{self._capacity} labels that the manifest promises at most; pack the data set again"
            )
            ask = Ask.FAIL
        here = self._upload(batch)
        parts = self._parts(batch)
        learned = Learned(torch.zeros_like(self._sums), [])
        ranks = self.method.columns > 0
        if len(parts) == 1:  # one micro-batch: both passes share what they have in common
            with self.engine.part(last=True):
                outputs, scored = self._forward(here, parts[0], learn=True, score=ranks)
                decision = self._decide(batch, here, scored, moment, ask)
                self._learn(outputs, decision, parts[0], learned)
        else:
            decision = self._decide(batch, here, self._ranking_pass(here, parts) if ranks else (), moment, ask)
            for number, part in enumerate(parts):
                with self.engine.part(last=number == len(parts) - 1):
                    outputs, _ = self._forward(here, part, learn=True, score=False)
                    self._learn(outputs, decision, part, learned)
        summary = self._read_back(decision, self.engine.clip_gradient())
        if summary.repeated:
            raise RuntimeError(f"step {moment.step}: two ranks hold the same video; the order of the data is broken")
        if self._guard.lets_pass(batch, summary, learned, moment.step):
            learned.sums[self.sums.videos + 1 :] += decision.removed.sum(1)
            self._sums += learned.sums
            self.method.remember(batch, decision.columns[:positives], decision.exchanged.rows, moment)
            self.engine.step(learning_rate)
            return self._report(batch, summary)
        self.engine.skip()
        nothing = np.zeros(0, dtype=np.int64)
        looked_at = np.zeros_like(summary.candidates)
        norm, sums = summary.gradient_norm, summary.sums
        return StepReport(summary.ask, summary.videos, nothing, nothing, (), looked_at, norm, sums, skipped=True)

    def take_sums(self) -> Tensor:
        """This rank's sums since the last call, float64 (S,): see `sums`."""
        sums, self._sums = self._sums, torch.zeros_like(self._sums)
        return sums

    def weights(self) -> dict[str, Tensor]:
        """Collective: the network's weights by name, whole, on every rank."""
        return {name.removeprefix(PREFIX): tensor for name, tensor in self.engine.weights().items()}

    def state(self) -> dict[str, Any]:
        """Collective: what brings the step back, on rank 0: weights and optimizer state by the network's names, each
        rank's sums, the loss's scale, and how many steps were skipped last."""
        state = self.engine.full_state()
        return {
            **{
                kind: {name.removeprefix(PREFIX): value for name, value in state[kind].items()} for kind in ENGINE_STATE
            },
            "sums": gather_rows(self._sums, self._world).cpu(),  # (ranks, S)
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
        largest, size = micro_batches(batch.total, self._world.size, self._micro_batch)
        return [slice(start, start + size) for start in range(0, largest, size)]

    def _upload(self, batch: Batch) -> Upload:
        device = self._world.device
        rows = own_rows(batch.labels, batch.position, self._capacity)
        return Upload(
            {name: tensor.to(device, non_blocking=True) for name, tensor in batch.features.items()},
            batch.labels.to(device, non_blocking=True),
            batch.position.to(device, non_blocking=True),
            rows.to(device),
        )

    def _forward(self, here: Upload, part: slice, learn: bool, score: bool) -> tuple[Any, tuple[Tensor, ...]]:
        features = {name: tensor[part] for name, tensor in here.features.items()}
        outputs, scored = self.engine.forward(features, learn, score)
        return outputs, scored

    def _ranking_pass(self, here: Upload, parts: list[slice]) -> tuple[Tensor, ...]:
        """The scores of all micro-batches, before the first of them learns: each (b, C)."""
        with torch.no_grad():
            each = [self._forward(here, part, learn=False, score=True)[1] for part in parts]
        return tuple(torch.cat(pieces) for pieces in zip(*each, strict=True))

    def _decide(self, batch: Batch, here: Upload, scored: tuple[Tensor, ...], moment: Moment, ask: Ask) -> Decision:
        """Collective: what all ranks know, which labels the method takes out, and the targets."""
        method, rows = self.method, here.rows
        with self._stopwatch.span("ranking"):
            columns = rows.place.new_zeros((len(rows.place), 0), dtype=torch.float32)
            if method.columns:
                columns = method.columns_of(*(rows.take(values.detach()) for values in scored))
            finite = torch.stack(
                [f.flatten(1).sum(1, dtype=torch.float32).isfinite() for f in here.features.values()]
            ).all(0)
        with self._stopwatch.span("exchange"):
            sent = columns if self._chooses else None
            exchanged = exchange_rows(
                rows, sent, finite, here.position, self._sums, ask=ask, categories=self._categories, world=self._world
            )
        with self._stopwatch.span("ranking"):
            masks = len(method.masks)
            candidates = rows.place.new_zeros((masks, self._categories))
            removed = rows.valid.new_zeros((masks, len(rows.place)))
            whole = None
            if self._chooses:
                choice = method.choose(exchanged.rows, moment)
                candidates, removed = choice.candidates, exchanged.own(choice.masks, self._world.rank)
                whole = rows.put(removed, here.labels.shape)
            elif (whole := method.masks_of(batch, here.labels, moment)) is not None:
                removed = torch.stack([rows.take(mask & here.labels) for mask in whole])
            if whole is None:
                whole = here.labels.new_zeros((masks, *here.labels.shape))
            if self._live_masks is not None:
                removed, whole = removed & self._live_masks, whole & self._live_masks[:, :, None]
            targets = method.targets(batch, here.labels, whole, moment)
        return Decision(exchanged, columns, removed, candidates, targets)

    def _learn(self, outputs: Any, decision: Decision, part: slice, learned: Learned) -> None:
        """Adds one micro-batch's gradient of the loss over the whole optimizer batch."""
        terms = self.method.losses(self.network, outputs, tuple(t.part(part) for t in decision.targets))
        weights = self.sums.weights
        if terms.keys() != weights.keys():
            raise ValueError(f"the loss has the terms {', '.join(terms)}, and weights for {', '.join(weights)}")
        videos = decision.exchanged.videos.clamp(min=1)  # a batch of which no video can be used
        loss = sum(weight * terms[name].sum() for name, weight in weights.items()) / videos
        self.engine.backward(loss if self._loss_scale is None else self._loss_scale.scale(loss))
        each = torch.stack([terms[name].detach() for name in weights])  # (terms, b)
        learned.sums[: self.sums.videos] += each.sum(1, dtype=torch.float64)
        learned.sums[self.sums.videos] += each.shape[1]
        learned.finite.append(each.isfinite().all(0))

    def _read_back(self, decision: Decision, norm: Tensor) -> StepSummary:
        """The step's one read-back from the GPU."""
        exchanged, shape = decision.exchanged, decision.candidates.shape
        flags = [exchanged.ask, exchanged.bad_position, exchanged.repeated, exchanged.videos]
        head = torch.stack([f.to(torch.int64) for f in flags])
        numbers = torch.cat([norm.double().view(1), exchanged.sums]).view(torch.int64)  # float64, bit for bit
        masks = decision.removed.flatten().to(torch.int64)
        values = torch.cat([head, numbers, decision.candidates.flatten(), masks]).cpu()
        head, numbers, candidates, removed = values.split([len(flags), len(numbers), shape.numel(), len(masks)])
        ask, bad_position, repeated, videos = head.tolist()
        gradient_norm, *sums = numbers.view(torch.float64).tolist()
        return StepSummary(
            Ask(ask), bad_position, bool(repeated), gradient_norm, videos,
            (removed.view(decision.removed.shape) > 0).numpy(), candidates.view(shape).numpy(), np.array(sums),
        )  # fmt: skip

    def _report(self, batch: Batch, summary: StepSummary) -> StepReport:
        mask, row = np.nonzero(summary.removed)
        place = np.flatnonzero(batch.labels.numpy())[row]
        video, category = np.divmod(place, self._categories)
        keys = tuple(batch.keys[v] for v in video.tolist())
        told = summary.candidates, summary.gradient_norm, summary.sums
        return StepReport(summary.ask, summary.videos, mask, category, keys, *told)


def micro_batches(videos: int, ranks: int, most: int | None) -> tuple[int, int]:
    """PURE: how an optimizer batch of so many videos is cut: how many the rank with the most of them has, and how many
    of those a micro-batch has if there may be so many (None: all)."""
    largest = -(-videos // ranks)
    return largest, min(most or largest, largest)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's default generators, which dropout uses, for one step of one rank.

    A step's random numbers depend on nothing before it, so a resumed run repeats them without saved states.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))
