"""Bytes and time of a step's exchange and ranking, beside an all-gather of whole loss matrices and a sort of them.

    python tools/bench_exchange.py [--ranks 1 2] [--rounds 9] [--largest 65536] [--no-dense]

Each rank is a process of its own (gloo) with one thread, and holds its share of a batch of random labels and losses.
packing: labels to rows to the tensor that is sent; ranking: received tensor to the removal of the rank's own labels.
The dense way gathers both losses and the labels of all videos and sorts each category; that it removes the same labels
is checked. CPU: the time in which the rank's thread had a processor, which other work on the machine disturbs less.
Medians of rounds, on rank 0.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from bench_train import describe
from torch import Tensor

from jomold_dist.command_line import command, command_parser
from jomold_dist.denoising.exchange import (
    OwnRows,
    own_rows,
    pack_rows,
    row_capacity,
    sent_bytes,
    unpack_rows,
)
from jomold_dist.denoising.removal import Removal, remove_rows
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import World, barrier, gather_rows, open_world
from jomold_dist.tables import markdown_table

SUMS = 7  # that travel with a step of jomold
DENSE_SECONDS = 5.0  # a dense round that takes longer is not repeated


@dataclass(frozen=True)
class Size:
    """An optimizer batch: videos, categories, labels over all videos, and the most of one video."""

    videos: int
    categories: int
    positives: int
    max_labels: int


SIZES = (
    Size(128, 25, 204, 7),
    Size(4096, 25, 6_500, 7),
    Size(16_384, 527, 44_000, 15),
    Size(65_536, 527, 177_000, 15),
)


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of ranks (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds, after two that are not (default: 9)")
    parser.add_argument("--largest", type=int, default=65_536, help="leave out batches of more videos")
    parser.add_argument("--no-dense", action="store_true", help="leave the dense way out, which takes minutes and GBs")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.update(MASTER_ADDR="127.0.0.1")
    sizes = [size for size in SIZES if size.videos <= arguments.largest]
    rows = []
    for ranks in arguments.ranks:
        os.environ["MASTER_PORT"] = free_port()
        queue = mp.get_context("spawn").SimpleQueue()
        mp.spawn(bench, (ranks, sizes, arguments.rounds, not arguments.no_dense, queue), nprocs=ranks)
        rows += [queue.get() for _ in sizes]
    rows.sort(key=lambda row: int(row[0]))
    torch.set_num_threads(1)
    with open_world("cpu") as world:
        print(f"device: {describe(world)} a rank, torch {torch.__version__}")
    columns = ["videos", "categories", "positives", "ranks", "sent a rank", "packing ms", "gathering ms", "ranking ms"]
    columns.append("packing + ranking, CPU ms")
    dense = ["dense: sent a rank", "gathering ms", "ranking ms"]
    print(markdown_table(columns + ([] if arguments.no_dense else dense), rows))


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def bench(rank: int, ranks: int, sizes: list[Size], rounds: int, dense: bool, queue: SimpleQueue[list[str]]) -> None:
    """One rank's process: takes the rounds of every size; rank 0 puts a table's row for each."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    os.environ.update(zip(names, map(str, (rank, ranks, rank, ranks)), strict=True))
    torch.set_num_threads(1)
    with open_world("cpu") as world:
        for size in sizes:
            row = bench_size(size, world, rounds, dense)
            if world.is_main:
                queue.put(row)


def bench_size(size: Size, world: World, rounds: int, dense: bool) -> list[str]:
    """Collective: one size's row of the table."""
    random = np.random.default_rng(0)  # every rank draws the whole batch and keeps its share
    labels = torch.from_numpy(random_labels(random, size))
    audio, visual = (torch.from_numpy(random.random(labels.shape, dtype=np.float32)) for _ in range(2))
    ratios = torch.full((size.categories,), 0.2, dtype=torch.float64)
    position = torch.arange(world.rank, size.videos, world.size)
    labels, audio, visual = labels[position], audio[position], visual[position]
    finite = torch.ones(len(position), dtype=torch.bool)
    capacity = row_capacity(size.videos, world.size, size.max_labels)
    sums = torch.zeros(SUMS, dtype=torch.float64)

    def pack() -> tuple[OwnRows, Tensor]:
        own = own_rows(labels, position, capacity)
        losses = torch.stack([own.take(audio), own.take(visual)], dim=1)
        return own, pack_rows(own, losses, finite, position, sums, ask=Ask.NOTHING)

    def rank_all(gathered: Tensor) -> Tensor:
        exchanged = unpack_rows(gathered, 2, size.categories, len(sums))
        return exchanged.own(torch.stack(remove_rows(exchanged.rows, ratios, ratios)), world.rank)

    seconds: list[list[float]] = []
    for _ in range(rounds + 2):
        barrier(world)
        (own, pairs), packing, packing_busy = timed(pack)
        barrier(world)
        gathered, gathering, _ = timed(lambda pairs: gather_rows(pairs, world), pairs)
        removed, ranking, ranking_busy = timed(rank_all, gathered)
        seconds.append([packing, gathering, ranking, packing_busy + ranking_busy])
    row = [f"{size.videos}", f"{size.categories}", f"{size.positives}", f"{world.size}"]
    row += [amount(sent_bytes(capacity, columns=2, sums=SUMS)), *medians(seconds[2:])]
    if dense:
        found, times = bench_dense(labels, audio, visual, ratios, world, rounds)
        mine = own.put(removed, labels.shape)
        if not all(torch.equal(a[world.rank :: world.size], b) for a, b in zip(found, mine, strict=True)):
            raise RuntimeError(f"{size}: the dense way removes other labels")
        row += [amount(9 * labels.numel()), *medians(times)]
    return row


def bench_dense(
    labels: Tensor, audio: Tensor, visual: Tensor, ratios: Tensor, world: World, rounds: int
) -> tuple[Removal, list[list[float]]]:
    """Collective: the dense way's removal of the whole batch, and the seconds of its rounds."""
    seconds: list[list[float]] = []
    while len(seconds) < rounds and sum(sum(times) for times in seconds) < DENSE_SECONDS:
        barrier(world)
        whole, gathering, _ = timed(lambda: [in_batch_order(gather_rows(t, world)) for t in (labels, audio, visual)])
        removed, ranking, _ = timed(lambda whole: remove_dense(whole[0], whole[1], whole[2], ratios), whole)
        seconds.append([gathering, ranking])
        slowest = torch.tensor(seconds[-1])
        seconds[-1] = gather_rows(slowest, world).amax(0).tolist()  # so that all ranks stop together
    return removed, seconds


def in_batch_order(gathered: Tensor) -> Tensor:
    """Whole matrices by rank (W, b, C), of ranks that hold every W-th video -> (B, C)."""
    return gathered.transpose(0, 1).flatten(0, 1)


def remove_dense(labels: Tensor, audio: Tensor, visual: Tensor, ratios: Tensor) -> Removal:
    """Algorithm 1 on matrices (B, C)."""
    count = labels.sum(0)
    candidates = (ratios * count).to(torch.int64)
    ranks = []
    for loss in (audio, visual):
        order = loss.masked_fill(~labels, torch.inf).argsort(dim=0, stable=True)
        ranks.append(torch.empty_like(order).scatter_(0, order, torch.arange(len(order))[:, None].expand_as(order)))
    high = [labels & (rank >= count - candidates) for rank in ranks]
    low = [rank < candidates for rank in ranks]
    return Removal(high[0] & low[1], high[1] & low[0])


def random_labels(random: np.random.Generator, size: Size) -> np.ndarray:
    """bool (videos, categories) with about so many positives, none of a video above `max_labels`."""
    labels = random.random((size.videos, size.categories)) < size.positives / size.videos / size.categories
    labels[labels.sum(1) > size.max_labels] = False
    return labels


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What the work gives, its seconds, and those in which this thread had a processor."""
    start, busy = time.perf_counter(), time.thread_time()
    found = work(*arguments)
    return found, time.perf_counter() - start, time.thread_time() - busy


def medians(seconds: list[list[float]]) -> list[str]:
    """The median of each column, in milliseconds."""
    return [f"{1000 * statistics.median(column):.1f}" for column in zip(*seconds, strict=True)]


def amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


if __name__ == "__main__":
    sys.exit(main())
