"""What the commands that pack a data set share: options, packing that goes on after a stop, repairing, a summary."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from jomold_dist.command_line import command_parser
from jomold_dist.data.format.manifest import DTYPES, FeatureSpec, Manifest
from jomold_dist.data.format.manifest_file import MOST_SEED
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.repair import repair_shards
from jomold_dist.data.packing.shard_writer import BadVideosError
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.data.packing.truth_writer import lacks_truth, write_truth
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import PREEMPTED, raise_together
from jomold_dist.labels import CategorySet
from jomold_dist.places import local_path, place, split_scheme
from jomold_dist.versions import version
from jomold_dist.watching import lines_on_stderr, progress

SEGMENTS = 10

HOW_IT_GOES_ON = """
Stopped or killed, the same command goes on after the last finished shard, which waits in .NAME.partial beside --out.
Finished shards are used again only if nothing has changed that decides their content. A command with other options is
refused while they wait, and says which differ; with --restart it begins anew without them. With --repair, the damaged
or missing shards of a packed data set are written anew, each only if it becomes exactly what the manifest says. With
--append, shards of more videos are added to the data set at --out; until all are there, it stays as it is. Where --out
is a URL, each shard is sent when it is finished, and removed here; what is needed to go on waits in --work.
"""


@dataclass(frozen=True)
class Packing:
    """What is to be packed. `recipe` decides the content; `settings` are told in the manifest, without paths; `truths`
    makes, by split, which labels are really heard and seen: the keys in the order of the shards, and bool (n, 2, C)."""

    command: str
    name: str
    categories: CategorySet
    features: dict[str, FeatureSpec]
    splits: list[SplitSource]
    recipe: dict[str, Any]
    simulated: dict[str, Any] | None = None
    segments: int = SEGMENTS
    segment_seconds: float = 1.0
    settings: dict[str, Any] = field(default_factory=dict)
    truths: dict[str, Callable[[], tuple[list[str], np.ndarray]]] = field(default_factory=dict)


def packing_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all packers have."""
    parser = command_parser(description)
    parser.epilog = HOW_IT_GOES_ON
    parser.add_argument(
        "--out", type=place, required=True, metavar="DIR|URL",
        help="folder to write, or a link to it, new or empty; or a URL such as s3://bucket/name",
    )  # fmt: skip
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--repair", action="store_true", help="write the damaged shards of --out anew")
    again.add_argument(
        "--restart", action="store_true", help="remove what a stopped packing of --out has finished, and begin anew"
    )
    parser.add_argument("--append", action="store_true", help="add to the data set that is at --out")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
        help="processes that write shards, the same whatever their number (default: one a core, here %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--work", type=local_path, metavar="DIR",
        help="where shards are written before they are sent to a URL (default: this user's cache)",
    )  # fmt: skip
    parser.add_argument("--keep-frames", action="store_true", help="keep all frames of a segment, not their mean")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="stored precision (default: %(default)s)")
    parser.add_argument("--videos-per-shard", type=int, default=500, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="(default: %(default)s)")
    return parser


def option_problems(options: argparse.Namespace) -> list[str]:
    """What is wrong with the options that all packers have."""
    problems = []
    if options.videos_per_shard < 1:
        problems.append(f"--videos-per-shard must be at least 1, not {options.videos_per_shard}")
    if options.jobs < 1:
        problems.append(f"--jobs must be at least 1, not {options.jobs}")
    if options.append and options.repair:
        problems.append("--append and --repair exclude each other")
    if options.repair and local_folder(options) is None:
        problems.append("--repair needs a folder as --out; to mend a set at a URL, repair a copy and send that")
    if options.work is not None and local_folder(options) is not None:
        problems.append("--work is for a URL as --out; a folder is packed beside itself")
    if not 0 <= options.seed <= MOST_SEED:
        problems.append(f"--seed must be from 0 to {MOST_SEED}, not {options.seed}")
    return problems


def run_packer(
    options: argparse.Namespace,
    plan: Callable[[argparse.Namespace], Packing],
    closing: Callable[[argparse.Namespace], str] = lambda options: "",
) -> str:
    """Packs or repairs what `plan` makes of the options: a summary, which ends with `closing` and the place."""
    lines_on_stderr()
    with stopped_by_signals():
        packing = plan(options)
        if options.repair:
            lines, manifest = repair(Path(options.out), options, packing)
        else:
            lines, manifest = [], pack(options, packing)
    lines += summary(manifest)
    if said := closing(options):
        lines.append(said)
    return "\n".join([*lines, f"{'repaired' if options.repair else 'written to'} {options.out}"])


def local_folder(options: argparse.Namespace) -> Path | None:
    """The folder to write, None for a URL."""
    _, folder = split_scheme(options.out)
    return None if folder is None else Path(folder)


def pack(options: argparse.Namespace, packing: Packing) -> Manifest:
    """Writes the data set. DataError names the bad videos of all splits together."""
    problems: list[str] = []
    with DatasetWriter(
        options.out,
        name=packing.name,
        categories=packing.categories,
        segments=packing.segments,
        features=packing.features,
        simulated=packing.simulated,
        segment_seconds=packing.segment_seconds,
        made_by={"command": packing.command, "version": version("jomold_dist"), **packing.settings},
        videos_per_shard=options.videos_per_shard,
        recipe={"--dtype": options.dtype, "--keep-frames": options.keep_frames, "--seed": options.seed}
        | packing.recipe,
        restart=options.restart,
        append=options.append,
        jobs=options.jobs,
        work=options.work,
    ) as writer:
        for split in packing.splits:
            with progress(split.name, len(split.videos)) as more:
                try:
                    writer.write_split(
                        split.name,
                        split.videos,
                        max_labels=split.max_labels,
                        dense=split.dense,
                        shuffled=split.shuffled,
                        origin=split.origin,
                        progress=more,
                    )
                except BadVideosError as error:
                    problems += error.problems
        raise_together(problems)
        for name, truth in packing.truths.items():
            writer.write_truth(name, *truth())
        return writer.finish()


def repair(folder: Path, options: argparse.Namespace, packing: Packing) -> tuple[list[str], Manifest]:
    """Writes the damaged or missing shards of a packed data set anew, and says which."""
    with progress("checked", sum(len(split.videos) for split in packing.splits)) as more:
        result = repair_shards(
            folder,
            packing.splits,
            categories=packing.categories,
            segments=packing.segments,
            features=packing.features,
            videos_per_shard=options.videos_per_shard,
            simulated=packing.simulated,
            jobs=options.jobs,
            progress=more,
        )
    manifest = read_manifest(folder)
    torn = [name for name in packing.truths if lacks_truth(folder, manifest, name)]
    for name in torn:
        write_truth(folder / truth_name(name), *packing.truths[name]())
    anew = [f"written anew: {name}" for name in (*result.rewritten, *map(truth_name, torn))]
    return [*anew, f"shards that were whole: {len(result.whole)}, written anew: {len(result.rewritten)}"], manifest


def summary(manifest: Manifest) -> list[str]:
    """What is in a packed data set, a line a split and one for the features."""
    lines = []
    for name, split in manifest.splits.items():
        dense = ", with dense labels" if split.dense else ""
        size = sum(shard.bytes for shard in split.shards)
        lines.append(
            f"{name}: videos {split.videos}, labels {split.positives.sum()}{dense}, "
            f"shards {len(split.shards)}, bytes {size:,}"
        )
    stored = ", ".join(f"{name} {spec.shape} {spec.dtype}" for name, spec in manifest.features.items())
    return [*lines, f"features: {stored}"]


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the block with SystemExit(75), which a scheduler may start again."""

    def stop(number: int, frame: FrameType | None) -> None:
        sys.stderr.write(f"stopped by {signal.Signals(number).name}\n")
        raise SystemExit(PREEMPTED)

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
