"""Pack features and labels of your own into shards and a manifest: any categories, segments, widths, and keys.

    jomold pack --labels labels.csv --feature audio='clap/{key}.npy' --feature frames='clip/{key}.npy' --out data/mine

Labels are a table (CSV, TSV or parquet) with a video a row, in the columns key and labels, or with a label a row, in
key and label; also by the names of LLP's files, filename and event_labels. A column split, or --labels SPLIT=FILE for
each, tells the splits; training needs train, which is shuffled by --seed. With dense labels (--dense) a split can be
scored; with the truth (--truth) of train, removals are judged.

A feature is a .npy a video, rows by width: audio and frames, or one of them, and motion beside frames. {key} in its
pattern is the video's key, {id} the key without _<start>_<end>. Frames have k rows a segment, and their mean is stored
unless --keep-frames; audio and motion may have any number of rows, which are averaged to one a segment.

Features that jomold extract has made of video files come with --extracted DIR, all that are there. How they were made
goes to the manifest, and models of other features are refused.

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

from jomold_dist.command_line import command, show
from jomold_dist.commands.pack_options import pack_option_problems, pack_parser
from jomold_dist.commands.packing import Packing, option_problems, run_packer
from jomold_dist.data.format.extraction_file import read_extraction
from jomold_dist.data.packing.destination import destination_of
from jomold_dist.data.packing.event_tables import Length, with_event_tables
from jomold_dist.data.packing.feature_sources import FeatureSource, FilePattern, extracted_patterns
from jomold_dist.data.packing.foreign import ForeignSet, open_table_set, open_tars
from jomold_dist.data.packing.label_tables import read_categories, read_label_tables
from jomold_dist.data.packing.planned_set import SHUFFLED, plan_set
from jomold_dist.data.packing.presets import PRESETS, read_preset
from jomold_dist.data.packing.video_labels import LabelSet, label_set_digest, unlabelled
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import CategorySet


@command
def main() -> None:
    show(run_packer(pack_parser(__doc__).parse_args(), plan))


def plan(options: argparse.Namespace) -> Packing:
    """Validates everything that can be checked before the values of features are read."""
    options.feature = [*options.feature, *extracted_features(options)]
    raise_together([*option_problems(options), *pack_option_problems(options)])
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
    seed = None if options.no_shuffle else options.seed
    planned = plan_set(labels, sources, length, keep_frames=options.keep_frames, dtype=options.dtype, seed=seed)
    for name, spec in planned.features.items():
        if spec.pooled:
            show(f"{name}: {spec.pooled}")
    if options.no_shuffle and SHUFFLED in labels.splits:
        show(f"{SHUFFLED} stays in its order: batches are cut from neighbours, which should not be alike")
    command, set_name, kind = telling
    return Packing(
        command=command,
        name=set_name,
        categories=labels.categories,
        features=planned.features,
        splits=planned.splits,
        recipe={"labels": label_set_digest(labels.splits), "--no-shuffle": options.no_shuffle},
        segments=length.segments,
        segment_seconds=length.seconds,
        settings={"labels": kind},
        truths=planned.truths,
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


def extracted_features(options: argparse.Namespace) -> list[tuple[str, str]]:
    """What --extracted adds to --feature: all features of that folder which have no --feature of their own."""
    if options.extracted is None:
        return []
    if (extracted := read_extraction(options.extracted)) is None:
        raise DataError(f"--extracted {options.extracted}: there is no extraction.json, which jomold extract writes")
    own = {name for name, _ in options.feature}
    patterns = extracted_patterns(options.extracted, extracted)
    return [(name, pattern) for name, pattern in patterns.items() if name not in own]


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
    categories = known_categories(options)
    if options.unlabelled:
        return unlabelled_set(sources, categories), seconds
    if foreign is not None and options.label_field:
        labels = foreign.labels(categories, options.separator)
    else:
        labels = read_label_tables(options.labels, categories, options.separator)
    dense, truth = _by_split(options.dense), _by_split(options.truth)
    return with_event_tables(labels, dense, truth, Length(options.segments, seconds)), seconds


def known_categories(options: argparse.Namespace) -> CategorySet | None:
    """The categories that are named, or those of the set that is added to; None if they are to be found."""
    if options.categories:
        given: Path = options.categories
        return read_manifest(given).categories if given.is_dir() else read_categories(given)
    existing = destination_of(options.out, append=True, work=options.work).existing() if options.append else None
    return None if existing is None else existing.categories


def unlabelled_set(sources: Mapping[str, FeatureSource], categories: CategorySet | None) -> LabelSet:
    """Every video that has a feature, in the one split "predict"."""
    if categories is None:
        raise DataError("--unlabelled needs --categories FILE|SET, with the categories of the run that is to predict")
    keys = sorted(set[str]().union(*(source.keys() for source in sources.values())))
    return LabelSet(categories, {"predict": unlabelled(keys)})


def _by_split(tables: list[tuple[str, Path]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for split, path in tables:
        found.setdefault(split, []).append(path)
    return found
