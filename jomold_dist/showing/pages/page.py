"""One HTML page as one file that asks the network for nothing: style, scripts and pictures lie in it.

Templates lie in `templates/`; each extends `base.html`. What is filled in is escaped, and a page runs the scripts of
that folder and no other, which the browser is told to hold to.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jomold_dist.files import write_text
from jomold_dist.palette import DARK, LIGHT
from jomold_dist.times import duration
from jomold_dist.versions import version
from jomold_dist.wording import number_of

if TYPE_CHECKING:
    from jinja2 import Environment

DASH = "–"


def write_page(path: Path, template: str, **values: Any) -> None:
    """The page of a template, written whole or not at all. OSError if it cannot be."""
    write_text(path, render(template, **values))


def render(template: str, **values: Any) -> str:
    """The page of a template. A value that the template names and that is not given is an error of ours. Where the name
    of a file is no UTF-8, question marks stand for what is not."""
    return _environment().get_template(template).render(**values).encode("utf-8", "replace").decode("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("jomold_dist.showing.pages")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

    def source(name: str) -> str:
        return loader.get_source(found, name)[0]

    scripts = {name: source(name) for name in loader.list_templates() if name.endswith(".js")}
    found.filters |= {"percent": percent, "count": count, "decimals": decimals, "duration": duration}
    found.globals |= {
        "number_of": number_of,
        "version": version("jomold_dist"),
        "style": Markup(_variables() + source("base.css")),
        "policy": _policy(scripts.values()),
        "script": lambda name: Markup(f"<script>{scripts[name]}</script>"),
    }
    found.globals["parts"] = found.get_template("parts.html").module
    return found


def percent(share: float | None) -> str:
    """A share of one in percent with one decimal; a dash where there is none."""
    return DASH if share is None else f"{100 * share:.1f}\u00a0%"


def count(number: float | None) -> str:
    """A whole number with separators; a dash where there is none."""
    return DASH if number is None else f"{round(number):,}"


def decimals(number: float | None, places: int = 1) -> str:
    """A number with so many decimals; a dash where there is none."""
    return DASH if number is None else f"{number:,.{places}f}"


def _variables() -> str:
    """The palette as variables of CSS, `--audio` and so on, in the theme that the reader has chosen."""

    def rule(colours: dict[str, str]) -> str:
        return f":root{{{''.join(f'--{name}:{value};' for name, value in colours.items())}}}"

    return f"{rule(LIGHT)}\n@media screen and (prefers-color-scheme:dark){{{rule(DARK)}}}\n"


def _policy(scripts: Iterable[str]) -> str:
    """What the browser may do with a page: run our scripts, show pictures that lie in it, and fetch nothing."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
