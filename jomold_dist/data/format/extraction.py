"""The description of how a feature was extracted from video files, its fingerprint, and how two of them differ.

A description is JSON: who decoded the files, what of them was taken, and which model made features of it, without
anything of the machine. Where it is empty, nothing is known of the extraction, and nothing can be said against it.
What stands in it under the key `name`, at any depth, is for people alone: one model has a name in a hub and another in
a folder, and its digest tells that it is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

NAME = "name"
SHORT = 12  # digits of a fingerprint in messages
SHOWN = 60  # characters of a value there
MISSING = object()


def fingerprint_of(description: Mapping[str, Any]) -> str:
    """SHA-256 of a description's canonical JSON without its names, in 64 digits; "" for one that is not known."""
    if not description:
        return ""
    return hashlib.sha256(json.dumps(_nameless(description), sort_keys=True).encode()).hexdigest()


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, str] = ("here", "there")
) -> list[str]:
    """What differs between two descriptions, a text each, such as `model.width: 512 here, 768 there`: nothing where
    their fingerprints are equal, and names too where they are not."""
    if fingerprint_of(one) == fingerprint_of(other):
        return []
    ours, theirs = dict(_values(one)), dict(_values(other))
    return [
        f"{name}: {_text(ours.get(name, MISSING))} {names[0]}, {_text(theirs.get(name, MISSING))} {names[1]}"
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name, MISSING) != theirs.get(name, MISSING)
    ]


def feature_differences(
    one: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]], names: tuple[str, str]
) -> list[str]:
    """What differs between the features of two sets, or of a set and a model, where both are known: a text each."""
    return [
        f"{feature} {text}"
        for feature, own in one.items()
        if own and other.get(feature)
        for text in differences(own, other[feature], names)
    ]


def extraction_text(description: Mapping[str, Any]) -> str:
    """Who made a feature, in a line; "" if that is not known."""
    if not description:
        return ""
    encoder = description.get("encoder")
    words = [encoder.get(key) for key in ("kind", NAME)] if isinstance(encoder, Mapping) else []
    by = " ".join(dict.fromkeys(word for word in words if isinstance(word, str) and word))
    return f"extracted{f' by {by}' if by else ''}, fingerprint {fingerprint_of(description)[:SHORT]}"


def _nameless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nameless(inner) for key, inner in value.items() if key != NAME}
    return [_nameless(inner) for inner in value] if isinstance(value, list) else value


def _values(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by their dotted names. Lists are values."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _values(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _text(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:SHORT]
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
