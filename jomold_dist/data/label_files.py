"""Tab-separated files with a header, and a record of everything that is wrong with one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from jomold_dist.errors import DataError

_SHOWN = 12  # names in a finding, lines in a problem


class TableReport:
    """What is wrong with one file: problems, which stop, and `findings`, which are passed over.

    Problems of the same words are one problem with several lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.findings: list[str] = []
        self._lines: dict[str, list[int]] = {}

    def problem(self, what: str, line: int | None = None) -> None:
        """A harmful defect of the file, or of one of its lines (counted from 1)."""
        lines = self._lines.setdefault(what, [])
        if line is not None:
            lines.append(line)

    def finding(self, names: Sequence[str], what: str) -> None:
        """A kind of harmless defect: `names` holds the video of every row that has it; none, no finding."""
        if names:
            rows = "1 row" if len(names) == 1 else f"{len(names)} rows"
            self.findings.append(f"{self.path.name}: {rows} {what}: {some_of(dict.fromkeys(names))}")

    def problems(self) -> list[str]:
        """A message for each problem: file, lines, what."""
        found = []
        for what, lines in self._lines.items():
            where = f", line{'s' if len(lines) > 1 else ''} {some_of(lines)}" if lines else ""
            found.append(f"{self.path}{where}: {what}")
        return found


def read_rows(report: TableReport, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The rows below the header of the report's file, with their line numbers, split at tabs.

    Blank lines are skipped. If the file cannot be used at all, the report gets the problem and there are no rows.
    """
    try:
        lines = report.path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        report.problem("the file does not exist")
        return []
    except UnicodeDecodeError as error:
        report.problem(f"is not UTF-8 text ({error.reason} at byte {error.start})")
        return []
    except OSError as error:
        report.problem(f"cannot be read ({error.strerror})")
        return []
    rows = [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        report.problem("the file is empty")
        return []
    number, header = rows.pop(0)
    if [field.strip() for field in header] != list(columns):
        report.problem(f"the header is {header}, expected the tab-separated columns {list(columns)}", number)
        return []
    if not rows:
        report.problem("the file is empty below its header")
    return rows


def raise_together(problems: list[str]) -> None:
    """DataError with all problems in one message, if there are any."""
    if problems:
        raise DataError(*problems)


def some_of(values: Iterable[object]) -> str:
    """The first values, and how many more there are."""
    texts = [str(v) for v in values]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more
