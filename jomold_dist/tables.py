"""Scores as text tables."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jomold_dist.config import Config
from jomold_dist.score_names import SCORE_NAMES, heading

Format = Literal["md", "csv", "tex"]
FORMATS = get_args(Format)

SCORE_HEADERS = tuple(map(heading, SCORE_NAMES))

_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "−": "$-$", "Δ": r"$\Delta$", "θ": r"$\theta$"}
)


def system_name(config: Config) -> str:
    """A row's name for one run: its method, and its network where that is not JoMoLD's."""
    network = config.model.network
    return config.method if network == Config().model.network else f"{config.method}, {network}"


def scores_table(rows: Mapping[str, Mapping[str, float]], split: str, simulated: bool) -> str:
    """The scores of each row as a markdown table, segment level, then event level; a dash for those that it lacks."""
    cells = [[name, *(percent(scores.get(s)) for s in SCORE_NAMES)] for name, scores in rows.items()]
    what = f"F-scores on {split} in percent" + (", simulated data" if simulated else "")
    return f"{what}\n\n{markdown_table(['method', *SCORE_HEADERS], cells)}"


def category_table(
    per_category: Mapping[str, Mapping[str, float | None]], videos: Mapping[str, Mapping[str, int]]
) -> str:
    """A row a category: in how many videos it is, by modality, and its scores by metric, a dash where there is none."""
    header = ["category", *(f"videos, {modality}" for modality in videos), *per_category]
    names = list(next(iter(per_category.values())))
    rows = [
        [
            name,
            *(str(counts[name]) for counts in videos.values()),
            *(percent(scores[name]) for scores in per_category.values()),
        ]
        for name in names
    ]
    return markdown_table(header, rows)


@dataclass(frozen=True)
class Table:
    """A table with what it says of itself."""

    caption: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Caption and table."""
        return f"{self.caption}\n\n{markdown_table(self.header, self.rows)}"

    def latex(self) -> str:
        """For the package booktabs, with the caption as a comment."""
        lines = [
            f"% {_escaped(self.caption)}",
            r"\begin{tabular}{l" + "r" * (len(self.header) - 1) + "}",
            r"\toprule",
            " & ".join(map(_escaped, self.header)) + r" \\",
            r"\midrule",
            *(" & ".join(map(_escaped, row)) + r" \\" for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"


def markdown_table(header: list[str], rows: list[list[str]], texts: int = 1) -> str:
    """A markdown table with aligned columns: so many texts, left, and then numbers, right."""
    widths = [max(len(row[n]) for row in [header, *rows]) for n in range(len(header))]

    def line(cells: list[str]) -> str:
        aligned = [c.ljust(w) if n < texts else c.rjust(w) for n, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(aligned) + " |"

    rule = "| " + " | ".join("-" * w if n < texts else "-" * (w - 1) + ":" for n, w in enumerate(widths)) + " |"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def percent(value: float | None) -> str:
    """A score in percent with one decimal; a dash where there is none."""
    return "-" if value is None else f"{value:.1f}"


def _escaped(text: str) -> str:
    """A text as LaTeX sets it."""
    return text.translate(_LATEX)


def value_text(value: Any) -> str:
    """A setting's value as one writes it on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def spread(values: Sequence[float], decimals: int = 1) -> str:
    """mean ± standard deviation over runs; the mean alone for one run; a dash for none."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{decimals}f}"
