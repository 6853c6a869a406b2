"""Videos a second of the loader, streaming and resident, beside three other ways to read the same videos.

    python tools/bench_loader.py [--videos 2000] [--rounds 5] [--out FOLDER]

npy: one .npy file a feature, float32 with 80 frames, through a torch DataLoader in batches of 128 (the released way).
npy pooled: the same with what our shards hold, float16 and 10 frames: a video has as many bytes as with us.
webdataset: `WebDataset(shards).decode()` over our own shards (a member a feature, pooled float16), without batches.
Ours: batches of 128 in the canonical order, from the same shards, or from the resident file.

Everything is read in one process (the DataLoader's workers are its own), an epoch a round, all kinds in turn; medians
are printed, and ratios are medians of the rounds' ratios. Cold: before each epoch the kernel is told to drop the files
from its cache (posix_fadvise DONTNEED), so that they come from the disk, or from what is behind it. Then the share of
time for which real training steps wait for the loader.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import webdataset
from bench_train import describe, llp_manifest, make_step
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import DataConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.features import FEATURE_FOLDERS, FRAMES_PER_SEGMENT, feature_path
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.reading.loader import Batch, Loader
from jomold_dist.distributed.world import World, open_world
from jomold_dist.methods.base import Moment
from jomold_dist.places import local_folder
from jomold_dist.tables import markdown_table

BATCH, WORKERS, THREADS = 128, (0, 1, 2), (1, 2)
NPY, POOLED, WEBDATASET = "npy, DataLoader", "npy pooled, DataLoader", "webdataset"
FOLDERS = {NPY: "npy", POOLED: "pooled", WEBDATASET: "shards"}  # what a kind reads

Kinds = dict[str, Callable[[], Iterable[object]]]


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--videos", type=int, default=2000, help="videos of the simulated set (default: 2000)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that is not (default: 5)")
    parser.add_argument(
        "--out", type=local_folder, help="where the set is made and removed (default: the temporary folder)"
    )
    parser.add_argument("--no-steps", action="store_true", help="leave the training steps out")
    arguments = parser.parse_args()
    with open_world("cpu") as world, tempfile.TemporaryDirectory(dir=arguments.out) as name:
        folder = Path(name)
        manifest = make_data(folder, arguments.videos)
        print(f"device: {describe(world)}, torch {torch.__version__}; {arguments.videos} videos, batches of {BATCH}; ")
        print(", ".join(f"{part} {size(folder / part) / 1e6:.0f} MB" for part in FOLDERS.values()))
        speeds = measure(folder, manifest, arguments.rounds)
        print(f"resident file {size(folder / 'resident') / 1e6:.0f} MB\n")
        print(speed_table(speeds))
        if not arguments.no_steps:
            print(f"\n{wait_table(folder, manifest, world, arguments.rounds)}")


def measure(folder: Path, manifest: Manifest, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Videos a second by kind and (warm | cold), a number a round."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for state in ("warm", "cold"):
            for kind, open_source in kinds(folder, manifest).items():
                if state == "cold":
                    drop_from_cache(folder)
                else:
                    warm_up(folder, kind)
                start = time.perf_counter()
                videos = sum(count(item) for item in open_source())
                taken = time.perf_counter() - start
                if videos != manifest.split("train").videos:
                    raise RuntimeError(f"{kind} served {videos} videos")
                if number:
                    speeds.setdefault((kind, state), []).append(videos / taken)
    return speeds


def kinds(folder: Path, manifest: Manifest) -> Kinds:
    """All ways to read an epoch, by name."""
    keys = sorted(path.stem for path in (folder / "npy" / FEATURE_FOLDERS["audio"]).iterdir())
    found: Kinds = {
        f"{kind}, {workers} worker{'' if workers == 1 else 's'}": lambda kind=kind, workers=workers: DataLoader(  # type: ignore[misc]
            NpyFiles(folder / FOLDERS[kind], keys), BATCH, shuffle=True, num_workers=workers
        )
        for kind in (NPY, POOLED)
        for workers in WORKERS
    }
    shards = [str(folder / "shards" / shard.name) for shard in manifest.split("train").shards]
    found[WEBDATASET] = lambda: webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode()
    for resident in (False, True):
        for threads in THREADS:
            name = f"ours, {'resident' if resident else 'streaming'}, {threads} thread{'' if threads == 1 else 's'}"
            found[name] = lambda r=resident, t=threads: epoch(folder, manifest, r, t)  # type: ignore[misc]
    return found


def epoch(folder: Path, manifest: Manifest, resident: bool, threads: int) -> Iterator[Batch]:
    """An epoch of our batches; the loader is opened and closed within the time taken."""
    with open_loader(folder, manifest, resident, threads) as loader:
        yield from loader.epoch(0)


def open_loader(folder: Path, manifest: Manifest, resident: bool, threads: int) -> Loader:
    return Loader(
        folder / "shards",
        manifest,
        "train",
        batch_size=BATCH,
        rank=0,
        world=1,
        seed=0,
        streams=DataConfig.streams,
        block=DataConfig.block,
        threads=threads,
        resident=resident,
        cache=folder / "resident",
    )


class NpyFiles(Dataset[dict[str, Tensor]]):
    """A video's features from one file each, as the released code reads them."""

    def __init__(self, folder: Path, keys: list[str]) -> None:
        self._folder, self._keys = folder, keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        key = self._keys[number]
        return {name: torch.from_numpy(np.load(feature_path(self._folder, name, key))) for name in FEATURE_FOLDERS}


def count(item: object) -> int:
    """Videos of what a source serves at once: a batch, or one video."""
    if isinstance(item, Batch):
        return len(item.keys)
    assert isinstance(item, dict)
    return len(item["audio"]) if "audio" in item else 1


def warm_up(folder: Path, kind: str) -> None:
    """Brings the files that a kind reads into the kernel's cache."""
    known = [part for name, part in FOLDERS.items() if kind.startswith(name)]
    part = known[0] if known else "resident" if "resident" in kind else "shards"
    for path in files(folder / part):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


def drop_from_cache(folder: Path) -> None:
    """Asks the kernel to drop all files of the folder from its cache."""
    for path in files(folder):
        number = os.open(path, os.O_RDONLY)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def speed_table(speeds: dict[tuple[str, str], list[float]]) -> str:
    """Videos a second, and against the baselines: the DataLoader with its best number of workers, and webdataset."""
    rows = []
    for kind, state in speeds:
        cells = [kind, state, f"{statistics.median(speeds[kind, state]):.0f}"]
        for name in FOLDERS:
            alike = [rates for (k, s), rates in speeds.items() if s == state and k.startswith(name)]
            baseline = max(alike, key=statistics.median)
            ratios = [mine / other for mine, other in zip(speeds[kind, state], baseline, strict=True)]
            cells.append(f"{statistics.median(ratios):.1f}")
        rows.append(cells)
    return markdown_table(["source", "files", "videos/s", "× best npy", "× best npy pooled", "× webdataset"], rows)


def wait_table(folder: Path, manifest: Manifest, world: World, rounds: int) -> str:
    """The share of time for which training steps wait for the loader."""
    step = make_step("jomold", "float32", BATCH, world)
    shares: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for state in ("warm", "cold"):
            for threads in THREADS:
                drop_from_cache(folder) if state == "cold" else warm_up(folder, "streaming")
                with open_loader(folder, manifest, False, threads) as loader:
                    start = time.perf_counter()
                    for place, batch in enumerate(loader.epoch(number)):
                        step(batch, Moment(number * loader.steps + place, loader.steps), 5e-4)
                    taken = time.perf_counter() - start
                if number:
                    kind = f"streaming, {threads} thread{'' if threads == 1 else 's'}"
                    shares.setdefault((kind, state), []).append(100 * loader.wait_seconds / taken)
    rows = [[*key, f"{statistics.median(taken):.2f}", f"{max(taken):.2f}"] for key, taken in shares.items()]
    return markdown_table(["training steps from", "files", "waiting %", "highest round"], rows)


def make_data(folder: Path, videos: int) -> Manifest:
    """Writes random features, as .npy files with all frames or with pooled ones, and as shards with pooled ones."""
    manifest, random = llp_manifest(), np.random.default_rng(0)
    for kind, name in itertools.product((NPY, POOLED), FEATURE_FOLDERS):
        feature_path(folder / FOLDERS[kind], name, "x").parent.mkdir(parents=True)

    class Drawn:
        """The videos, drawn when they are asked for."""

        def __len__(self) -> int:
            return videos

        def __getitem__(self, part: slice, /) -> Iterator[Video]:
            return map(draw, range(videos)[part])

    def draw(number: int) -> Video:
        key = f"video{number:06d}"
        features = {name: random.random(spec.shape, dtype=np.float32) for name, spec in manifest.features.items()}
        for name, feature in features.items():
            whole = np.repeat(feature, FRAMES_PER_SEGMENT, 0) if name == "frames" else feature
            np.save(feature_path(folder / FOLDERS[NPY], name, key), whole)
            np.save(feature_path(folder / FOLDERS[POOLED], name, key), feature.astype(manifest.features[name].dtype))
        return Video(key, features, (int(random.integers(len(manifest.categories))),))

    with DatasetWriter(
        folder / "shards",
        name="random",
        categories=manifest.categories,
        segments=manifest.segments,
        features=manifest.features,
    ) as writer:
        writer.write_split("train", Drawn(), max_labels=7, dense=False)
        written = writer.finish()
    os.sync()  # what is not on the disk yet cannot be dropped from the cache
    return written


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


if __name__ == "__main__":
    sys.exit(main())
