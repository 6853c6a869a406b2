"""Which files have been through, from which state of the source, with which choices: a line of JSON for each.

A kill can at most cut the last line, whose file then goes through again, to the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from jomold_dist.reading import parse_json, regular_file

NAME = "journal.jsonl"


class FileState(NamedTuple):
    """A file's size, and when it was changed, in nanoseconds: by these it is known again."""

    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """OSError if there is no such file, or it cannot be reached."""
        state = regular_file(path).stat()
        return cls(state.st_size, state.st_mtime_ns)


@dataclass(frozen=True)
class Entry:
    """A file that has been through: the state that it was in, the fingerprint of each of its features, and what was
    made up, each a kind and a text."""

    key: str
    state: FileState
    features: Mapping[str, str]
    notes: tuple[tuple[str, str], ...] = ()


def read_journal(folder: Path) -> dict[str, Entry]:
    """The last entry of every key; none where there is no journal. Damaged lines are passed over. OSError if the file
    cannot be read."""
    try:
        lines = regular_file(folder / NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    entries: dict[str, Entry] = {}
    for line in filter(None, lines):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            told = parse_json(line)
            features = {str(name): str(fingerprint) for name, fingerprint in told["features"].items()}
            notes = tuple((str(kind), str(text)) for kind, text in told["notes"])
            entry = Entry(str(told["key"]), FileState(int(told["size"]), int(told["changed"])), features, notes)
            entries[entry.key] = entry
    return entries


def open_journal(folder: Path) -> IO[str]:
    """The journal, to be written on. OSError."""
    file = (folder / NAME).open("a+b")
    if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
        file.write(b"\n")  # behind a line that a kill has cut
    file.close()
    return (folder / NAME).open("a", encoding="utf-8")


def write_entries(journal: IO[str], entries: Iterable[Entry]) -> None:
    """Adds entries of files whose features are where they belong. OSError."""
    for entry in entries:
        value = {
            "key": entry.key,
            **entry.state._asdict(),
            "features": dict(entry.features),
            "notes": [list(note) for note in entry.notes],
        }
        journal.write(json.dumps(value) + "\n")
    journal.flush()
