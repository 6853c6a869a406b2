"""The folder that features are extracted into: extraction.json, a folder a feature, a journal, and what went wrong.

Only one process writes there, files appear whole or not at all, and what is there is as the journal and extraction.json
say: so the same command, started again, goes on with what is missing.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from jomold_dist.data.format.extraction import differences, fingerprint_of
from jomold_dist.data.format.extraction_file import (
    EXTRACTION_NAME,
    ExtractedFeature,
    ExtractionFile,
    read_extraction,
    write_extraction,
)
from jomold_dist.data.format.records import NPY_HEADER
from jomold_dist.errors import DataError, raise_together
from jomold_dist.extraction.jobs.job import Outcome
from jomold_dist.extraction.jobs.journal import Entry, FileState, open_journal, read_journal, write_entries
from jomold_dist.files import problem_of, remove_partial_files, write_text, writing
from jomold_dist.locks import LockHeldError, acquire

FAILED, NOTES, LOCK = "failed.csv", "notes.csv", ".lock"


class OutputFolder:
    """The folder `path`, which is made, for features as `wanted` says. Features that are there already of other names
    stay, and belong to the same seconds of the videos.

    A context manager: at its end the tables of failures and notes are written. DataError where other choices were made
    for what is there, telling what differs, where somebody else is writing, and where it cannot be written.
    """

    def __init__(self, path: Path, wanted: ExtractionFile) -> None:
        self.path, self._wanted = path, wanted
        self._failed: dict[Path, str] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = acquire(path / LOCK, patience=0)
        except LockHeldError as error:
            raise DataError(f"{path} is being written by {error}; wait for it, or choose another --out") from None
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            self._begin()
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, OSError):
                raise _unwritable(path, error) from None
            raise

    def _begin(self) -> None:
        existing = read_extraction(self.path)
        self._entries = read_journal(self.path)
        if existing is not None and not self._entries and not any(map(self._files, existing.features.values())):
            existing = None  # of a trial at which nothing was extracted
        raise_together(self._misfits(existing))
        known = {} if existing is None else existing.features
        for feature in self._wanted.features.values():
            (self.path / feature.folder).mkdir(exist_ok=True)
            remove_partial_files(self.path / feature.folder)
        write_extraction(self.path, replace(self._wanted, features=known | self._wanted.features))
        self._fingerprints = {name: fingerprint_of(own.extraction) for name, own in self._wanted.features.items()}
        self._journal = open_journal(self.path)

    def _misfits(self, existing: ExtractionFile | None) -> list[str]:
        """Why what is wanted cannot lie here."""
        wanted = self._wanted
        if existing is None:
            return [
                f"{self.path / own.folder} holds files, and no {EXTRACTION_NAME} of ours lies beside it; choose "
                "another --out"
                for own in wanted.features.values()
                if self._files(own)
            ]
        hint = f"choose another --out, or remove {self.path} to extract all of it anew"
        if (existing.segments, existing.segment_seconds) != (wanted.segments, wanted.segment_seconds):
            return [
                f"{self.path} holds features of {existing.segments} segments of {existing.segment_seconds:g} s, not of "
                f"{wanted.segments} of {wanted.segment_seconds:g} s; {hint}"
            ]
        problems = []
        for name, own in wanted.features.items():
            if (there := existing.features.get(name)) is None:
                problems += _shared_folder(name, own, existing)
            elif other := differences(there.extraction, own.extraction, ("there", "now")):
                problems.append(f"{self.path} holds {name} of other choices: {'; '.join(other)}; {hint}")
        return problems

    def _files(self, feature: ExtractedFeature) -> bool:
        """Whether anything lies in a feature's folder, but for what a kill has left."""
        folder = self.path / feature.folder
        return folder.exists() and any(path.suffix != ".partial" for path in folder.iterdir())

    def is_done(self, key: str, state: FileState) -> bool:
        """Whether all features of a video are there, whole, with these choices and from its file in this state."""
        entry = self._entries.get(key)
        if entry is None or entry.state != state:
            return False
        return all(
            entry.features.get(name) == fingerprint and self._is_whole(key, self._wanted.features[name])
            for name, fingerprint in self._fingerprints.items()
        )

    def _is_whole(self, key: str, feature: ExtractedFeature) -> bool:
        rows, width = feature.shape
        try:
            return (self.path / feature.folder / f"{key}.npy").stat().st_size == NPY_HEADER + rows * width * 4
        except FileNotFoundError:
            return False

    def add(self, outcome: Outcome, source: Path, state: FileState) -> None:
        """Puts the features of a file in their places; `state` is that of the file before it was read. DataError if
        they cannot be written."""
        if outcome.problem:
            self.fail(source, outcome.problem)
            return
        try:
            for name, content in outcome.arrays.items():
                path = self.path / self._wanted.features[name].folder / f"{outcome.key}.npy"
                with writing(path, leftovers=False) as aside:  # a folder may hold a hundred thousand
                    aside.write_bytes(content)
            entry = Entry(outcome.key, state, self._fingerprints, outcome.notes)
            former = self._entries.get(outcome.key)
            if former is not None and former.state == state:
                notes = tuple(dict.fromkeys([*former.notes, *entry.notes]))
                entry = replace(entry, features={**former.features, **entry.features}, notes=notes)
            write_entries(self._journal, [entry])
        except OSError as error:
            raise _unwritable(self.path, error) from None
        self._entries[outcome.key] = entry

    def fail(self, source: Path, problem: str) -> None:
        """A file has failed."""
        self._failed[source] = problem

    @property
    def failed(self) -> Mapping[Path, str]:
        """Why files have failed."""
        return self._failed

    @property
    def noted(self) -> int:
        """Of how many videos something was made up."""
        return sum(bool(entry.notes) for entry in self._entries.values())

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._journal.close()
            notes = [(key, *note) for key, entry in sorted(self._entries.items()) for note in entry.notes]
            self._table(NOTES, ("key", "kind", "note"), notes)
            failed = [(str(path), problem) for path, problem in sorted(self._failed.items())]
            self._table(FAILED, ("file", "problem"), failed)
        except OSError as own:
            if error is None:
                raise _unwritable(self.path, own) from None
        finally:
            os.close(self._lock)

    def _table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Writes a table, or removes the former one where there is nothing to tell. Bytes of file names that are no
        text are escaped."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        empty = text.tell()
        writer.writerows(rows)
        if text.tell() > empty:
            write_text(self.path / name, text.getvalue().encode(errors="backslashreplace").decode())
        else:
            (self.path / name).unlink(missing_ok=True)


def _shared_folder(name: str, own: ExtractedFeature, existing: ExtractionFile) -> list[str]:
    return [
        f"{name} would lie in the folder {own.folder}, where {other} lies; choose another --out"
        for other, there in existing.features.items()
        if there.folder == own.folder
    ]


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"--out {path} cannot be written: {problem_of(error)}; free some space, or choose another place")
