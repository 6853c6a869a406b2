"""Tables of labels with a header, how videos are named in them, and a record of everything that is wrong with one.

A video is named `<11-character id>_<start>_<end>`, or by its id alone.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jomold_dist.reading import regular_file

KEY_LENGTH = 11

_SHOWN = 12  # names in a finding, lines in a problem
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_FORMULA = re.compile(r"#[A-Z0-9/]+[?!]?")  # what a spreadsheet makes of an id that begins with - or =
_END = "end of the line"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def video_key(filename: str) -> str:
    """The key of the video `filename`: its first 11 characters."""
    return filename[:KEY_LENGTH]


def is_key(key: str) -> bool:
    """Whether `key` can name a video: letters, digits, `_`, `-` (a dot would split the names inside a shard)."""
    return _KEY.fullmatch(key) is not None


def name_problem(filename: str) -> str | None:
    """What is wrong with a video's name."""
    if _FORMULA.fullmatch(filename):
        return "a spreadsheet took the name for a formula; take it from the published file"
    if not is_key(video_key(filename)):
        return "malformed name, expected <11-character id>_<start>_<end>"
    if filename[KEY_LENGTH : KEY_LENGTH + 1] not in ("", "_"):
        return "no name of the form <11-character id>_<start>_<end>; has the id lost or won a character?"
    return None


class TableReport:
    """What is wrong with one file: problems, which stop, and `findings`, which are passed over.

    Problems of the same words are one problem with several lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.findings: list[str] = []
        self._lines: dict[str, list[int]] = {}
        self._seen: dict[str, str] = {}

    @property
    def sound(self) -> bool:
        """Whether there is no problem so far."""
        return not self._lines

    def problem(self, what: str, line: int | None = None, seen: str | None = None) -> None:
        """A harmful defect of the file, or of one of its lines (counted from 1). The first value `seen` is told."""
        lines = self._lines.setdefault(what, [])
        if line is not None:
            lines.append(line)
        if seen is not None:
            self._seen.setdefault(what, seen)

    def finding(self, rows: Sequence[tuple[int, str]], what: str) -> None:
        """A kind of harmless defect: `rows` holds line and video of every row that has it; none, no finding."""
        if rows:
            lines_of: dict[str, list[int]] = {}
            for line, name in rows:
                lines_of.setdefault(name, []).append(line)
            count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
            where = some_of(f"{name} ({_place(lines)})" for name, lines in lines_of.items())
            self.findings.append(f"{self.path.name}: {count} {what}: {where}")

    def problems(self) -> list[str]:
        """A message for each problem: file, lines, what."""
        found = []
        for what, lines in self._lines.items():
            where = f", {_place(lines)}" if lines else ""
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
    for number, line in enumerate(_read(report).split("\n"), 1):
        if not line.strip():
            continue
        fields = _fields(line, delimiter)
        if fields is None:
            report.problem('the double quotes (") round its fields do not pair', number, line)
        else:
            rows.append((number, fields))
    if not rows:
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


def some_of(values: Iterable[object]) -> str:
    """The first values, and how many more there are."""
    texts = [str(v) for v in values]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _place(lines: Sequence[int]) -> str:
    return f"line{'s' if len(lines) > 1 else ''} {some_of(lines)}"


def _read(report: TableReport) -> str:
    """The file's text; "" with a problem in the report if there is none."""
    try:
        content = regular_file(report.path).read_bytes()
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        report.problem("the file does not exist")
    except UnicodeDecodeError as error:
        if content.startswith(_UTF_16):
            report.problem("is UTF-16 text, as spreadsheets write it; save it as UTF-8 text with tabs")
        else:
            report.problem(f"is not UTF-8 text ({error.reason} at byte {error.start})")
    except OSError as error:
        report.problem(f"cannot be read ({error.strerror})")
    return ""


def _fields(line: str, delimiter: str) -> list[str] | None:
    """A line's fields; None if a quote that opens one is not closed."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        row, *rest = csv.reader([line, _END], delimiter=delimiter)
    except csv.Error:  # a field of 128 KB
        return None
    return row if rest == [[_END]] else None
