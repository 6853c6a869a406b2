"""The manifest as text: its digest and old files stay what they were, and many shards take little time and memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.data.format.manifest import MANIFEST_NAME, Manifest, ShardInfo, SplitInfo
from jomold_dist.data.format.positives import cut_out_positives, positives_texts
from jomold_dist.data.format.records import label_slot, record_layout, shard_bytes
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet
from tests.shard_fixtures import FEATURES, SEGMENTS

NAMES = ("Speech", 'a "positives": [1, 2] in quotes', "Glocke öäü \\")


def make(
    shards: dict[str, int],
    names: tuple[str, ...] = NAMES,
    simulated: dict[str, Any] | None = None,
    size: Callable[[int, int], int] = shard_bytes,
) -> Manifest:
    splits = {}
    for number, (split, count) in enumerate(shards.items()):
        layout = record_layout(FEATURES, None, label_slot(len(names), len(names)))
        infos = tuple(
            ShardInfo(
                f"{split}/shard-{n:06d}.tar",
                n + 1,
                size(n + 1, layout.bytes),
                f"{n:064x}",
                (np.arange(len(names)) * 7 + n) % (n + 2),
            )
            for n in range(count)
        )
        splits[split] = SplitInfo(split, len(names), False, layout, infos, shuffled=None if number else 7)
    return Manifest("a set", SEGMENTS, CategorySet(names), dict(FEATURES), splits, simulated, 0.5, {"command": "pack"})


def as_json(manifest: Manifest) -> dict[str, Any]:
    """The oracle: the file's content, written out."""
    return {
        "schema": 2,
        "name": manifest.name,
        "simulated": manifest.simulated,
        "segments": manifest.segments,
        "categories": list(manifest.categories.names),
        "segment_seconds": manifest.segment_seconds,
        "origin": manifest.origin,
        "features": {
            k: {"shape": list(f.shape), "dtype": f.dtype} | ({"pooled": f.pooled} if f.pooled else {})
            for k, f in manifest.features.items()
        },
        "splits": {
            name: {
                "videos": split.videos,
                "max_labels": split.max_labels,
                "dense": split.dense,
                "shuffled": split.shuffled,
                "record": {
                    "bytes": split.record.bytes,
                    "members": {k: [m.offset, m.bytes] for k, m in split.record.members.items()},
                },
                "shards": [vars(shard) | {"positives": shard.positives.tolist()} for shard in split.shards],
            }
            for name, split in manifest.splits.items()
        },
    }


def put(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("shards", [{"train": 3, "val": 1}, {"train": 600}])
@pytest.mark.parametrize("simulated", [None, {"seed": 3, "scenario": "llp"}])
def test_text_and_digest_are_the_written_out_ones(
    shards: dict[str, int], simulated: dict[str, Any] | None, tmp_path: Path
) -> None:
    manifest = make(shards, simulated=simulated)
    content = as_json(manifest)
    assert json.loads("".join(manifest.lines())) == as_json(manifest) | {"digest": manifest.digest}
    assert manifest.digest == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    read = read_manifest(put(tmp_path / "now", "".join(manifest.lines())))
    assert (read, read.digest, list(read.splits)) == (manifest, manifest.digest, list(shards))
    for name, split in read.splits.items():
        assert split.positives.tolist() == manifest.splits[name].positives.tolist()


@pytest.mark.parametrize("form", [{"indent": 1}, {}, {"indent": None, "separators": (",", ":")}, {"sort_keys": True}])
def test_any_json_of_the_same_content_has_the_same_digest(form: dict[str, Any], tmp_path: Path) -> None:
    manifest = make({"train": 5, "val": 2})
    read = read_manifest(put(tmp_path / "set", json.dumps(as_json(manifest), **form)))
    assert (read, read.digest) == (manifest, manifest.digest)


def test_a_split_with_a_truth_says_so(tmp_path: Path) -> None:
    plain = make({"train": 2, "val": 1})
    splits = {name: dataclasses.replace(split, truth=name == "train") for name, split in plain.splits.items()}
    manifest = dataclasses.replace(plain, splits=splits)
    content = as_json(plain)
    content["splits"]["train"]["truth"] = True
    assert json.loads("".join(manifest.lines())) == content | {"digest": manifest.digest}
    assert manifest.digest == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() != plain.digest
    read = read_manifest(put(tmp_path / "set", "".join(manifest.lines())))
    assert (read, read.splits["train"].truth, read.splits["val"].truth) == (manifest, True, False)


def test_the_digest_never_changes() -> None:
    manifest = make({"train": 2}, size=lambda videos, record: videos - 1)
    assert manifest.digest == "ca8be1f979cbb6ac925a96109a346e8ae2a224675cf12f52daf8498fbd3b50b3"


@settings(max_examples=60)
@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(st.integers(0, 3000), min_size=n, max_size=n))))
def test_positives_as_text_and_back(lists: list[list[int]]) -> None:
    arrays = [np.array(numbers) for numbers in lists]
    texts = list(positives_texts(arrays))
    assert texts == [json.dumps(numbers) for numbers in lists]
    text = json.dumps([{"positives": numbers, "name": 'x "positives": [7]'} for numbers in lists]).encode()
    rest, found = cut_out_positives(text)
    assert [numbers.tolist() for numbers in found] == lists
    assert [entry["positives"] for entry in json.loads(rest)] == list(range(len(lists)))


BAD_LISTS = {
    "a fraction": [1.5, 0, 0], "negative": [-1, 0, 0], "text": ["1", 0, 0], "nested": [[1], 0, 0],
    "more than the videos": [3, 0, 0], "too large": [2**31, 0, 0], "far too large": [2**80, 0, 0],
    "empty": [], "one short": [1, 2],
    "a number": 0, "nothing": None, "true": [True, 0, 0],
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_LISTS)
def test_bad_positives_are_damage(what: str, tmp_path: Path) -> None:
    content = as_json(make({"train": 3}))
    content["splits"]["train"]["shards"][1]["positives"] = BAD_LISTS[what]
    with pytest.raises(DataError, match=r"is damaged \(.*positives"):
        read_manifest(put(tmp_path / "set", json.dumps(content)))


@pytest.mark.parametrize("text", ['"positives": [1 2]', '"positives": [1,,2]', '"positives": [1,2,]'])
def test_lists_that_are_no_json(text: str) -> None:
    with pytest.raises(ValueError, match="list of positives"):
        cut_out_positives(f'{{"name": "x", {text}}}'.encode())


def test_many_shards_take_little_memory(tmp_path: Path) -> None:
    manifest = make({"train": 1000}, tuple(f"category {n}" for n in range(500)))
    folder = put(tmp_path / "set", "".join(manifest.lines()))
    size = (folder / MANIFEST_NAME).stat().st_size
    tracemalloc.start()
    assert read_manifest(folder).digest == manifest.digest
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size + 4 * 1000 * 500 + 4_000_000  # the file, four bytes a count; as Python lists 9 MB more
