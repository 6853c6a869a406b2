"""How much faster several processes pack, and what packing takes of memory as the rows of labels grow.

    python tools/bench_packing.py [--videos 24000] [--rounds 5] [--jobs 2] [--rows 20000 200000]

Speed: `jomold pack-llp --unlabelled` over features as LLP publishes them (80 x 2048, 10 x 128 and 10 x 512 numbers of
float32 a video; a hundred videos under many names, so that they are in memory), by one process and by several in turn,
each a command of its own from start to end. On a machine that does other things too, the ratio of processor time says
more: that of one process to what the first of several takes, and a share of what the others take.

Memory: the highest resident memory of the first process, and of the largest other, while a split of so many rows of
labels of 527 categories is packed with small features.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from jomold_dist import CategorySet, DatasetWriter, FeatureSpec, Video
from jomold_dist.command_line import command, command_parser
from jomold_dist.commands import pack_llp
from jomold_dist.tables import markdown_table

DISTINCT = 100
LAYOUT = {"vggish": (10, 128), "res152": (80, 2048), "r2plus1d_18": (10, 512)}
CATEGORIES, SMALL = 527, (10, 4)


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--videos", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="processes that are compared with one (default: 2)")
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)  # the calls of fresh processes
    parser.add_argument("--speed", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.speed is not None:
        print(json.dumps(packed(options.speed, options.jobs)))
    elif options.memory is not None:
        print(json.dumps(memory(options.memory, options.jobs)))
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    rows: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_features(Path(folder), options.videos)
        for number in range(options.rounds):
            one, first, _ = fresh("--speed", folder, 1)
            several, own, others = fresh("--speed", folder, options.jobs)
            by_processor = first / (own + others / options.jobs)
            load = os.getloadavg()[0]
            rows.append([number + 1, one, first, several, own, others, one / several, by_processor, load])
    names = ["round", "s, 1 process", "CPU s", f"s, {options.jobs} processes", "CPU s, first", "CPU s, others"]
    print(table([*names, "ratio of s", "ratio of CPU s", "load"], rows))
    middle = [statistics.median(row[place] for row in rows) for place in (1, 6, 7)]
    print(
        f"\n{options.videos / middle[0]:.0f} videos a second by one process; {options.jobs} are {middle[1]:.2f} times "
    )
    print(f"as fast, {middle[2]:.2f} times by processor time (medians of {options.rounds})\n")
    found = [fresh("--memory", str(count), options.jobs) for count in options.rows]
    print(table(["rows", "MB, first process", "MB, largest other", "MB of keys and labels", "s"], found))
    from bench_train import processor  # with torch: the memory of this process would count as that of those it starts

    print(f"\n{processor()}")


def table(names: list[str], rows: list[list[float]]) -> str:
    texts = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return markdown_table(names, texts)


def fresh(what: str, value: str, jobs: int) -> list[float]:
    """What a process of its own finds."""
    call = [sys.executable, __file__, what, value, "--jobs", str(jobs)]
    said = subprocess.run(call, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    numbers: list[float] = json.loads(said.splitlines()[-1])
    return numbers


def write_features(folder: Path, videos: int) -> None:
    rng = np.random.default_rng(0)
    for name, shape in LAYOUT.items():
        (folder / "features" / name).mkdir(parents=True)
        paths = [folder / "features" / name / f"v{number:010d}.npy" for number in range(videos)]
        for number, path in enumerate(paths):
            if number < DISTINCT:
                np.save(path, np.abs(rng.standard_normal(shape)).astype(np.float32))
            else:
                os.link(paths[number % DISTINCT], path)


def packed(folder: Path, jobs: int) -> tuple[float, float, float]:
    """Seconds of packing all features, and processors' seconds of this process and of all others."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        words = ["jomold pack-llp", "--unlabelled", "--features", f"{folder}/features", "--out", f"{out}/set"]
        with patch.object(sys, "argv", [*words, "--jobs", str(jobs)]):
            pack_llp.main()
        seconds = time.monotonic() - begun
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own, others = (used.ru_utime + used.ru_stime for used in usage)
    return seconds, own, others


class LabelledVideos:
    """Videos of random labels, about three each, held as arrays: keys, and which labels they have in bits."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.keys = np.array([b"v%010d" % number for number in range(count)])
        self.labels = np.zeros((count, -(-CATEGORIES // 8)), np.uint8)
        for label in rng.integers(0, CATEGORIES, (3, count)):
            self.labels[np.arange(count), label // 8] |= np.uint8(128) >> (label % 8).astype(np.uint8)
        self.feature = rng.standard_normal(SMALL).astype(np.float16)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, part: slice) -> Iterator[Video]:
        for key, bits in zip(self.keys[part].tolist(), self.labels[part], strict=True):
            labels = np.flatnonzero(np.unpackbits(bits, count=CATEGORIES))
            yield Video(key.decode(), {"audio": self.feature, "frames": self.feature}, tuple(labels.tolist()))


def memory(count: int, jobs: int) -> tuple[float, ...]:
    """Rows, megabytes (this process, the largest other, the arrays), and seconds."""
    videos = LabelledVideos(count)
    features = {name: FeatureSpec(SMALL, "float16") for name in ("audio", "frames")}
    categories = CategorySet(tuple(f"category {number}" for number in range(CATEGORIES)))
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        DatasetWriter(
            f"{folder}/set", name="b", categories=categories, segments=10, features=features, jobs=jobs, recipe={}
        ) as writer,
    ):
        writer.write_split("train", videos)
        writer.finish()
    peaks = [resource.getrusage(who).ru_maxrss / 1e3 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    arrays = (videos.keys.nbytes + videos.labels.nbytes) / 1e6
    return count, *peaks, arrays, time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
