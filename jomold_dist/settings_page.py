"""docs/settings.md, which `jomold settings` prints: all settings of runs and sweeps, and the recipes."""

from __future__ import annotations

from jomold_dist.config_values import Setting, schema
from jomold_dist.recipes import LEFT_OPEN, RECIPES
from jomold_dist.settings_help import help_texts, kind, section_texts, show
from jomold_dist.tuning.config import Sweep

HEAD = """\
# Settings

`jomold settings` prints this page, and `jomold train --help SECTION` a part of it. It is made of the docstrings in
`jomold_dist/config*.py` and `jomold_dist/tuning/config.py`; edit those, then run `python tools/document_settings.py`.

A setting is given in a YAML file (`section:` and `key: value` lines) or behind the command as `section.key=value`,
`--section.key=value` or `--section.key value`, before or after its options. A text is taken there as it stands
(`run.dir="runs/try #1"`), other values as YAML reads them. A path may begin with `~`. No setting may hold a password or
another secret.
A file may name another one as `base:`, relative to itself or, as for `--config`, by the name of one that comes with
the package; its own settings win over it, and overrides win over files.
Settings that nobody gave take their value from the recipe, then from the defaults below. `--print-config` shows what
came of it: every setting with its value and where that comes from, as a config file. The section `sweep` is for
`jomold sweep` alone.

Editors complete and check a config file by the schema that `jomold settings --schema > settings.schema.json` writes;
those with the YAML language server want this line in the file:

```yaml
# yaml-language-server: $schema=settings.schema.json
```
"""


def page() -> str:
    """The whole page, as Markdown."""
    settings, texts, about = schema(Sweep), help_texts(Sweep), section_texts(Sweep)
    sections: dict[str, list[str]] = {}
    for name in settings:
        sections.setdefault(name.rpartition(".")[0], []).append(name)
    lines = [HEAD]
    for section, names in sections.items():
        lines += [f"## `{section}`", "", _escaped(about[section]), ""] if section else ["## The run as a whole", ""]
        lines += ["| setting | type | default | help |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{name}` | {kind(settings[name])} | {show(settings[name].default)} | {_escaped(texts[name])} |"
            for name in names
        ]
        lines.append("")
    return "\n".join([*lines, *_recipe_table(settings), *_open_table(settings)])


def _recipe_table(settings: dict[str, Setting]) -> list[str]:
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


def _open_table(settings: dict[str, Setting]) -> list[str]:
    """What the paper does not say, and where its value comes from."""
    return [
        "What the paper leaves open, and where the value of `paper` comes from:",
        "",
        "| setting | `paper` | from |",
        "| --- | --- | --- |",
        *(f"| `{name}` | {show(settings[name].default)} | {_escaped(source)} |" for name, source in LEFT_OPEN.items()),
        "",
    ]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
