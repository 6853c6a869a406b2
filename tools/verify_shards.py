"""Check a data set: files, digests, and everything that its videos hold, against its manifest.

Exit code 0 if all is sound, 2 if not. Where what a set was packed from is at hand, the packer's --repair writes damaged
shards anew.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from watching import progress

from jomold_dist.data.manifest import Manifest
from jomold_dist.data.shard_check import Problem
from jomold_dist.data.source import local_folder, read_manifest
from jomold_dist.data.verification import Verification, verify_data_set
from jomold_dist.errors import FAILURE, SUCCESS, USER_ERROR, DataError, UserError
from jomold_dist.files import write_json

LEVELS = ("full", "digest", "size")


def main(words: list[str] | None = None) -> int:
    """0 if the data set is sound, 2 with the problems on stderr if not."""
    arguments = parse(words)
    try:
        manifest = readable_manifest(arguments)
        with progress("verified", sum(split.videos for split in manifest.splits.values())) as more:
            result = verify_data_set(arguments.folder, manifest, arguments.level, arguments.jobs, more)
        if arguments.report:
            head = {"folder": str(arguments.folder), "name": manifest.name, "manifest_sha256": manifest.digest}
            write_report(arguments.report, head | result.to_json())
        summarise(arguments.folder, manifest, result)
        if not result.sound:
            raise DataError(*map(str, result.problems))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped before the end", file=sys.stderr)
        return FAILURE
    return SUCCESS


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=folder_to_check, metavar="DIR", help="folder of the shards and their manifest.json"
    )
    parser.add_argument(
        "--level",
        choices=LEVELS,
        default="full",
        help="full: everything (the default); digest: every shard's SHA-256; size: only its size",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: one a core)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write totals and every problem as JSON")
    arguments = parser.parse_args(words)
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, not {arguments.jobs}")
    return arguments


def folder_to_check(place: str) -> Path:
    folder = local_folder(place)
    if folder is None:
        raise argparse.ArgumentTypeError(
            f"{place} is a URL, and this tool checks folders; shards from a URL are compared with their size and "
            "SHA-256 when they come, and to look at everything in them, copy them to a folder"
        )
    return folder


def readable_manifest(arguments: argparse.Namespace) -> Manifest:
    """The manifest. Where there is none that can be read, the report says so too."""
    try:
        return read_manifest(arguments.folder)
    except DataError as error:
        if arguments.report:
            problems = [asdict(Problem(problem)) for problem in error.problems]
            write_report(arguments.report, {"folder": str(arguments.folder), "sound": False, "problems": problems})
        raise


def write_report(path: Path, report: dict[str, Any]) -> None:
    try:
        write_json(path, report)
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}); name a file in a folder that exists") from None


def summarise(folder: Path, manifest: Manifest, result: Verification) -> None:
    verdict = "all as the manifest says" if result.sound else f"{len(result.problems)} problems"
    print(f"{folder}: {manifest.name}{' (simulated)' if manifest.simulated else ''}, {verdict}")
    for name, total in result.splits.items():
        damage = ""
        if total["damaged_shards"]:
            damage = f"; damaged: {total['damaged_videos']} videos in {total['damaged_shards']} shards"
        if total["unreadable_shards"]:
            damage += f"; {total['unreadable_shards']} shards cannot be read"
        print(f"  {name}: {total['videos']} videos in {total['shards']} shards, {total['bytes'] / 1e6:.1f} MB{damage}")
        if total["videos_without_checksum"]:
            print(
                f"    {total['videos_without_checksum']} videos have no checksum: the set was packed before there were"
            )


if __name__ == "__main__":
    sys.exit(main())
