"""The table of scores that sweeps and compared runs share: means over seeds, paired differences, what is to be said."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jomold_dist.comparing.cautions import few_seeds, han_in_effect, noise_floor
from jomold_dist.comparing.paired import Results, difference, gap_closed, mask_names, values
from jomold_dist.score_names import SCORE_NAMES, heading
from jomold_dist.tables import SCORE_HEADERS, Table, spread
from jomold_dist.training.run_reading import QUALITY

FLOOR, CEILING = "han", "true"


@dataclass(frozen=True)
class Compared:
    """A row, the name of its method, and the rows that it is compared with, by what those are called in headers."""

    row: Results
    method: str
    against: Mapping[str, Results]

    def delta(self, name: str, score: str) -> str:
        """The difference from one of the rows."""
        return "-" if name not in self.against else str(difference(self.row, self.against[name], score) or "-")

    def verdict(self, name: str, score: str) -> str:
        """What the seeds say of that difference."""
        found = difference(self.row, self.against[name], score) if name in self.against else None
        return "-" if found is None else found.verdict

    def gap(self, score: str) -> str:
        """The gap closed in percent."""
        if not {FLOOR, CEILING} <= self.against.keys():
            return "-"
        found = gap_closed(self.row, self.against[FLOOR], self.against[CEILING], score)
        return "-" if found is None else str(found).replace("+", "")


def score_table(rows: Sequence[Compared], controls: Sequence[str], score: str, caption: str) -> Table:
    """Scores as mean ± standard deviation over seeds, and the differences of one score from the controls.

    The first of the controls is the baseline: the difference from it decides whether a row is above, below or open. No
    row is set off as the best.
    """
    columns: list[list[str]] = [
        [compared.row.name for compared in rows],
        [str(len(compared.row.scores)) for compared in rows],
        *([spread(values(compared.row, name)) for compared in rows] for name in SCORE_NAMES),
    ]
    header = ["row", "seeds", *SCORE_HEADERS]
    for number, name in enumerate(controls):
        header.append(f"Δ {name}")
        columns.append([compared.delta(name, score) for compared in rows])
        if number == 0:
            header.append(f"than {name}")
            columns.append([compared.verdict(name, score) for compared in rows])
    if any(compared.gap(score) != "-" for compared in rows):
        header.append("gap closed %")
        columns.append([compared.gap(score) for compared in rows])
    meaning = f"Δ: difference of {heading(score)}, paired by seed, with its 95 % interval" if controls else ""
    text = "; ".join([f"{caption}, mean ± standard deviation over seeds", *([meaning] if meaning else [])])
    return Table(text, header, [list(cells) for cells in zip(*columns, strict=True)])


def cautions(rows: Sequence[Compared], controls: Sequence[str], score: str) -> list[str]:
    """What is to be said of the whole table."""
    name = next(iter(controls), "")
    differences = [difference(c.row, c.against[name], score) for c in rows if name in c.against]
    there = [compared for compared in rows if compared.row.scores]
    found = [
        few_seeds([compared.row for compared in there]),
        noise_floor(differences, name),
        *(han_in_effect(compared.row, compared.method) for compared in there),
    ]
    return [text for text in found if text]


def by_seed(rows: Sequence[tuple[Mapping[str, Any], Results]]) -> str:
    """Comma-separated values: a line a row and seed, each row with further columns of its own in front."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [(mask, name) for mask in mask_names([row for _, row in rows]) for name in ("removed", *QUALITY)]
    names = [f"{name}_{mask}" for mask, name in columns]
    writer.writerow((*(rows[0][0] if rows else ()), "seed", *SCORE_NAMES, *names))
    for front, row in rows:
        for seed, scores in row.scores.items():
            total = row.removals[seed]["total"]
            removals = [total.get(mask, {}).get(name) for mask, name in columns]
            writer.writerow((*front.values(), seed, *(scores.get(name) for name in SCORE_NAMES), *removals))
    return text.getvalue()
