"""Files that are whole or as they were before, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: the file is whole or as it was before."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: the file is whole or as it was before."""
    with writing(path) as aside:
        aside.write_text(text, encoding="utf-8")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yields where to write a file that becomes `path` at the end of the block, and survives a power cut then."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        yield aside
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def problem_of(error: OSError) -> str:
    """What happened, and to which file."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
