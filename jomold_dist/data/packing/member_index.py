"""Where the members of plain WebDataset tars lie, so that any of them can be read without what stands before it.

A member belongs to a video as webdataset has it: what stands before the first dot of its base name is the key, and what
follows is its ending, in lower case. Folders within a tar fall away; two members that then have one name are a problem.
Members may lie in any order, and those of one video in several tars (one with audio, one with frames).
"""

from __future__ import annotations

import os
import re
import tarfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jomold_dist.data.format.records import KEY_RULE, TAR_BLOCK, is_shard_key
from jomold_dist.errors import DataError, raise_together
from jomold_dist.reading import regular_file

SHOWN = 5  # problems of one kind a tar
_NAME = re.compile(r"(?:.*/)?([^./][^./]*)\.([^/]*)")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Member(NamedTuple):
    """A member's content: its tar, and where in it so many bytes lie."""

    tar: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Members:
    """The members of one ending: keys, sorted S (n,), and of each the tar's number, offset and size, int64 (n,)."""

    keys: np.ndarray
    tar: np.ndarray
    offset: np.ndarray
    size: np.ndarray


@dataclass(frozen=True)
class MemberIndex:
    """The members of some tars, by ending. `splits` names the split of each tar, "" where none was said."""

    tars: tuple[Path, ...]
    splits: tuple[str, ...]
    members: dict[str, Members]

    def keys(self, ending: str) -> list[str]:
        """The keys of all members of an ending, sorted."""
        return [key.decode() for key in self.members[ending].keys.tolist()]

    def find(self, ending: str, key: str) -> Member | None:
        """A video's member of this ending; None if it has none."""
        found = self.members[ending]
        wanted = key.encode()
        at = int(np.searchsorted(found.keys, wanted))
        if at == len(found.keys) or found.keys[at] != wanted:
            return None
        return Member(self.tars[found.tar[at]], int(found.offset[at]), int(found.size[at]))

    def of_tar(self, number: int, ending: str) -> Iterator[tuple[str, Member]]:
        """Keys and members of an ending in one of the tars, in the order in which they lie there."""
        found = self.members[ending]
        own = np.flatnonzero(found.tar == number)
        for at in own[np.argsort(found.offset[own])].tolist():
            yield found.keys[at].decode(), Member(self.tars[number], int(found.offset[at]), int(found.size[at]))


def index_tars(
    tars: Sequence[tuple[str, Path]],
    endings: Iterable[str],
    progress: Callable[[int], object] = lambda tars: None,
) -> MemberIndex:
    """Reads the headers of all members of the tars, each with its split, and keeps those of these endings. `progress`
    is called with the number of tars that are done.

    DataError with every tar that cannot be read, is compressed, cut or damaged, with members of the same key and
    ending, with keys that no video may have, and with endings that no member has.
    """
    found = {ending: _Columns() for ending in endings}
    problems: list[str] = []
    seen: dict[str, None] = {}
    for number, (_, path) in enumerate(tars):
        try:
            _read_headers(path, number, found, seen)
        except DataError as error:
            problems += error.problems
        progress(1)
    raise_together(problems)
    paths = tuple(path for _, path in tars)
    members = {}
    for ending, columns in found.items():
        if not columns.keys:
            others = ", ".join(list(seen)[:SHOWN]) or "none at all"
            problems.append(f"no member of {paths[0]} … ends in .{ending}; the endings there are: {others}")
            continue
        members[ending] = columns.sorted()
        problems += _repeated(members[ending], paths, ending)
    raise_together(problems)
    return MemberIndex(paths, tuple(split for split, _ in tars), members)


def read_member(member: Member, length: int | None = None) -> bytes:
    """A member's content, or the first `length` bytes of it. OSError; EOFError if the tar ends before."""
    wanted = member.size if length is None else min(length, member.size)
    file = os.open(regular_file(member.tar), os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts, left = [], wanted
        while left:
            part = os.pread(file, left, member.offset + wanted - left)
            if not part:
                raise EOFError
            parts.append(part)
            left -= len(part)
    finally:
        os.close(file)
    return b"".join(parts)


class _Columns:
    """Members of one ending as they are found."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._places = array("q")

    def add(self, key: str, tar: int, offset: int, size: int) -> None:
        self.keys.append(key.encode())
        self._places.extend((tar, offset, size))

    def sorted(self) -> Members:
        keys = np.array(self.keys)
        order = np.argsort(keys, kind="stable")
        places = np.frombuffer(self._places, np.int64).reshape(-1, 3)[order]
        return Members(keys[order], *places.T.copy())


def _read_headers(path: Path, number: int, found: dict[str, _Columns], seen: dict[str, None]) -> None:
    end, bad = 0, list[str]()
    try:
        _refuse_compressed(path)
        with tarfile.open(path, "r:") as tar:
            while member := tar.next():
                tar.members.clear()  # type: ignore[attr-defined] # it would keep all
                end = member.offset_data + -(-member.size // TAR_BLOCK) * TAR_BLOCK
                match = _NAME.fullmatch(member.name)
                if not match or not member.isreg():
                    continue
                key, ending = match[1], match[2].lower()
                if len(seen) <= SHOWN:
                    seen[f".{ending}"] = None
                if ending not in found:
                    continue
                if member.issparse():
                    bad.append(f"{path}: {member.name} is stored as a sparse file; make the tar without --sparse")
                elif not is_shard_key(key):
                    bad.append(f"{path}: {member.name} cannot be packed: {KEY_RULE}")
                else:
                    found[ending].add(key, number, member.offset_data, member.size)
        _confirm_end(path, end)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such tar") from None
    except tarfile.TarError as error:
        raise DataError(f"{path}: is cut or damaged ({error}) after byte {end}; copy it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    more = f"{path}: {len(bad) - SHOWN} more members of this kind"
    raise_together(bad if len(bad) <= SHOWN else [*bad[:SHOWN], more])


def _refuse_compressed(path: Path) -> None:
    with regular_file(path).open("rb") as file:
        beginning = file.read(8)
    for magic, name in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise DataError(
                f"{path}: is compressed ({name}), and a member of it could be read only after all before it; "
                "unpack it to a plain .tar first"
            )


def _confirm_end(path: Path, end: int) -> None:
    """tarfile takes a header that it cannot read for the end, and does not look behind the end."""
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read(64 * TAR_BLOCK)
    if len(rest) < TAR_BLOCK or rest[:TAR_BLOCK].strip(b"\0"):
        raise tarfile.ReadError("neither a member's header nor the end of a tar")
    if rest.strip(b"\0"):
        raise DataError(f"{path}: goes on after its end, at byte {end}: several tars in one; give them one by one")


def _repeated(members: Members, tars: Sequence[Path], ending: str) -> list[str]:
    """A problem for the keys that come twice with the same ending."""
    again = np.flatnonzero(members.keys[1:] == members.keys[:-1])
    problems = [
        f"{tars[members.tar[n]]} and {tars[members.tar[n + 1]]}: {members.keys[n].decode()}.{ending} comes twice "
        "(folders within a tar are no part of a key)"
        for n in again[:SHOWN].tolist()
    ]
    more = f"{len(again) - SHOWN} more keys come twice with .{ending}"
    return [*problems, more] if len(again) > SHOWN else problems
