"""The folder beside a data set in which it is packed: one packer at a time, and a journal of what is finished.

`.NAME.partial/` beside NAME holds `lock`, `journal.jsonl` and, in `set/`, the data set as far as it is there. The
journal's first line is the recipe: everything that decides the content of all shards. Each further line is a shard
that lies whole and synced under its final name. A kill can at most cut the last line, whose shard is then made again.

Links are followed: the data set is packed beside the folder that it becomes, on that folder's disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jomold_dist.data.format.damage import unreadable
from jomold_dist.data.packing.own_folder import OWN, check_own_folder
from jomold_dist.errors import DataError
from jomold_dist.files import problem_of, write_text
from jomold_dist.locks import LockHeldError, acquire
from jomold_dist.reading import regular_file

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
    """The folder for packing `out`, which belongs to this process until close(). `out` is then without links.

    DataError if another process packs or repairs `out`, if nothing can be written beside it, or if it is a link that
    leads nowhere.
    """

    def __init__(self, out: Path) -> None:
        try:
            self.out = _place_of(Path(out))
            self.folder = self.out.with_name(f".{self.out.name}.partial")
            self.set = self.folder / "set"
            check_own_folder(self.folder, "set")
            self.finished: dict[str, FinishedShard] = {}
            self._journal = self.folder / "journal.jsonl"
            self._lock = self._locked()
        except OSError as error:
            raise DataError(
                f"cannot write beside {out}, where a data set is packed before it appears: {problem_of(error)}; choose "
                "another folder, perhaps one inside it"
            ) from None

    def begin(self, recipe: Mapping[str, Any] | None, *, restart: bool = False) -> str:
        """Makes the workplace ready, and says what became of what an earlier process left in it ("" for nothing).

        Where that had the same recipe, `finished` then tells its shards, and everything else of it is removed. Finished
        shards that are not to be gone on with are removed for a `restart` alone; without it, DataError says what
        differs.
        """
        wanted = None if recipe is None else _plain(recipe)
        try:
            former, shards = self._read()
        except ValueError as error:
            if not restart:
                raise DataError(
                    f"{self._journal} is damaged ({error}), so that nothing can be said of the shards beside it; begin "
                    "anew without them (--restart)"
                ) from None
            former, shards = {}, []
        except OSError as error:
            raise unreadable(error.filename or str(self._journal), error) from None
        if shards and not restart and former != wanted:
            raise DataError(
                f"{self.folder} holds {_count(len(shards))} that an earlier start has finished, and this one cannot go "
                f"on after {'it' if len(shards) == 1 else 'them'}: {_difference(former, wanted)}; start as before to "
                "go on, or begin anew without (--restart)"
            )
        try:
            self._make_ready(shards if wanted is not None and not restart else [], wanted)
        except OSError as error:
            raise DataError(
                f"cannot use {self.folder}: {problem_of(error)}; make it readable and writable, free some space, or "
                "choose another folder"
            ) from None
        if not shards:
            return ""
        if restart:
            return f"starting anew, without the {_count(len(shards))} of an earlier start"
        return f"going on after {_count(len(self.finished))} that an earlier start has finished"

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

    def _make_ready(self, shards: list[FinishedShard], wanted: dict[str, Any] | None) -> None:
        if shards:
            self.finished = {shard.name: shard for shard in shards}
            self._sweep()
        else:
            self._journal.unlink(missing_ok=True)  # first: a shard that it tells must be there
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.set)
        self.set.mkdir(exist_ok=True)
        if wanted is not None:
            write_text(self._journal, _lines({"recipe": wanted}, *map(asdict, self.finished.values())))

    def _locked(self) -> int:
        """An open descriptor of the lock file, which is held."""
        try:
            lock = acquire(self.folder / "lock", patience=0, folder_mode=OWN)
        except LockHeldError as holder:
            raise DataError(f"{self.out} is being packed or repaired by {holder}; wait for its end") from None
        try:
            check_own_folder(self.folder, "set")  # somebody may have made it a moment ago
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _read(self) -> tuple[dict[str, Any], list[FinishedShard]]:
        """The recipe of the journal and those of its shards that are still there; {} and [] without a journal. A shard
        whose line is damaged or cut is made again. ValueError if the recipe is damaged, OSError if the journal cannot
        be read: what it tells may be good."""
        try:
            head, *rest = regular_file(self._journal).read_bytes().split(b"\n")[:-1] or [b""]
        except FileNotFoundError:
            return {}, []
        try:
            recipe = dict(json.loads(head)["recipe"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        latest: dict[str, FinishedShard] = {}  # one that was written again has a second line
        for line in rest:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = json.loads(line)
                shard = FinishedShard(**told | {"positives": tuple(told["positives"])})
                latest[shard.name] = shard
        return recipe, [shard for shard in latest.values() if _is_there(self.set / shard.name)]

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


def _place_of(out: Path) -> Path:
    """The folder that `out` is or leads to. DataError if links lead it nowhere: what is to lie on another disk must not
    be written to this one because that is not there."""
    absolute = Path(os.path.abspath(out))
    for link in (absolute, *absolute.parents):
        if not link.is_symlink() or link.exists():
            continue
        target = Path(os.path.realpath(link))
        if target.is_symlink():
            raise DataError(f"{out} cannot be written: the link {link} leads back to itself; remove it")
        if link != absolute or not target.parent.is_dir():
            missing = target.parent if link == absolute else target
            raise DataError(
                f"{out} cannot be written: the link {link} leads to {target}, and there is no folder {missing} (is a "
                "disk not mounted?); make it, or choose another folder"
            )
    place = Path(os.path.realpath(out))
    if not place.name:
        raise DataError(f"{out} cannot be a data set's folder; choose another one")
    return place


def _difference(former: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> str:
    """Which parts of two recipes differ, and how."""
    if wanted is None:
        return "it does not say what decides the content of its shards"
    parts = []
    for name in sorted(former.keys() | wanted.keys()):
        if (was := former.get(name)) != (now := wanted.get(name)):
            texts = [json.dumps(value) for value in (was, now)]
            short = all(len(text) <= RECIPE_SHOWN for text in texts)
            parts.append(f"{name} was {texts[0]} and is {texts[1]}" if short else f"{name} has changed")
    return ", ".join(parts)


def _count(shards: int) -> str:
    return "1 shard" if shards == 1 else f"{shards} shards"


def check_free(out: Path) -> None:
    """DataError if a data set cannot appear at `out`."""
    try:
        with os.scandir(out) as entries:
            free = next(entries, None) is None
    except FileNotFoundError:
        return
    except NotADirectoryError:
        free = False
    except OSError as error:
        raise DataError(f"cannot read {out}: {error.strerror}; choose another folder") from None
    if not free:
        raise DataError(f"{out} exists and is not an empty folder; remove it or choose another one")
