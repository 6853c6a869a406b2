"""Compared runs as a page of markdown, as comma-separated values, and as a LaTeX table."""

from __future__ import annotations

from collections.abc import Callable

from jomold_dist.comparing.paired import mask_names, removed_shares
from jomold_dist.comparing.rows import Comparison
from jomold_dist.comparing.score_table import by_seed, cautions, score_table
from jomold_dist.tables import Format, Table, spread


def report(found: Comparison, score: str = "segment_type", form: Format = "md") -> str:
    """The comparison in a form, with the differences of one score."""
    writers: dict[Format, Callable[[Comparison, str], str]] = {"md": _markdown, "csv": _csv, "tex": _latex}
    return writers[form](found, score)


def _scores(found: Comparison, score: str) -> Table:
    return score_table(found.compared, found.controls, score, f"F-scores on {found.data.title('test')}, in percent")


def remarks(found: Comparison, score: str) -> list[str]:
    """What is to be said of the rows and of the folders."""
    told = cautions(found.compared, found.controls, score)
    if any("=" in row.name for row in found.rows):
        told.append("Rows are named by what differs; what a row does not name has its default, or is the same in all.")
    return [*told, *found.notes]


def _markdown(found: Comparison, score: str) -> str:
    parts = [_scores(found, score).markdown()]
    removals = _removals(found)
    if removals.rows:
        parts.append(removals.markdown())
    if told := remarks(found, score):
        parts.append("\n".join(f"- {text}" for text in told))
    return "\n\n".join(parts)


def _latex(found: Comparison, score: str) -> str:
    comments = [f"% {' '.join(text.split())}" for text in remarks(found, score)]
    return "\n".join([*comments, _scores(found, score).latex().rstrip()])


def _csv(found: Comparison, score: str) -> str:
    data = {"data": found.data.name, "simulated": found.data.simulated}
    return by_seed([(data | {"row": row.name}, row) for row in found.rows]).rstrip()


def _removals(found: Comparison) -> Table:
    rows = []
    for row in found.rows:
        for mask in mask_names([row]):
            totals = [removals["total"] for removals in row.removals.values()]
            entries = [total[mask] for total in totals if mask in total]
            if any(entry["removed"] for entry in entries):
                shares = [[100 * e[k] for e in entries if e.get(k) is not None] for k in ("precision", "recall")]
                of_labels = spread([100 * share for share in removed_shares(row, mask)], 2)
                removed = spread([entry["removed"] for entry in entries])
                rows.append([f"{row.name}, {mask}", removed, of_labels, *map(spread, shares)])
    header = ["removed labels", "in all epochs", "% of labels", "precision %", "recall %"]
    return Table("Labels removed from the training split, over all epochs", header, rows)
