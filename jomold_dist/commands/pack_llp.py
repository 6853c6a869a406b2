"""Pack LLP's published features and label files into shards and a manifest.

Reads one .npy a video and a feature (vggish/<id>.npy, res152/<id>.npy, r2plus1d_18/<id>.npy) and the five label files,
validates both, and writes the splits train (shuffled by --seed), val and test (both with dense labels). With
--unlabelled it packs every video of the features folder into the one split "predict", for `jomold predict`.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jomold_dist.command_line import command, show
from jomold_dist.commands.packing import SEGMENTS, Packing, labels_digest, option_problems, packing_parser, run_packer
from jomold_dist.data.format.manifest import FEATURE_NAMES
from jomold_dist.data.packing.annotations import SplitLabels, read_annotations
from jomold_dist.data.packing.features import (
    check_features,
    feature_path,
    feature_specs,
    find_videos,
    read_features,
    swapped_widths,
)
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.places import local_path


@command
def main() -> None:
    show(run_packer(parse_options(), plan))


def parse_options() -> argparse.Namespace:
    parser = packing_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--annotations", type=local_path, metavar="DIR", help="folder of the label files AVVP_*.csv")
    source.add_argument("--unlabelled", action="store_true", help="pack videos without labels, for prediction")
    parser.add_argument(
        "--features", type=local_path, required=True, metavar="DIR", help="folder of the feature folders"
    )
    return parser.parse_args()


def plan(options: argparse.Namespace) -> Packing:
    """Validates everything that can be checked before features are read."""
    raise_together(option_problems(options))
    if options.unlabelled:
        splits = unlabelled_split(options.features)
    else:
        annotations = read_annotations(options.annotations, LLP_CATEGORIES, SEGMENTS)
        for finding in annotations.findings:
            show(f"passed over: {finding}")
        splits = annotations.splits
    widths = check_features(options.features, [key for split in splits.values() for key in split.keys], SEGMENTS)
    if warning := swapped_widths(widths):
        show(f"warning: {warning}")
    sources = []
    for name, split in splits.items():
        # Batches are cut from neighbours and their composition drives the removal: what is trained on is shuffled.
        order = np.arange(len(split))
        seed = options.seed if name == "train" else None
        if seed is not None:
            order = np.random.default_rng(seed).permutation(order)
        videos = PublishedVideos(options, split, order)
        most = int(split.labels.sum(axis=1).max())
        sources.append(SplitSource(name, videos, split.dense is not None, most, videos.origin, seed))
    return Packing(
        command="pack-llp",
        name="unlabelled" if options.unlabelled else "llp",
        categories=LLP_CATEGORIES,
        features=feature_specs(widths, options.keep_frames, options.dtype, SEGMENTS),
        splits=sources,
        recipe={"labels": labels_digest(splits)},
    )


def unlabelled_split(features: Path) -> dict[str, SplitLabels]:
    keys = tuple(find_videos(features))
    return {"predict": SplitLabels(keys, keys, np.zeros((len(keys), len(LLP_CATEGORIES)), dtype=bool))}


class PublishedVideos:
    """A split's videos in the given order, read from their feature files."""

    def __init__(self, options: argparse.Namespace, split: SplitLabels, order: np.ndarray) -> None:
        self._options, self._split, self._order = options, split, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, part: slice) -> Iterator[Video]:
        """After a bad video the rest is still read, so that all are named together."""
        problems: list[str] = []
        options, split = self._options, self._split
        for number in self._order[part].tolist():
            key = split.keys[number]
            try:
                features = read_features(options.features, key, options.keep_frames, options.dtype, SEGMENTS)
            except DataError as error:
                problems += error.problems
                continue
            labels = tuple(np.flatnonzero(split.labels[number]).tolist())
            yield Video(key, features, labels, None if split.dense is None else split.dense[number])
        raise_together(problems)

    def origin(self, part: slice) -> str:
        """Stands for the feature files of a part: their names, sizes and times of change, not their content.

        DataError if a file is there and not to be reached: that is no change.
        """
        digest = hashlib.sha256()
        for number in self._order[part].tolist():
            key = self._split.keys[number]
            for name in FEATURE_NAMES:
                path = feature_path(self._options.features, name, key)
                try:
                    file = path.stat()
                    digest.update(f"{key} {name} {file.st_size} {file.st_mtime_ns}\n".encode())
                except FileNotFoundError:
                    digest.update(f"{key} {name} missing\n".encode())
                except OSError as error:
                    raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        return digest.hexdigest()
