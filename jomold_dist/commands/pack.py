"""Pack features and labels of your own into shards and a manifest: any categories, segments, widths, and keys.

    jomold pack --labels labels.csv --feature audio='clap/{key}.npy' --feature frames='clip/{key}.npy' --out data/mine

Labels are a table (CSV, TSV or parquet) with a video a row, in the columns key and labels, or with a label a row, in
key and label; also by the names of LLP's files, filename and event_labels. A column split, or --labels SPLIT=FILE for
each, tells the splits; training needs train, which is shuffled by --seed. With dense labels (--dense) a split can be
scored; with the truth (--truth) of train, removals are judged.

A feature is a .npy a video, rows by width: audio and frames, or one of them, and motion beside frames. {key} in its
pattern is the video's key, {id} the key without _<start>_<end>. Frames have k rows a segment, and their mean is stored
unless --keep-frames; audio and motion may have any number of rows, which are averaged to one a segment.

What others have packed is read as it is: plain WebDataset tars (--tars) and tables, parquet or Arrow as Hugging Face's
datasets keep them (--table), with a video a row. A feature is then a member's ending or a column, and labels may lie
there too:

    jomold pack --tars 'train=tars/train-*.tar' --feature audio=audio.npy --label-field json --out data/tars
    jomold pack --table 'hf/*.parquet' --feature audio=clap --feature frames=clip --label-field labels --out data/hf
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jomold_dist.command_line import command, show
from jomold_dist.commands.packing import SEGMENTS, Packing, option_problems, packing_parser, run_packer
from jomold_dist.data.format.manifest import FEATURE_NAMES
from jomold_dist.data.packing.dataset_writer import SplitSource
from jomold_dist.data.packing.event_tables import Length, with_event_tables
from jomold_dist.data.packing.feature_sources import FeatureSource, FilePattern
from jomold_dist.data.packing.features import plan_features
from jomold_dist.data.packing.foreign import ForeignSet, open_table_set, open_tars
from jomold_dist.data.packing.label_tables import LabelFile, read_categories, read_label_tables
from jomold_dist.data.packing.packed_videos import PackedVideos
from jomold_dist.data.packing.presets import PRESETS, read_preset
from jomold_dist.data.packing.video_labels import Keys, LabelSet, label_set_digest, unlabelled
from jomold_dist.errors import ConfigError, DataError, raise_together
from jomold_dist.labels import CategorySet
from jomold_dist.places import expanded, local_path

SHUFFLED = "train"  # the split whose order training sees


@command
def main() -> None:
    show(run_packer(parse_options(), plan))


def parse_options() -> argparse.Namespace:
    parser = packing_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--labels", action="append", type=labels_option, metavar="[SPLIT=]FILE", help="table of labels; repeatable"
    )
    source.add_argument(
        "--annotations", type=annotations_option, metavar="KIND=DIR",
        help=f"folder of published label files; KIND is {', '.join(PRESETS)}",
    )  # fmt: skip
    source.add_argument(
        "--label-field", metavar="FIELD", help="the ending of members of --tars, or the column of --table, with labels"
    )
    source.add_argument(
        "--unlabelled", action="store_true", help="pack all videos with features, without labels, for prediction"
    )
    parser.add_argument(
        "--feature", action="append", default=[], type=feature_option, metavar="NAME=PATTERN",
        help="where a feature lies, for instance frames='clip/{key}.npy'; NAME is audio, frames or motion",
    )  # fmt: skip
    foreign = parser.add_mutually_exclusive_group()
    foreign.add_argument(
        "--tars", action="append", default=[], type=files_option, metavar="[SPLIT=]GLOB",
        help="WebDataset tars; features are endings of members, such as audio=audio.npy",
    )  # fmt: skip
    foreign.add_argument(
        "--table", action="append", default=[], type=files_option, metavar="[SPLIT=]GLOB",
        help="parquet or Arrow files; features are columns, or COLUMN:ROWS for flat lists of more rows than segments",
    )  # fmt: skip
    parser.add_argument("--key-column", metavar="COLUMN", help="of --table: which column names the videos")
    parser.add_argument("--split-column", metavar="COLUMN", help="of --table: which column names splits (split)")
    parser.add_argument(
        "--dense", action="append", default=[], type=split_option, metavar="SPLIT=FILE",
        help="table of events: key, onset and offset in seconds, label, modality (audio, visual or both)",
    )  # fmt: skip
    parser.add_argument(
        "--truth", action="append", default=[], type=split_option, metavar="SPLIT=FILE",
        help="table of which labels are really heard and seen: key, label, modality",
    )  # fmt: skip
    parser.add_argument(
        "--categories", type=local_path, metavar="FILE",
        help="names of the categories, one a line (default: all labels that occur, sorted)",
    )  # fmt: skip
    parser.add_argument("--separator", help="what stands between the labels of a cell (default: found)")
    parser.add_argument(
        "--segments", type=int, default=SEGMENTS, metavar="T", help="segments of a video (default: %(default)s)"
    )
    parser.add_argument(
        "--segment-seconds", type=float, metavar="S", help="length of a segment (default: 1, or as the label files say)"
    )
    parser.add_argument("--name", help="what the manifest calls the data set (default: the last part of --out)")
    add_no_shuffle(parser)
    return parser.parse_args()


def add_no_shuffle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-shuffle", action="store_true", help=f"leave {SHUFFLED} in its order, which should be random already"
    )


def plan(options: argparse.Namespace) -> Packing:
    """Validates everything that can be checked before the values of features are read."""
    raise_together([*option_problems(options), *_own_problems(options)])
    foreign = foreign_set(options)
    sources = feature_sources(options, foreign)
    labels, seconds = read_labels(options, sources, foreign)
    kind = options.annotations[0] if options.annotations else "none" if options.unlabelled else "tables"
    name = options.name or str(options.out).rstrip("/").rpartition("/")[2]
    return plan_packing(options, ("pack", name, kind), labels, sources, Length(options.segments, seconds))


def plan_packing(
    options: argparse.Namespace,
    telling: tuple[str, str, str],
    labels: LabelSet,
    sources: Mapping[str, FeatureSource],
    length: Length,
) -> Packing:
    """The packing of these labels and features. `telling` is the command, the set's name, and what labels are from."""
    for finding in labels.findings:
        show(f"passed over: {finding}")
    for note in labels.notes:
        show(note)
    specs = plan_features(sources, Keys(labels.splits.values()), length.segments, options.keep_frames, options.dtype)
    for name, spec in specs.items():
        if spec.pooled:
            show(f"{name}: {spec.pooled}")
    splits, truths = [], {}
    for name, split in labels.splits.items():
        # Batches are cut from neighbours and their composition drives the removal: what is trained on is shuffled.
        order, seed = np.arange(len(split)), options.seed if name == SHUFFLED and not options.no_shuffle else None
        if seed is not None:
            order = np.random.default_rng(seed).permutation(order)
        elif name == SHUFFLED:
            show(
                f"{name} stays in its order (--no-shuffle): batches are cut from neighbours, which should not be alike"
            )
        videos = PackedVideos(split, order, sources, specs, len(labels.categories), length.segments)
        splits.append(SplitSource(name, videos, split.max_labels, split.dense is not None, videos.origin, seed))
        if split.present is not None:
            truths[name] = videos.truth
    command, set_name, kind = telling
    return Packing(
        command=command,
        name=set_name,
        categories=labels.categories,
        features=specs,
        splits=splits,
        recipe={"labels": label_set_digest(labels.splits), "--no-shuffle": options.no_shuffle},
        segments=length.segments,
        segment_seconds=length.seconds,
        settings={"labels": kind},
        truths=truths,
    )


def foreign_set(options: argparse.Namespace) -> ForeignSet | None:
    """What others have packed, opened, with the features that lie there: those without a file pattern. None if nothing
    is named. DataError with all that is wrong with it."""
    features = {name: where for name, where in options.feature if not is_pattern(where)}
    if options.tars:
        return open_tars(options.tars, features, options.label_field)
    if not options.table:
        return None
    columns = {"label_field": options.label_field, "key": options.key_column, "split": options.split_column}
    return open_table_set(options.table, features, options.segments, **columns)


def feature_sources(options: argparse.Namespace, foreign: ForeignSet | None) -> dict[str, FeatureSource]:
    """Where each feature is from. DataError for a pattern that is none."""
    own = [(name, where) for name, where in options.feature if foreign is None or is_pattern(where)]
    return {**(foreign.sources if foreign else {}), **{name: FilePattern(name, pattern) for name, pattern in own}}


def is_pattern(where: str) -> bool:
    """Whether a feature lies in files of its own; others are endings of members, or columns."""
    return "{" in where


def read_labels(
    options: argparse.Namespace, sources: Mapping[str, FeatureSource], foreign: ForeignSet | None
) -> tuple[LabelSet, float]:
    """All labels, and the seconds of a segment."""
    if options.annotations:
        kind, folder = options.annotations
        whole = PRESETS[kind].seconds
        seconds = whole / options.segments if whole is not None else 1.0
        return read_preset(kind, folder, options.segments), options.segment_seconds or seconds
    seconds = options.segment_seconds or 1.0
    categories = read_categories(options.categories) if options.categories else None
    if options.unlabelled:
        return unlabelled_set(sources, categories), seconds
    if foreign is not None and options.label_field:
        labels = foreign.labels(categories, options.separator)
    else:
        labels = read_label_tables(options.labels, categories, options.separator)
    dense, truth = _by_split(options.dense), _by_split(options.truth)
    return with_event_tables(labels, dense, truth, Length(options.segments, seconds)), seconds


def unlabelled_set(sources: Mapping[str, FeatureSource], categories: CategorySet | None) -> LabelSet:
    """Every video that has a feature, in the one split "predict"."""
    if categories is None:
        raise DataError("--unlabelled needs --categories FILE, with the categories of the run that is to predict")
    keys = sorted(set[str]().union(*(source.keys() for source in sources.values())))
    return LabelSet(categories, {"predict": unlabelled(keys)})


def labels_option(text: str) -> LabelFile:
    """FILE or SPLIT=FILE."""
    split, equals, file = text.partition("=")
    return LabelFile(local_path(file), split) if equals and split.isidentifier() else LabelFile(local_path(text))


def files_option(text: str) -> tuple[str, str]:
    """GLOB or SPLIT=GLOB."""
    split, equals, pattern = text.partition("=")
    return (split, expanded(pattern)) if equals and split.isidentifier() else ("", expanded(text))


def split_option(text: str) -> tuple[str, Path]:
    """SPLIT=FILE."""
    split, equals, file = text.partition("=")
    if not equals or not split.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not SPLIT=FILE, for instance val={text}")
    return split, local_path(file)


def annotations_option(text: str) -> tuple[str, Path]:
    """KIND=DIR."""
    kind, equals, folder = text.partition("=")
    if not equals or kind not in PRESETS:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=DIR, with KIND one of {', '.join(PRESETS)}")
    return kind, local_path(folder)


def feature_option(text: str) -> tuple[str, str]:
    """NAME=PATTERN."""
    name, equals, pattern = text.partition("=")
    if not equals or name not in FEATURE_NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATTERN, with NAME one of {', '.join(FEATURE_NAMES)}")
    try:
        return name, expanded(pattern)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _by_split(tables: list[tuple[str, Path]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for split, path in tables:
        found.setdefault(split, []).append(path)
    return found


def _own_problems(options: argparse.Namespace) -> list[str]:
    names = [name for name, _ in options.feature]
    problems = [f"--feature {name}=… is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if not {"audio", "frames"} & set(names):
        problems.append("there is neither audio nor frames; name one of them with --feature NAME=PATTERN, or both")
    elif "motion" in names and "frames" not in names:
        problems.append("there is motion without frames, which no network takes; add --feature frames=…")
    if options.segments < 1:
        problems.append(f"--segments must be at least 1, not {options.segments}")
    if options.segment_seconds is not None and not 0 < options.segment_seconds < float("inf"):
        problems.append(f"--segment-seconds must be above 0, not {options.segment_seconds:g}")
    if options.separator == "":
        problems.append("--separator must be at least one character")
    if not (options.labels or options.label_field):
        given = {"--dense": options.dense, "--truth": options.truth, "--separator": options.separator}
        problems += [f"{name} goes with --labels or --label-field only" for name, value in given.items() if value]
    if options.label_field and not (options.tars or options.table):
        problems.append("--label-field goes with --tars or --table only; a table of labels alone is --labels FILE")
    if not options.table:
        given = {"--key-column": options.key_column, "--split-column": options.split_column}
        problems += [f"{name} goes with --table only" for name, value in given.items() if value]
    if options.annotations:
        kind, seconds = options.annotations[0], PRESETS[options.annotations[0]].seconds
        if options.categories:
            problems.append(f"--categories: those of {kind} are known; leave it out")
        if seconds and options.segment_seconds and abs(options.segments * options.segment_seconds - seconds) > 1e-6:
            problems.append(
                f"--segments {options.segments} of --segment-seconds {options.segment_seconds:g} are not the "
                f"{seconds:g} seconds of a video of {kind}"
            )
    return problems
