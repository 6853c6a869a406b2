"""Values of JSON that may come from anybody, each found to be what it may be before it is used.

Every function returns the value. ValueError, which calls it `what`, if it is none; messages show no control characters.
"""

from __future__ import annotations

import json
import math
import reprlib
import unicodedata
from typing import Any

MOST_SEGMENTS = 1 << 16
MOST_SECONDS = 86_400.0  # of a segment
MOST_NOTE = 64 << 10  # characters of what tells how a set was made, as JSON, and a feature extracted or pooled
NOT_SHOWN = ("Cc", "Cs", "Zl", "Zp")  # what moves a cursor or ends a line, and halves of characters
MOST_NESTED = 8  # mappings and lists inside each other there

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


def shortly(value: Any) -> str:
    """A value in a message."""
    return _SHORT.repr(value)


def whole_number(value: Any, what: str, least: int, most: int) -> int:
    """A whole number between bounds."""
    if type(value) is not int or not least <= value <= most:  # neither true nor 1.0
        raise ValueError(f"{what} is {shortly(value)}, not a whole number from {least} to {most}")
    return value


def segment_length(value: Any) -> float:
    """The seconds of a segment."""
    if type(value) not in (int, float) or not 0 < value <= MOST_SECONDS:
        raise ValueError(
            f"segment_seconds is {shortly(value)}, not a number of seconds above 0 and at most {MOST_SECONDS:g}"
        )
    return float(value)


def plain_text(value: Any, what: str) -> str:
    """A text without control characters."""
    if not isinstance(value, str) or any(unicodedata.category(c) in NOT_SHOWN for c in value):
        raise ValueError(f"{what} is {shortly(value)}, not a text without control characters")
    if len(value) > MOST_NOTE:
        raise ValueError(f"{what} has more than {MOST_NOTE} characters")
    return value


def note(value: Any, what: str) -> dict[str, Any]:
    """What a packer notes for people: any JSON, which is shown to them."""

    def check(inner: Any, depth: int) -> None:
        if depth > MOST_NESTED:
            raise ValueError(f"{what} is nested too deeply")
        if isinstance(inner, str):
            plain_text(inner, f"a text in {what}")
        if isinstance(inner, float) and not math.isfinite(inner):
            raise ValueError(f"{what} holds {inner}, which is no number of JSON")
        for key, item in inner.items() if isinstance(inner, dict) else ():
            plain_text(key, f"a name in {what}")
            check(item, depth + 1)
        for item in inner if isinstance(inner, list) else ():
            check(item, depth + 1)

    check(an_object(value, what), 0)
    if len(json.dumps(value)) > MOST_NOTE:
        raise ValueError(f"{what} takes more than {MOST_NOTE} characters")
    return an_object(value, what)


def a_list(value: Any, what: str) -> list[Any]:
    """A list of anything."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is {shortly(value)}, not a list")
    return value


def an_object(value: Any, what: str) -> dict[str, Any]:
    """A mapping of anything."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shortly(value)}, not a JSON object")
    return value
