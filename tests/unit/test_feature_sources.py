"""Feature files by a pattern: found, checked by their headers, and read; damage is one message."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.data.packing.feature_sources import FilePattern, npy_array
from jomold_dist.errors import DataError
from jomold_dist.video_names import key_id
from tests.other_user import as_nobody

KEY = "aaaaaaaaaa1"


def put(folder: Path, name: str, array: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def source(folder: Path, pattern: str = "{key}.npy") -> FilePattern:
    return FilePattern("audio", f"{folder}/{pattern}")


def said(look: Callable[[], object]) -> str:
    """What a look at features complains of, or "fine"."""
    try:
        look()
    except DataError as error:
        return str(error)
    return "fine"


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("abcdefghijk_000017", "abcdefghijk"),
        ("abcdefghijk_20_30", "abcdefghijk"),
        ("abcdefg_123_5", "abcdefg_123"),  # an id of YouTube's may end like times
        ("v_5_30", "v"),
        ("take_2_5_30", "take_2"),
        ("clip_17", "clip"),
        ("clip", "clip"),
        ("_17", "_17"),
    ],
)
def test_an_id_is_what_stands_before_the_times(key: str, wanted: str) -> None:
    assert key_id(key) == wanted


def test_patterns_lead_to_files_and_back(tmp_path: Path) -> None:
    for key in ("a_0_10", "a_10_20", "b+c_0_10"):
        put(tmp_path / "x", f"{key}/clip-{key}.npy", np.zeros((10, 3)))
    (tmp_path / "x" / "a_0_10" / "notes.txt").touch()
    files = source(tmp_path, "x/{key}/clip-{key}.npy")
    assert files.keys() == ["a_0_10", "a_10_20", "b+c_0_10"]
    assert files.path("a_0_10") == tmp_path / "x" / "a_0_10" / "clip-a_0_10.npy"
    assert pickle.loads(pickle.dumps(files)).shape("b+c_0_10") == (10, 3)
    by_id = source(tmp_path, "y/{id}/{key}.npy")
    assert by_id.path("a_0_10") == tmp_path / "y" / "a" / "a_0_10.npy"


def test_clips_of_one_video_need_files_of_their_own(tmp_path: Path) -> None:
    files = source(tmp_path, "{id}.npy")
    assert files.problems(["a_0_10", "b_0_10"]) == []
    (problem,) = files.problems(["a_0_10", "b_0_10", "a_10_20"])
    assert problem.startswith(f"{tmp_path}/a.npy would be the audio of both a_0_10 and a_10_20")


@pytest.mark.parametrize("pattern", ["audio.npy", "{name}.npy", "{key}/{name}.npy", "s3://bucket/{key}.npy"])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(DataError, match=r"^--feature audio="):
        FilePattern("audio", pattern)


def test_other_floating_types_and_memory_orders_are_read(tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((10, 6))
    for variant in (array, array.astype(">f8"), np.asfortranarray(array), array.astype(np.float16)):
        put(tmp_path, f"{KEY}.npy", variant)
        assert source(tmp_path).shape(KEY) == (10, 6)
        np.testing.assert_array_equal(source(tmp_path).read(KEY), variant)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header", "zip", "pickled"])
def test_a_damaged_file_is_one_message(tmp_path: Path, damage: str) -> None:
    path = put(tmp_path, f"{KEY}.npy", np.zeros((10, 4), np.float32))
    sound = path.read_bytes()
    if damage == "zip":
        with path.open("wb") as file:
            np.savez(file, np.zeros(3))
    elif damage == "pickled":
        np.save(path, np.full((10, 6), None), allow_pickle=True)
    else:
        damaged = {"truncated": sound[:-1], "empty": b"", "text": b"not found", "header": sound.replace(b"}", b" ", 1)}
        path.write_bytes(damaged[damage])
    for look in (source(tmp_path).shape, source(tmp_path).read):
        assert said(lambda look=look: look(KEY)).startswith(f"{path}: ")  # type: ignore[misc]


HEADERS = [
    "{'descr': ('O',), 'fortran_order': False, 'shape': (10, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 10**9), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-10, -4), }",
    "{'descr': [('a', '<f4', (9999999999,))], 'fortran_order': False, 'shape': (10, 4), }",
    "{'descr': '\\\\ud800', 'fortran_order': False, 'shape': (10, 4), }",
    "(" * 9000,
    "-" * 9000,
    "{1:" * 3000,
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_makes_no_sense_is_one_message(tmp_path: Path, header: str) -> None:
    path = tmp_path / f"{KEY}.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(160))
    with pytest.raises(DataError, match=r"not a readable \.npy file|is cut|expected") as caught:
        source(tmp_path).shape(KEY)
    assert str(path) in str(caught.value)


def sound_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return put(Path(folder), "x.npy", np.zeros((10, 4), np.float32)).read_bytes()


SOUND = sound_file()


@settings(max_examples=150)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 127), st.sampled_from(b"0123456789()[]{}',: -+*.<>|=OfVTFe\\\"\n\0") | st.integers(0, 255)
        ),
        min_size=1,
        max_size=6,
    ),
    cut=st.none() | st.integers(0, 288),
)
def test_damage_of_a_header_is_one_message(changes: list[tuple[int, int]], cut: int | None) -> None:
    content = bytearray(SOUND)
    for at, value in changes:
        content[at] = value
    text = said(lambda: npy_array(bytes(content[:cut]), "here"))
    assert text == "fine" or text.startswith("here: ")


def test_a_header_of_four_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / f"{KEY}.npy"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little"))
        file.truncate(1 << 32)  # a hole
    assert "not a readable .npy file" in said(lambda: source(tmp_path).shape(KEY))


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / f"{KEY}.npy"
    os.mkfifo(path)
    for look in (source(tmp_path).shape, source(tmp_path).read):
        message = said(lambda look=look: look(KEY))  # type: ignore[misc]
        assert message == f"{path}: cannot be read (it is a FIFO, not a regular file)"
    path.unlink()
    path.mkdir()
    assert said(lambda: source(tmp_path).shape(KEY)) == f"{path}: cannot be read (it is a folder, not a file)"


def test_stamps_tell_a_changed_file_from_a_missing_one(tmp_path: Path) -> None:
    files = source(tmp_path)
    assert files.stamp(KEY) == "missing"
    path = put(tmp_path, f"{KEY}.npy", np.zeros((10, 4)))
    before = files.stamp(KEY)
    os.utime(path, ns=(0, 12345))
    assert files.stamp(KEY) != before != "missing"


def test_all_videos_of_a_pattern_are_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leads to no file"):
        source(tmp_path).keys()
    put(tmp_path, f"{KEY}.npy", np.zeros((10, 4)))
    (tmp_path / ".hidden.npy").touch()
    (tmp_path / "notes.txt").touch()
    assert source(tmp_path).keys() == [KEY]
    (tmp_path / "a.b.npy").touch()
    with pytest.raises(DataError, match=r"a\.b\.npy cannot be packed"):
        source(tmp_path).keys()


def test_folders_that_cannot_be_read() -> None:
    """Their features are not taken for missing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = put(folder, f"feats/{KEY}.npy", np.zeros((10, 4)))
        folder.chmod(0o755)
        path.parent.chmod(0o000)
        files = source(folder, "feats/{key}.npy")
        denied = "cannot be read (Permission denied)"
        assert as_nobody(lambda: said(files.keys)) == f"the features' folder {path.parent} {denied}"
        assert as_nobody(lambda: said(lambda: files.shape(KEY))) == f"{path}: {denied}"
        path.parent.chmod(0o755)
