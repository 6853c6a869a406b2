"""Simulate a data set like LLP, with the hidden truth that real data do not have.

Labels come from LLP's statistics, which ship with the package, or, with --annotations, from the published label files:
then all their videos, with their own keys and with the real dense labels in val and test. What of its labels a video
really shows and sounds, and when, is drawn from the statistics (with --annotations in train alone). Features are
synthesised from that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from packing import SEGMENTS, Packing, labelled_splits, labels_digest, option_problems, packing_parser, run_packer

from jomold_dist.command_line import command
from jomold_dist.data.annotations import SplitLabels
from jomold_dist.data.features import feature_specs
from jomold_dist.data.truth import truth_name
from jomold_dist.data.writing import SplitSource, Video
from jomold_dist.errors import raise_together
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.places import local_path
from jomold_dist.simulation import (
    MAX_LABELS,
    SCENARIOS,
    SPLITS,
    FeatureWorld,
    LabelWorld,
    evaluation_videos,
    unknown_scenario,
)

DEFAULT_VIDEOS = 2000
MOST_VIDEOS = 10_000_000  # the number in a key has seven digits
CHUNK = 100  # videos synthesised at a time; decides memory and speed, not the data
HIDDEN = "train"  # the split whose truth is not in its shards


@command
def main() -> int:
    options = parse_options()
    world = f"simulated (scenario {options.scenario}, seed {options.seed})"
    if options.annotations is None:
        closing = f"{world}: labels, dense labels and all features"
    else:
        closing = (
            f"{world}: all features and the truth of train; real: labels, keys, and the dense labels of val and test"
        )
    return run_packer(options, plan, f"hidden truth of {HIDDEN}: {truth_name(HIDDEN)}\n{closing}")


def parse_options() -> argparse.Namespace:
    parser = packing_parser(__doc__)
    parser.add_argument(
        "--videos",
        type=int,
        metavar="N",
        help=f"videos of the training split (default: {DEFAULT_VIDEOS}); val and test have 0.0649 N and 0.12 N like "
        "LLP, but at least 200 and 400, and never more than N",
    )
    parser.add_argument("--annotations", type=local_path, metavar="DIR", help="folder of the label files AVVP_*.csv")
    parser.add_argument(
        "--scenario",
        default="llp",
        metavar="|".join(SCENARIOS),
        help="llp: each category's own odds of being audible and visible; speech-neutral: the same odds for all "
        "(default: %(default)s)",
    )
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

    @property
    def most_labels(self) -> int:
        return MAX_LABELS if self.given is None else int(self.given.labels.sum(axis=1).max())


class SimulatedVideos:
    """The videos of a split, synthesised when they are asked for."""

    def __init__(
        self, split: SplitPlan, labels: LabelWorld, features: FeatureWorld, options: argparse.Namespace
    ) -> None:
        self.split = split
        self._labels, self._features, self._options = labels, features, options

    def __len__(self) -> int:
        return self.split.videos

    def __getitem__(self, part: slice) -> Iterator[Video]:
        hidden = self.split.name == HIDDEN
        for first, keys, labels, dense in self._truths(part):
            arrays = self._features.features(self.split.name, first, dense)
            if self._options.keep_frames:
                arrays["frames"] = self._features.unpooled_frames(self.split.name, first, arrays["frames"])
            stored = {name: array.astype(self._options.dtype) for name, array in arrays.items()}
            for i, key in enumerate(keys):
                own = {name: array[i] for name, array in stored.items()}
                yield Video(key, own, tuple(np.flatnonzero(labels[i]).tolist()), None if hidden else dense[i])

    def truth(self) -> tuple[list[str], np.ndarray]:
        """The whole split's hidden truth: keys, and which labels are really heard and seen, bool (n, 2, C)."""
        chunks = [(keys, dense.any(axis=3)) for _, keys, _, dense in self._truths(slice(0, len(self)))]
        return [key for keys, _ in chunks for key in keys], np.concatenate([present for _, present in chunks])

    def _truths(self, part: slice) -> Iterator[tuple[int, list[str], np.ndarray, np.ndarray]]:
        """Of some videos at a time: the first one's number, keys, labels bool (n, C), truth uint8 (n, 2, C, T)."""
        given, name = self.split.given, self.split.name
        for first in range(part.start, part.stop, CHUNK):
            count = min(CHUNK, part.stop - first)
            own = slice(first, first + count)
            labels = self._labels.labels(name, first, count) if given is None else given.labels[own]
            if given is None or given.dense is None:
                dense = self._labels.truth(name, first, labels)
            else:
                dense = given.dense[own]
            yield first, self.split.keys(first, count), labels, dense


def plan(options: argparse.Namespace) -> Packing:
    """What is to be simulated."""
    splits = planned_splits(options)
    labels = LabelWorld(options.scenario, options.seed)
    features = FeatureWorld(options.seed, len(LLP_CATEGORIES))
    videos = {split.name: SimulatedVideos(split, labels, features, options) for split in splits}
    given = {split.name: split.given for split in splits if split.given is not None}
    widths = {channel.name: channel.size for channel in features.channels}
    return Packing(
        name=f"simulated-{options.scenario}",
        features=feature_specs(widths, options.keep_frames, options.dtype, SEGMENTS),
        splits=[SplitSource(s.name, videos[s.name], s.most_labels, dense=s.name != HIDDEN) for s in splits],
        recipe={"--videos": options.videos, "labels": labels_digest(given)},
        simulated={
            "scenario": options.scenario,
            "seed": options.seed,
            "labels": "annotations" if given else "statistics",
        },
        truths={HIDDEN: videos[HIDDEN].truth},
    )


def planned_splits(options: argparse.Namespace) -> list[SplitPlan]:
    """The three splits. UserError with everything that is wrong with the options."""
    problems = option_problems(options)
    if options.annotations is not None and options.videos is not None:
        problems.append("--videos and --annotations exclude each other: the label files say which videos there are")
    if options.annotations is not None and options.scenario == "speech-neutral":
        problems.append(
            "--scenario speech-neutral and --annotations exclude each other: the real dense labels of val and test "
            "have Speech's own odds; leave one of them out"
        )
    if options.videos is not None and not 1 <= options.videos <= MOST_VIDEOS:
        problems.append(f"--videos must be from 1 to {MOST_VIDEOS}, not {options.videos}")
    if options.scenario not in SCENARIOS:
        problems.append(unknown_scenario(options.scenario))
    raise_together(problems)
    if options.annotations is None:
        train = DEFAULT_VIDEOS if options.videos is None else options.videos
        return [SplitPlan(name, evaluation_videos(name, train) if name != "train" else train, None) for name in SPLITS]
    given = labelled_splits(options.annotations)
    return [SplitPlan(name, len(given[name]), given[name]) for name in SPLITS]


if __name__ == "__main__":
    sys.exit(main())
