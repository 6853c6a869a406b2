"""Simulate a data set like LLP, with the hidden truth that real data do not have.

Labels come from LLP's statistics, which ship with the package, or, with --annotations, from the published label files:
then all their videos, with their own keys and with the real dense labels in val and test. What of its labels a video
really shows and sounds, and when, is drawn from the statistics (with --annotations in train alone). Features are
synthesised from that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from jomold_dist.data.annotations import SplitLabels, read_annotations
from jomold_dist.data.features import feature_specs
from jomold_dist.data.manifest import DTYPES, Manifest
from jomold_dist.data.writing import DatasetWriter, Video
from jomold_dist.errors import UserError, raise_together
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.simulation import (
    MAX_LABELS,
    SCENARIOS,
    SEGMENTS,
    SPLITS,
    FeatureWorld,
    LabelWorld,
    evaluation_videos,
    unknown_scenario,
)

DEFAULT_VIDEOS = 2000
MOST_VIDEOS = 10_000_000  # the number in a key has seven digits
CHUNK = 100  # videos synthesised at a time; decides memory and speed, not the data
LINE_EVERY = 1000  # videos between two lines of progress where nobody watches

T = TypeVar("T")


def main() -> int:
    options = parse_options()
    try:
        manifest = simulate(options)
    except UserError as error:
        print(f"simulate_llp: {error}", file=sys.stderr)
        return 2
    summarise(manifest, options)
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; new or empty")
    parser.add_argument(
        "--videos",
        type=int,
        metavar="N",
        help=f"videos of the training split (default: {DEFAULT_VIDEOS}); val and test have 0.0649 N and 0.12 N like "
        "LLP, but at least 200 and 400, and never more than N",
    )
    parser.add_argument("--annotations", type=Path, metavar="DIR", help="folder of the label files AVVP_*.csv")
    parser.add_argument(
        "--scenario",
        default="llp",
        metavar="|".join(SCENARIOS),
        help="llp: each category's own odds of being audible and visible; speech-neutral: the same odds for all "
        "(default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--keep-frames", action="store_true", help="write 8 frames a second instead of their mean")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="stored precision (default: %(default)s)")
    parser.add_argument("--videos-per-shard", type=int, default=500, metavar="N", help="(default: %(default)s)")
    return parser.parse_args()


@dataclass(frozen=True)
class SplitPlan:
    """One split to be simulated: how many videos, and their labels where they are given rather than drawn."""

    name: str
    videos: int
    given: SplitLabels | None

    def keys(self, first: int, count: int) -> list[str]:
        """A simulated key tells so, its split (r, v, t) and its number: 11 characters."""
        if self.given is not None:
            return list(self.given.keys[first : first + count])
        letter = {"train": "r", "val": "v", "test": "t"}[self.name]
        return [f"sim{letter}{number:07d}" for number in range(first, first + count)]


def simulate(options: argparse.Namespace) -> Manifest:
    """Check the options, then write. Nothing is left behind by a failure."""
    plans = plan(options)
    labels = LabelWorld(options.scenario, options.seed)
    features = FeatureWorld(options.seed, len(LLP_CATEGORIES))
    widths = {channel.name: channel.size for channel in features.channels}
    with DatasetWriter(
        options.out,
        name=f"simulated-{options.scenario}",
        categories=LLP_CATEGORIES,
        segments=SEGMENTS,
        features=feature_specs(widths, options.keep_frames, options.dtype, SEGMENTS),
        simulated={
            "scenario": options.scenario,
            "seed": options.seed,
            "labels": "statistics" if options.annotations is None else "annotations",
        },
        videos_per_shard=options.videos_per_shard,
    ) as writer:
        for split in plans:
            hidden: list[np.ndarray] | None = [] if split.name == "train" else None
            videos = synthesise(split, labels, features, options, hidden)
            most = MAX_LABELS if split.given is None else int(split.given.labels.sum(axis=1).max())
            writer.write_split(
                split.name, watched(videos, split.videos, split.name), max_labels=most, dense=hidden is None
            )
            if hidden is not None:
                (writer.aside / "truth").mkdir()
                keys = np.array(split.keys(0, split.videos))
                np.savez_compressed(
                    writer.aside / "truth" / f"{split.name}.npz", keys=keys, dense=np.concatenate(hidden)
                )
        return writer.finish()


def plan(options: argparse.Namespace) -> list[SplitPlan]:
    """The three splits. UserError with everything that is wrong with the options."""
    problems = []
    if options.annotations is not None and options.videos is not None:
        problems.append("--videos and --annotations exclude each other: the label files say which videos there are")
    if options.annotations is not None and options.scenario == "speech-neutral":
        problems.append(
            "--scenario speech-neutral and --annotations exclude each other: the real dense labels of val and test "
            "have Speech's own odds; leave one of them out"
        )
    if options.videos is not None and not 1 <= options.videos <= MOST_VIDEOS:
        problems.append(f"--videos must be from 1 to {MOST_VIDEOS}, not {options.videos}")
    if options.videos_per_shard < 1:
        problems.append(f"--videos-per-shard must be at least 1, not {options.videos_per_shard}")
    if options.scenario not in SCENARIOS:
        problems.append(unknown_scenario(options.scenario))
    if options.seed < 0:
        problems.append(f"--seed must be at least 0, not {options.seed}")
    raise_together(problems)
    if options.annotations is None:
        train = DEFAULT_VIDEOS if options.videos is None else options.videos
        return [SplitPlan(name, evaluation_videos(name, train) if name != "train" else train, None) for name in SPLITS]
    annotations = read_annotations(options.annotations, LLP_CATEGORIES, SEGMENTS)
    for finding in annotations.findings:
        print(f"passed over: {finding}")
    return [SplitPlan(name, len(annotations.splits[name]), annotations.splits[name]) for name in SPLITS]


def synthesise(
    split: SplitPlan,
    world: LabelWorld,
    features: FeatureWorld,
    options: argparse.Namespace,
    hidden: list[np.ndarray] | None,
) -> Iterator[Video]:
    """The videos of a split. Where its truth is hidden, it is appended to `hidden` instead of being a video's own."""
    for first in range(0, split.videos, CHUNK):
        count = min(CHUNK, split.videos - first)
        given = split.given
        labels = given.labels[first : first + count] if given else world.labels(split.name, first, count)
        if given is not None and given.dense is not None:
            dense = given.dense[first : first + count]
        else:
            dense = world.truth(split.name, first, labels)
        arrays = features.features(split.name, first, dense)
        if options.keep_frames:
            arrays["frames"] = features.unpooled_frames(split.name, first, arrays["frames"])
        stored = {name: array.astype(options.dtype) for name, array in arrays.items()}
        if hidden is not None:
            hidden.append(dense)
        for i, key in enumerate(split.keys(first, count)):
            own = {name: array[i] for name, array in stored.items()}
            yield Video(key, own, tuple(np.flatnonzero(labels[i]).tolist()), dense[i] if hidden is None else None)


def watched(items: Iterable[T], total: int, name: str) -> Iterator[T]:
    """The items, with a bar where a person watches and a line now and then where not."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=name, unit="video")
        return
    for count, item in enumerate(items, 1):
        yield item
        if count % LINE_EVERY == 0 or count == total:
            print(f"{name}: {count} of {total} videos", file=sys.stderr, flush=True)


def summarise(manifest: Manifest, options: argparse.Namespace) -> None:
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards)
        truth = "dense labels" if split.dense else f"hidden truth in truth/{name}.npz"
        print(
            f"{name}: {split.videos} videos, {split.positives.sum()} labels, {truth}, "
            f"{len(split.shards)} shards, {size:,} bytes"
        )
    stored = ", ".join(f"{name} {spec.shape} {spec.dtype}" for name, spec in manifest.features.items())
    print(f"features: {stored}")
    if options.annotations is None:
        print(f"simulated (scenario {options.scenario}, seed {options.seed}): labels, dense labels and all features")
    else:
        print(
            f"simulated (scenario {options.scenario}, seed {options.seed}): all features and the truth of train; "
            "real: labels, keys, and the dense labels of val and test"
        )
    print(f"written to {options.out}")


if __name__ == "__main__":
    sys.exit(main())
