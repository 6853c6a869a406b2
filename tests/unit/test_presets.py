"""Published label files packed with features of one's own: small made-up folders, and the real ones where they are."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from jomold_dist.commands.pack import plan_packing
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.annotations import read_annotations
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.event_tables import Length
from jomold_dist.data.packing.feature_sources import FeatureSource
from jomold_dist.data.packing.lfav_labels import read_lfav
from jomold_dist.data.packing.presets import read_preset
from jomold_dist.data.packing.vggsounder_labels import read_vggsounder
from jomold_dist.data.packing.video_labels import LabelSet
from jomold_dist.data.reading.source import Folder
from jomold_dist.data.reading.truth import read_truth
from tests.shard_fixtures import read_records
from tests.unit.test_lfav_labels import OTHER, TRAIN, lfav
from tests.unit.test_simulate_annotations import write_vggsounder

REAL = Path(__file__).resolve().parents[2].parent / "shared"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the published label files are not beside the checkout")


@dataclass(frozen=True)
class MadeUp:
    """Features out of nothing: those of a key are its own."""

    rows: int
    extraction: ClassVar[Mapping[str, Any]] = {}
    seconds: ClassVar[float | None] = None

    def keys(self) -> list[str]:
        raise AssertionError("nobody asks for all keys of a labelled set")

    def problems(self, keys: object) -> list[str]:
        return []

    def shape(self, key: str) -> tuple[int, int]:
        return self.rows, 2

    def read(self, key: str) -> np.ndarray:
        return np.full((self.rows, 2), sum(key.encode()) / 1024, np.float32)

    def where(self, key: str) -> str:
        return key

    def stamp(self, key: str) -> str:
        return ""


def packed(labels: LabelSet, length: Length, out: Path) -> Manifest:
    sources: dict[str, FeatureSource] = {"audio": MadeUp(40), "frames": MadeUp(2 * length.segments)}
    options = argparse.Namespace(seed=0, no_shuffle=False, keep_frames=False, dtype="float16")
    packing = plan_packing(options, ("pack", "set", "preset"), labels, sources, length)
    with DatasetWriter(
        out, name="set", categories=packing.categories, segments=packing.segments, features=packing.features
    ) as writer:
        for split in packing.splits:
            writer.write_split(split.name, split.videos, max_labels=split.max_labels or 0, dense=split.dense)
        for name, truth in packing.truths.items():
            writer.write_truth(name, *truth())
        return writer.finish()


@pytest.mark.parametrize("segments", [10, 20])
def test_lfav_has_the_truth_of_its_training_labels(tmp_path: Path, segments: int) -> None:
    labels = read_preset("lfav", lfav(tmp_path / "labels"), segments)
    assert labels.notes[0].startswith(
        f"videos of lfav differ in length, and each is cut into {segments} equal segments"
    )
    manifest = packed(labels, Length(segments, 1.0), tmp_path / "out")
    assert {name: (split.dense, split.truth) for name, split in manifest.splits.items()} == {
        "train": (False, True),
        "val": (True, False),
        "test": (True, False),
    }
    truth = read_truth(Folder(tmp_path / "out"), manifest, "train")
    assert truth is not None
    published = read_lfav(tmp_path / "labels").splits["train"]
    assert published.present is not None
    for key in (TRAIN, OTHER):
        row = truth.keys.tolist().index(key.encode())
        np.testing.assert_array_equal(truth.present[row], published.present[published.keys.index(key)])
    dense = read_lfav(tmp_path / "labels", segments).splits["val"].dense
    np.testing.assert_array_equal(read_records(tmp_path / "out", manifest, "val").dense(), dense)


def test_vggsounder_has_it_for_all_clips(tmp_path: Path) -> None:
    write_vggsounder(tmp_path / "labels")
    labels = read_preset("vggsounder", tmp_path / "labels", 10)
    assert labels.notes == ()
    manifest = packed(labels, Length(10, 1.0), tmp_path / "out")
    assert all(split.truth and not split.dense for split in manifest.splits.values())


@needs_real
def test_the_real_lfav_is_packed_whole(tmp_path: Path) -> None:
    labels = read_preset("lfav", REAL / "lfav", 10)
    assert [finding.split(":")[1].split(" row")[0].strip() for finding in labels.findings if "1 hour" in finding] == [
        "1"
    ] * 2
    manifest = packed(labels, Length(10, 1.0), tmp_path / "out")
    assert {name: split.videos for name, split in manifest.splits.items()} == {"train": 3721, "val": 486, "test": 968}
    truth = read_truth(Folder(tmp_path / "out"), manifest, "train")
    assert truth is not None
    train = read_records(tmp_path / "out", manifest, "train")
    assert [key.decode() for key in truth.keys.tolist()] == train.keys()
    weak = train.labels()
    assert (truth.present.any(axis=1) == weak).all()  # its union is exact
    noise = 1 - truth.present.sum(axis=(0, 2)) / weak.sum()
    assert noise == pytest.approx([0.182, 0.306], abs=5e-4)
    published = read_lfav(REAL / "lfav").splits
    for split in ("val", "test"):
        view = read_records(tmp_path / "out", manifest, split)
        assert view.keys() == list(published[split].keys)
        np.testing.assert_array_equal(view.dense(), published[split].dense)


@needs_real
def test_the_real_labels_of_llp_and_vggsounder_are_those_of_their_readers() -> None:
    for name, splits in (
        ("llp", read_annotations(REAL / "llp").splits),
        ("vggsounder", read_vggsounder(REAL / "vggsounder").splits),
    ):
        found = read_preset(name, REAL / name, 10)
        for split, published in splits.items():
            own, size = found.splits[split], len(found.categories)
            every = np.arange(len(own))
            assert [own.key(i) for i in every] == list(published.keys)
            np.testing.assert_array_equal(own.labels.multi_hot(every, size), published.labels)
            if published.dense is not None:
                assert own.dense is not None
                np.testing.assert_array_equal(
                    own.dense.multi_hot(every, 20 * size).reshape(published.dense.shape), published.dense
                )
            assert (own.present is None) == (published.present is None)
