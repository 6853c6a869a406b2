"""Published features: found, checked, pooled, rounded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.data.packing.features import (
    FEATURE_FOLDERS,
    check_features,
    feature_path,
    feature_specs,
    find_videos,
    pool_frames,
    read_features,
    swapped_widths,
)
from jomold_dist.errors import DataError
from tests.other_user import as_nobody

WIDTHS = {"audio": 6, "frames": 5, "motion": 4}
KEYS = ["aaaaaaaaaa1", "-_aaaaaaaa2", "aaaaaaaaaa3"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The features of three videos, narrower than LLP's."""
    for number, key in enumerate(KEYS):
        for name, width in WIDTHS.items():
            rows = 80 if name == "frames" else 10
            put(tmp_path, name, key, np.random.default_rng(number).standard_normal((rows, width)).astype(np.float32))
    return tmp_path


def put(folder: Path, name: str, key: str, array: np.ndarray) -> Path:
    path = feature_path(folder, name, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def said(look: Callable[[], object]) -> str:
    """What a look at features complains of, or "fine"."""
    try:
        look()
    except DataError as error:
        return str(error)
    return "fine"


def test_features_lie_where_they_are_published() -> None:
    assert feature_path(Path("f"), "audio", "k") == Path("f/vggish/k.npy")
    assert feature_path(Path("f"), "frames", "k") == Path("f/res152/k.npy")
    assert feature_path(Path("f"), "motion", "k") == Path("f/r2plus1d_18/k.npy")


@given(
    st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from(["float16", "float32", "float64"])
)
def test_pooling_is_the_mean_of_each_seconds_frames(segments: int, width: int, seed: int, dtype: str) -> None:
    frames = (np.random.default_rng(seed).standard_normal((8 * segments, width)) * 10).astype(dtype)
    pooled = pool_frames(frames)
    assert pooled.dtype == np.float32
    assert pooled.shape == (segments, width)
    for second in range(segments):
        for column in range(width):
            exact = sum(float(frames[8 * second + k, column]) for k in range(8)) / 8
            assert pooled[second, column] == pytest.approx(exact, rel=1e-6, abs=1e-5)


def test_pooling_rounds_to_float16_only_after_the_mean(folder: Path) -> None:
    frames = np.full((80, 5), 60000, dtype=np.float16)  # eight of them overflow float16, and their mean does not
    put(folder, "frames", KEYS[0], frames)
    stored = read_features(folder, KEYS[0], keep_frames=False, dtype="float16")["frames"]
    np.testing.assert_array_equal(stored, np.full((10, 5), 60000, dtype=np.float16))


@pytest.mark.parametrize("keep_frames", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_read_has_the_shape_and_dtype_of_the_specs(folder: Path, keep_frames: bool, dtype: str) -> None:
    widths = check_features(folder, KEYS)
    assert widths == WIDTHS
    specs = feature_specs(widths, keep_frames, dtype)
    assert list(specs) == ["audio", "frames", "motion"]
    for key in KEYS:
        features = read_features(folder, key, keep_frames, dtype)
        assert {n: (a.shape, a.dtype) for n, a in features.items()} == {
            n: (s.shape, np.dtype(s.dtype)) for n, s in specs.items()
        }
        for name, array in features.items():
            published = np.load(feature_path(folder, name, key))
            expected = published if name != "frames" or keep_frames else pool_frames(published)
            np.testing.assert_array_equal(array, expected.astype(dtype))
            assert array.flags.c_contiguous


def test_other_floating_types_and_memory_orders_are_read(folder: Path) -> None:
    array = np.random.default_rng(0).standard_normal((10, 6))
    for variant in (array, array.astype(">f8"), np.asfortranarray(array)):
        put(folder, "audio", KEYS[0], variant)
        audio = read_features(folder, KEYS[0], keep_frames=False, dtype="float32")["audio"]
        np.testing.assert_array_equal(audio, array.astype(np.float32))
        assert audio.dtype == np.float32
        assert audio.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("audio", np.zeros((9, 6), np.float32), "shape (9, 6), expected (10, width)"),
        ("frames", np.zeros((10, 5), np.float32), "shape (10, 5), expected (80, width)"),
        ("motion", np.zeros((10, 4, 1), np.float32), "shape (10, 4, 1), expected (10, width)"),
        ("motion", np.zeros((10, 0), np.float32), "shape (10, 0), expected (10, width)"),
        ("audio", np.zeros((10, 7), np.float32), "is 7 wide, but most videos are 6 wide"),
        ("audio", np.zeros((10, 6), np.int64), "holds int64, expected floating-point numbers"),
        ("audio", np.full((10, 6), None), "not a readable .npy file"),
    ],
)
def test_a_wrong_header_is_found_before_packing(folder: Path, name: str, array: np.ndarray, message: str) -> None:
    path = put(folder, name, KEYS[1], array)
    with pytest.raises(DataError) as caught:
        check_features(folder, KEYS)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header", "zip"])
def test_a_damaged_file_is_found_before_packing(folder: Path, damage: str) -> None:
    path = feature_path(folder, "motion", KEYS[2])
    if damage == "zip":
        with path.open("wb") as file:
            np.savez(file, np.zeros(3))
    else:
        sound = path.read_bytes()
        damaged = {"truncated": sound[:-1], "empty": b"", "text": b"not found", "header": sound.replace(b"}", b" ", 1)}
        path.write_bytes(damaged[damage])
    with pytest.raises(DataError) as caught:
        check_features(folder, KEYS)
    assert str(path) in str(caught.value)


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
def test_a_header_that_makes_no_sense_is_one_message(folder: Path, header: str) -> None:
    path = feature_path(folder, "motion", KEYS[2])
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(160))
    with pytest.raises(DataError, match=r"not a readable \.npy file|cannot be read|expected") as caught:
        check_features(folder, KEYS)
    assert str(path) in str(caught.value)


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
def test_damage_of_a_header_is_one_message(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int | None
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    for name in FEATURE_FOLDERS:
        path = put(folder, name, KEYS[0], np.zeros((80 if name == "frames" else 10, 4), np.float32))
    content = bytearray(path.read_bytes())
    for at, value in changes:
        content[at] = value
    path.write_bytes(content[:cut])
    for look in (
        lambda: check_features(folder, KEYS[:1]),
        lambda: read_features(folder, KEYS[0], keep_frames=False, dtype="float16"),
    ):
        assert said(look) == "fine" or str(path) in said(look)


def test_a_file_that_is_cut_while_it_is_read_is_one_message(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = feature_path(folder, "frames", KEYS[0]), np.lib.format.open_memmap

    def cut_after_the_look(file: Path, **options: Any) -> Any:
        array = opened(file, **options)
        if file == path:
            os.truncate(path, 0)
        return array

    monkeypatch.setattr(np.lib.format, "open_memmap", cut_after_the_look)
    with pytest.raises(DataError, match=f"{path}: the file was cut while it was read"):
        read_features(folder, KEYS[0], keep_frames=False, dtype="float16")


def test_what_is_no_regular_file_is_not_waited_for(folder: Path) -> None:
    path = feature_path(folder, "motion", KEYS[2])
    path.unlink()
    os.mkfifo(path)
    for look in (lambda: check_features(folder, KEYS), lambda: read_features(folder, KEYS[2], False, "float16")):
        with pytest.raises(DataError, match=f"^{path}: cannot be read \\(it is a FIFO, not a regular file\\)$"):
            look()
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"^{path}: cannot be read \\(it is a folder, not a file\\)$"):
        check_features(folder, KEYS)


def test_every_missing_and_every_wrong_file_is_listed(folder: Path) -> None:
    bad = [
        put(folder, "audio", KEYS[0], np.zeros((3, 6), np.float32)),
        feature_path(folder, "frames", KEYS[1]),
        feature_path(folder, "motion", KEYS[1]),
        put(folder, "frames", KEYS[2], np.zeros((80, 6), np.float32)),
    ]
    bad[1].unlink()
    bad[2].unlink()
    put(folder, "frames", "more_______", np.zeros((80, 5), np.float32))
    put(folder, "audio", "more_______", np.zeros((10, 6), np.float32))
    put(folder, "motion", "more_______", np.zeros((10, 4), np.float32))
    with pytest.raises(DataError) as caught:
        check_features(folder, [*KEYS, "more_______"])
    text = str(caught.value)
    assert text.startswith("4 problems:")
    assert all(str(path) in text for path in bad)
    assert text.count("the feature file is missing") == 2


def test_many_missing_files_are_twenty_and_a_count(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        check_features(folder, [f"absent_{i:04d}" for i in range(30)])
    text = str(caught.value)
    assert text.startswith("90 problems:")
    assert text.count("is missing") == 20
    assert text.endswith("… and 70 more")


def test_missing_folders_are_one_problem(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        check_features(tmp_path / "nowhere", KEYS)
    for path in (folder / "res152").iterdir():
        path.unlink()
    (folder / "res152").rmdir()
    for look in (lambda: check_features(folder, KEYS), lambda: find_videos(folder)):
        with pytest.raises(DataError, match="has no folder res152;"):
            look()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", FEATURE_FOLDERS)
def test_values_that_are_not_finite_are_named_with_their_place(folder: Path, name: str, value: float) -> None:
    array = np.load(feature_path(folder, name, KEYS[0]))
    array[7, 2] = array[8, 1] = value
    path = put(folder, name, KEYS[0], array)
    with pytest.raises(DataError) as caught:
        read_features(folder, KEYS[0], keep_frames=False, dtype="float32")
    assert f"{path}: NaN or infinite in 2 of {array.size} values, the first at [7, 2] ({value})" in str(caught.value)


def test_values_too_large_for_the_stored_type_are_named_with_the_way_out(folder: Path) -> None:
    path = put(folder, "motion", KEYS[0], np.full((10, 4), -7e4, np.float32))
    with pytest.raises(DataError) as caught:
        read_features(folder, KEYS[0], keep_frames=False, dtype="float16")
    message = str(caught.value)
    assert message == f"{path}: values up to 70000 do not fit float16 (largest 65504); pack with --dtype float32"
    assert read_features(folder, KEYS[0], keep_frames=False, dtype="float32")["motion"].min() == np.float32(-7e4)
    for name, rows in (("motion", 10), ("frames", 80)):
        put(folder, name, KEYS[0], np.full((rows, WIDTHS[name]), 1e300))
    with pytest.raises(DataError, match=r"(?s)2 problems.*1e\+300 do not fit float32.*1e\+300 do not fit float32"):
        read_features(folder, KEYS[0], keep_frames=False, dtype="float32")


def test_all_wrong_files_of_a_video_are_named_together(folder: Path) -> None:
    put(folder, "audio", KEYS[0], np.full((10, 6), np.nan, np.float32))
    feature_path(folder, "motion", KEYS[0]).unlink()
    with pytest.raises(DataError, match="2 problems:"):
        read_features(folder, KEYS[0], keep_frames=True, dtype="float32")


@pytest.mark.parametrize(
    ("widths", "swapped"),
    [
        ((128, 2048, 512), ""),
        ((512, 2048, 128), "vggish 512, r2plus1d_18 128 wide; LLP's published ones are vggish 128, r2plus1d_18 512"),
        ((2048, 512, 128), "vggish 2048, res152 512, r2plus1d_18 128 wide"),
        ((512, 2048, 512), ""),  # other features, which may be as wide as any
        ((512, 768, 128), ""),
        ((6, 5, 4), ""),
    ],
)
def test_widths_that_are_each_others(widths: tuple[int, int, int], swapped: str) -> None:
    warning = swapped_widths(dict(zip(WIDTHS, widths, strict=True)))
    assert swapped in warning
    assert bool(swapped) == bool(warning)


def test_all_videos_of_a_folder_are_found(folder: Path) -> None:
    assert find_videos(folder) == sorted(KEYS)
    feature_path(folder, "motion", KEYS[0]).unlink()
    (folder / "vggish" / ".hidden.npy").touch()
    (folder / "vggish" / "notes.txt").touch()
    assert find_videos(folder) == sorted(KEYS)  # the incomplete one too: check_features names what it lacks
    (folder / "vggish" / "a.b.npy").touch()
    with pytest.raises(DataError, match=r"a\.b\.npy cannot be packed"):
        find_videos(folder)


def test_folders_that_cannot_be_read() -> None:
    """Their features are not taken for missing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for feature, width in WIDTHS.items():
            put(folder, feature, KEYS[0], np.zeros((80 if feature == "frames" else 10, width), np.float32))
        folder.chmod(0o755)
        (folder / "vggish").chmod(0o000)
        denied = "cannot be read (Permission denied)"
        listing = as_nobody(lambda: said(lambda: find_videos(folder)))
        assert listing == f"the features' folder {folder / 'vggish'} {denied}"
        looking = as_nobody(lambda: said(lambda: check_features(folder, KEYS[:1])))
        assert looking == f"{feature_path(folder, 'audio', KEYS[0])}: {denied}"
        folder.chmod(0o000)
        assert as_nobody(lambda: said(lambda: find_videos(folder / "below"))).endswith(denied)


def test_a_folder_without_features_is_refused(tmp_path: Path) -> None:
    for sub in FEATURE_FOLDERS.values():
        (tmp_path / sub).mkdir()
    with pytest.raises(DataError, match="holds no features"):
        find_videos(tmp_path)
