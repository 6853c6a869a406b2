"""Features that fit a set's segments, and those that do not: one message before anything is written or trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jomold_dist.data.format.feature_rows import feature_problems
from jomold_dist.data.format.manifest import FeatureSpec
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from tests.shard_fixtures import CATEGORIES, SEGMENTS, write_dataset

GOOD: list[tuple[int, dict[str, int]]] = [
    (10, {"audio": 10, "frames": 80, "motion": 10}),
    (5, {"audio": 5, "frames": 5}),
    (20, {"audio": 20}),
    (20, {"frames": 60}),
    (5, {"frames": 5, "motion": 5}),
    (1, {"audio": 1, "frames": 3}),
]
BAD: list[tuple[int, dict[str, int], str]] = [
    (10, {"audio": 7, "frames": 10}, "audio has 7 rows a video, and not one for each of its 10 segments"),
    (10, {"audio": 20, "frames": 10}, "audio has 20 rows a video"),
    (10, {"audio": 10, "frames": 10, "motion": 80}, "motion has 80 rows a video, and not one for each"),
    (10, {"audio": 10, "frames": 15}, "frames have 15 rows a video, which is no multiple of its 10 segments"),
    (10, {"audio": 10, "frames": 5}, "frames have 5 rows a video"),
    (5, {"audio": 5, "motion": 5}, "there is motion without frames"),
    (5, {"motion": 5}, "there is neither audio nor frames (motion)"),
    (5, {}, "there is neither audio nor frames (no feature at all)"),
]


def specs(rows: dict[str, int]) -> dict[str, FeatureSpec]:
    return {name: FeatureSpec((count, 3), "float16") for name, count in rows.items()}


@pytest.mark.parametrize(("segments", "rows"), GOOD)
def test_features_that_fit(segments: int, rows: dict[str, int]) -> None:
    assert feature_problems(specs(rows), segments) == []


@pytest.mark.parametrize(("segments", "rows", "told"), BAD)
def test_features_that_do_not(segments: int, rows: dict[str, int], told: str) -> None:
    (problem,) = feature_problems(specs(rows), segments)
    assert told in problem


def test_every_problem_is_told() -> None:
    assert len(feature_problems(specs({"audio": 7, "frames": 15, "motion": 9}), 10)) == 3


@pytest.mark.parametrize(("segments", "rows", "told"), [bad for bad in BAD if bad[1]])
def test_a_writer_refuses_them_and_leaves_nothing(
    segments: int, rows: dict[str, int], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        DatasetWriter(tmp_path / "x", name="x", categories=CATEGORIES, segments=segments, features=specs(rows))
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_such_features_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", {"train": 3}, frames=2 * SEGMENTS)
    file = tmp_path / "set" / "manifest.json"
    content = json.loads(file.read_text())
    content.pop("digest")
    content["segments"] = SEGMENTS + 1
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"damaged \\(audio has {SEGMENTS} rows a video, and not one for each of its 5"):
        read_manifest(tmp_path / "set")
