"""Several labels in one cell of a table: what separates them, and which they are."""

from __future__ import annotations

from collections.abc import Iterable

from jomold_dist.data.packing.input_tables import Cell
from jomold_dist.data.packing.label_files import TableReport
from jomold_dist.labels import CategorySet

SEPARATORS = {",": "commas", ";": "semicolons", "|": "bars"}


class CellParser:
    """The labels of a cell: the texts of a list as they are, and those of a text between `separator`.

    Where the categories are known, their names may hold the separator: the longest name that fits is taken.
    """

    def __init__(self, separator: str, categories: CategorySet | None) -> None:
        self._separator, self._categories = separator, categories

    def __call__(self, cell: Cell) -> list[str]:
        if isinstance(cell, list):
            return [name for name in cell if name]
        parts = str(cell).split(self._separator)
        names = [part.strip() for part in parts]
        known = self._categories
        if known is None or all(name in known for name in names):
            return [name for name in names if name]
        found, first = [], 0
        while first < len(parts):
            for end in range(len(parts), first, -1):
                name = self._separator.join(parts[first:end]).strip()
                if name in known or end == first + 1:
                    break
            found.append(name)
            first = end
        return [name for name in found if name]


def choose_separator(report: TableReport, cells: Iterable[Cell], categories: CategorySet | None) -> tuple[str, str]:
    """What separates the labels of these cells, and a line that says so where it was a choice.

    With known categories, that by which the fewest cells have a label that is none. Without, semicolons or bars where
    there are any, and else commas; but both, or a comma before a space, may belong to a name, which is a problem of the
    report.
    """
    separated = dict.fromkeys(SEPARATORS, 0)
    strange = dict.fromkeys(SEPARATORS, 0)
    doubtful = ""
    parsers = {separator: CellParser(separator, categories) for separator in SEPARATORS}
    for cell in cells:
        if isinstance(cell, list):
            continue
        text = str(cell)
        for separator, parser in parsers.items():
            separated[separator] += separator in text
            if categories is not None:
                strange[separator] += any(name not in categories for name in parser(text))
        if ", " in text:
            doubtful = doubtful or text
    if categories is not None:
        chosen = min(SEPARATORS, key=lambda separator: (strange[separator], -separated[separator]))
    else:
        chosen = next((s for s in (";", "|") if separated[s]), ",")
        if separated[";"] and separated["|"]:
            report.problem(
                "it cannot be told whether labels stand between semicolons or between bars, as cells hold both; say it "
                "with --separator '|' (or another one), or with --categories FILE"
            )
        if chosen == "," and doubtful:
            report.problem(
                f"it cannot be told whether the commas of {doubtful[:80]!r} stand between labels or in a name; say it "
                "with --separator ',' (or another one), or with --categories FILE"
            )
    note = f"{report.path.name}: labels are separated by {SEPARATORS[chosen]}" if separated[chosen] else ""
    return chosen, note
