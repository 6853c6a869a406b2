"""Pack LLP's published features and label files into shards and a manifest.

Reads one .npy a video and a feature (vggish/<id>.npy, res152/<id>.npy, r2plus1d_18/<id>.npy) and the five label files,
validates both, and writes the splits train (shuffled), val and test (both with dense labels). With --unlabelled it
packs every video of the features folder into the one split "predict", for launchers/predict.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from jomold_dist.data.annotations import SplitLabels, read_annotations
from jomold_dist.data.features import check_features, feature_specs, find_videos, read_features
from jomold_dist.data.manifest import DTYPES, Manifest
from jomold_dist.data.shards import DatasetWriter, Video
from jomold_dist.errors import DataError, UserError, raise_together
from jomold_dist.labels import LLP_CATEGORIES

SEGMENTS = 10
LINE_EVERY = 1000  # videos between two lines of progress where nobody watches

T = TypeVar("T")


def main() -> int:
    options = parse_options()
    try:
        manifest = pack(options)
    except UserError as error:
        print(f"pack_llp: {error}", file=sys.stderr)
        return 2
    summarise(manifest, options.out)
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--annotations", type=Path, metavar="DIR", help="folder of the label files AVVP_*.csv")
    source.add_argument("--unlabelled", action="store_true", help="pack videos without labels, for prediction")
    parser.add_argument("--features", type=Path, required=True, metavar="DIR", help="folder of the feature folders")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; new or empty")
    parser.add_argument("--keep-frames", action="store_true", help="keep 8 frames a second instead of their exact mean")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="stored precision (default: %(default)s)")
    parser.add_argument("--videos-per-shard", type=at_least(1), default=500, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="S", help="of the shuffle (default: %(default)s)"
    )
    return parser.parse_args()


def pack(options: argparse.Namespace) -> Manifest:
    """Validate everything that can be checked beforehand, then write. Nothing is left behind by a failure."""
    splits = unlabelled_split(options.features) if options.unlabelled else labelled_splits(options.annotations)
    widths = check_features(options.features, [key for split in splits.values() for key in split.keys], SEGMENTS)
    specs = feature_specs(widths, options.keep_frames, options.dtype, SEGMENTS)
    with DatasetWriter(
        options.out,
        name="unlabelled" if options.unlabelled else "llp",
        categories=LLP_CATEGORIES,
        segments=SEGMENTS,
        features=specs,
        videos_per_shard=options.videos_per_shard,
    ) as writer:
        for name, split in splits.items():
            # Batches are cut from neighbours and their composition drives the removal: what is trained on is shuffled.
            order = np.arange(len(split))
            if name == "train":
                order = np.random.default_rng(options.seed).permutation(order)
            writer.write_split(
                name,
                watched(read_videos(options, split, order), len(split), name),
                max_labels=int(split.labels.sum(axis=1).max()),
                dense=split.dense is not None,
            )
        return writer.finish()


def labelled_splits(folder: Path) -> dict[str, SplitLabels]:
    annotations = read_annotations(folder, LLP_CATEGORIES, SEGMENTS)
    for finding in annotations.findings:
        print(f"passed over: {finding}")
    return annotations.splits


def unlabelled_split(features: Path) -> dict[str, SplitLabels]:
    keys = tuple(find_videos(features))
    return {"predict": SplitLabels(keys, keys, np.zeros((len(keys), len(LLP_CATEGORIES)), dtype=bool))}


def read_videos(options: argparse.Namespace, split: SplitLabels, order: np.ndarray) -> Iterator[Video]:
    """The split's videos in this order. After a bad one the rest is still checked, so that all are named together."""
    problems = []
    for number, key in zip(order, np.array(split.keys)[order].tolist(), strict=True):
        try:
            features = read_features(options.features, key, options.keep_frames, options.dtype, SEGMENTS)
        except DataError as error:
            problems.append(str(error))
            continue
        labels = tuple(np.flatnonzero(split.labels[number]).tolist())
        yield Video(key, features, labels, None if split.dense is None else split.dense[number])
    raise_together(problems)


def watched(items: Iterable[T], total: int, name: str) -> Iterator[T]:
    """The items, with a bar where a person watches and a line now and then where not."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=name, unit="video")
        return
    for count, item in enumerate(items, 1):
        yield item
        if count % LINE_EVERY == 0 or count == total:
            print(f"{name}: {count} of {total} videos", file=sys.stderr, flush=True)


def summarise(manifest: Manifest, out: Path) -> None:
    for name, split in manifest.splits.items():
        dense = ", with dense labels" if split.dense else ""
        size = sum(shard.bytes for shard in split.shards)
        print(
            f"{name}: videos {split.videos}, labels {split.positives.sum()}{dense}, "
            f"shards {len(split.shards)}, bytes {size:,}"
        )
    stored = ", ".join(f"{name} {spec.shape} {spec.dtype}" for name, spec in manifest.features.items())
    print(f"features: {stored}")
    print(f"written to {out}")


def at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
