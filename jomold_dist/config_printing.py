"""A config as people read it: YAML that is read to the same config, with where each value comes from behind it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import yaml

from jomold_dist.config_files import Resolved
from jomold_dist.secrets import SECRET, blotted

COMMENT_COLUMN = 40


def explained(resolved: Resolved[Any], title: str) -> str:
    """The config as YAML under a title. What may be a secret, in a sweep's rows for instance, is blotted out."""
    lines = _lines(resolved.config, "", resolved.origins, "")
    return "\n".join([f"# {_printable(title)}", *lines])


def _lines(section: Any, prefix: str, origins: Any, indent: str) -> list[str]:
    lines: list[str] = []
    for item in dataclasses.fields(section):
        value, name = getattr(section, item.name), prefix + item.name
        if dataclasses.is_dataclass(value):
            lines += [f"{indent}{item.name}:", *_lines(value, f"{name}.", origins, f"{indent}  ")]
        else:
            text = f"{indent}{item.name}: {_one_line(_without_secrets(value))}"
            lines.append(f"{text:<{COMMENT_COLUMN}}  # {_printable(origins.get(name, 'default'))}")
    return lines


def _without_secrets(value: Any) -> Any:
    """Plain values, without passwords in addresses and without what is called a secret in a free mapping."""
    if isinstance(value, dict):
        return {
            key: "***" if SECRET.search(key) and not isinstance(inner, dict) else _without_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(inner) for inner in value]
    return blotted(value) if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines in one."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)


def _one_line(value: Any) -> str:
    """A plain value as YAML."""
    text: str = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, width=math.inf, sort_keys=False)
    return text.strip()[1:-1]  # as the one element of a list, which has no end of a document


def _printable(text: str) -> str:
    """A comment's text: a file's name may hold what YAML allows nowhere."""
    return "".join(letter if letter.isprintable() else "?" for letter in blotted(text))
