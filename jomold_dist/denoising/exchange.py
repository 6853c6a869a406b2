"""The one collective of a step: every rank's positives become the whole optimizer batch's rows, on every rank.

It also carries what all ranks must agree on before they go on: how many videos the batch holds, whether somebody asks
for a checkpoint or a stop, and whether somebody met a value that is not finite. A rank sends `capacity + 1` pairs of
int64, the first of them its header; unused pairs are padding, so shapes never depend on the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from jomold_dist.denoising.removal import Removal, Rows
from jomold_dist.distributed.world import World, gather_rows

LOW = (1 << 32) - 1


class Ask(IntEnum):
    """What a rank asks of all at the end of a step. The most urgent counts."""

    NOTHING = 0
    SAVE = 1
    """A checkpoint."""
    STOP = 2
    """A checkpoint, and to end."""
    FAIL = 3
    """To end with an error that the rank has met."""


class OwnRows(NamedTuple):
    """This rank's positives: which of its videos, which category, and the video's position in the optimizer batch."""

    video: Tensor  # (n,) int64
    category: Tensor  # (n,) int64
    position: Tensor  # (n,) int64


@dataclass(frozen=True)
class Exchanged:
    """What every rank knows after the exchange. Scalars are tensors: reading them back is left to the step."""

    rows: Rows
    videos: Tensor  # () int64: videos in the whole optimizer batch
    ask: Tensor  # () int64: the most urgent Ask of any rank
    bad_position: Tensor  # () int64: lowest position with a value that is not finite, or -1
    repeated: Tensor  # () bool: a label came from two ranks, so a video was served twice
    order: Tensor  # (N,) int64: row i of `rows` came at place order[i] of the gathered pairs
    ranks: int

    def own(self, removed: Removal, rank: int, count: int) -> Removal:
        """The part of a removal by row that belongs to a rank's `count` positives, in the order it sent them."""

        def mine(mask: Tensor) -> Tensor:
            as_sent = torch.empty_like(mask).scatter_(0, self.order, mask)
            return as_sent.view(self.ranks, -1)[rank, :count]

        return Removal(mine(removed.audio), mine(removed.visual))


def exchange_rows(
    own: OwnRows,
    losses: tuple[Tensor, Tensor] | None,
    finite: Tensor,
    position: Tensor,
    *,
    ask: Ask,
    capacity: int,
    categories: int,
    world: World,
) -> Exchanged:
    """Collective: all ranks must call it at every step, also with no videos. Arguments as in `pack_rows`."""
    pairs = pack_rows(own, losses, finite, position, ask=ask, capacity=capacity)
    return unpack_rows(gather_rows(pairs, world), categories)


def pack_rows(
    own: OwnRows,
    losses: tuple[Tensor, Tensor] | None,
    finite: Tensor,
    position: Tensor,
    *,
    ask: Ask,
    capacity: int,
) -> Tensor:
    """PURE: what a rank sends, int64 (1 + capacity, 2).

    `losses` are the audio and visual losses (n,) of the own rows, None where the method ranks nothing (then no rows
    travel). `finite` (b,) tells which of the rank's videos are sound, and `position` (b,) where they lie in the batch.
    `capacity` is the most rows a rank can have, the same on every rank.
    """
    pairs = torch.full((1 + (capacity if losses is not None else 0), 2), -1, dtype=torch.int64, device=finite.device)
    pairs[0, 0] = (int(ask) << 32) | len(position)
    pairs[0, 1] = torch.where(finite, LOW, position).min() if len(position) else LOW
    if losses is not None:
        count = len(own.category)
        if count > capacity:
            raise RuntimeError(f"{count} labels in a rank's part of a batch; the manifest promises at most {capacity}")
        pairs[1 : count + 1, 0] = (own.category << 32) | own.position
        pairs[1 : count + 1, 1] = (_bits(losses[0]) << 32) | _bits(losses[1])
    return pairs


def unpack_rows(gathered: Tensor, categories: int) -> Exchanged:
    """PURE: what the ranks' pairs (W, 1 + capacity, 2) mean. The rows' order does not depend on who sent them."""
    header, body = gathered[:, 0], gathered[:, 1:].reshape(-1, 2)
    padding = body[:, 0] < 0
    key, order = torch.where(padding, categories << 32, body[:, 0]).sort(stable=True)
    value = body[order, 1]
    rows = Rows(key & LOW, key >> 32, _floats(value >> 32), _floats(value & LOW))
    worst = header[:, 1].min()
    repeated = (key[1:] == key[:-1]) & (rows.category[1:] < categories)
    return Exchanged(
        rows=rows,
        videos=(header[:, 0] & LOW).sum(),
        ask=(header[:, 0] >> 32).max(),
        bad_position=torch.where(worst == LOW, -1, worst),
        repeated=repeated.any(),
        order=order,
        ranks=len(gathered),
    )


def _bits(loss: Tensor) -> Tensor:
    """The 32 bits of float32 losses as non-negative int64."""
    return loss.to(torch.float32).contiguous().view(torch.int32).to(torch.int64) & LOW


def _floats(bits: Tensor) -> Tensor:
    return (bits & LOW).to(torch.int32).view(torch.float32)
