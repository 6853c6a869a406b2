"""The folder in which a data set is packed: one packer at a time, and a journal of what is finished.

`.NAME.partial/` beside NAME holds `lock`, `journal.jsonl` and, in `set/`, the data set as far as it is there: the
shards that the journal tells lie whole and synced under their final names. A set that goes to a URL has such a folder
in this user's cache, where a shard that has been sent leaves the digests of its keys.

Links are followed: the data set is packed beside the folder that it becomes, on that folder's disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from jomold_dist.data.format.damage import unreadable
from jomold_dist.data.packing.journal import FinishedShard, Journal, difference, plain
from jomold_dist.data.packing.own_folder import OWN, check_own_folder
from jomold_dist.data.packing.shard_jobs import KEYS_ENDING
from jomold_dist.errors import DataError
from jomold_dist.files import problem_of
from jomold_dist.locks import LockHeldError, acquire
from jomold_dist.wording import number_of

PATIENCE = 1.0  # seconds: the workers of a packer that was killed hold its lock until they have noticed


class Workplace:
    """The folder for packing `out`, which belongs to this process until close(). `where` is how messages call it.

    DataError if another process packs or repairs `out`, or if nothing can be written there.
    """

    def __init__(self, folder: Path, out: Path | str, where: str) -> None:
        self.folder, self.set = folder, folder / "set"
        self.finished: dict[str, FinishedShard] = {}
        self._resumable = False
        self._out, self._journal = out, Journal(folder / "journal.jsonl")
        try:
            check_own_folder(self.folder, "set")
            self.lock = self._locked()
        except OSError as error:
            raise DataError(
                f"cannot write {where}, where a data set is packed before it appears: {problem_of(error)}; choose "
                "another folder, perhaps one inside it"
            ) from None

    def begin(self, recipe: Mapping[str, Any] | None, *, restart: bool = False, moved_to: Path | None = None) -> str:
        """Makes the workplace ready, and says what became of what an earlier process left in it ("" for nothing).

        Where that had the same recipe, `finished` then tells its shards, and everything else of it is removed. Shards
        that it had begun to move to a data set, and that no manifest names yet, come back. Finished shards that are not
        to be gone on with are removed for a `restart` alone; without it, DataError says what differs.
        """
        wanted = None if recipe is None else plain(recipe)
        try:
            entries = self._journal.read()
            if moved_to is not None and entries.recipe == wanted:
                self._bring_back(entries.shards, moved_to)
            shards = {name: shard for name, shard in entries.shards.items() if self._is_there(name)}
            former = entries.recipe
        except ValueError as error:
            if not restart:
                raise DataError(
                    f"{self._journal.path} is damaged ({error}), so that nothing can be said of the shards beside it; "
                    "begin anew without them (--restart)"
                ) from None
            former, shards = {}, {}
        except OSError as error:
            raise unreadable(error.filename or str(self._journal.path), error) from None
        if shards and not restart and former != wanted:
            raise DataError(
                f"{self.folder} holds {number_of(len(shards), 'shard')} that an earlier start has finished, and this "
                f"one cannot go on after {'it' if len(shards) == 1 else 'them'}: {difference(former, wanted)}; start "
                "as before to go on, or begin anew without (--restart)"
            )
        try:
            self._make_ready(shards if wanted is not None and not restart else {}, wanted)
        except OSError as error:
            raise DataError(
                f"cannot use {self.folder}: {problem_of(error)}; make it readable and writable, free some space, or "
                "choose another folder"
            ) from None
        if not shards:
            return ""
        if restart:
            return f"starting anew, without the {number_of(len(shards), 'shard')} of an earlier start"
        return f"going on after {number_of(len(self.finished), 'shard')} that an earlier start has finished"

    def add(self, shard: FinishedShard) -> None:
        """Records a shard that is where it belongs, whole and synced."""
        if self._resumable:
            self._journal.add(shard)
        self.finished[shard.name] = shard

    def publish(self, digest: str, files: Collection[str]) -> None:
        """Records that the data set is about to appear, with a manifest of this digest. What is in `set` beside these
        files of it is removed. OSError if that cannot be."""
        self._keep_only({*files, *map(_keys_name, files)})
        if self._resumable:
            self._journal.publish(digest)

    def forget_published(self, digest: str) -> None:
        """Removes what a process has left that was killed after its data set had appeared: there is nothing to go on
        with if the manifest that is there has this digest."""
        with contextlib.suppress(ValueError, OSError):
            if self._journal.read().published == digest:
                self._clear()

    def _keep_only(self, names: Collection[str]) -> None:
        for path in list(self.set.rglob("*")):
            if not path.is_dir() and path.relative_to(self.set).as_posix() not in names:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()

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
                self._clear()
                (self.folder / "lock").unlink()
                self.folder.rmdir()
        os.close(self.lock)

    def _clear(self) -> None:
        self._journal.path.unlink(missing_ok=True)  # first: a shard that it tells must be there
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.set)

    def _make_ready(self, shards: dict[str, FinishedShard], wanted: dict[str, Any] | None) -> None:
        if shards:
            self.finished = shards
            self._keep_only({file for name in shards for file in (name, _keys_name(name))})
        else:
            self._clear()
        self.set.mkdir(exist_ok=True)
        self._resumable = wanted is not None
        if wanted is not None:
            self._journal.begin(wanted, self.finished.values())

    def _locked(self) -> int:
        """An open descriptor of the lock file, which is held."""
        try:
            lock = acquire(self.folder / "lock", patience=PATIENCE, folder_mode=OWN)
        except LockHeldError as holder:
            raise DataError(f"{self._out} is being packed or repaired by {holder}; wait for its end") from None
        try:
            check_own_folder(self.folder, "set")  # somebody may have made it a moment ago
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _is_there(self, name: str) -> bool:
        """Whether a finished shard is there, or its keys where it was sent away. OSError if that cannot be said."""
        return _is_file(self.set / name) or _is_file(self.set / _keys_name(name))

    def _bring_back(self, names: Iterable[str], moved_to: Path) -> None:
        for name in names:
            if not _is_file(self.set / name) and _is_file(moved_to / name):
                (self.set / name).parent.mkdir(parents=True, exist_ok=True)
                os.rename(moved_to / name, self.set / name)


def place_of(out: Path) -> Path:
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


def beside(place: Path) -> Workplace:
    """The workplace for a folder that is no link (see `place_of`)."""
    return Workplace(place.with_name(f".{place.name}.partial"), place, f"beside {place}")


def _keys_name(name: str) -> str:
    return Path(name).with_suffix(KEYS_ENDING).as_posix()


def _is_file(path: Path) -> bool:
    """Whether a file is there. OSError if that cannot be said."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
