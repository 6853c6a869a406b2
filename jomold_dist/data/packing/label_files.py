"""Tables of labels with a header, how videos are named in them, and a record of everything that is wrong with one.

A video is named `<11-character id>_<start>_<end>`, or by its id alone.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jomold_dist.data.format.records import is_shard_key
from jomold_dist.reading import regular_file

KEY_LENGTH = 11

SHOWN = 12  # names in a finding, lines in a problem
_FORMULA = re.compile(r"#[A-Z0-9/]+[?!]?")  # what a spreadsheet makes of an id that begins with - or =
_END = "end of the line"
_LONGEST = 1 << 26  # bytes of a line
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how .xlsx, .ods and .xls begin


def video_key(filename: str) -> str:
    """The key of the video `filename`: its first 11 characters."""
    return filename[:KEY_LENGTH]


def name_problem(filename: str) -> str | None:
    """What is wrong with a video's name."""
    if _FORMULA.fullmatch(filename):
        return "a spreadsheet took the name for a formula; take it from the published file"
    if not is_shard_key(video_key(filename)):
        return "malformed name, expected <11-character id>_<start>_<end>"
    if filename[KEY_LENGTH : KEY_LENGTH + 1] not in ("", "_"):
        return "no name of the form <11-character id>_<start>_<end>; has the id lost or won a character?"
    return None


class TableReport:
    """What is wrong with one file: problems, which stop, and `findings`, which are passed over.

    Problems of the same words are one problem with several lines. `unusable` is a file that could not be read to its
    end.
    """

    def __init__(self, path: Path, unit: str = "line") -> None:
        self.path, self._unit = Path(path), unit
        self.findings: list[str] = []
        self.unusable = False
        self._lines: dict[str, list[int]] = {}
        self._seen: dict[str, str] = {}

    @property
    def sound(self) -> bool:
        """Whether there is no problem so far."""
        return not self._lines

    @property
    def kinds(self) -> int:
        """How many problems of different words there are."""
        return len(self._lines)

    def problem(self, what: str, line: int | None = None, seen: str | None = None) -> None:
        """A harmful defect of the file, or of one of its lines (counted from 1). The first value `seen` is told."""
        lines = self._lines.setdefault(what, [])
        if line is not None and lines[-1:] != [line]:
            lines.append(line)
        if seen is not None:
            self._seen.setdefault(what, seen)

    def refuse(self, what: str) -> None:
        """A problem that leaves nothing of the file to be used."""
        self.unusable = True
        self.problem(what)

    def finding(self, rows: Sequence[tuple[int, str]], what: str, count: int | None = None) -> None:
        """A kind of harmless defect: `rows` holds line and video of every row that has it, or of the first SHOWN of
        `count`; none, no finding."""
        if rows:
            lines_of: dict[str, list[int]] = {}
            for line, name in rows:
                lines_of.setdefault(name, []).append(line)
            count = len(rows) if count is None else count
            where = some_of(f"{name} ({_place(lines, self._unit)})" for name, lines in lines_of.items())
            more = f" and {count - len(rows)} more" if count > len(rows) else ""
            self.findings.append(
                f"{self.path.name}: {'1 row' if count == 1 else f'{count} rows'} {what}: {where}{more}"
            )

    def problems(self) -> list[str]:
        """A message for each problem: file, lines, what."""
        found = []
        for what, lines in self._lines.items():
            where = f", {_place(lines, self._unit)}" if lines else ""
            first = "the first: " if len(lines) > 1 else ""
            value = f" ({first}{self._seen[what][:100]!r})" if what in self._seen else ""
            found.append(f"{self.path}{where}: {what}{value}")
        return found


def read_rows(report: TableReport, columns: Sequence[str], delimiter: str = "\t") -> list[tuple[int, list[str]]]:
    """The rows below the header of the report's file, with their line numbers, split at tabs or at `delimiter`.

    A field may stand in double quotes, as pandas and spreadsheets write it; it ends in its line. Blank lines are
    skipped. If the file cannot be used at all, the report gets the problem and there are no rows.
    """
    rows = []
    for number, line in text_lines(report):
        if (fields := fields_of(report, number, line, delimiter)) is not None:
            rows.append((number, fields))
    if report.unusable or not rows:
        if report.sound:
            report.problem("the file is empty")
        return []
    number, header = rows.pop(0)
    if [field.strip() for field in header] != list(columns):
        separated = "tab-separated" if delimiter == "\t" else f"{delimiter!r}-separated"
        report.problem(f"the header is {header}, expected the {separated} columns {list(columns)}", number)
        return []
    if not rows and report.sound:
        report.problem("the file is empty below its header")
    return rows


def text_lines(report: TableReport) -> Iterator[tuple[int, str]]:
    """The lines of the report's file that are not blank, with their numbers, read as they are asked for.

    They may end as they do anywhere. If the file cannot be read to its end, the report gets the problem, and no more
    lines come.
    """
    number = start = 0
    try:
        with regular_file(report.path).open("rb") as file:
            while content := file.readline(_LONGEST + 1):
                if len(content) > _LONGEST:
                    report.refuse(f"has a line of more than {_LONGEST >> 20} MB; is it a table of text?")
                    return
                text = content.decode("utf-8" if start else "utf-8-sig").removesuffix("\n").removesuffix("\r")
                start += len(content)
                for line in text.split("\r"):
                    number += 1
                    if line.strip():
                        yield number, line
    except FileNotFoundError:
        report.refuse("the file does not exist")
    except UnicodeDecodeError as error:
        if not start and content.startswith(_UTF_16):
            report.refuse("is UTF-16 text, as spreadsheets write it; save it as UTF-8 text")
        elif not start and content.startswith(_WORKBOOKS):
            report.refuse("is a spreadsheet's own file; save the sheet as CSV in UTF-8")
        else:
            report.refuse(f"is not UTF-8 text ({error.reason} at byte {start + error.start})")
    except OSError as error:
        report.refuse(f"cannot be read ({error.strerror})")


def fields_of(report: TableReport, number: int, line: str, delimiter: str) -> list[str] | None:
    """A line's fields. None, and a problem in the report, if a quote that opens one is not closed."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        row, *rest = csv.reader([line, _END], delimiter=delimiter)
    except csv.Error:  # a field of 128 KB
        rest = []
    if rest != [[_END]]:
        report.problem('the double quotes (") round its fields do not pair', number, line)
        return None
    return row


def some_of(values: Iterable[object]) -> str:
    """The first values, and how many more there are."""
    texts = [str(v) for v in values]
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def _place(lines: Sequence[int], unit: str) -> str:
    return f"{unit}{'s' if len(lines) > 1 else ''} {some_of(lines)}"
