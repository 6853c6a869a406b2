"""The journal of a packing: what decides the content of its shards, then a line for each shard that is finished.

A kill can at most cut the last line, whose shard is then made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.errors import DataError
from jomold_dist.files import write_text
from jomold_dist.reading import parse_json, regular_file

RECIPE_SHOWN = 60  # characters of a value in the line that says what has changed


@dataclass(frozen=True)
class FinishedShard:
    """A line of the journal.

    `positives` are int32 (C,), `max_labels` is the most labels of a video, `modalities` tells whether any dense label
    is 1, audio first, and `origin` stands for what its videos were made from.
    """

    name: str
    videos: int
    bytes: int
    sha256: str
    positives: np.ndarray = field(compare=False, repr=False)
    max_labels: int
    modalities: tuple[bool, ...]
    origin: str


@dataclass(frozen=True)
class Entries:
    """What a journal holds. `published` is the digest of the manifest that its shards have become part of, or were just
    about to; "" before that."""

    recipe: dict[str, Any]
    shards: dict[str, FinishedShard]
    published: str = ""


class Journal:
    """The file at a path, which need not be there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Entries:
        """What it holds; nothing where there is none. A shard whose line is damaged or cut is left out.

        ValueError if the recipe is damaged, OSError if the file cannot be read: what it tells may be good.
        """
        try:
            head, *rest = regular_file(self.path).read_bytes().split(b"\n")[:-1] or [b""]
        except FileNotFoundError:
            return Entries({}, {})
        try:
            recipe = dict(parse_json(head)["recipe"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        shards: dict[str, FinishedShard] = {}  # one that was written again has a second line
        published = ""
        for line in rest:
            with suppress(ValueError, KeyError, TypeError):
                told = parse_json(line)
                if told.keys() == {"published"}:
                    published = str(told["published"])
                    continue
                positives = np.array(told["positives"], dtype=np.int32)
                shard = FinishedShard(**told | {"positives": positives, "modalities": tuple(told["modalities"])})
                shards[shard.name] = shard
        return Entries(recipe, shards, published)

    def begin(self, recipe: Mapping[str, Any], shards: Iterable[FinishedShard]) -> None:
        """Takes the place of the former journal, in one step. OSError if it cannot be written."""
        write_text(self.path, "".join([_line({"recipe": recipe}), *map(_shard_line, shards)]))

    def add(self, shard: FinishedShard) -> None:
        """Records a shard that is where it belongs, whole and synced."""
        self._append(_shard_line(shard))

    def publish(self, digest: str) -> None:
        """Records that a manifest of this digest is about to appear."""
        self._append(_line({"published": digest}))

    def _append(self, line: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}; free some space") from None


def plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe as it comes back from the journal."""
    value: dict[str, Any] = json.loads(json.dumps(recipe))
    return value


def difference(former: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> str:
    """Which parts of two recipes differ, and how."""
    if wanted is None:
        return "it does not say what decides the content of its shards"
    parts = []
    for name in sorted(former.keys() | wanted.keys()):
        if (was := former.get(name)) != (now := wanted.get(name)):
            texts = [json.dumps(value) for value in (was, now)]
            short = all(len(text) <= RECIPE_SHOWN for text in texts)
            parts.append(f"{name} was {texts[0]} and is {texts[1]}" if short else f"{name} has changed")
    return ", ".join(parts)


def _shard_line(shard: FinishedShard) -> str:
    values = {item.name: getattr(shard, item.name) for item in fields(shard)}
    return _line(values | {"positives": shard.positives.tolist()})


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value) + "\n"
