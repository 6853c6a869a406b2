"""Labels that lie beside the features: in members of WebDataset tars, or in a column of tables.

A label is a name, or a number: then its name is that of the column's ClassLabel, where Hugging Face's metadata have
one, or else that of the line of --categories (0 is the first). Several are a list, or stand in one text between commas,
semicolons, bars, or in lines of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from jomold_dist.data.packing.label_cells import CellParser, choose_separator
from jomold_dist.data.packing.label_files import TableReport, some_of
from jomold_dist.data.packing.label_rows import LabelRows
from jomold_dist.data.packing.label_tables import ONLY_SPLIT, LabelRow, OwnSplits, add_rows
from jomold_dist.data.packing.member_index import Member, MemberIndex, read_member
from jomold_dist.data.packing.table_files import TableFile
from jomold_dist.data.packing.video_labels import LabelSet
from jomold_dist.errors import raise_together
from jomold_dist.labels import CategorySet
from jomold_dist.reading import parse_json
from jomold_dist.wording import number_of

MOST_BYTES = 1 << 20  # of the labels of one video

Raw = tuple[int, str, str, Any]  # number in its file, key, split, labels as they stand there
Rows = Callable[[TableReport], Iterator[Raw]]  # what is wrong with some goes to the report


def table_labels(
    files: Sequence[TableFile],
    column: str,
    split_column: str | None,
    categories: CategorySet | None,
    separator: str | None,
) -> LabelSet:
    """The labels in a column of tables. DataError with every harmful defect of all tables."""
    parts = []
    for file in files:
        report = TableReport(file.path, "row")
        names = _class_names(file.table.schema, column) or (categories.names if categories else ())
        rows = _table_rows(file, column, split_column)
        parts.append((report, rows, names))
    return _label_set(parts, categories, separator)


def member_labels(index: MemberIndex, ending: str, categories: CategorySet | None, separator: str | None) -> LabelSet:
    """The labels in the members of an ending: `.json` as {"labels": [...]}, and maybe "split"; any other as text, a
    number or names. DataError with every harmful defect of all tars."""
    names = categories.names if categories else ()
    parts = []
    for number, tar in enumerate(index.tars):
        report = TableReport(tar, "member")
        parts.append((report, _member_rows(index, number, ending), names))
    found = _label_set(parts, categories, separator)
    return replace(found, findings=(*found.findings, *_told_unlabelled(index, ending)))


def _told_unlabelled(index: MemberIndex, ending: str) -> list[str]:
    """A finding for the videos that have features and no member with labels."""
    features = [index.members[other].keys for other in index.members if other != ending]
    if not features:
        return []
    without = np.setdiff1d(np.concatenate(features), index.members[ending].keys)
    if not len(without):
        return []
    return [f"{number_of(len(without), 'video')} without .{ending}: {some_of(map(bytes.decode, without.tolist()))}"]


def _label_set(
    parts: Sequence[tuple[TableReport, Rows, Sequence[str]]],
    categories: CategorySet | None,
    separator: str | None,
) -> LabelSet:
    rows = LabelRows(categories)
    notes: dict[str, None] = {}
    unsaid: dict[str, None] = {}  # files with videos of no split
    reports = [report for report, _, _ in parts]
    for report, raws, names in parts:
        chosen = separator
        if chosen is None:
            first_look = TableReport(report.path)  # what is wrong is told of when rows are taken
            texts = (text for *_, value in raws(first_look) if (text := _text(value)))
            chosen, note = choose_separator(report, texts, categories)
            notes |= dict.fromkeys([note] if note else [])
        named = _named(report, raws(report), CellParser(chosen, categories), names, unsaid)
        add_rows(rows, report, named, repeats=False)
    raise_together([problem for report in reports for problem in report.problems()])
    found = rows.label_set()
    raise_together([problem for report in reports for problem in report.problems()])
    findings = tuple(finding for report in reports for finding in report.findings)
    if unsaid:
        notes[f"no split is said in {some_of(unsaid)}, so the videos there are of {ONLY_SPLIT}"] = None
    return LabelSet(found.categories, found.splits, findings, (*notes, *found.notes))


def _named(
    report: TableReport, raws: Iterator[Raw], parser: CellParser, names: Sequence[str], unsaid: dict[str, None]
) -> Iterator[LabelRow]:
    """The rows with the names of their labels. Where a row says no split, its file is noted as `unsaid`."""
    for number, key, split, value in raws:
        labels = []
        for item in _items(value, parser):
            name = item if isinstance(item, str) else _name_of(report, number, item, names)
            labels += [name] if name else []
        if not split:
            unsaid[report.path.name] = None
        yield LabelRow(number, key, split or ONLY_SPLIT, labels)


def _items(value: Any, parser: CellParser) -> list[Any]:
    """The labels of a video one by one: names as texts, numbers as they are."""
    if isinstance(value, list):
        return [item.strip() if isinstance(item, str) else item for item in value if item is not None]
    if text := _text(value):
        return [name for line in text.splitlines() for name in parser(line)]
    if isinstance(value, str):
        return [int(value)] if value.strip() else []
    return [] if value is None else [value]


def _text(value: Any) -> str:
    """A text that is neither empty nor a number, or ""."""
    text = value.strip() if isinstance(value, str) else ""
    return "" if text.isdecimal() else text


def _name_of(report: TableReport, number: int, item: Any, names: Sequence[str]) -> str:
    """The name of a label that is given as a number; "", and a problem, if it has none."""
    if type(item) is not int:
        report.problem("a label is neither a text nor a whole number", number, f"{item!r}")
    elif not names:
        report.problem("labels are numbers; say with --categories FILE which they are (0 is its first line)", number)
    elif not 0 <= item < len(names):
        report.problem(f"a label's number is not in 0..{len(names) - 1}", number, f"{item}")
    else:
        return names[item]
    return ""


def _table_rows(file: TableFile, column: str, split_column: str | None) -> Rows:
    def rows(report: TableReport) -> Iterator[Raw]:
        number = 0
        own_splits = OwnSplits(file.split)
        columns = [file.key_column, column, *([split_column] if split_column else [])]
        for batch in file.table.select(columns).to_batches():
            for key, value, *split in zip(*(part.to_pylist() for part in batch.columns), strict=True):
                number += 1
                own = _split_text(split[0]) if split else ""
                if split and not own and not file.split:
                    report.problem("the split is empty", number)
                    continue
                yield number, key, own_splits.take(own), value
        own_splits.tell(report)

    return rows


def _member_rows(index: MemberIndex, tar: int, ending: str) -> Rows:
    def rows(report: TableReport) -> Iterator[Raw]:
        own_splits = OwnSplits(index.splits[tar])
        for number, (key, member) in enumerate(index.of_tar(tar, ending), 1):
            value, split = _member_value(report, number, key, member, ending)
            yield number, key, own_splits.take(split), value
        own_splits.tell(report)

    return rows


def _member_value(report: TableReport, number: int, key: str, member: Member, ending: str) -> tuple[Any, str]:
    """What a member says: labels as they stand there, and the split or ""."""
    what = f"{key}.{ending}"
    if member.size > MOST_BYTES:
        report.problem(f"labels of more than {MOST_BYTES} bytes", number, what)
        return None, ""
    try:
        text = read_member(member).decode()
        if ending.rpartition(".")[2] != "json":
            return text, ""
        value = parse_json(text)
    except (OSError, EOFError) as error:
        report.problem(f"cannot be read ({error or 'the tar has become shorter'})", number, what)
    except ValueError:
        report.problem("holds no JSON" if ending.endswith("json") else "holds no UTF-8 text", number, what)
    else:
        if isinstance(value, dict):
            labels = value.get("labels", value.get("label"))
            if labels is None:
                report.problem('the JSON says neither "labels" nor "label"', number, what)
            return labels, _split_text(value.get("split"))
        return value, ""
    return None, ""


def _split_text(value: Any) -> str:
    """A split as it stands in a row; "" where none does."""
    return "" if value is None else f"{value}".strip()


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a column's ClassLabel, as Hugging Face's `datasets` writes them into a table's metadata."""
    try:
        told = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))
        feature = told["info"]["features"][column]
        while isinstance(feature, list):
            (feature,) = feature
        names = feature.get("names") or feature.get("feature", {}).get("names") or ()
        return tuple(names) if all(isinstance(name, str) for name in names) else ()
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
