"""The one collective of a step: every rank's positives become the whole optimizer batch's rows, on every rank.

It also carries what all ranks must agree on before they go on: how many videos the batch holds, whether somebody asks
for a checkpoint or a stop, and whether somebody met a value that is not finite. A rank sends `capacity + 1` pairs of
int64, the first of them its header; unused pairs are padding, so shapes never depend on the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
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


def own_rows(labels: Tensor, position: Tensor) -> OwnRows:
    """The positives of weak labels bool (b, C) on the CPU, whose videos lie at `position` (b,) in the batch."""
    flat = np.flatnonzero(labels.numpy())  # some four times as fast as torch's nonzero on few positives of many
    video, category = (torch.from_numpy(index) for index in np.divmod(flat, labels.shape[1]))
    return OwnRows(video, category, position[video])


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
    capacity: int  # pairs of a rank, without its header

    def own(self, removed: Removal, rank: int, count: int) -> Removal:
        """The part of a removal by row that belongs to a rank's `count` positives, in the order it sent them."""

        def mine(mask: Tensor) -> Tensor:
            as_sent = mask.new_zeros(self.ranks * self.capacity).scatter_(0, self.order, mask)
            return as_sent.view(self.ranks, self.capacity)[rank, :count]

        return Removal(mine(removed.audio), mine(removed.visual))


def row_capacity(batch_size: int, ranks: int, max_labels: int) -> int:
    """The most rows that a rank can have, if its videos have at most `max_labels` labels each."""
    return -(-batch_size // ranks) * max_labels


def sent_bytes(capacity: int, ranking: bool) -> int:
    """What a rank sends at a step, and receives from each rank; `ranking` as the method's `needs_ranking`."""
    return 16 * _pairs(capacity, ranking)


def _pairs(capacity: int, ranking: bool) -> int:
    return 1 + (capacity if ranking else 0)


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
    return unpack_rows(gather_rows(pairs, world), categories, keep_padding=world.device.type == "cuda")


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
    pairs = torch.full((_pairs(capacity, losses is not None), 2), -1, dtype=torch.int64, device=finite.device)
    pairs[0, 0] = (int(ask) << 32) | len(position)
    pairs[0, 1] = torch.where(finite, LOW, position).min() if len(position) else LOW
    if losses is not None:
        count = len(own.category)
        if count > capacity:
            raise RuntimeError(f"{count} labels in a rank's part of a batch; the manifest promises at most {capacity}")
        pairs[1 : count + 1, 0] = (own.category << 32) | own.position
        pairs[1 : count + 1, 1] = (_bits(losses[0]) << 32) | _bits(losses[1])
    return pairs


def unpack_rows(gathered: Tensor, categories: int, *, keep_padding: bool) -> Exchanged:
    """PURE: what the ranks' pairs (W, 1 + capacity, 2) mean. The rows' order does not depend on who sent them.

    With `keep_padding`, unused pairs become rows too, after all others. On a GPU, to leave them out would be to wait
    for it; on a CPU they would be most of what is sorted.
    """
    header, body = gathered[:, 0], gathered[:, 1:].reshape(-1, 2)
    padding = body[:, 0] < 0
    if keep_padding:
        key, order = torch.where(padding, categories << 32, body[:, 0]).sort(stable=True)
        value = body[order, 1]
    else:
        kept = (~padding).nonzero()[:, 0]
        key, order = body[kept, 0].sort(stable=True)
        value, order = body[kept, 1][order], kept[order]
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
        capacity=gathered.shape[1] - 1,
    )


def _bits(loss: Tensor) -> Tensor:
    """The 32 bits of float32 losses as non-negative int64."""
    return loss.to(torch.float32).contiguous().view(torch.int32).to(torch.int64) & LOW


def _floats(bits: Tensor) -> Tensor:
    return (bits & LOW).to(torch.int32).view(torch.float32)
