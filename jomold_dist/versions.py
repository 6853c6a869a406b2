"""Which release of a package is installed."""

from __future__ import annotations

import importlib.metadata


def version(package: str) -> str:
    """The installed release of a package."""
    try:
        return importlib.metadata.version(package).partition("+")[0]  # torch's local part is no release
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
