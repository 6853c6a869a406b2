"""Which release of a package is installed, and which code this one is."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PACKAGE = Path(__file__).parent


def version(package: str) -> str:
    """The installed release of a package."""
    try:
        return importlib.metadata.version(package).partition("+")[0]  # torch's local part is no release
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def releases(packages: Iterable[str]) -> dict[str, str]:
    """The installed releases of those that are installed, with the local part that says for what they were built."""
    found: dict[str, str] = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def code_digest() -> str:
    """SHA-256 of this package's modules: their names and contents."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()
