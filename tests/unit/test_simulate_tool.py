"""tools/simulate_llp.py as a user runs it: the data set it writes, and what it says to bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.commands import simulate as simulate_llp
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.annotations import AUDIO_FILE, VISUAL_FILE, WEAK_FILES
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.simulation import LabelWorld
from jomold_dist.simulation.llp_statistics import llp_statistics
from tests.shard_fixtures import read_records, shard_problems

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "llp"


def simulate(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tools" / "simulate_llp.py"), "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "small"
    done = simulate(out, "--videos", "60", "--seed", "4", "--videos-per-shard", "25")
    assert done.returncode == 0, done.stderr
    assert "simulated (scenario llp, difficulty easy, seed 4): labels, dense labels and all features" in done.stdout
    return out


def test_the_data_set_is_whole_and_says_that_it_is_simulated(small: Path) -> None:
    manifest = read_manifest(small)
    assert manifest.simulated == {"scenario": "llp", "seed": 4, "labels": "statistics"}
    assert manifest.categories == LLP_CATEGORIES
    assert {name: split.videos for name, split in manifest.splits.items()} == {"train": 60, "val": 60, "test": 60}
    assert {name: split.dense for name, split in manifest.splits.items()} == {"train": False, "val": True, "test": True}
    assert {name: spec.shape for name, spec in manifest.features.items()} == {
        "audio": (10, 128),
        "frames": (10, 2048),
        "motion": (10, 512),
    }
    assert [s.videos for s in manifest.split("train").shards] == [25, 25, 10]
    assert shard_problems(small, manifest) == []
    assert sorted(p.name for p in small.parent.iterdir()) == ["small"]  # nothing is left beside it


def test_keys_are_simulated_ids_and_unique_over_the_splits(small: Path) -> None:
    manifest = read_manifest(small)
    views = [read_records(small, manifest, split) for split in manifest.splits]
    keys = [key for view in views for key in view.keys()]  # noqa: SIM118 - a method of its own
    assert len(set(keys)) == len(keys) == 180
    assert all(len(key) == 11 and key.startswith("sim") for key in keys)


def test_the_truth_belongs_to_the_labels(small: Path) -> None:
    manifest = read_manifest(small)
    truth = np.load(small / "truth" / "train.npz", allow_pickle=False)
    view = read_records(small, manifest, "train")
    assert truth["keys"].tolist() == view.keys()
    assert '"truth"' not in (small / "manifest.json").read_text()  # it goes without saying: digests stay what they were
    assert truth["present"].shape == (60, 2, 25)
    assert truth["present"].dtype == np.uint8
    assert not (truth["present"].any(axis=1) & ~view.labels()).any()
    assert truth["present"].any(axis=(1, 2)).mean() > 0.9
    for split in ("val", "test"):
        view = read_records(small, manifest, split)
        assert not (view.dense().any(axis=(1, 3)) & ~view.labels()).any()
        assert view.dense().any()


def test_the_same_seed_gives_the_same_bytes_and_fewer_videos_the_first_of_them(small: Path, tmp_path: Path) -> None:
    assert simulate(tmp_path / "again", "--videos", "60", "--seed", "4", "--videos-per-shard", "25").returncode == 0
    assert read_manifest(tmp_path / "again").digest == read_manifest(small).digest
    assert simulate(tmp_path / "fewer", "--videos", "31", "--seed", "4").returncode == 0
    fewer, more = read_manifest(tmp_path / "fewer"), read_manifest(small)
    for split in ("train", "val"):
        part, whole = read_records(tmp_path / "fewer", fewer, split), read_records(small, more, split)
        for name in fewer.features:
            np.testing.assert_array_equal(part.feature(name), whole.feature(name)[:31])
        assert part.keys() == whole.keys()[:31]
        np.testing.assert_array_equal(part.labels(), whole.labels()[:31])


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> Manifest:
    """The tool in this process; the manifest of what it writes."""
    monkeypatch.setattr(sys, "argv", ["simulate_llp.py", "--out", str(out), *options])
    assert simulate_llp.main() == 0
    return read_manifest(out)


@pytest.mark.parametrize(("scenario", "categories"), [("lfav", 35), ("vggsounder", 309)])
def test_other_scenarios_bring_their_categories(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scenario: str, categories: int
) -> None:
    out, options = tmp_path / "out", ("--scenario", scenario, "--videos", "20", "--videos-per-shard", "15")
    manifest = run(monkeypatch, out, *options)
    assert manifest.name == f"simulated-{scenario}"
    assert manifest.simulated == {"scenario": scenario, "seed": 0, "labels": "statistics"}
    assert len(manifest.categories) == categories
    assert shard_problems(out, manifest) == []
    view = read_records(out, manifest, "train")
    truth = np.load(out / "truth" / "train.npz", allow_pickle=False)["present"]
    assert truth.shape == (20, 2, categories)
    np.testing.assert_array_equal(truth.any(axis=1), view.labels())  # nobody labels there what is nowhere
    np.testing.assert_array_equal(view.labels(), LabelWorld(scenario, 0).labels("train", 0, 20))
    whole = contents(out)
    (out / "val" / "shard-000001.tar").unlink()
    run(monkeypatch, out, *options, "--repair")
    assert contents(out) == whole


def test_a_hard_set_tells_its_difficulty_and_differs_in_its_features_alone(
    small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = ("--videos", "60", "--seed", "4", "--videos-per-shard", "25")
    hard = run(monkeypatch, tmp_path / "hard", *options, "--difficulty", "hard")
    easy = read_manifest(small)
    assert (hard.name, easy.name) == ("simulated-llp-hard", "simulated-llp")
    assert hard.simulated == {**easy.simulated, "difficulty": {"audio": 0.6, "visual": 0.4}}
    assert (tmp_path / "hard" / "truth" / "train.npz").read_bytes() == (small / "truth" / "train.npz").read_bytes()
    ours, theirs = read_records(tmp_path / "hard", hard, "val"), read_records(small, easy, "val")
    np.testing.assert_array_equal(ours.dense(), theirs.dense())
    for name in easy.features:
        assert ours.feature(name).mean() < theirs.feature(name).mean()
    as_factors = run(monkeypatch, tmp_path / "factors", *options, "--difficulty", "0.6,0.4")
    assert as_factors.digest == hard.digest
    as_easy = run(monkeypatch, tmp_path / "easy", *options, "--difficulty", "1,1")
    assert as_easy.digest == easy.digest


def test_finished_shards_of_another_difficulty_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, options = tmp_path / "out", ("--videos", "60", "--videos-per-shard", "25")
    assert stop_after_a_shard(out, signal.SIGKILL, *options).returncode == -signal.SIGKILL
    monkeypatch.setattr(sys, "argv", ["simulate_llp.py", "--out", str(out), *options, "--difficulty", "hard"])
    assert simulate_llp.main() == 2
    error = capsys.readouterr().err
    assert "simulated" in error
    assert "--restart" in error


def test_kept_frames_average_to_the_pooled_ones(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    assert simulate(out, "--videos", "3", "--seed", "4", "--keep-frames", "--dtype", "float32").returncode == 0
    manifest = read_manifest(out)
    assert manifest.features["frames"].shape == (80, 2048)
    assert manifest.features["frames"].dtype == "float32"
    means = read_records(out, manifest, "train").feature("frames").reshape(3, 10, 8, 2048).mean(axis=2)
    pooled = read_records(small, read_manifest(small), "train").feature("frames")[:3].astype(np.float32)
    np.testing.assert_allclose(means, pooled, rtol=1e-3, atol=1e-4)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stop_after_a_shard(out: Path, number: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Starts the tool and sends it the signal as soon as one more shard is finished."""
    journal = out.with_name(f".{out.name}.partial") / "journal.jsonl"
    lines = len(journal.read_text().splitlines()) if journal.exists() else 1
    command = [sys.executable, str(ROOT / "tools" / "simulate_llp.py"), "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None and not (journal.exists() and len(journal.read_text().splitlines()) > lines):
        time.sleep(0.005)
    process.send_signal(number)
    out_text, error_text = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, out_text, error_text)


def test_killed_and_stopped_it_ends_with_the_same_bytes_and_repairs_them(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, options = tmp_path / "out", ("--videos", "60", "--seed", "4", "--videos-per-shard", "25")
    assert stop_after_a_shard(out, signal.SIGKILL, *options).returncode == -signal.SIGKILL
    stopped = stop_after_a_shard(out, signal.SIGTERM, *options)
    assert stopped.returncode == 75, stopped.stderr
    assert "stopped by SIGTERM" in stopped.stderr
    assert "the same command goes on after them" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    monkeypatch.setattr(sys, "argv", ["simulate_llp.py", "--out", str(out), *options])
    assert simulate_llp.main() == 0
    assert "that an earlier start has finished" in caplog.text
    assert contents(out) == contents(small)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

    (out / "train" / "shard-000001.tar").unlink()
    keys = np.load(out / "truth" / "train.npz")["keys"]
    np.savez(out / "truth" / "train.npz", keys=keys, dense=np.zeros((60, 2, 25, 10), np.uint8))  # an older version's
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--repair"])
    assert simulate_llp.main() == 0
    assert "written anew: train/shard-000001.tar\nwritten anew: truth/train.npz\n" in capsys.readouterr().out
    assert contents(out) == contents(small)


def write_annotations(folder: Path) -> Path:
    """Label files of six made-up videos: two in each split, with a truth of their own in val and test."""
    folder.mkdir()
    weak = {"train": ["Speech,Dog", "Cello"], "val": ["Speech", "Car,Cat"], "test": ["Dog", "Banjo"]}
    rows = []
    for split, labels in weak.items():
        names = [f"{split}{number}".ljust(11, "_") + "_0_10" for number in range(len(labels))]
        lines = ["filename\tevent_labels", *(f"{n}\t{text}" for n, text in zip(names, labels, strict=True))]
        (folder / WEAK_FILES[split]).write_text("\n".join(lines) + "\n", encoding="utf-8")
        if split != "train":
            rows += [f"{n}\t2\t7\t{text.split(',')[0]}" for n, text in zip(names, labels, strict=True)]
    for name in (AUDIO_FILE, VISUAL_FILE):
        text = "\n".join(["filename\tonset\toffset\tevent_labels", *rows]) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_annotations_bring_their_labels_keys_and_dense_labels(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path / "labels")
    done = simulate(tmp_path / "out", "--annotations", str(folder))
    assert done.returncode == 0, done.stderr
    assert "real: labels, keys, and the dense labels of val and test" in done.stdout
    manifest = read_manifest(tmp_path / "out")
    assert manifest.simulated == {"scenario": "llp", "seed": 0, "labels": "annotations"}
    assert read_records(tmp_path / "out", manifest, "train").keys() == ["train0_____", "train1_____"]
    expected = [LLP_CATEGORIES.encode(["Speech", "Dog"]), LLP_CATEGORIES.encode(["Cello"])]
    np.testing.assert_array_equal(read_records(tmp_path / "out", manifest, "train").labels(), expected)
    dense = read_records(tmp_path / "out", manifest, "test").dense()
    wanted = np.zeros((2, 2, 25, 10), dtype=np.uint8)
    wanted[0, :, LLP_CATEGORIES.index("Dog"), 2:7] = 1
    wanted[1, :, LLP_CATEGORIES.index("Banjo"), 2:7] = 1
    np.testing.assert_array_equal(dense, wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--videos", "0"], "--videos must be from 1"),
        (["--videos", "-3"], "--videos must be from 1"),
        (["--videos", "ten"], "invalid int value: 'ten'"),
        (["--seed", "-1"], "--seed must be from 0 to"),
        (["--videos-per-shard", "0"], "--videos-per-shard must be at least 1"),
        (["--scenario", "lpl"], "unknown scenario 'lpl' (did you mean 'llp'?)"),
        (["--difficulty", "hrad"], "unknown difficulty 'hrad' (did you mean 'hard'?)"),
        (["--difficulty", "0.5"], "two factors on the signals of audio and visual"),
        (["--difficulty=-1,1"], "must be from 0 to 10"),
        (["--annotations", "nowhere"], "nowhere does not exist"),
        (["--annotations", "nowhere", "--scenario", "lfav"], "it must hold train_weakly.csv"),
        (["--annotations", "nowhere", "--scenario", "vggsounder"], "it must hold classes.csv"),
        (["--annotations", "nowhere", "--videos", "5"], "exclude each other"),
        (["--annotations", "nowhere", "--scenario", "speech-neutral"], "the real dense labels of val and test"),
    ],
)
def test_bad_input_is_one_message_and_writes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate_llp.py", "--out", str(tmp_path / "out"), *options])
    try:
        code = simulate_llp.main()
    except SystemExit as end:  # argparse's own
        code = end.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_several_problems_are_named_together(tmp_path: Path) -> None:
    done = simulate(tmp_path / "out", "--videos", "0", "--seed", "-1", "--scenario", "lpl", "--difficulty", "x")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for part in ("4 problems", "--videos", "--seed", "unknown scenario", "unknown difficulty"):
        assert part in done.stderr


def test_an_out_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = simulate(tmp_path, "--videos", "5")
    assert done.returncode == 2
    assert "not an empty folder" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_label_files_of_another_scenario_are_recognised(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path / "labels")
    done = simulate(tmp_path / "out", "--annotations", str(folder), "--scenario", "lfav")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {folder} looks like the label files of --scenario llp (AVVP_train.csv), not of --scenario lfav "
        "(train_weakly.csv is not there)\n"
    )


def test_damaged_annotations_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    folder = write_annotations(tmp_path / "labels")
    (folder / WEAK_FILES["train"]).write_text("filename\tevent_labels\ntrain0______0_10\tSpech\n", encoding="utf-8")
    done = simulate(tmp_path / "out", "--annotations", str(folder))
    assert done.returncode == 2
    assert "did you mean 'Speech'" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["labels"]


@pytest.mark.skipif(not (SHARED / WEAK_FILES["train"]).is_file(), reason="no real label files in ../shared/llp")
def test_the_real_label_files_are_planned_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate_llp.py", "--out", "unused", "--annotations", str(SHARED)])
    train, val, test = simulate_llp.planned_splits(simulate_llp.parse_options())
    assert [(split.name, split.videos) for split in (train, val, test)] == [
        ("train", 10000),
        ("val", 649),
        ("test", 1200),
    ]
    assert train.keys(0, 1) == ["BjCEufrlXm4"]
    assert train.given.labels.sum() == 16057
    assert train.given.dense is None
    assert val.given.dense[:, 0].any(axis=-1).sum() > 1000
    present = LabelWorld("llp", 0).truth("train", 0, train.given.labels).any(axis=-1)
    # The odds of val and test, over the labels of train: half of these are a Speech that is rarely seen.
    expected = (llp_statistics().odds.visible * train.given.labels.sum(axis=0)).sum() / 16057
    assert present[:, 1].sum() / 16057 == pytest.approx(expected, abs=0.015)
