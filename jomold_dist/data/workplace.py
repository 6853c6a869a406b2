"""The folder beside a data set in which it is packed: one packer at a time, and a journal of what is finished.

`.NAME.partial/` beside NAME holds `lock`, `journal.jsonl` and, in `set/`, the data set as far as it is there. The
journal's first line is the recipe: everything that decides the content of all shards. Each further line is a shard
that lies whole and synced under its final name. A kill can at most cut the last line, whose shard is then made again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jomold_dist.errors import DataError
from jomold_dist.files import problem_of, write_text
from jomold_dist.locks import LockHeldError, acquire

RECIPE_SHOWN = 60  # characters of a value in the line that says what has changed


@dataclass(frozen=True)
class FinishedShard:
    """A line of the journal. `origin` stands for what its videos were made from; `most` is the most labels of one."""

    name: str
    videos: int
    bytes: int
    sha256: str
    positives: tuple[int, ...]
    most: int
    origin: str


class Workplace:
    """The folder for packing `out`, which belongs to this process until close().

    DataError if another process packs or repairs `out`, or if nothing can be written beside it.
    """

    def __init__(self, out: Path) -> None:
        self.out = Path(os.path.abspath(out))
        if not self.out.name:
            raise DataError(f"{out} cannot be a data set's folder; choose another one")
        self.folder = self.out.with_name(f".{self.out.name}.partial")
        self.set = self.folder / "set"
        self.finished: dict[str, FinishedShard] = {}
        self._journal = self.folder / "journal.jsonl"
        try:
            self._lock = self._locked()
        except OSError as error:
            raise DataError(f"cannot write beside {out}: {problem_of(error)}; choose another folder") from None

    def begin(self, recipe: Mapping[str, Any] | None) -> str:
        """Makes the workplace ready, and says what became of what an earlier process left in it ("" for nothing).

        Where that had the same recipe, `finished` then tells its shards and everything else of it is removed; where it
        had another one, or without a recipe, all of it is.
        """
        wanted = None if recipe is None else _plain(recipe)
        try:
            former, shards = self._read()
            self._make_ready(former, wanted, shards)
        except OSError as error:
            raise DataError(
                f"cannot use {self.folder}: {problem_of(error)}; make it readable and writable, free some space, or "
                "choose another folder"
            ) from None
        if former is None or not shards:
            return ""
        if former == wanted:
            return f"going on after {_count(len(self.finished))} that an earlier start has finished"
        changed = _difference(former, wanted) if wanted is not None else "it cannot be gone on with"
        return f"starting anew, without the {_count(len(shards))} of an earlier start: {changed}"

    def add(self, shard: FinishedShard) -> None:
        """Records a shard that lies whole and synced in `set`."""
        try:
            with self._journal.open("a", encoding="utf-8") as file:
                file.write(_lines(asdict(shard)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"cannot write {self._journal}: {error.strerror}; free some space") from None
        self.finished[shard.name] = shard

    def holds_work(self) -> bool:
        """Whether something of a data set is there, or may be."""
        try:
            self.set.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def close(self, *, keep: bool) -> None:
        """Gives the workplace up; what is in it is removed unless it is to be gone on with."""
        if not keep:
            with contextlib.suppress(OSError):  # the folder stays if the next process has already made a lock in it
                self._journal.unlink(missing_ok=True)
                shutil.rmtree(self.set, ignore_errors=True)
                (self.folder / "lock").unlink()
                self.folder.rmdir()
        os.close(self._lock)

    def _make_ready(
        self, former: dict[str, Any] | None, wanted: dict[str, Any] | None, shards: list[FinishedShard]
    ) -> None:
        if former is not None and former == wanted:
            self.finished = {shard.name: shard for shard in shards if _is_there(self.set / shard.name)}
            self._sweep()
        else:
            self._journal.unlink(missing_ok=True)  # first: a shard that it tells must be there
            shutil.rmtree(self.set, ignore_errors=True)
        self.set.mkdir(exist_ok=True)
        if wanted is not None:
            write_text(self._journal, _lines({"recipe": wanted}, *map(asdict, self.finished.values())))

    def _locked(self) -> int:
        """An open descriptor of the lock file, which is held."""
        for place in (self.folder, self.set):
            if place.is_symlink():  # in a folder that others may write, it could lead to files of the user's
                raise OSError(errno.ELOOP, "is a link; remove it", str(place))
        try:
            return acquire(self.folder / "lock", patience=0)
        except LockHeldError as holder:
            raise DataError(f"{self.out} is being packed or repaired by {holder}; wait for its end") from None

    def _read(self) -> tuple[dict[str, Any] | None, list[FinishedShard]]:
        """The recipe and the shards of the journal; None and [] without one, or where its head is damaged. A shard
        whose line is damaged or cut is made again. OSError if it cannot be read: what it tells may be good."""
        try:
            head, *rest = self._journal.read_bytes().split(b"\n")[:-1]
            recipe = dict(json.loads(head)["recipe"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None, []
        shards = []
        for line in rest:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = json.loads(line)
                shards.append(FinishedShard(**told | {"positives": tuple(told["positives"])}))
        return recipe, shards

    def _sweep(self) -> None:
        """Removes what is in `set` and is not a finished shard: what was being written when the process was killed."""
        for path in list(self.set.rglob("*")):
            if not path.is_dir() and path.relative_to(self.set).as_posix() not in self.finished:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()


def _is_there(path: Path) -> bool:
    """Whether a file is there. OSError if that cannot be said."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _lines(*values: dict[str, Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe as it comes back from the journal."""
    plain: dict[str, Any] = json.loads(json.dumps(recipe))
    return plain


def _difference(former: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Which parts of two recipes differ, and how."""
    parts = []
    for name in sorted(former.keys() | wanted.keys()):
        if (was := former.get(name)) != (now := wanted.get(name)):
            texts = [json.dumps(value) for value in (was, now)]
            short = all(len(text) <= RECIPE_SHOWN for text in texts)
            parts.append(f"{name} was {texts[0]} and is {texts[1]}" if short else f"{name} is another")
    return ", ".join(parts)


def _count(shards: int) -> str:
    return "1 shard" if shards == 1 else f"{shards} shards"
