"""Time and memory of finding out who reads what: the manifest, and the plan for any rank at any step.

    python tools/bench_plan.py [--videos 10000000] [--shards 20000] [--categories 527] [--ranks 1024]

Writes the manifest of such a data set (no shards) and measures in a fresh process, from after the imports on: seconds,
and the highest resident memory so far. A step's blocks are what the rank reads for it, their orders included.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from bench_train import processor

from jomold_dist.command_line import command, command_parser
from jomold_dist.data.format.manifest import MANIFEST_NAME, FeatureSpec, Manifest, ShardInfo, SplitInfo
from jomold_dist.data.format.records import label_slot, record_layout, shard_bytes
from jomold_dist.data.reading.plan import EpochPlan, check_world_size, group_blocks
from jomold_dist.data.reading.shares import rank_positions, steps_per_epoch
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.labels import CategorySet
from jomold_dist.tables import markdown_table

T = TypeVar("T")
STREAMS_PER_RANK, BLOCK, DRAWS = 2, 32, 50
MAX_LABELS, LABELS_PER_VIDEO = 15, 2.7  # as in AudioSet


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--videos", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=20_000)
    parser.add_argument("--categories", type=int, default=527)
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=65_536, help="videos in an optimizer batch (default: 65536)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # the fresh process's own call
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.ranks, arguments.batch)
        return
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / MANIFEST_NAME).open("w", encoding="utf-8") as file:
            file.writelines(large_manifest(arguments.videos, arguments.shards, arguments.categories).lines())
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--measure", folder], check=True)


def measure(folder: Path, ranks: int, batch: int) -> None:
    """Take the times and print the table."""
    forget_peak()
    before, rows = resident_megabytes("VmRSS"), []

    def take(what: str, work: Callable[[], T]) -> T:
        start, busy = time.perf_counter(), time.process_time()
        found = work()
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        rows.append([what, f"{seconds:.3f}", f"{busy:.3f}", f"{resident_megabytes('VmHWM') - before:.0f}"])
        return found

    manifest = take("reading the manifest", lambda: read_manifest(folder))
    split = manifest.split("train")
    take("its digest", lambda: manifest.digest)
    take("its positives per category", lambda: split.positives)
    streams, steps = STREAMS_PER_RANK * ranks, steps_per_epoch(split.videos, batch)
    check_world_size(streams, ranks)

    def step_of(rank: int, epoch: int, step: int) -> None:
        plan = EpochPlan(split.shard_sizes, streams, BLOCK, seed=0, epoch=epoch)
        positions = rank_positions(step, batch, split.videos, rank, ranks)
        plan.locate(positions)
        stream, block, _ = plan.blocks(positions)
        for s, b, _ in group_blocks(stream, block):
            plan.read_block(s, b)

    take("plan, and the first step of rank 0", lambda: step_of(0, 0, 0))
    take("plan, and the last step of the last rank", lambda: step_of(ranks - 1, 1, steps - 1))
    random = np.random.default_rng(0)
    taken = []
    for epoch in range(2, 2 + DRAWS):
        start, busy = time.perf_counter(), time.process_time()
        step_of(int(random.integers(ranks)), epoch, int(random.integers(steps)))
        taken.append((time.perf_counter() - start, time.process_time() - busy))
    peak = f"{resident_megabytes('VmHWM') - before:.0f}"
    for name, of in (
        (f"plan, and any step of any rank (median of {DRAWS})", statistics.median),
        ("... (slowest)", max),
    ):
        rows.append([name, *(f"{of(column):.3f}" for column in zip(*taken, strict=True)), peak])
    size = (folder / MANIFEST_NAME).stat().st_size / 1e6
    print(f"{split.videos} videos, {len(split.shards)} shards, {len(manifest.categories)} categories,")
    print(f"{MANIFEST_NAME} of {size:.0f} MB;")
    print(f"{ranks} ranks, {streams} streams, batch {batch}; {processor()}")
    print(markdown_table(["what", "seconds", "CPU seconds", "peak MB beyond the imports"], rows))


def large_manifest(videos: int, shards: int, categories: int) -> Manifest:
    """The manifest of a large data set: LLP's pooled features in float16, categories as uneven as 1, 1/2, 1/3, ..."""
    features = {k: FeatureSpec((10, n), "float16") for k, n in (("audio", 128), ("frames", 2048), ("motion", 512))}
    layout = record_layout(features, None, label_slot(MAX_LABELS, categories))
    share = 1 / np.arange(1, categories + 1)
    random, infos = np.random.default_rng(0), []
    for number, size in enumerate(np.diff(np.arange(shards + 1) * videos // shards).tolist()):
        drawn = random.multinomial(int(LABELS_PER_VIDEO * size), share / share.sum())
        positives = np.minimum(drawn, size).astype(np.int32)
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        infos.append(
            ShardInfo(f"train/shard-{number:06d}.tar", size, shard_bytes(size, layout.bytes), digest, positives)
        )
    names = CategorySet(tuple(f"category {number}" for number in range(categories)))
    return Manifest(
        "large", 10, names, features, {"train": SplitInfo("train", MAX_LABELS, False, layout, tuple(infos))}
    )


def forget_peak() -> None:
    """Makes the kernel count the peak of resident memory from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_megabytes(name: str) -> float:
    """VmRSS (now) or VmHWM (at its peak) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.exit(main())
