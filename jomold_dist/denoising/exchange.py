"""The one collective of a step: every rank's positives become the whole optimizer batch's rows, on every rank.

A message is a header and then `capacity` rows of 1 + ⌈K/2⌉ int64, unused ones padding: no shape depends on the data.
The header carries what all ranks must agree on before they go on: how many videos the batch holds, whether somebody
asks for a checkpoint or a stop, and whether somebody met a value that is not finite. Behind it come sums of the steps
before, such as losses, that somebody wants to know over all ranks and that are worth no collective of their own.

Legend: b videos of a rank, C categories, n = capacity, N = W·n rows of all ranks, K columns, S sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jomold_dist.denoising.removal import Rows
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import World, gather_rows

LOW = (1 << 32) - 1
NOBODY = (1 << 62) - 1  # above the key of every row


class OwnRows(NamedTuple):
    """This rank's positives, padded to its capacity: where each lies among the (b, C) labels, its category, and its
    video's position in the optimizer batch. Padding lies at b·C, one past the labels."""

    place: Tensor  # (n,) int64
    category: Tensor  # (n,) int64
    position: Tensor  # (n,) int64
    valid: Tensor  # (n,) bool

    def to(self, device: torch.device) -> OwnRows:
        return OwnRows(*(column.to(device, non_blocking=True) for column in self))

    def take(self, values: Tensor) -> Tensor:
        """The values (b, C) of the rows, 0 for padding: (n,)."""
        return torch.cat([values.reshape(-1), values.new_zeros(1)])[self.place]

    def put(self, masks: Tensor, shape: torch.Size) -> Tensor:
        """Masks by row, bool (M, n), as bool (M, b, C)."""
        flat = masks.new_zeros((len(masks), shape.numel() + 1))
        flat.scatter_(1, self.place.expand(len(masks), -1), masks)
        return flat[:, :-1].view(len(masks), *shape)


def own_rows(labels: Tensor, position: Tensor, capacity: int) -> OwnRows:
    """The positives of weak labels bool (b, C) on the CPU, whose videos lie at `position` (b,) in the batch. What is
    beyond the capacity is left out; `row_capacity` has room for all."""
    place = np.full(capacity, labels.numel(), dtype=np.int64)
    found = np.flatnonzero(labels.numpy())[:capacity]
    place[: len(found)] = found
    valid = torch.from_numpy(place < labels.numel())
    video, category = (torch.from_numpy(index) for index in np.divmod(place, labels.shape[1]))
    positions = torch.cat([position, position.new_zeros(1)])[video]
    return OwnRows(torch.from_numpy(place), category, positions, valid)


@dataclass(frozen=True)
class Exchanged:
    """What every rank knows after the exchange. Scalars are tensors: reading them back is left to the step."""

    rows: Rows
    videos: Tensor  # () int64: videos in the whole optimizer batch
    ask: Tensor  # () int64: the most urgent Ask of any rank
    bad_position: Tensor  # () int64: lowest position with a value that is not finite, or -1
    repeated: Tensor  # () bool: a label came from two ranks, so a video was served twice
    sums: Tensor  # (S,) float64: over all ranks
    order: Tensor  # (N,) int64: row i of `rows` came at place order[i] of the gathered ones
    ranks: int

    def own(self, masks: Tensor, rank: int) -> Tensor:
        """The part of masks by row, bool (M, N), that belongs to a rank's rows, in the order it sent them: (M, n)."""
        as_sent = torch.zeros_like(masks).scatter_(1, self.order.expand(len(masks), -1), masks)
        return as_sent.view(len(masks), self.ranks, -1)[:, rank]


def row_capacity(batch_size: int, ranks: int, max_labels: int) -> int:
    """The most rows that a rank can have, if its videos have at most `max_labels` labels each."""
    return -(-batch_size // ranks) * max_labels


def sent_bytes(capacity: int, columns: int, sums: int) -> int:
    """What a rank sends at a step, and receives from each rank, with a method of so many columns and so many sums."""
    return 8 * _width(columns) * _length(capacity, columns, sums)


def _width(columns: int) -> int:
    return max(2, 1 + -(-columns // 2))


def _length(capacity: int, columns: int, sums: int) -> int:
    return _header(columns, sums) + (capacity if columns else 0)


def _header(columns: int, sums: int) -> int:
    return 1 + -(-sums // _width(columns))


def exchange_rows(
    own: OwnRows,
    columns: Tensor | None,
    finite: Tensor,
    position: Tensor,
    sums: Tensor,
    *,
    ask: Ask,
    categories: int,
    world: World,
) -> Exchanged:
    """Collective: all ranks must call it at every step, also with no videos. Arguments as in `pack_rows`."""
    message = pack_rows(own, columns, finite, position, sums, ask=ask)
    count = 0 if columns is None else columns.shape[1]
    return unpack_rows(gather_rows(message, world), count, categories, len(sums))


def pack_rows(
    own: OwnRows, columns: Tensor | None, finite: Tensor, position: Tensor, sums: Tensor, *, ask: Ask
) -> Tensor:
    """PURE: what a rank sends, int64 (1 + ⌈S/width⌉ + n, width), with a width of 1 + ⌈K/2⌉ and at least 2.

    `columns` (n, K) are the numbers of the own rows, None where the method has none (then no rows travel). `finite`
    (b,) tells which of the rank's videos are sound, and `position` (b,) where they lie in the batch. `sums` (S,) are
    float64.
    """
    count = 0 if columns is None else columns.shape[1]
    header, length = _header(count, len(sums)), _length(len(own.place), count, len(sums))
    message = torch.full((length, _width(count)), -1, dtype=torch.int64, device=finite.device)
    message[1:header].view(-1)[: len(sums)] = sums.view(torch.int64)
    message[0, :1].fill_((int(ask) << 32) | len(position))  # to assign a number would be to wait for the GPU
    message[0, 1:2].fill_(LOW)
    if len(position):
        message[0, 1] = torch.where(finite, LOW, position).min()
    if columns is not None:
        message[header:, 0] = torch.where(own.valid, (own.category << 32) | own.position, -1)
        bits = _bits(columns)
        if count % 2:
            bits = torch.cat([bits, torch.zeros_like(bits[:, :1])], dim=1)
        message[header:, 1 : 1 + bits.shape[1] // 2] = (bits[:, ::2] << 32) | bits[:, 1::2]
    return message


def unpack_rows(gathered: Tensor, columns: int, categories: int, sums: int) -> Exchanged:
    """PURE: what the ranks' messages (W, ·, ·) mean. The rows' order, by category and position with padding last, does
    not depend on who sent them."""
    first = _header(columns, sums)
    header, body = gathered[:, 0], gathered[:, first:].reshape(-1, gathered.shape[2])
    each = gathered[:, 1:first].reshape(len(gathered), -1)[:, :sums].contiguous().view(torch.float64)  # (W, S)
    key, order = torch.where(body[:, 0] < 0, NOBODY, body[:, 0]).sort(stable=True)
    valid = key != NOBODY
    packed = body[order, 1 : 1 + -(-columns // 2)]
    bits = torch.stack([packed >> 32, packed], dim=2).flatten(1)[:, :columns]
    rows = Rows(key & LOW, (key >> 32).clamp(max=categories - 1), _floats(bits), valid)
    worst = header[:, 1].min()
    return Exchanged(
        rows=rows,
        videos=(header[:, 0] & LOW).sum(),
        ask=(header[:, 0] >> 32).max(),
        bad_position=torch.where(worst == LOW, -1, worst),
        repeated=((key[1:] == key[:-1]) & valid[1:]).any(),
        sums=each.sum(0),
        order=order,
        ranks=len(gathered),
    )


def _bits(numbers: Tensor) -> Tensor:
    """The 32 bits of float32 numbers as non-negative int64."""
    return numbers.to(torch.float32).contiguous().view(torch.int32).to(torch.int64) & LOW


def _floats(bits: Tensor) -> Tensor:
    return (bits & LOW).to(torch.int32).view(torch.float32)
