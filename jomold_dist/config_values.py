"""The settings that a config has, and what somebody has written for one as a value of its type."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from jomold_dist.config import Config
from jomold_dist.config_fields import Bounds, Tree
from jomold_dist.errors import ConfigError, nearest
from jomold_dist.places import expanded, split_scheme


@dataclass(frozen=True)
class Setting:
    """One setting of the schema: dotted name, type, default, bounds, whether it is a path or URL."""

    name: str
    type: Any
    default: Any
    bounds: Bounds | None
    is_place: bool
    is_remote: bool = False
    is_word: bool = False

    @property
    def is_text(self) -> bool:
        """Whether any text is a value of it."""
        return self.type is str or (isinstance(self.type, types.UnionType) and str in typing.get_args(self.type))


@dataclass(frozen=True)
class Given:
    """A value that somebody gave, where, and as which text it was written (None for lists). `origin` is where in the
    words of a printed config: its file and line, that of a file's base, or the command line's override."""

    value: Any
    where: str
    text: str | None = None
    origin: str = ""


def schema(cls: type = Config, prefix: str = "") -> dict[str, Setting]:
    """Every setting by its dotted name."""
    settings: dict[str, Setting] = {}
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        hint, name = hints[item.name], prefix + item.name
        if dataclasses.is_dataclass(hint):
            settings |= schema(typing.cast(type, hint), f"{name}.")
        else:
            settings[name] = Setting(
                name,
                hint,
                item.default,
                item.metadata.get("bounds"),
                bool(item.metadata.get("place")),
                bool(item.metadata.get("remote")),
                bool(item.metadata.get("word")),
            )
    return settings


def convert(given: Given, setting: Setting) -> tuple[Any, str | None]:
    """The value in the setting's type, or what is wrong with it."""
    hint, optional = setting.type, False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        optional = len(kinds) < len(typing.get_args(hint))
        hint = kinds[-1] if isinstance(given.value, list) else kinds[0]  # one text or several
    if given.value is None:
        return (None, None) if optional else (None, "must have a value")
    if typing.get_origin(hint) is Literal:
        value, problem = _convert_choice(given.value, typing.get_args(hint))
    elif typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        value, problem = _convert_names(given.value) if item is str else _convert_numbers(given.value)
        if setting.is_place and not problem:
            value, problem = _convert_places(value, setting.is_remote)
    elif hint is Tree:
        value, problem = _convert_tree(given.value)
    elif hint is str:
        value, problem = _convert_text(given, setting.is_word)
        if setting.is_place and not problem:
            value, problem = _convert_place(value, setting.is_remote)
    elif hint is bool:
        value, problem = (given.value, None) if isinstance(given.value, bool) else (None, "must be true or false")
    else:
        value, problem = _convert_number(given.value, hint, setting.bounds)
    return (value, f"{problem}, or null" if optional else problem) if problem else (value, None)


def _convert_choice(value: Any, allowed: tuple[Any, ...]) -> tuple[Any, str | None]:
    """Texts or whole numbers; `true` is no 1."""
    if any(type(value) is type(one) and value == one for one in allowed):
        return value, None
    names = [str(one) for one in allowed]
    return None, f"must be one of {', '.join(names)}{nearest(str(value), names)}"


def _convert_tree(value: Any) -> tuple[Any, str | None]:
    try:
        if isinstance(value, dict) and json.loads(json.dumps(value, allow_nan=False)) == value:  # keys are texts
            return Tree(value), None
    except (TypeError, ValueError, RecursionError):  # a date, infinity, a mapping that holds itself
        pass
    return None, "must be a mapping (`key: value` lines) of texts, numbers, true, false, null and lists"


def _convert_names(value: Any) -> tuple[Any, str | None]:
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and all(isinstance(i, str) and i for i in items):
        return tuple(items), None
    return None, "must be a list of names"


def _convert_numbers(value: Any) -> tuple[Any, str | None]:
    items = value if isinstance(value, list) else [value]
    if items and all(type(i) is int and i >= 0 for i in items) and len(set(items)) == len(items):
        return tuple(items), None
    return None, "must be a list of different whole numbers, 0 or greater"


def _convert_text(given: Given, is_word: bool) -> tuple[Any, str | None]:
    """A folder may be called 2024 or 2024-05-01, which YAML reads as a number or a date, and a method `true`."""
    value = given.value
    if given.text and not isinstance(value, str if is_word else str | bool):
        value = given.text
    return (value, None) if isinstance(value, str) and value else (None, "must be a text")


def _convert_place(text: str, is_remote: bool) -> tuple[Any, str | None]:
    if not is_remote:
        scheme, path = split_scheme(text)
        if path is None or scheme.startswith("sqlite"):
            return None, "must be a path on this machine, not an address"
        text = path
    try:
        return expanded(text), None
    except ConfigError as error:
        return None, f"cannot be used: {error}"


def _convert_places(texts: tuple[str, ...], is_remote: bool) -> tuple[Any, str | None]:
    """Several places; one alone is no list."""
    places = []
    for text in texts:
        place, problem = _convert_place(text, is_remote)
        if problem:
            return None, f"{problem}: {text!r}"
        places.append(place)
    if not places or len(set(places)) < len(places):
        return None, "must be one place or a list of different ones"
    return places[0] if len(places) == 1 else tuple(places), None


def _convert_number(value: Any, kind: type, bounds: Bounds | None) -> tuple[Any, str | None]:
    if isinstance(value, str) and kind is float:
        try:  # YAML 1.1 reads 5e-4 as a text
            value = float(value)
        except ValueError:
            return None, "must be a number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, "must be a whole number" if kind is int else "must be a number"
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number beyond float64
        finite = False
    if not finite:
        return None, "must be a finite number"
    if kind is int:
        if value != int(value):
            return None, "must be a whole number"
        value = int(value)
    problem = bounds.problem(value) if bounds else None
    return (None, problem) if problem else (kind(value), None)


def near_setting(name: str, settings: Iterable[str], others: Iterable[str] = ()) -> str:
    """As `nearest`, for the name of a setting that there is not: one of its last name in another section goes before
    one that is spelt alike, and so does, in its own section, one of which it is the initials. `others` are sections,
    which may be meant as well, but for the one that the name is in."""
    section, dot, last = name.removeprefix("--").rpartition(".")
    known = list(settings)
    alike = [one for one in known if one.rpartition(".")[2] == last]
    if dot and not alike:
        inside = [one for one in known if one.rpartition(".")[0] == section]
        alike = [one for one in inside if "".join(word[0] for word in one.rpartition(".")[2].split("_")) == last]
    if alike:
        return nearest(name, alike) or f" (did you mean {' or '.join(map(repr, alike[:3]))}?)"
    return nearest(name, [*known, *(other for other in others if not name.startswith(f"{other}."))])
