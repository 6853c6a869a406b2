"""Published features: found, checked, pooled, rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.data.features import (
    FEATURE_FOLDERS,
    check_features,
    feature_path,
    feature_specs,
    find_videos,
    pool_frames,
    read_features,
)
from jomold_dist.errors import DataError

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


def test_all_videos_of_a_folder_are_found(folder: Path) -> None:
    assert find_videos(folder) == sorted(KEYS)
    feature_path(folder, "motion", KEYS[0]).unlink()
    (folder / "vggish" / ".hidden.npy").touch()
    (folder / "vggish" / "notes.txt").touch()
    assert find_videos(folder) == sorted(KEYS)  # the incomplete one too: check_features names what it lacks
    (folder / "vggish" / "a.b.npy").touch()
    with pytest.raises(DataError, match=r"a\.b\.npy cannot be packed"):
        find_videos(folder)


def test_a_folder_without_features_is_refused(tmp_path: Path) -> None:
    for sub in FEATURE_FOLDERS.values():
        (tmp_path / sub).mkdir()
    with pytest.raises(DataError, match="holds no features"):
        find_videos(tmp_path)
