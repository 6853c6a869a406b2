"""Unreadable, damaged, absent: three things that are not taken for each other."""

from __future__ import annotations

import errno
import io
import os
import random
import stat
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.errors import UnreadableError
from jomold_dist.files import give_usual_mode, write_text
from jomold_dist.reading import is_folder, is_there, read_arrays, read_json, reading
from tests.unreadable import unreadable

READERS = {"json": read_json, "npz": read_arrays}


@pytest.fixture(params=READERS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"file.{request.param}"
    path.write_bytes({"json": b'{"a": [1]}', "npz": archive()}[request.param])
    return path


def archive() -> bytes:
    content = io.BytesIO()
    np.savez(content, a=np.arange(3), b=np.array(["x", "ä"]))
    return content.getvalue()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOTCONN])
def test_what_the_system_does_not_hand_out_is_unreadable(file: Path, number: int) -> None:
    with unreadable(file, number), pytest.raises(UnreadableError) as error:
        READERS[file.suffix[1:]](file)
    assert str(error.value).startswith(f"{file} cannot be read: {os.strerror(number)}. ")


def test_an_error_in_the_middle_of_reading_is_unreadable(tmp_path: Path) -> None:
    """At its beginning, the memory of a process gives EIO."""
    (tmp_path / "file.npz").symlink_to("/proc/self/mem")
    with pytest.raises(UnreadableError, match=r"file.npz cannot be read: Input/output error"):
        read_arrays(tmp_path / "file.npz")


def test_what_is_not_there_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for read in READERS.values():
        for path, kind in (
            (tmp_path / "none", FileNotFoundError),
            (tmp_path / "file" / "below", NotADirectoryError),
            (tmp_path, IsADirectoryError),
        ):
            with pytest.raises(kind):
                read(path)


def test_whether_something_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("none")
    found = {path: (is_there(path), is_folder(path)) for path in (tmp_path, *map(tmp_path.joinpath, PLACES))}
    assert list(found.values()) == [(True, True), (True, False), (False, False), (False, False), (False, False)]

    def broken(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", broken)
        for ask in (is_there, is_folder):
            with pytest.raises(UnreadableError, match="Input/output error"):
                ask(tmp_path / "file")


PLACES = ("file", "none", "file/below", "dangling")


def test_any_damage_is_a_value_error() -> None:
    whole, draw = archive(), random.Random(0)
    for _ in range(2000):
        content = bytearray(whole)
        for _ in range(draw.choice((1, 1, 5))):
            content[draw.randrange(len(content))] = draw.randrange(256)
        with suppress(ValueError):  # some bytes do not matter
            read_arrays(io.BytesIO(bytes(content[: draw.choice((len(content), draw.randrange(len(content))))])))
    for content in (b"", b"text", b"PK"):
        with pytest.raises(ValueError, match=r"."):
            read_arrays(io.BytesIO(content))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_json(tmp_path / "file.json")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), reading(tmp_path):
        raise KeyError("a")


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o027, 0o077])
def test_a_usual_mode(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "file"
    os.close(os.open(path, os.O_CREAT, 0o600))
    before = os.umask(umask)
    try:
        give_usual_mode(path)
        write_text(tmp_path / "other", "")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o666 & ~umask}
