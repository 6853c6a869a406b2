"""Features on their way into shards: what fits the segments, what is pooled, and what is refused before packing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.data.format.feature_rows import pool_rows
from jomold_dist.data.format.manifest import FeatureSpec
from jomold_dist.data.packing.feature_sources import FilePattern
from jomold_dist.data.packing.features import plan_features, video_features
from jomold_dist.data.packing.llp_features import swapped_widths
from jomold_dist.data.packing.shard_writer import stored
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
    path = folder / name / f"{key}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def sources(folder: Path, *names: str) -> dict[str, FilePattern]:
    return {name: FilePattern(name, f"{folder}/{name}/{{key}}.npy") for name in names or WIDTHS}


def plan(folder: Path, segments: int = 10, keep_frames: bool = False, dtype: str = "float16") -> dict[str, FeatureSpec]:
    return plan_features(sources(folder), KEYS, segments, keep_frames, dtype)


def refusal(folder: Path, segments: int = 10) -> str:
    with pytest.raises(DataError) as caught:
        plan(folder, segments)
    return str(caught.value)


@given(
    st.integers(1, 12),
    st.integers(0, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["float16", "float32", "float64"]),
)
def test_a_segment_is_the_mean_of_the_rows_that_reach_into_it(segments: int, more: int, seed: int, dtype: str) -> None:
    """Against the definition: row r lasts from r / R to (r + 1) / R of the video."""
    rows, width = segments + more, 3
    array = (np.random.default_rng(seed).standard_normal((rows, width)) * 10).astype(dtype)
    pooled = pool_rows(array, segments)
    assert pooled.dtype == np.float32
    assert pooled.shape == (segments, width)
    for t in range(segments):
        inside = [r for r in range(rows) if (r + 1) * segments > t * rows and r * segments < (t + 1) * rows]
        for column in range(width):
            exact = sum(float(array[r, column]) for r in inside) / len(inside)
            assert pooled[t, column] == pytest.approx(exact, rel=1e-5, abs=1e-5)


def test_rounding_comes_after_the_mean() -> None:
    frames = np.full((80, 5), 60000, dtype=np.float16)  # eight of them overflow float16, and their mean does not
    pooled = stored(pool_rows(frames, 10), FeatureSpec((10, 5), "float16"), "frames")
    np.testing.assert_array_equal(pooled, np.full((10, 5), 60000, dtype=np.float16))


@pytest.mark.parametrize("keep_frames", [False, True])
def test_what_is_read_has_the_rows_that_were_planned(folder: Path, keep_frames: bool) -> None:
    specs = plan(folder, keep_frames=keep_frames)
    rows = 80 if keep_frames else 10
    assert specs == {
        "audio": FeatureSpec((10, 6), "float16"),
        "frames": FeatureSpec((rows, 5), "float16"),
        "motion": FeatureSpec((10, 4), "float16"),
    }
    assert specs["audio"].pooled == ""
    assert specs["frames"].pooled == ("" if keep_frames else "the mean of the 8 rows of each segment")
    for key in KEYS:
        for name, array in video_features(sources(folder), key, specs, 10).items():
            published = np.load(folder / name / f"{key}.npy")
            np.testing.assert_array_equal(
                array, published if len(published) == len(array) else pool_rows(published, 10)
            )


def test_audio_maps_are_pooled_and_the_manifest_will_say_how(folder: Path) -> None:
    for key in KEYS:
        put(folder, "audio", key, np.zeros((64, 3), np.float32))
    spec = plan(folder)["audio"]
    assert spec == FeatureSpec((10, 3), "float16")
    assert spec.pooled == (
        "of 64 rows to 10: segment t is the mean of the rows from floor(t R / 10) to before ceil((t + 1) R / 10)"
    )
    put(folder, "audio", KEYS[1], np.zeros((30, 3), np.float32))  # videos of other lengths
    assert plan(folder)["audio"].pooled.startswith("of R = 30 to 64 rows to 10")


def test_features_that_a_set_lacks_are_not_asked_for(folder: Path) -> None:
    assert list(plan_features(sources(folder, "frames", "audio"), KEYS, 10, False, "float32")) == ["audio", "frames"]


@pytest.mark.parametrize("segments", [5, 20])
def test_segments_that_do_not_fit_are_one_message_that_names_every_file(folder: Path, segments: int) -> None:
    if segments == 5:
        assert plan(folder, 5)["frames"] == FeatureSpec((5, 5), "float16")
        put(folder, "frames", KEYS[1], np.zeros((81, 5), np.float32))
        return
    text = refusal(folder, segments)
    assert text.startswith("6 problems:")
    for key in KEYS:
        for name, width in (("audio", 6), ("motion", 4)):
            assert f"{folder / name / key}.npy: shape (10, {width}), fewer rows than the 20 segments" in text


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("audio", np.zeros((9, 6), np.float32), "shape (9, 6), fewer rows than the 10 segments"),
        ("frames", np.zeros((81, 5), np.float32), "shape (81, 5), no multiple of 10 rows"),
        ("frames", np.zeros((40, 5), np.float32), "shape (40, 5), but most videos have 80 rows of frames"),
        ("motion", np.zeros((10, 4, 1), np.float32), "shape (10, 4, 1), expected (rows, width)"),
        ("motion", np.zeros((10, 0), np.float32), "shape (10, 0), expected (rows, width)"),
        ("audio", np.zeros((10, 7), np.float32), "is 7 wide, but most videos are 6 wide"),
        ("audio", np.zeros((10, 6), np.int64), "holds int64, expected floating-point numbers"),
    ],
)
def test_a_wrong_shape_is_found_before_packing(folder: Path, name: str, array: np.ndarray, message: str) -> None:
    path = put(folder, name, KEYS[1], array)
    text = refusal(folder)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text


def test_every_missing_and_every_wrong_file_is_listed(folder: Path) -> None:
    bad = [
        put(folder, "audio", KEYS[0], np.zeros((3, 6), np.float32)),
        folder / "frames" / f"{KEYS[1]}.npy",
        folder / "motion" / f"{KEYS[1]}.npy",
        put(folder, "motion", KEYS[2], np.zeros((10, 6), np.float32)),
    ]
    bad[1].unlink()
    bad[2].unlink()
    put(folder, "motion", KEYS[1], np.zeros((10, 4), np.float32))
    text = refusal(folder)
    assert text.startswith("3 problems:")
    assert all(str(path) in text for path in (bad[0], bad[1], bad[3]))
    assert text.count("the feature file is missing") == 1


def test_missing_folders_are_one_problem_each(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        plan_features(sources(folder / "nowhere", "audio", "frames"), KEYS, 10, False, "float16")
    assert str(caught.value).startswith("2 problems:")


def test_a_file_that_has_changed_since_is_one_message(folder: Path) -> None:
    specs = plan(folder)
    put(folder, "audio", KEYS[0], np.zeros((10, 9), np.float32))
    put(folder, "frames", KEYS[0], np.zeros((81, 5), np.float32))
    with pytest.raises(DataError, match=r"(?s)2 problems.*audio.*is \(10, 9\) by now.*frames.*is \(81, 5\) by now"):
        video_features(sources(folder), KEYS[0], specs, 10)


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
