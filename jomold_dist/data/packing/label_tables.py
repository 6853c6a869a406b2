"""Label tables: a row a video, with its key and all its labels, or a row a label, with keys repeated.

The first has the columns `key` and `labels`, the second `key` and `label`, also under the names of LLP's files
(`filename`, `event_labels`); a column `split` says to which split a row belongs, where one table holds several. A
category's name is any text. Rows are read one after another into arrays, so that millions of them take few bytes each.

All harmful defects of all tables come in one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from jomold_dist.data.format.records import KEY_RULE, is_shard_key
from jomold_dist.data.packing.dense_labels import is_known
from jomold_dist.data.packing.input_tables import Cell, Table, open_table
from jomold_dist.data.packing.label_cells import CellParser, choose_separator
from jomold_dist.data.packing.label_files import TableReport, some_of, text_lines
from jomold_dist.data.packing.label_rows import LabelRows
from jomold_dist.data.packing.video_labels import LabelSet
from jomold_dist.errors import raise_together
from jomold_dist.labels import CategorySet

KEYS, LABELS, LABEL, SPLITS = ("key", "filename"), ("labels", "event_labels"), ("label",), ("split",)
ONLY_SPLIT = "train"  # of a table that tells none


class LabelRow(NamedTuple):
    """A row of whatever holds labels: its line, the video's key, its split, and its labels by name."""

    line: int
    key: str
    split: str
    labels: Sequence[str]


@dataclass(frozen=True)
class LabelFile:
    """A file of labels. All of it belongs to `split`, or each row to that of its own column."""

    path: Path
    split: str | None = None


def read_label_tables(
    files: Sequence[LabelFile], categories: CategorySet | None = None, separator: str | None = None
) -> LabelSet:
    """The labels of all videos. Without `categories` they are the labels that occur, sorted. `separator` stands between
    the labels of one cell; without it it is found. DataError with every harmful defect of all files."""
    reports = [TableReport(file.path) for file in files]
    tables = [_label_table(report) for report in reports]
    notes: list[str] = []
    rows = LabelRows(categories)
    for file, table, report in zip(files, tables, reports, strict=True):
        if table is None:
            continue
        found, note = _rows_of(table, file, categories, separator)
        notes += [note] if note else []
        repeats = "labels" not in table.columns  # a row a label
        add_rows(rows, report, found, repeats=repeats)
    raise_together([problem for report in reports for problem in report.problems()])
    found_set = rows.label_set()
    raise_together([problem for report in reports for problem in report.problems()])
    findings = tuple(finding for report in reports for finding in report.findings)
    return LabelSet(found_set.categories, found_set.splits, findings, (*notes, *found_set.notes))


class OwnSplits:
    """The splits that the rows of one file name, beside that in which all of it is said to be, if any.

    A file of one split may be given as another. One of several would lose what they keep apart.
    """

    def __init__(self, said: str | None) -> None:
        self._said, self._own = said, dict[str, None]()

    def take(self, own: str) -> str:
        """The split of a row that names this one, or ""."""
        self._own[own] = None
        return self._said or own

    def tell(self, report: TableReport) -> None:
        """A problem if the file is said to be of one split, and its rows name several."""
        named = [name for name in self._own if name]
        if self._said and len(named) > 1:
            some = some_of(repr(name) for name in named)
            report.problem(f"its rows name the splits {some}, and it is given as {self._said}=…; leave that out")


def add_rows(rows: LabelRows, report: TableReport, found: Iterable[LabelRow], *, repeats: bool) -> None:
    """Takes what a file says into `rows`; what is wrong with it goes to `report`. `repeats`: a video may have several
    rows."""
    rows.begin(report, repeats)
    known = rows.known
    for row in found:
        if not is_shard_key(row.key):
            report.problem(f"the key cannot be packed: {KEY_RULE}", row.line, row.key)
            continue
        if not row.split.isidentifier():
            report.problem("the split is no word of letters, digits and '_'", row.line, row.split)
            continue
        numbers = []
        for name in row.labels:
            if known is None or is_known(report, name, known, row.line):
                numbers.append(rows.category(name))
        rows.add(row.line, row.key, row.split, numbers)


def read_categories(path: Path) -> CategorySet:
    """A file with the name of a category a line. DataError if it holds none, or one twice."""
    report = TableReport(path)
    names: dict[str, int] = {}
    for line, text in text_lines(report):
        name = text.strip()
        if len(name) > 1 and name[0] == name[-1] == '"':  # as a table's writer puts it where there is a comma
            name = name[1:-1].replace('""', '"')
        first = names.setdefault(name, line)
        if first != line:
            report.problem(f"the category {name!r} stands already in line {first}", line)
    if not names and report.sound:
        report.problem("the file names no category; write one a line")
    raise_together(report.problems())
    return CategorySet(tuple(names))


def _label_table(report: TableReport) -> Table | None:
    """The table with the column of several labels, or that of one."""
    wanted = {"key": KEYS, "labels": LABELS, "label": LABEL, "split": SPLITS}
    table = open_table(report, wanted, ("key",))
    if table is not None and "labels" not in table.columns and "label" not in table.columns:
        report.problem(
            f"no column is called {' or '.join(LABELS)} (all labels of a video) or {LABEL[0]} (one label a row)"
        )
        return None
    if table is not None and "labels" in table.columns and "label" in table.columns:
        report.findings.append(f"{report.path.name}: the column {LABEL[0]}, beside {table.columns['labels']}")
    return table


def _rows_of(
    table: Table, file: LabelFile, categories: CategorySet | None, separator: str | None
) -> tuple[Iterator[LabelRow], str]:
    """The rows of a table, and what is to be told of how it is read."""
    note, parser = "", None
    if "labels" in table.columns:
        place = list(table.columns).index("labels")
        if separator is None:
            first_look = replace(table, report=TableReport(file.path))  # what is wrong is told of when rows are taken
            cells = (cells[place] for _, cells in first_look.rows())
            separator, note = choose_separator(table.report, cells, categories)
        parser = CellParser(separator, categories)
    if file.split is None and "split" not in table.columns:
        note += f"{'; ' if note else file.path.name + ': '}no column split, so all its videos are of {ONLY_SPLIT}"
    return _label_rows(table, file.split, parser), note


def _label_rows(table: Table, split: str | None, parser: CellParser | None) -> Iterator[LabelRow]:
    what = list(table.columns)
    own_splits = OwnSplits(split)
    for line, cells in table.rows():
        row: dict[str, Cell] = dict(zip(what, cells, strict=True))
        key, own = row["key"], row.get("split", ONLY_SPLIT)
        if not isinstance(key, str) or not isinstance(own, str):
            table.report.problem("key and split are texts", line, str(key))
            continue
        cell = row["labels"] if parser else row["label"]
        if isinstance(cell, float):
            table.report.problem("a label is a text, not a fraction", line, str(cell))
            continue
        if parser is None and isinstance(cell, list):
            table.report.problem(f"{LABEL[0]} is one label; call a column of lists {LABELS[0]}", line, str(cell))
            continue
        labels = parser(cell) if parser else [str(cell)] if cell else []
        yield LabelRow(line, key, own_splits.take(own), labels)
    own_splits.tell(table.report)
