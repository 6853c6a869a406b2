"""Compares a data set with its manifest: python tools/verify_shards.py DIR."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jomold_dist.data.shards import verify_shards
from jomold_dist.data.source import read_manifest
from jomold_dist.errors import DataError, UserError, join_problems


def main(words: list[str] | None = None) -> int:
    """0 if the data set is whole, 2 with the problems on stderr if not."""
    parser = argparse.ArgumentParser(description="Check that every shard of a data set is what its manifest says.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the shards and their manifest.json")
    parser.add_argument(
        "--level",
        choices=("digest", "size"),
        default="digest",
        help="compare every shard's SHA-256 (the default), or only its size",
    )
    arguments = parser.parse_args(words)
    try:
        manifest = read_manifest(arguments.folder)
        problems = verify_shards(arguments.folder, manifest, level=arguments.level)
        if problems:
            raise DataError(join_problems(problems))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{arguments.folder}: {manifest.name}{' (simulated)' if manifest.simulated else ''}, all as the manifest says"
    )
    for split in manifest.splits.values():
        size = sum(shard.bytes for shard in split.shards)
        print(f"  {split.name}: {split.videos} videos in {len(split.shards)} shards, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
