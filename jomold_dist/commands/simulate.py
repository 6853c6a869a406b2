"""Simulate a data set like LLP, LFAV or VGGSounder, with the hidden truth that real data seldom have.

Labels come from the data set's statistics, which ship with the package, or, with --annotations, from its published
label files: then all their videos, with their own keys, and whatever truth the files have. What of its labels a video
really shows and sounds, and when, is drawn from the statistics where the files do not tell. Features are synthesised
from that.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from jomold_dist.command_line import command, show
from jomold_dist.commands.packing import SEGMENTS, Packing, option_problems, packing_parser, run_packer
from jomold_dist.data.format.manifest import FeatureSpec
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.packing.annotations import SplitLabels
from jomold_dist.data.packing.presets import PRESETS
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.data.packing.video_labels import compact, label_set_digest
from jomold_dist.errors import DataError, UserError, raise_together
from jomold_dist.places import local_path
from jomold_dist.simulation import (
    DIFFICULTIES,
    FRAMES_PER_SEGMENT,
    SCENARIOS,
    SPLITS,
    FeatureWorld,
    LabelWorld,
    find_scenario,
    parse_difficulty,
    unknown_scenario,
)

DEFAULT_VIDEOS = 2000
MOST_VIDEOS = 10_000_000  # the number in a key has seven digits
CHUNK = 100  # videos synthesised at a time; decides memory and speed, not the data
HIDDEN = "train"  # the split whose truth is not in its shards


@dataclass(frozen=True)
class LabelFiles:
    """By what a scenario's published label files are known, and what of a set with them is simulated and real."""

    telling: str
    """A file that only this kind has."""
    origins: str


LABEL_FILES = {
    "llp": LabelFiles(
        "AVVP_train.csv",
        "all features and the truth of train; real: labels, keys, and the dense labels of val and test",
    ),
    "lfav": LabelFiles(
        "train_weakly.csv",
        "all features, and when events of train are heard and seen; real: labels, keys, which labels are heard and "
        "seen, and the dense labels of val and test",
    ),
    "vggsounder": LabelFiles(
        "classes.csv",
        "all features, and when events are heard and seen; real: labels, keys, and which labels are heard and seen",
    ),
}


@command
def main() -> None:
    show(run_packer(parse_options(), plan, closing))


def closing(options: argparse.Namespace) -> str:
    """What is said of a set that is written."""
    difficulty = parse_difficulty(options.difficulty)
    world = f"simulated (scenario {options.scenario}, difficulty {difficulty}, seed {options.seed})"
    origins = "labels, dense labels and all features"
    if options.annotations is not None:
        origins = LABEL_FILES[options.scenario].origins
    return f"which labels of {HIDDEN} are really heard and seen: {truth_name(HIDDEN)}\n{world}: {origins}"


def parse_options() -> argparse.Namespace:
    parser = packing_parser(__doc__)
    parser.add_argument(
        "--videos",
        type=int,
        metavar="N",
        help=f"videos of the training split (default: {DEFAULT_VIDEOS}); val and test have the share that they have in "
        "the scenario's data set (LLP: 0.0649 N and 0.12 N), but at least 200 and 400, and never more than N",
    )
    parser.add_argument(
        "--annotations",
        type=local_path,
        metavar="DIR",
        help="folder of the label files of LLP or of the scenario's data set, as they were published",
    )
    parser.add_argument(
        "--scenario",
        default="llp",
        metavar="|".join(SCENARIOS),
        help="llp: each category's own odds of being audible and visible; speech-neutral: the same odds for all "
        "(both: LLP's 25 categories); lfav: LFAV's 35 categories, with audio noise as well; vggsounder: VGGSounder's "
        "309 categories (default: %(default)s)",
    )
    parser.add_argument(
        "--difficulty",
        default="easy",
        metavar="|".join(DIFFICULTIES) + "|A,V",
        help="how hard features are: factors on the signals of audio and visual (easy: 1,1; default: %(default)s)",
    )
    return parser.parse_args()


@dataclass(frozen=True)
class SplitPlan:
    """One split to be simulated: how many videos, and their labels where they are given rather than drawn."""

    name: str
    videos: int
    max_labels: int
    given: SplitLabels | None

    def keys(self, first: int, count: int) -> list[str]:
        """A simulated key tells so, its split (r, v, t) and its number: 11 characters."""
        if self.given is not None:
            return list(self.given.keys[first : first + count])
        letter = {"train": "r", "val": "v", "test": "t"}[self.name]
        return [f"sim{letter}{number:07d}" for number in range(first, first + count)]


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
            if given is not None and given.dense is not None:
                dense = given.dense[own]
            else:
                present = None if given is None or given.present is None else given.present[own]
                dense = self._labels.truth(name, first, labels, present)
            yield first, self.split.keys(first, count), labels, dense


def plan(options: argparse.Namespace) -> Packing:
    """What is to be simulated."""
    splits = planned_splits(options)
    scenario, difficulty = find_scenario(options.scenario), parse_difficulty(options.difficulty)
    labels = LabelWorld(options.scenario, options.seed)
    features = FeatureWorld(options.seed, len(scenario.categories), difficulty)
    videos = {split.name: SimulatedVideos(split, labels, features, options) for split in splits}
    given = {split.name: compact(split.given) for split in splits if split.given is not None}
    widths = {channel.name: channel.size for channel in features.channels}
    rows = dict.fromkeys(widths, SEGMENTS) | ({"frames": SEGMENTS * FRAMES_PER_SEGMENT} if options.keep_frames else {})
    hardness = {} if difficulty == DIFFICULTIES["easy"] else {"difficulty": asdict(difficulty)}
    return Packing(
        command="simulate",
        name=f"simulated-{options.scenario}" + (f"-{difficulty}" if hardness else ""),
        categories=scenario.categories,
        features={name: FeatureSpec((rows[name], width), options.dtype) for name, width in widths.items()},
        splits=[_split(s, videos[s.name], options.seed) for s in splits],
        recipe={"--videos": options.videos, "labels": label_set_digest(given)},
        simulated={
            "scenario": options.scenario,
            "seed": options.seed,
            "labels": "annotations" if given else "statistics",
            **hardness,
        },
        truths={HIDDEN: videos[HIDDEN].truth},
    )


def _split(split: SplitPlan, videos: SimulatedVideos, seed: int) -> SplitSource:
    """Videos that are drawn come in no order; those of label files come in the files' order."""
    drawn = seed if split.given is None else None
    return SplitSource(split.name, videos, split.name != HIDDEN, split.max_labels, shuffled=drawn)


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
    try:
        parse_difficulty(options.difficulty)
    except UserError as error:
        problems.append(str(error))
    raise_together(problems)
    if options.annotations is None:
        scenario = find_scenario(options.scenario)
        train = DEFAULT_VIDEOS if options.videos is None else options.videos
        videos = {split: scenario.evaluation_videos(split, train) for split in ("val", "test")} | {"train": train}
        return [SplitPlan(name, videos[name], scenario.max_labels, None) for name in SPLITS]
    check_label_files(options)
    annotations = PRESETS[options.scenario].read(options.annotations, SEGMENTS)
    if annotations.categories != find_scenario(options.scenario).categories:
        raise DataError(
            f"{options.annotations} has other categories than the scenario {options.scenario}; take the label files as "
            "they were published"
        )
    empty = [name for name, split in annotations.splits.items() if len(split) == 0]
    if empty:
        raise DataError(f"{options.annotations} has no videos for the split {' and '.join(empty)}")
    for finding in annotations.findings:
        show(f"passed over: {finding}")
    return [
        SplitPlan(name, len(split), int(split.labels.sum(axis=1).max()), split)
        for name, split in annotations.splits.items()
    ]


def check_label_files(options: argparse.Namespace) -> None:
    """DataError where the folder holds the label files of another scenario."""
    there = [name for name, files in LABEL_FILES.items() if (options.annotations / files.telling).is_file()]
    if there and options.scenario not in there:
        raise DataError(
            f"{options.annotations} looks like the label files of --scenario {there[0]} "
            f"({LABEL_FILES[there[0]].telling}), not of --scenario {options.scenario} "
            f"({LABEL_FILES[options.scenario].telling} is not there)"
        )
