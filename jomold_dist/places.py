"""Paths and URLs as people write them: `~`, relative to the working directory, or behind a scheme."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jomold_dist.config import Config
from jomold_dist.errors import ConfigError

C = TypeVar("C")

LOCAL_SCHEMES = re.compile(r"file://(?=[/~.])|file:(?!//)|sqlite:///", re.IGNORECASE)
IN_MEMORY = (":memory:", "")


def split_scheme(text: str) -> tuple[str, str | None]:
    """What comes before a path on this machine (`file://`, `sqlite:///` or nothing), and the path; None where the text
    is no such path but a URL of something else.
    """
    if match := LOCAL_SCHEMES.match(text):
        return match[0], text[match.end() :]
    if "://" in text:
        return text, None
    return "", text


def expanded(text: str) -> str:
    """The place with a leading `~` or `~name` as the home folder, also behind `file://` and `sqlite:///`.

    ConfigError where that home is not known.
    """
    scheme, path = split_scheme(text)
    if path is None or not path.startswith("~"):
        return text
    home = os.path.expanduser(path)
    if home.startswith("~"):
        name = path.partition("/")[0]
        whose = "this account has no home folder" if name == "~" else f"there is no account {name[1:]!r}"
        raise ConfigError(f"{text!r} begins with {name!r}, and {whose}; write the path in full, or ./{path}")
    return scheme + home


def have_a_home() -> None:
    """Gives a process whose account has no home folder the root for one: MLflow and Ray cannot be imported without."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = "/"


def absolute(text: str) -> str:
    """The place for a process with another working directory. Its links stay as they are."""
    scheme, path = split_scheme(text)
    if path is None or path in IN_MEMORY:
        return text
    return scheme + os.path.abspath(path)


def local_path(text: str) -> Path:
    """An option's path on this machine: the type of arguments of a command line."""
    path = split_scheme(place(text))[1]
    if path is None:
        raise argparse.ArgumentTypeError(f"{text!r} is an address, and a path on this machine is wanted")
    return Path(path)


def local_folder(text: str) -> Path:
    """An option's folder, which must be there: the type of arguments of a command line."""
    path = local_path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder that is there")
    return path


def place(text: str) -> str:
    """An option's path or URL: the type of arguments of a command line."""
    try:
        return expanded(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def with_absolute_places(config: C) -> C:
    """The config for processes with other working directories."""
    return _with_places(config, absolute)


def relative_places(config: Config) -> dict[str, str]:
    """The places of a config that depend on the working directory, by the settings' names."""
    found = {name: [place for place in places if absolute(place) != place] for name, places in _places("", config)}
    return {name: ", ".join(relative) for name, relative in found.items() if relative}


def _places(prefix: str, section: Any) -> list[tuple[str, tuple[str, ...]]]:
    """The place settings of a section and those below it, by dotted name, with one place or several."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            found += _places(f"{prefix}{item.name}.", value)
        elif _is_place(item, value):
            found.append((prefix + item.name, (value,) if isinstance(value, str) else value))
    return found


def _with_places(section: C, change: Callable[[str], str]) -> C:
    changed: dict[str, Any] = {}
    for item in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            changed[item.name] = _with_places(value, change)
        elif _is_place(item, value):
            changed[item.name] = change(value) if isinstance(value, str) else tuple(map(change, value))
    return dataclasses.replace(section, **changed)  # type: ignore[type-var]


def _is_place(item: dataclasses.Field[Any], value: str | tuple[str, ...] | None) -> bool:
    return bool(item.metadata.get("place")) and value is not None and value not in item.metadata["services"]
