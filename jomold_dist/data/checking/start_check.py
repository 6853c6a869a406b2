"""What a look at a data set tells before a run begins: at shards in folders, at caches, and at what is far away."""

from __future__ import annotations

from collections.abc import Sequence

from jomold_dist.config import DataConfig
from jomold_dist.data.checking.shard import verify_shards
from jomold_dist.data.format.manifest import Manifest, ShardInfo
from jomold_dist.data.reading.source import REMEDY, Folder, Source, Url
from jomold_dist.errors import DataError


def problems_of_shards(
    data: DataConfig, source: Source, manifest: Manifest, splits: Sequence[str], share: slice = slice(None)
) -> list[str]:
    """What is wrong with a share of the shards, as far as it is to be known beforehand.

    Shards in folders are compared with the manifest, unless videos are to be masked one by one when they are read.
    Those from a URL are checked when they come: now this node's cache is looked at, and, by whose share is the first,
    what the server says of one shard of each split.
    """
    problems = []
    for url, shards in _remote_shards(source, manifest, splits).items():
        problems += problems_of_cache(url, [shard for own in shards.values() for shard in own])
        if not share.start:
            problems += problems_of_server(url, [own[0] for own in shards.values()])
    if data.on_bad_video == "mask":
        return problems
    located = [source.locate(shard) for split in splits for shard in manifest.split(split).shards]
    folders = [(place, shard) for place, shard in located if isinstance(place, Folder)]
    return problems + [line for place, shard in folders[share] for line in verify_shards(place, [shard], data.verify)]


def _remote_shards(source: Source, manifest: Manifest, splits: Sequence[str]) -> dict[Url, dict[str, list[ShardInfo]]]:
    """The shards of each URL by their split."""
    found: dict[Url, dict[str, list[ShardInfo]]] = {}
    for split in splits:
        for shard in manifest.split(split).shards:
            place, own = source.locate(shard)
            if isinstance(place, Url):
                found.setdefault(place, {}).setdefault(split, []).append(own)
    return found


def problems_of_cache(url: Url, shards: Sequence[ShardInfo]) -> list[str]:
    """Whether this node's cache can keep these shards, each alone."""
    try:
        url.check_cache(shards)
    except DataError as error:
        return [str(error)]
    return []


def problems_of_server(url: Url, shards: Sequence[ShardInfo]) -> list[str]:
    """What the server says of these shards' sizes."""
    problems = []
    for shard in shards:
        try:
            size = url.size(shard)
        except DataError as error:
            problems.append(str(error))
            continue
        if size is not None and size != shard.bytes:
            problems.append(f"{url.path_of(shard.name)} has {size} bytes, the manifest says {shard.bytes}; {REMEDY}")
    return problems
