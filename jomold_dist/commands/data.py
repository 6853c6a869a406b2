"""Look at a data set, or at one of its videos.

    jomold data data/llp
    jomold data data/llp EwTLLwJtDyo
    jomold data s3://bucket/llp data.storage='{anon: true}'

Of a set it shows who made it and how, its splits, its features with statistics of some videos, and its categories with
the videos of each. Of a video: where it lies, its labels, what of them is really heard and seen where that is known,
its events in seconds, and statistics of its features' rows.

Behind a URL, one shard is fetched to look at a set; to find a video, one shard after another until it is there. They
are kept in the cache, where a training finds them.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from typing import Any

from jomold_dist.command_line import command, command_parser, show
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.looking.lookup import Place, find_video
from jomold_dist.data.looking.overview import overview
from jomold_dist.data.looking.text import set_text, video_text
from jomold_dist.data.looking.video import view_video
from jomold_dist.data.reading.run_data import source_at
from jomold_dist.data.reading.source import Source, read_manifest
from jomold_dist.places import place
from jomold_dist.watching import lines_on_stderr, progress

logger = logging.getLogger(__name__)

OVERRIDE = "data."
LONG = 200  # shards in a folder through which looking takes long enough to tell of


@command
def main(words: list[str] | None = None) -> None:
    arguments = parse(words)
    lines_on_stderr()
    source = source_at(arguments.set, arguments.overrides)
    manifest = read_manifest(source)
    if arguments.key is None:
        found: Any = overview(source, manifest)
        text = set_text(found, arguments.all)
    else:
        found = view_video(source, manifest, found_at(source, manifest, arguments.key))
        text = video_text(found, arguments.all)
    show(json.dumps(asdict(found), indent=2) if arguments.json else text)


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument(
        "set", type=place, metavar="SET", help="folder of the shards and their manifest.json, or its URL"
    )
    parser.add_argument("words", nargs="*", metavar="KEY", help="a video's key; for a URL also settings data.…=…")
    parser.add_argument("--all", action="store_true", help="all categories, or all rows, however many there are")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    given = sys.argv[1:] if words is None else words
    if not given:
        parser.error("which data set? give its folder or URL")
    arguments = parser.parse_intermixed_args(given)
    arguments.overrides = [word for word in arguments.words if word.startswith(OVERRIDE)]  # a key holds no dot
    keys = [word for word in arguments.words if not word.startswith(OVERRIDE)]
    if len(keys) > 1:
        parser.error(f"one video at a time; given: {', '.join(keys)}")
    arguments.key = keys[0] if keys else None
    return arguments


def found_at(source: Source, manifest: Manifest, key: str) -> Place:
    """Where a video lies. Of what may have to be fetched for that, a line says how much it is."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    if source.is_remote:
        size = sum(shard.bytes for shard in shards)
        logger.info(
            "looking for %s behind %s: fetched one after another, at most %s shards of %s MB, and kept in the cache",
            key, source, f"{len(shards):,}", f"{size / 1e6:,.1f}",
        )  # fmt: skip
    if not source.is_remote and len(shards) < LONG:
        return find_video(source, manifest, key)
    with progress(f"looking for {key}", len(shards), "shard") as more:
        return find_video(source, manifest, key, more)
