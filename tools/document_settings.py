"""Writes docs/settings.md from the configs of runs and sweeps: names, types, defaults, allowed values and docstrings.

python tools/document_settings.py            writes the page
python tools/document_settings.py --check    exits with 1 if the page is not current
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import sys
import types
import typing
from pathlib import Path
from typing import Any, Literal

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import Config
from jomold_dist.config_fields import Tree
from jomold_dist.config_values import Setting, schema
from jomold_dist.recipes import LEFT_OPEN, RECIPES
from jomold_dist.tuning.config import SweepConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

HEAD = """\
# Settings

Written by `tools/document_settings.py` from the docstrings in `jomold_dist/config.py`,
`jomold_dist/config_methods.py` and `jomold_dist/tuning/config.py`; edit those.

A setting is given in a YAML file (`section:` and `key: value` lines) or behind the command as `section.key=value`,
before or after its options. A text is taken there as it stands (`run.dir="runs/try #1"`), other values as YAML reads
them. A path may begin with `~`. No setting may hold a password or another secret.
A file may name another one, relative to itself, as `base:`; its own settings win over it, and overrides win over files.
Settings that nobody gave take their value from the recipe, then from the defaults below. The section `sweep` is for
`launchers/sweep.py` alone.
"""


@command
def main() -> int:
    parser = command_parser("Writes docs/settings.md from the config's docstrings.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not current")
    check = parser.parse_args().check
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{PAGE} is not current; run: python tools/document_settings.py", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


def page() -> str:
    """The whole page."""
    settings = schema() | schema(SweepConfig, "sweep.")
    texts = help_texts() | help_texts(SweepConfig, "sweep.")
    sections: dict[str, list[str]] = {}
    for name in settings:
        sections.setdefault(name.rpartition(".")[0], []).append(name)
    lines = [HEAD]
    for section, names in sections.items():
        lines += [f"## `{section}`" if section else "## The run as a whole", ""]
        lines += ["| setting | type | default | help |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{name}` | {kind(settings[name])} | {show(settings[name].default)} | {escape(texts[name])} |"
            for name in names
        ]
        lines.append("")
    return "\n".join([*lines, *recipe_table(settings), *open_table(settings)])


def help_texts(cls: type = Config, prefix: str = "") -> dict[str, str]:
    """The docstring under each field by the setting's dotted name, on one line."""
    body = typing.cast(ast.ClassDef, ast.parse(inspect.getsource(cls)).body[0]).body
    docstrings = {
        item.target.id: " ".join(after.value.value.split())
        for item, after in itertools.pairwise(body)
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }
    texts: dict[str, str] = {}
    for item, hint in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            texts |= help_texts(typing.cast(type, hint), f"{prefix}{item}.")
        else:
            texts[prefix + item] = docstrings[item]
    return texts


def kind(setting: Setting) -> str:
    """Type and allowed values, as in `number > 0, or null`."""
    hint, end = setting.type, ""
    if isinstance(hint, types.UnionType):
        hint, end = next(a for a in typing.get_args(hint) if a is not type(None)), ", or `null`"
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint)) + end
    if typing.get_origin(hint) is tuple:
        return f"list of {'names' if typing.get_args(hint)[0] is str else 'whole numbers'}{end}"
    name = {str: "text", bool: "`true` or `false`", int: "whole number", float: "number", Tree: "mapping"}[hint]
    return name + limits(setting) + end


def limits(setting: Setting) -> str:
    low, high = (setting.bounds.low, setting.bounds.high) if setting.bounds else (None, None)
    above = bool(setting.bounds and setting.bounds.above)
    if low is not None and high is not None:
        return f", above {low} to {high}" if above else f", {low} to {high}"
    if low is not None:
        return f" {'>' if above else '≥'} {low}"
    return f" ≤ {high}" if high is not None else ""


def recipe_table(settings: dict[str, Setting]) -> list[str]:
    """What each recipe sets, beside the defaults of the others."""
    names = list(dict.fromkeys(name for recipe in RECIPES.values() for name in recipe))
    lines = [
        "## Recipes",
        "",
        "`recipe` fills these settings; one that is given by name wins over the recipe.",
        "",
        "| setting | " + " | ".join(f"`{recipe}`" for recipe in RECIPES) + " |",
        "| --- |" + " --- |" * len(RECIPES),
    ]
    for name in names:
        cells = [recipe.get(name, settings[name].default) for recipe in RECIPES.values()]
        lines.append(f"| `{name}` | {' | '.join(map(show, cells))} |")
    return [*lines, ""]


def open_table(settings: dict[str, Setting]) -> list[str]:
    """What the paper does not say, and where its value comes from."""
    return [
        "What the paper leaves open, and where the value of `paper` comes from:",
        "",
        "| setting | `paper` | from |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {show(settings[name].default)} | {escape(source)} |" for name, source in LEFT_OPEN.items()),
        "",
    ]


def show(value: Any) -> str:
    if callable(value):  # a recipe that reads another setting
        return str(value.__doc__)
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
