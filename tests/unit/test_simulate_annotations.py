"""tools/simulate_llp.py with the label files of LFAV and VGGSounder: what is real stays real."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.commands import simulate as simulate_llp
from jomold_dist.data.packing.vggsounder_labels import split_of
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.simulation import find_scenario
from tests.shard_fixtures import read_records, shard_problems

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


def set_options(monkeypatch: pytest.MonkeyPatch, scenario: str, annotations: Path, out: Path) -> None:
    words = ["simulate_llp.py", "--scenario", scenario, "--annotations", str(annotations), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)


def tabular(path: Path, header: str, *rows: str) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def write_lfav(folder: Path) -> Path:
    """One video a split that barks and is seen to be a car, and in train one that only sounds; a length of 40 s."""
    folder.mkdir()
    union = {"train": "train_weakly.csv", "val": "val_weak_av.csv", "test": "test_weak_av.csv"}
    for split, name in union.items():
        key = split.ljust(11, "_")
        more = {"union": ["silent_____\tspeech"], "audio": ["silent_____\tspeech"], "visual": ["silent_____\tsilent"]}
        if split != "train":
            more = {part: [] for part in more}
        tabular(folder / name, "filename\tevent_labels", f"{key}\tdog,car", *more["union"])
        tabular(folder / f"{split}_audio_weakly.csv", "filename\tevent_labels", f"{key}\tdog", *more["audio"])
        tabular(folder / f"{split}_visual_weakly.csv", "filename\tevent_labels", f"{key}\tcar", *more["visual"])
        if split != "train":
            header = "filename\tonset\toffset\tevent_labels"
            tabular(folder / f"{split}_audio.csv", header, f"{key}\t8\t20\tdog")
            tabular(folder / f"{split}_visual.csv", header, f"{key}\t0\t40\tcar")
    return folder


def test_lfav_brings_what_is_heard_and_seen_and_the_dense_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    set_options(monkeypatch, "lfav", write_lfav(tmp_path / "labels"), out)
    assert simulate_llp.main() == 0
    assert "real: labels, keys, which labels are heard and seen, and the dense labels of val" in capsys.readouterr().out
    manifest = read_manifest(out)
    assert manifest.simulated == {"scenario": "lfav", "seed": 0, "labels": "annotations"}
    dog, car, speech = (manifest.categories.index(name) for name in ("dog", "car", "speech"))
    view = read_records(out, manifest, "train")
    assert view.keys() == ["train______", "silent_____"]
    assert [np.flatnonzero(row).tolist() for row in view.labels()] == [[car, dog], [speech]]
    present = np.load(out / "truth" / "train.npz", allow_pickle=False)["present"]
    assert np.argwhere(present).tolist() == [[0, 0, dog], [0, 1, car], [1, 0, speech]]
    dense = read_records(out, manifest, "test").dense()[0]
    assert dense[0, dog].tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]  # seconds 8 to 20 of 40
    assert dense[1, car].all()
    assert dense.sum() == 13
    assert shard_problems(out, manifest) == []


def write_vggsounder(folder: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Two clips of one id in each of the splits: the first category is heard, the second seen, the third both."""
    folder.mkdir()
    names = find_scenario("vggsounder").categories.names
    tabular(folder / "classes.csv", "index,mid,display_name", *(f'{i},m{i},"{n}"' for i, n in enumerate(names)))
    keys = {
        split: next(k for k in (f"clip{n:07d}" for n in count()) if split_of(f"{k}_000010") == split)
        for split in splits
    }
    rows = [
        f'{key}_{start:06d},"{names[category]}",{modality},False,False,False'
        for key in keys.values()
        for start in (10, 200)
        for category, modality in enumerate(("A", "V", "AV"))
    ]
    header = "video_id,label,modality,background_music,static_image,voice_over"
    tabular(folder / "vggsounder.csv", header, *rows)
    return folder


def test_vggsounder_brings_its_tags_and_the_times_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    set_options(monkeypatch, "vggsounder", write_vggsounder(tmp_path / "labels"), out)
    assert simulate_llp.main() == 0
    assert "when events are heard and seen; real: labels, keys, and which labels" in capsys.readouterr().out
    manifest = read_manifest(out)
    for split in ("train", "val", "test"):
        view = read_records(out, manifest, split)
        assert [(len(key), split_of(key)) for key in view.keys()] == [(18, split)] * 2  # noqa: SIM118 - its own method
        if split == "train":
            present = np.load(out / "truth" / "train.npz", allow_pickle=False)["present"]
        else:
            present = view.dense().any(axis=-1)
            assert (view.dense()[0] != view.dense()[1]).any()
        wanted = [[0, 0, 0], [0, 0, 2], [0, 1, 1], [0, 1, 2]]
        assert np.argwhere(present).tolist() == wanted + [[1, *rest] for _, *rest in wanted]
    assert shard_problems(out, manifest) == []


@pytest.mark.parametrize("damage", ["no videos for the split val and test", "other categories"])
def test_label_files_that_make_no_set_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = write_vggsounder(tmp_path / "labels", ("train",))
    if damage == "other categories":
        with (folder / "classes.csv").open("a", encoding="utf-8") as file:
            file.write("309,m309,singing in the rain\n")
    set_options(monkeypatch, "vggsounder", folder, tmp_path / "out")
    assert simulate_llp.main() == 2
    assert damage in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


@pytest.mark.skipif(
    not (SHARED / "lfav" / "train_weakly.csv").is_file(), reason="no real label files in ../shared/lfav"
)
def test_the_real_lfav_has_the_published_audio_and_visual_labels_as_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_options(monkeypatch, "lfav", SHARED / "lfav", tmp_path / "out")
    packing = simulate_llp.plan(simulate_llp.parse_options())
    keys, truth = packing.truths["train"]()
    published = {}
    for modality in ("audio", "visual"):
        lines = (SHARED / "lfav" / f"train_{modality}_weakly.csv").read_text(encoding="utf-8").splitlines()[1:]
        fields = [line.replace("\t", ",").split(",") for line in lines]
        published[modality] = {key: {label.strip() for label in labels} for key, *labels in fields}
    names = packing.categories.names
    for key, present in zip(keys, truth, strict=True):
        for modality, row in zip(("audio", "visual"), present, strict=True):
            assert {names[c] for c in np.flatnonzero(row)} == published[modality][key] & set(names), (key, modality)
