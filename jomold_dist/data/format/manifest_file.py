"""Reading a manifest's file, which may come from anybody: what it says becomes paths, sizes of arrays and offsets.

So nothing in it is used before it was found to be what it may be, and what follows from the rest of it is computed and
compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from jomold_dist.data.format.checked_values import (
    MOST_SEGMENTS,
    a_list,
    an_object,
    note,
    plain_text,
    segment_length,
    shortly,
    whole_number,
)
from jomold_dist.data.format.feature_rows import feature_problems
from jomold_dist.data.format.manifest import (
    DTYPES,
    FEATURE_NAMES,
    SCHEMA,
    FeatureSpec,
    Manifest,
    RecordLayout,
    ShardInfo,
    SplitInfo,
)
from jomold_dist.data.format.positives import cut_out_positives
from jomold_dist.data.format.records import LABELS, TAR_BLOCK, label_slot, record_layout, shard_bytes
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet

MOST_BYTES = 512 << 20  # a set of a hundred million videos and 500 categories has a manifest of 354 MB
MOST_TEXT = 128 << 20  # without the lists of positives, which are no Python objects: a million shards take so much
MOST_RECORD_BYTES = 256 << 20  # of one video, where LLP's with all its frames in float32 takes 0.7 MB
MOST_VIDEOS = (1 << 31) - 1  # of a shard: positives are int32
MOST_SEED = (1 << 63) - 1

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD_NAME = re.compile(r"(\w[\w.+=-]*/)*\w[\w.+=-]*\.tar")
_NAME_BYTES = 200  # of a shard's path; file systems take 255 for each part
_SPLIT_BYTES = 100  # of a split's name, which is that of a folder and begins its shards' paths


class ManifestError(DataError):
    """The manifest's file is damaged."""


def parse_manifest(content: bytes, path: str) -> Manifest:
    """A manifest's file, which messages call `path`. DataError if it is damaged or of another schema.

    Where it holds its own digest, as all but those of older data sets do, that is compared too.
    """
    manifest, schema, problem = None, None, ""
    try:
        text, positives = cut_out_positives(content)
        if len(text) > MOST_TEXT:
            raise ValueError(f"it has more than {MOST_TEXT} bytes beside its counts of labels")
        data = json.loads(text)
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema == SCHEMA:
            manifest = _manifest(data, positives)
            if data.get("digest", manifest.digest) != manifest.digest:
                raise ValueError('its digest is not that of its content; if you edited it, take "digest" out of it')
    except KeyError as error:
        problem = f"it lacks {error}"
    except RecursionError:
        problem = "it is nested too deeply"
    except (ValueError, DataError) as error:
        problem = str(error)
    if problem:
        raise ManifestError(f"{path} is damaged ({problem}); copy it again, or pack the data set again")
    if manifest is None:
        raise DataError(
            f"{path} has schema {shortly(schema)}, this version reads schema {SCHEMA}; pack the data set again"
        )
    return manifest


def set_problem(manifest: Manifest) -> str:
    """Why the file of this manifest would be refused, whatever its splits are; "" if it would not."""
    try:
        _without_splits(json.loads("".join(replace(manifest, splits={}).lines())))
    except (ValueError, TypeError, DataError) as error:
        return str(error)
    return ""


def split_problem(name: str, shuffled: int | None, record_bytes: int) -> str:
    """Why a manifest with a split of this name, seed and size of a video would be refused; "" if it would not."""
    try:
        _check_split(name, shuffled, record_bytes)
    except ValueError as error:
        return str(error)
    return ""


def _manifest(data: dict[str, Any], positives: list[np.ndarray]) -> Manifest:
    """ValueError, KeyError or DataError if the content cannot be a manifest's. `positives` are the lists that were cut
    out, whose numbers stand in their places."""
    whole = _without_splits(data)
    lists = iter(enumerate(positives))
    splits = {
        name: _split(name, an_object(split, "a split"), whole, lists)
        for name, split in an_object(data["splits"], "splits").items()
    }
    if not splits:
        raise ValueError("it has no splits")
    if next(lists, None) is not None:
        raise ValueError("a list of positives belongs to no shard")
    names: set[str] = set()
    for shard in (shard for split in splits.values() for shard in split.shards):
        if shard.name in names:
            raise ValueError(f"shard {shard.name} is named twice")
        names.add(shard.name)
    return replace(whole, splits=splits)


def _without_splits(data: dict[str, Any]) -> Manifest:
    """What a manifest says of the whole set. Errors as `_manifest` has them."""
    categories = CategorySet(tuple(plain_text(name, "a category") for name in a_list(data["categories"], "categories")))
    segments = whole_number(data["segments"], "segments", 1, MOST_SEGMENTS)
    features = {name: _feature(name, spec) for name, spec in an_object(data["features"], "features").items()}
    simulated = None if data["simulated"] is None else note(data["simulated"], "simulated")
    if not features:
        raise ValueError("it has no features")
    if problems := feature_problems(features, segments):
        raise ValueError("; ".join(problems))
    return Manifest(
        plain_text(data["name"], "its name"),
        segments,
        categories,
        features,
        {},
        simulated,
        segment_length(data["segment_seconds"]),
        note(data["origin"], "origin"),
    )


def _feature(name: str, spec: Any) -> FeatureSpec:
    shape = a_list(an_object(spec, "a feature")["shape"], "a feature's shape")
    if name not in FEATURE_NAMES or spec["dtype"] not in DTYPES or len(shape) != 2:
        raise ValueError(f"feature {shortly(name)} of {shortly(shape)} {shortly(spec['dtype'])}")
    rows, width = (whole_number(size, f"{name}'s shape", 1, MOST_RECORD_BYTES) for size in shape)
    pooled = plain_text(spec.get("pooled", ""), f"how {name} was pooled")
    return FeatureSpec((rows, width), spec["dtype"], pooled, note(spec.get("extraction", {}), f"{name}'s extraction"))


def _split(name: str, split: dict[str, Any], whole: Manifest, lists: Iterator[tuple[int, np.ndarray]]) -> SplitInfo:
    categories = whole.categories
    most = whole_number(split["max_labels"], "max_labels", 0, len(categories))
    dense, truth = split["dense"], split.get("truth", False)
    for what, value in (("dense", dense), ("truth", truth)):
        if not isinstance(value, bool):
            raise ValueError(f"{what} is {shortly(value)}, neither true nor false")
    seed = split["shuffled"]
    record = _record(name, split, (2, len(categories), whole.segments), most, whole.features)
    shards = tuple(
        _shard(an_object(shard, "a shard"), record.bytes, most, categories, lists)
        for shard in a_list(split["shards"], "shards")
    )
    info = SplitInfo(name, most, dense, record, shards, truth, seed)
    if not shards or info.videos != split["videos"]:
        raise ValueError(f"split {name!r} holds {info.videos} videos, not {shortly(split['videos'])}")
    return info


def _check_split(name: str, shuffled: Any, record_bytes: int) -> None:
    """ValueError if there can be no split of this name, seed and size of a video."""
    if not name.isidentifier() or len(name.encode()) > _SPLIT_BYTES:
        raise ValueError(
            f"split {shortly(name)} is not named with letters, digits and '_', in at most {_SPLIT_BYTES} bytes"
        )
    if shuffled is not None:
        whole_number(shuffled, f"the seed by which split {name!r} was shuffled", 0, MOST_SEED)
    if record_bytes > MOST_RECORD_BYTES:
        raise ValueError(f"a video of split {name!r} takes {record_bytes} bytes, more than {MOST_RECORD_BYTES}")


def _record(
    name: str, split: dict[str, Any], dense: tuple[int, int, int], most: int, features: dict[str, FeatureSpec]
) -> RecordLayout:
    """The layout that the features lead to: the one that the manifest states must be the same."""
    stated = an_object(split["record"], "record")
    members = an_object(stated["members"], "members")
    _, room = a_list(members[LABELS], LABELS)
    slot = whole_number(room, "the label text's room", 1, MOST_RECORD_BYTES)
    record = record_layout(features, dense if split["dense"] else None, slot)
    _check_split(name, split["shuffled"], record.bytes)
    same = {ending: [member.offset, member.bytes] for ending, member in record.members.items()} == members
    if not same or record.bytes != stated["bytes"] or slot % TAR_BLOCK or slot < label_slot(most, dense[1]):
        raise ValueError(f"the records of split {name!r} do not fit its features")
    return record


def _shard(
    shard: dict[str, Any],
    record_bytes: int,
    most: int,
    categories: CategorySet,
    lists: Iterator[tuple[int, np.ndarray]],
) -> ShardInfo:
    name, digest = shard["name"], shard["sha256"]
    if not isinstance(name, str) or len(name.encode(errors="replace")) > _NAME_BYTES or not _SHARD_NAME.fullmatch(name):
        raise ValueError(f"shard {shortly(name)} is not named as a .tar below the folder")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"shard {name} has the SHA-256 {shortly(digest)}, not 64 digits from 0 to f")
    videos = whole_number(shard["videos"], f"shard {name}'s videos", 1, MOST_VIDEOS)
    wanted = shard_bytes(videos, record_bytes)
    if type(shard["bytes"]) is not int or shard["bytes"] != wanted:
        told = f"the manifest says {shortly(shard['bytes'])} bytes"
        raise ValueError(f"shard {name}: {told}, but {videos} videos take {wanted}")
    number, positives = next(lists, (None, np.zeros(0, np.int32)))
    if type(shard["positives"]) is not int or shard["positives"] != number:
        raise ValueError(f"shard {name} has no list of positives")
    if len(positives) != len(categories):
        raise ValueError(f"shard {name} has positives of {len(positives)} categories, not {len(categories)}")
    if positives.max() > videos or positives.sum(dtype=np.int64) > videos * most:
        raise ValueError(f"shard {name} of {videos} videos of up to {most} labels has too many positives")
    return ShardInfo(name, videos, wanted, digest, positives)
