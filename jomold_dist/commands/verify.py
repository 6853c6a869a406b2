"""Check a data set: files, digests, and everything that its videos hold, against its manifest.

Of a set behind a URL each thread copies a shard to this machine while it looks at it; the cache stays as it is.

Exit code 0 if all is sound, 2 if not. Where what a set was packed from is at hand, the packer's --repair writes damaged
shards anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jomold_dist.command_line import command, command_parser, tell
from jomold_dist.data.checking.data_set import Verification, verify_data_set
from jomold_dist.data.checking.shard import Problem
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.run_data import source_at
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import SUCCESS, DataError, raise_together
from jomold_dist.files import check_output, is_stdout, write_json
from jomold_dist.places import local_path, place
from jomold_dist.watching import lines_on_stderr, progress
from jomold_dist.wording import number_of

NOTES_SHOWN = 10
LEVELS = ("full", "digest", "size")


@command
def main(words: list[str] | None = None) -> int:
    """0 if the data set is sound, 2 with the problems on stderr if not."""
    arguments = parse(words)
    lines_on_stderr()
    if arguments.report and (problem := unwritable(arguments.report, lambda: check_output(arguments.report))):
        raise DataError(problem)
    arguments.source = source_at(arguments.place, arguments.settings)
    manifest = readable_manifest(arguments)
    with progress("verified", sum(split.videos for split in manifest.splits.values())) as more:
        result = verify_data_set(arguments.source, manifest, arguments.level, arguments.jobs, more)
    untold = tell(summary(arguments, manifest, result), bool(arguments.report) and is_stdout(arguments.report))
    head = {"folder": str(arguments.source), "name": manifest.name, "manifest_sha256": manifest.digest}
    problems = [*map(str, result.problems), *report(arguments, head | result.to_json())]
    raise_together([*problems, *([f"the summary cannot be printed: {untold}"] if untold else [])])
    return SUCCESS


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument(
        "place", type=place, metavar="SET", help="folder of the shards and their manifest.json, or its URL"
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="data.KEY=VALUE",
        help="how to reach a URL, for example data.storage='{anon: true}'",
    )
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default="full",
        help="full: everything (the default); digest: every shard's SHA-256; size: only its size",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: one a core)")
    parser.add_argument("--report", type=local_path, metavar="FILE", help="write totals and every problem as JSON")
    arguments = parser.parse_intermixed_args(words)
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, not {arguments.jobs}")
    return arguments


def readable_manifest(arguments: argparse.Namespace) -> Manifest:
    """The manifest. Where there is none that can be read, the report says so too."""
    try:
        return read_manifest(arguments.source)
    except DataError as error:
        problems = [asdict(Problem(problem)) for problem in error.problems]
        unwritten = report(arguments, {"folder": str(arguments.source), "sound": False, "problems": problems})
        raise DataError(*error.problems, *unwritten) from None


def report(arguments: argparse.Namespace, content: dict[str, Any]) -> list[str]:
    """Writes the report that was asked for; the problem if that cannot be."""
    path = arguments.report
    problem = unwritable(path, lambda: write_json(path, content)) if path else None
    return [problem] if problem else []


def unwritable(path: Path, write: Callable[[], None]) -> str | None:
    """The problem that writing to the path meets."""
    try:
        write()
    except OSError as error:
        return f"--report {path} cannot be written: {error.strerror or error}; name a file in a folder that exists"
    return None


def summary(arguments: argparse.Namespace, manifest: Manifest, result: Verification) -> str:
    """What is printed on stdout, or, where the report goes there, on stderr."""
    verdict = "all as the manifest says" if result.sound else number_of(len(result.problems), "problem")
    lines = [f"{arguments.source}: {manifest.name}{' (simulated)' if manifest.simulated else ''}, {verdict}"]
    for name, total in result.splits.items():
        size = f"{_contents(total['videos'], total['shards'])}, {total['bytes'] / 1e6:.1f} MB"
        damage = f"; damaged: {_contents(total['damaged_videos'], total['damaged_shards'])}"
        unread = f"; {number_of(total['unreadable_shards'], 'shard')} cannot be read"
        lines.append(
            f"  {name}: {size}{damage if total['damaged_shards'] else ''}{unread if total['unreadable_shards'] else ''}"
        )
        if unchecked := total["videos_without_checksum"]:
            lines.append(f"    videos without a checksum: {unchecked:,}; the set was packed before there were")
    return "\n".join([*lines, *(f"  note: {note}" for note in result.notes[:NOTES_SHOWN])])


def _contents(videos: int, shards: int) -> str:
    return f"{number_of(videos, 'video')} in {number_of(shards, 'shard')}"
