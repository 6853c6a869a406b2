"""The options of `jomold pack`, and what is wrong with them before anything is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from jomold_dist.commands.packing import SEGMENTS, packing_parser
from jomold_dist.data.format.checked_values import MOST_SECONDS
from jomold_dist.data.format.manifest import FEATURE_NAMES
from jomold_dist.data.packing.label_tables import LabelFile
from jomold_dist.data.packing.planned_set import SHUFFLED
from jomold_dist.data.packing.presets import PRESETS
from jomold_dist.errors import ConfigError
from jomold_dist.places import expanded, local_path


def pack_parser(description: str | None) -> argparse.ArgumentParser:
    """The parser of `jomold pack`."""
    parser = packing_parser(description)
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
    parser.add_argument(
        "--extracted", type=local_path, metavar="DIR", help="a folder of jomold extract, whose features all are taken"
    )
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
        "--categories", type=local_path, metavar="FILE|SET",
        help="names of the categories, one a line, or a data set that has them (default: all labels "
        "that occur, sorted; with --append the set's)",
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
    return parser


def add_no_shuffle(parser: argparse.ArgumentParser) -> None:
    """The option by which training videos stay in their order."""
    parser.add_argument(
        "--no-shuffle", action="store_true", help=f"leave {SHUFFLED} in its order, which should be random already"
    )


def pack_option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options that `jomold pack` has beside those of all packers."""
    names = [name for name, _ in options.feature]
    problems = [f"--feature {name}=… is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if not {"audio", "frames"} & set(names):
        problems.append(
            "there is neither audio nor frames; name one of them with --feature NAME=PATTERN, or both, or a folder of "
            "jomold extract with --extracted DIR"
        )
    elif "motion" in names and "frames" not in names:
        problems.append("there is motion without frames, which no network takes; add --feature frames=…")
    if options.segments < 1:
        problems.append(f"--segments must be at least 1, not {options.segments}")
    if options.segment_seconds is not None and not 0 < options.segment_seconds <= MOST_SECONDS:
        problems.append(
            f"--segment-seconds must be above 0 and at most {MOST_SECONDS:g}, not {options.segment_seconds:g}"
        )
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
