"""A manifest that somebody else serves, altered in any way, leads no reader out of the cache: not to read, not to write
and not to delete."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.config import DataConfig
from jomold_dist.data.checking.data_set import verify_data_set
from jomold_dist.data.format.manifest import MANIFEST_NAME
from jomold_dist.data.format.manifest_file import parse_manifest
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.source import Url, read_manifest
from jomold_dist.errors import DataError
from tests.servers import ShardServer, serving
from tests.shard_fixtures import write_dataset

TOUCHING = ("remove", "rename", "rmdir", "mkdir", "truncate", "link", "symlink", "chmod")  # and open


@dataclass
class Watch:
    """The paths that this process touches below a folder while it is set."""

    below: str = ""
    touched: list[str] = field(default_factory=list)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.below and (event == "open" or event.removeprefix("os.") in TOUCHING):
            paths = [os.path.abspath(os.fsdecode(one)) for one in arguments[:2] if isinstance(one, str | bytes | Path)]
            self.touched += [path for path in paths if path.startswith(self.below)]


WATCH = Watch()
sys.addaudithook(WATCH.hook)  # which nobody can take away again


@dataclass(frozen=True)
class Place:
    """A home with files that a manifest may want, a set that is served, a cache."""

    root: Path
    server: ShardServer
    manifest: dict[str, Any]

    @property
    def home(self) -> Path:
        return self.root / "home"

    def tree(self) -> dict[str, bytes | None]:
        """Everything outside the cache."""
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in self.root.rglob("*")
            if not path.is_relative_to(self.root / "cache")
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("served")
    write_dataset(root / "set", {"train": 17, "val": 9})
    manifest = json.loads((root / "set" / MANIFEST_NAME).read_text())
    size = manifest["splits"]["train"]["shards"][0]["bytes"]
    for name in ("home/backup.tar", "home/x", "x.tar", "cache.tar", "backup.tar", "home/.tar"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x" * (size if "backup" in name else 5))
    with serving(root / "set") as server:
        yield Place(root, server, manifest)


PATHS = (
    "{home}/backup", "{home}/backup.tar", "../../home/backup", "../home/backup.tar", "../../x", "../x.tar", "..", ".",
    "", "/", "{home}/x\0", "train/../../x.tar", "train/shard-000001.tar", "%2e%2e/x.tar", "..\\x.tar", "~/x.tar",
    "a" * 64, "A" * 64, "0" * 63, "//host/x.tar", "file://{home}/backup.tar", "*.tar",
)  # fmt: skip
NUMBERS = (-1, 0, 1, 5, 6, 7, 512, 10240, 2**31, 2**63, 10**30, 1.5, True, None, "7", float("nan"))
SHAPES = ([4, 3], [4, 5], [3, 4], [0, 3], [-4, 3], [4], [2**20, 2**20], [2**40, 1], [4.0, 3], "4x3", None)
SHARD = ["splits", "train", "shards", 0]
FIELDS: list[tuple[list[Any], tuple[Any, ...]]] = [
    ([*SHARD, "sha256"], PATHS), ([*SHARD, "name"], PATHS), ([*SHARD, "bytes"], NUMBERS), ([*SHARD, "videos"], NUMBERS),
    (["splits", "train", "videos"], NUMBERS), (["splits", "train", "record", "bytes"], NUMBERS),
    (["splits", "train", "record", "members", "audio.npy"], ([0, 24], [-512, 24], [640, 24], [10**12, 24])),
    (["features", "audio", "shape"], SHAPES), (["features", "motion", "shape"], SHAPES), (["segments"], NUMBERS),
    (["splits", "train", "max_labels"], NUMBERS), (["name"], PATHS), (["origin"], PATHS),
    (["simulated"], ({"seed": 0},)), (["splits", "train", "truth"], (True, False, "{home}/x")),
]  # fmt: skip
CHANGES = st.sampled_from([(path, value) for path, values in FIELDS for value in values])


def altered(place: Place, changes: list[tuple[list[Any], Any]], split: str | None, own_digest: str) -> bytes:
    """The manifest with these changes; its split `train` is called `split`."""
    data = json.loads(json.dumps(place.manifest))
    for path, value in changes:
        holder = data
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value.format(home=place.home) if isinstance(value, str) else value
    if split is not None:
        data["splits"][split.format(home=place.home)] = data["splits"].pop("train")
    if own_digest != "stale":
        del data["digest"]
    if own_digest == "right":
        try:
            data["digest"] = parse_manifest(json.dumps(data).encode(), "m.json").digest
        except DataError:
            data["digest"] = "0" * 64
    return json.dumps(data).encode()


def read(place: Place, mode: str) -> None:
    """As a run does, or `jomold verify`."""
    cache = place.root / "cache"
    source = Url(place.server.url, DataConfig(shards=place.server.url, cache=str(cache), attempts=1))
    manifest = read_manifest(source)
    if mode == "verify":
        verify_data_set(source, manifest, jobs=1)
        return
    split = next(name for name in manifest.splits if name != "val")
    with Loader(
        source, manifest, split, batch_size=5, rank=0, world=1, seed=0, streams=1, block=5, threads=1, shuffle=False,
        resident=mode == "resident", cache=cache,
    ) as loader:  # fmt: skip
        list(loader.epoch(0))


@settings(max_examples=50)
@given(
    changes=st.lists(CHANGES, max_size=2),
    split=st.sampled_from([None, None, None, *PATHS]),
    own_digest=st.sampled_from(["none", "right", "stale"]),
    mode=st.sampled_from(["stream", "resident", "verify"]),
)
def test_nothing_outside_the_cache_is_touched(
    place: Place, changes: list[tuple[list[Any], Any]], split: str | None, own_digest: str, mode: str
) -> None:
    served = place.root / "set"
    (served / MANIFEST_NAME).write_bytes(altered(place, changes, split, own_digest))
    before = place.tree()
    WATCH.touched.clear()
    WATCH.below = str(place.root)
    try:
        read(place, mode)
    except DataError as error:
        assert len(str(error)) < 2000  # noqa: PT017 - some are as they were
    finally:
        WATCH.below = ""
    inside = (str(served), str(place.root / "cache") + "/")
    assert [path for path in WATCH.touched if not path.startswith(inside) and path != inside[1][:-1]] == []
    assert place.tree() == before
