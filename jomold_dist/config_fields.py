"""The kinds of settings that a config has beside plain ones: numbers within bounds, places, free mappings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """The allowed range of a number, both ends included unless `above` is set (then greater than `low`)."""

    low: float | None = None
    high: float | None = None
    above: bool = False

    def problem(self, value: float) -> str | None:
        if self.low is not None and (value <= self.low if self.above else value < self.low):
            return f"must be {'greater than' if self.above else 'at least'} {self.low}"
        if self.high is not None and value > self.high:
            return f"must be at most {self.high}"
        return None


def number(default: Any, low: float | None = None, high: float | None = None, *, above: bool = False) -> Any:
    """A field for a number within bounds."""
    return field(default=default, metadata={"bounds": Bounds(low, high, above)})


def word(default: str) -> Any:
    """A field for a name, which YAML may take for another thing: `true` is a method."""
    return field(default=default, metadata={"word": True})


def place(default: str | None, services: tuple[str, ...] = (), remote: bool = False) -> Any:
    """A field for a path or, if it may be `remote`, a URL: a leading `~` is expanded, and processes with other working
    directories get it absolute (see `places.py`). `services` are names that are neither."""
    return field(default=default, metadata={"place": True, "services": services, "remote": remote})


class Tree(dict[str, Any]):
    """A setting's free mapping of plain values, as YAML gives it: hashable like all of a config, not to be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(json.dumps(self, sort_keys=True))


NO_SETTINGS = Tree()
