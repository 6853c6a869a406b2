"""What there is to say of each setting, from the config's own types, bounds and docstrings: for `--help SECTION`, the
page docs/settings.md and the schema for editors."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from jomold_dist.config import Config
from jomold_dist.config_fields import Tree
from jomold_dist.config_values import Setting, near_setting, schema
from jomold_dist.errors import ConfigError, join_problems
from jomold_dist.methods.registry import METHODS
from jomold_dist.models.registry import NETWORKS
from jomold_dist.recipes import RECIPES

CLASSES = {"method": METHODS, "model.network": NETWORKS}
"""Settings that name a class: ours by a short name."""


def help_texts(cls: type = Config, prefix: str = "") -> dict[str, str]:
    """The docstring under each field by the setting's dotted name, on one line."""
    docstrings: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        if dataclasses.is_dataclass(parent):
            docstrings |= dict(_docstrings(parent))
    sections = dict(_sections(cls))
    texts: dict[str, str] = {}
    for item in dataclasses.fields(cls):
        if item.name in sections:
            texts |= help_texts(sections[item.name], f"{prefix}{item.name}.")
        else:
            texts[prefix + item.name] = docstrings[item.name]
    return texts


def section_texts(cls: type = Config, prefix: str = "") -> dict[str, str]:
    """The docstring of each section by its dotted name, on one line; a section comes before those in it."""
    texts: dict[str, str] = {}
    for name, section in _sections(cls):
        texts[prefix + name] = " ".join((section.__doc__ or "").split())
        texts |= section_texts(section, f"{prefix}{name}.")
    return texts


def _sections(cls: type) -> Iterator[tuple[str, type]]:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[item.name]):
            yield item.name, hints[item.name]


def _docstrings(cls: type) -> Iterator[tuple[str, str]]:
    """The fields of a class that have a docstring under them."""
    body = typing.cast(ast.ClassDef, ast.parse(inspect.getsource(cls)).body[0]).body
    for item, after in itertools.pairwise(body):
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield item.target.id, " ".join(after.value.value.split())


def kind(setting: Setting) -> str:
    """Type and allowed values, as in `number > 0, or null`."""
    hint, end = setting.type, ""
    if isinstance(hint, types.UnionType):
        hint, *others = (a for a in typing.get_args(hint) if a is not type(None))
        end = ", or a list of texts" if others else ", or `null`"
    if setting.name in CLASSES:
        return ", ".join(f"`{name}`" for name in CLASSES[setting.name]) + ", or `module:Class`"
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint)) + end
    if typing.get_origin(hint) is tuple:
        return f"list of {'names' if typing.get_args(hint)[0] is str else 'whole numbers'}{end}"
    name = {str: "text", bool: "`true` or `false`", int: "whole number", float: "number", Tree: "mapping"}[hint]
    return name + _limits(setting) + end


def _limits(setting: Setting) -> str:
    low, high = (setting.bounds.low, setting.bounds.high) if setting.bounds else (None, None)
    above = bool(setting.bounds and setting.bounds.above)
    if low is not None and high is not None:
        return f", above {low} to {high}" if above else f", {low} to {high}"
    if low is not None:
        return f" {'>' if above else '≥'} {low}"
    return f" ≤ {high}" if high is not None else ""


def show(value: Any) -> str:
    """A default, or a recipe's value, as people write it."""
    if callable(value):  # a recipe that reads another setting
        return str(value.__doc__)
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def overview(cls: type, width: int) -> str:
    """The sections, and the settings outside of any, with a line or two each."""
    texts = {name: text for name, text in help_texts(cls).items() if "." not in name} | section_texts(cls)
    column = max(map(len, texts)) + 4
    lines = []
    for name, text in texts.items():
        first = text.partition(". ")[0].rstrip(".")
        lines += _hanging(f"  {name:<{column - 2}}", first, column, width)
    return "\n".join(lines)


def explain(cls: type, topics: Sequence[str], width: int) -> str:
    """All about the settings that are named, and all in the sections that are. ConfigError for a name of neither."""
    settings, texts, sections = schema(cls), help_texts(cls), section_texts(cls)
    known = [*settings, *sections]
    wrong = [topic for topic in topics if topic not in known]
    if wrong:
        hints = [near_setting(topic, settings, sections) for topic in wrong]
        problems = [f"there is no section or setting {topic!r}{hint}" for topic, hint in zip(wrong, hints, strict=True)]
        raise ConfigError(join_problems(problems))
    blocks = []
    for topic in topics:
        if topic in sections:
            blocks.append("\n".join(_hanging(f"{topic}: ", sections[topic], 4, width)))
        names = [name for name in settings if name == topic or name.startswith(f"{topic}.")]
        blocks += [_entry(settings[name], texts[name], width) for name in names]
    return "\n\n".join(blocks)


def _entry(setting: Setting, text: str, width: int) -> str:
    """A setting as a few lines: name, type and allowed values, default, what recipes make of it, and its docstring."""
    values = [f"default {show(setting.default)}"]
    values += [f"recipe {name} {show(own[setting.name])}" for name, own in RECIPES.items() if setting.name in own]
    head = f"{kind(setting)}; {', '.join(values)}".replace("`", "")
    return "\n".join([*_hanging(f"{setting.name}: ", head, 4, width), *_hanging("    ", text, 4, width)])


def _hanging(begin: str, text: str, column: int, width: int) -> list[str]:
    """The text behind its beginning, in lines that go on at a column."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=begin,
        subsequent_indent=" " * column,
        break_long_words=False,
        break_on_hyphens=False,
    )
