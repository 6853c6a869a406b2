"""The truth of a split, which may come from anybody: one message for any damage, and no bomb goes off."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.config import Config, DataConfig
from jomold_dist.data.checking.data_set import verify_data_set
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.truth_writer import write_truth
from jomold_dist.data.reading import truth
from jomold_dist.data.reading.source import Folder, read_manifest, source_of
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import DataError
from jomold_dist.methods.registry import method_class
from tests.servers import serving
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos, write_dataset


@pytest.fixture
def simulated(tmp_path: Path) -> tuple[Path, Manifest]:
    """A data set that is called simulated, and its truth."""
    manifest, _ = write_dataset(tmp_path / "set", {"train": 17})
    (tmp_path / "set" / "truth").mkdir()
    with (tmp_path / "set" / truth_name("train")).open("wb") as file:
        keys = np.array([f"video-{n}" for n in range(17)])
        np.savez_compressed(file, keys=keys, present=np.random.default_rng(0).integers(0, 2, (17, 2, 5), np.uint8))
    return tmp_path / "set", dataclasses.replace(manifest, simulated={"seed": 0})


def test_no_flipped_bit_of_a_truth_is_more_than_a_message(simulated: tuple[Path, Manifest]) -> None:
    folder, manifest = simulated
    path = folder / truth_name("train")
    whole, draw = path.read_bytes(), random.Random(0)
    assert read_truth(Folder(folder), manifest, "train") is not None
    said = []
    for _ in range(600):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            read_truth(Folder(folder), manifest, "train")
        except DataError as error:
            said.append(str(error))
    assert len(said) > 300
    assert all("truth/train.npz is damaged (" in text for text in said)


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(shape: tuple[int, ...], dtype: str) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


KEYS, PRESENT = np.array([f"v{n}" for n in range(17)]), np.zeros((17, 2, 5), np.uint8)
BAD_TRUTHS: dict[str, tuple[Callable[[], bytes], str]] = {
    "much more than its header says": (
        lambda: npz(keys=npy(KEYS), present=npy(PRESENT) + bytes(300_000_000)), "present does not have 170 bytes"
    ),
    "a header that asks for memory": (
        lambda: npz(keys=npy(KEYS), present=header((10**12, 2, 5), "|u1")), "present is uint8 of shape"
    ),
    "long keys": (lambda: npz(keys=header((17,), "<U100000000"), present=npy(PRESENT)), "keys is <U100000000"),
    "objects": (lambda: npz(keys=header((17,), "|O"), present=npy(PRESENT)), "keys is object"),
    "foreign keys": (lambda: npz(keys=npy(np.array(["ü"] * 17)), present=npy(PRESENT)), "codec can't encode"),
    "no keys": (lambda: npz(present=npy(PRESENT)), "keys.npy"),
    "other values": (lambda: npz(keys=npy(KEYS), present=npy(PRESENT + 2)), "other values than 0 and 1"),
    "of other videos": (lambda: npz(keys=npy(KEYS[:3]), present=npy(PRESENT[:3])), r"keys is <U3 of shape \(3,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TRUTHS)
def test_a_truth_is_looked_at_before_it_is_inflated(case: str, simulated: tuple[Path, Manifest]) -> None:
    """Over a URL it comes from anybody: 0.3 MB would become 300."""
    folder, manifest = simulated
    make, part = BAD_TRUTHS[case]
    (folder / truth_name("train")).write_bytes(make())
    with serving(folder) as server:
        for place in (Folder(folder), source_of(DataConfig(shards=server.url, cache=str(folder / "cache")))):
            with pytest.raises(DataError, match=rf"truth/train.npz is damaged \(.*{part}"):
                read_truth(place, manifest, "train")


def test_a_truth_that_is_larger_than_it_can_be(
    simulated: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, manifest = simulated
    os.truncate(folder / truth_name("train"), 2_000_000)
    with pytest.raises(DataError, match=r"truth/train.npz is damaged: it is longer than \d+ bytes"):
        read_truth(Folder(folder), manifest, "train")
    monkeypatch.setattr(truth, "MOST_BYTES", 100)
    with pytest.raises(DataError, match=r"truth/train.npz would take \d+ bytes, more than 100"):
        read_truth(Folder(folder), manifest, "train")


def test_a_real_data_set_may_have_a_truth(tmp_path: Path) -> None:
    """What a publisher tells of the training labels is packed, found again, verified, and enough for method `true`."""
    videos = make_videos(9)
    labels = np.zeros((9, len(CATEGORIES)), dtype=bool)
    for row, video in zip(labels, videos, strict=True):
        row[list(video.labels)] = True
    present = np.stack([labels, labels & (np.arange(5) % 2 == 0)], axis=1)
    with DatasetWriter(tmp_path, name="x", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES) as writer:
        writer.write_split("train", videos, max_labels=5, dense=False)
        writer.write_truth("train", [video.key for video in videos], present)
        writer.write_split("val", make_videos(3, prefix="w", dense=True), max_labels=5, dense=True)
        writer.finish()
    manifest = read_manifest(tmp_path)
    assert {name: split.truth for name, split in manifest.splits.items()} == {"train": True, "val": False}
    found = read_truth(Folder(tmp_path), manifest, "train")
    assert found is not None
    np.testing.assert_array_equal(found.present, present)
    assert found.keys.tolist() == [video.key.encode() for video in videos]
    assert read_truth(Folder(tmp_path), manifest, "val") is None
    assert verify_data_set(Folder(tmp_path), manifest).sound
    true = method_class("true")
    config = Config(method="true", data=DataConfig(shards=str(tmp_path)))
    assert true.problems(config, manifest) == []
    path = tmp_path / truth_name("train")
    path.unlink()
    write_truth(path, [video.key for video in videos], np.roll(present, 1, axis=0))
    (problem,) = verify_data_set(Folder(tmp_path), manifest).problems
    assert "events that are no labels of their video, in " in problem.problem
    path.unlink()
    (problem,) = verify_data_set(Folder(tmp_path), manifest).problems
    assert problem.problem == "truth/train.npz is missing, and the manifest says that it is there"
    assert "has none (truth/train.npz)" in true.problems(config, manifest)[0]


def test_a_truth_that_is_not_of_the_videos_is_a_mistake_of_the_packer(tmp_path: Path) -> None:
    for keys, shape in ((["a"], (2, 2, 5)), (["a", "b"], (2, 2, 5, 10)), (["a", "b"], (2, 1, 5))):
        with pytest.raises(ValueError, match=r"present is of shape .*, not \(\d, 2, C\)"):
            write_truth(tmp_path / "x.npz", keys, np.zeros(shape, dtype=bool))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("split", "change", "categories", "message"),
    [
        ("train", lambda keys: keys[::-1], 5, "must be those of its videos, in their order"),
        ("train", lambda keys: keys[:3], 5, "must be those of its videos, in their order"),
        ("train", lambda keys: ["ü", *keys[1:]], 5, "must be those of its videos, in their order"),
        ("train", lambda keys: keys, 7, r"must be of shape \(9, 2, 5\), not \(9, 2, 7\)"),
        ("val", lambda keys: keys, 5, "can be written only after its videos"),
        ("../x", lambda keys: keys, 5, "can be written only after its videos"),
    ],
)
def test_a_writer_takes_no_other_truth_than_that_of_its_videos(
    tmp_path: Path, split: str, change: Callable[[list[str]], list[str]], categories: int, message: str
) -> None:
    videos = make_videos(9)
    keys = change([video.key for video in videos])
    form = {"categories": CATEGORIES, "segments": SEGMENTS, "features": FEATURES, "videos_per_shard": 4}
    with DatasetWriter(tmp_path / "set", name="x", **form) as writer:  # type: ignore[arg-type]
        writer.write_split("train", videos, max_labels=5, dense=False)
        with pytest.raises(DataError, match=message):
            writer.write_truth(split, keys, np.zeros((len(keys), 2, categories), dtype=bool))
    assert not list(tmp_path.iterdir())


def test_a_truth_with_times_is_called_old(simulated: tuple[Path, Manifest]) -> None:
    folder, manifest = simulated
    (folder / truth_name("train")).write_bytes(npz(keys=npy(KEYS), dense=npy(np.zeros((17, 2, 5, 4), np.uint8))))
    with pytest.raises(DataError) as caught:
        read_truth(Folder(folder), manifest, "train")
    assert str(caught.value) == (
        f"{folder}/truth/train.npz is of an older form, with times (dense, not present); the command that "
        "packed the data set writes it anew with --repair; or remove the file to go on without"
    )


def test_the_limit_leaves_room_for_ten_million_videos() -> None:
    assert truth.MOST_BYTES > 10_000_000 * (2 * 527 + 4 * 88)
