"""tools/pack_llp.py as a user runs it: what it packs, what it says, and what it refuses without leaving a trace."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from jomold_dist.commands import pack_llp
from jomold_dist.data.format.feature_rows import pool_rows
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.annotations import read_annotations
from jomold_dist.data.packing.llp_features import FEATURE_FOLDERS, feature_path
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.labels import LLP_CATEGORIES
from tests.published import VIDEOS, WEAK_FILES, WIDTHS, all_keys, filename, publish

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def own(sources: Path, tmp_path: Path) -> Path:
    """A copy of the sources that a test may damage."""
    for path in sources.rglob("*.*"):
        target = tmp_path / path.relative_to(sources)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path


def pack(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The tool in this process, which has all its imports done."""
    command = ["pack_llp.py", *map(str, arguments)]
    out, error = io.StringIO(), io.StringIO()
    told = logging.StreamHandler(error)
    logging.getLogger("jomold_dist").addHandler(told)
    try:
        with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(error):
            code = pack_llp.main()
    except SystemExit as end:  # argparse's own
        code = int(str(end.code))
    finally:
        logging.getLogger("jomold_dist").removeHandler(told)
    return subprocess.CompletedProcess(command, code, out.getvalue(), error.getvalue())


def test_as_a_process(sources: Path, pooled: tuple[Path, str], tmp_path: Path) -> None:
    """What is packed there is what is packed here."""
    tool = [sys.executable, str(ROOT / "tools" / "pack_llp.py"), "--features", str(sources / "features")]
    rest = ["--annotations", str(sources / "annotations"), "--videos-per-shard", "5", "--seed", "3", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    command = [*tool, *rest, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=120)
    assert done.returncode == 0
    assert done.stdout == pooled[1].replace(str(pooled[0]), str(tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(pooled[0])


def pack_all(folder: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return pack("--annotations", folder / "annotations", "--features", folder / "features", "--out", out, *more)


def packed(out: Path, split: str) -> dict[str, dict[str, bytes]]:
    """Key -> ending -> content, in the order of the shards, as tar reads them."""
    videos: dict[str, dict[str, bytes]] = {}
    for shard in read_manifest(out).splits[split].shards:
        with tarfile.open(out / shard.name) as tar:
            for member in tar:
                key, ending = member.name.split(".", 1)
                content = tar.extractfile(member)
                assert content is not None
                videos.setdefault(key, {})[ending] = content.read()
    return videos


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content))


@pytest.fixture(scope="module")
def pooled(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data set packed with the default settings, and what the tool printed."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    result = pack_all(sources, out, "--videos-per-shard", "5", "--seed", "3")
    assert result.returncode == 0, result.stderr
    return out, result.stdout


def test_every_video_arrives_with_its_features_and_labels(sources: Path, pooled: tuple[Path, str]) -> None:
    out, _ = pooled
    annotations = read_annotations(sources / "annotations")
    for split, expected in annotations.splits.items():
        videos = packed(out, split)
        assert sorted(videos) == sorted(expected.keys)
        for key, labels in zip(expected.keys, expected.labels, strict=True):
            video = videos[key]
            for name in WIDTHS:
                published = np.load(feature_path(sources / "features", name, key))
                stored = pool_rows(published, 10).astype(np.float16)
                np.testing.assert_array_equal(array(video[f"{name}.npy"]), stored)
            assert json.loads(video["labels.json"])["labels"] == np.flatnonzero(labels).tolist()
            assert ("dense.npy" in video) == (split != "train")
        if expected.dense is not None:
            for key, dense in zip(expected.keys, expected.dense, strict=True):
                np.testing.assert_array_equal(array(videos[key]["dense.npy"]), dense)


def test_the_manifest_and_the_summary_tell_what_was_packed(pooled: tuple[Path, str]) -> None:
    out, text = pooled
    manifest = read_manifest(out)
    assert manifest.simulated is None
    assert manifest.categories == LLP_CATEGORIES
    assert {name: (spec.shape, spec.dtype) for name, spec in manifest.features.items()} == {
        name: ((10, width), "float16") for name, width in WIDTHS.items()
    }
    assert {name: split.videos for name, split in manifest.splits.items()} == VIDEOS
    assert {name: split.dense for name, split in manifest.splits.items()} == {"train": False, "val": True, "test": True}
    assert manifest.splits["train"].shard_sizes.tolist() == [5, 5, 3]
    assert "passed over: AVVP_eval_audio.csv: 1 row repeating an earlier row: __val-00000_10_20 (line 9)\n" in text
    labels = sum(1 + i % 3 for i in range(13))
    assert f"train: videos 13, labels {labels}, shards 3, bytes " in text
    assert "test: videos 4, labels 7, with dense labels, shards 1, bytes " in text
    assert f"written to {out}" in text


def test_training_videos_are_shuffled_by_the_seed_and_the_others_are_not(
    sources: Path, pooled: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = pooled
    published = all_keys()
    order = list(packed(out, "train"))
    assert order == [published[i] for i in np.random.default_rng(3).permutation(13)]  # which packed sets rely on
    assert list(packed(out, "val")) == published[13:16]
    assert list(packed(out, "test")) == published[16:]
    digests = []
    for seed in ("3", "4"):
        again = tmp_path / seed
        assert pack_all(sources, again, "--videos-per-shard", "5", "--seed", seed).returncode == 0
        digests.append(read_manifest(again).digest)
    assert digests[0] == read_manifest(out).digest
    assert digests[1] != digests[0]


def test_frames_and_precision_can_be_kept(sources: Path, tmp_path: Path) -> None:
    result = pack_all(sources, tmp_path / "out", "--keep-frames", "--dtype", "float32")
    assert result.returncode == 0, result.stderr
    videos = packed(tmp_path / "out", "test")
    for key, video in videos.items():
        published = np.load(feature_path(sources / "features", "frames", key))
        np.testing.assert_array_equal(array(video["frames.npy"]), published)
        assert array(video["frames.npy"]).dtype == np.float32


def test_unlabelled_videos_are_packed_for_prediction(sources: Path, tmp_path: Path) -> None:
    result = pack("--unlabelled", "--features", sources / "features", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    manifest: Manifest = read_manifest(tmp_path / "out")
    assert list(manifest.splits) == ["predict"]
    assert not manifest.splits["predict"].dense
    videos = packed(tmp_path / "out", "predict")
    assert list(videos) == sorted(all_keys())
    assert all(json.loads(video["labels.json"]) == {"labels": []} for video in videos.values())
    assert "predict: videos 20, labels 0, shards 1, bytes " in result.stdout


def refused(result: subprocess.CompletedProcess[str], out: Path, *messages: str, kept: int = 0) -> None:
    """Exit code 2, one message without a traceback that says all this, nothing at `out`, and beside it nothing or the
    `kept` shards that are finished.
    """
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("error: ") == 1
    for message in messages:
        assert message in result.stderr
    assert not out.exists()
    beside = [path for path in out.parent.iterdir() if out.name in path.name]
    assert [path.name for path in beside] == ([f".{out.name}.partial"] if kept else [])
    assert len([path for folder in beside for path in folder.rglob("shard-*.tar")]) == kept
    assert (f"finished shards are kept ({kept} in {beside[0]})" in result.stderr) if kept else True


@pytest.mark.parametrize("what", ["annotations", "features", "features/res152", "annotations/AVVP_val_pd.csv"])
def test_a_fifo_is_not_waited_for(own: Path, what: str) -> None:
    (own / what).rename(own / "elsewhere")
    os.mkfifo(own / what)
    result = pack_all(own, own / "out")
    refused(result, own / "out", str(own / what))
    assert len(result.stderr.splitlines()) == 1


def test_a_link_is_packed_where_it_leads(own: Path) -> None:
    (own / "big").mkdir()
    (own / "link").symlink_to("big/llp")
    assert pack_all(own, own / "link").returncode == 0
    assert (own / "link").is_symlink()
    assert read_manifest(own / "big" / "llp").name == "llp"
    assert pack_all(own, own / "link", "--repair").returncode == 0


def test_features_in_each_others_folders_are_warned_of(own: Path) -> None:
    for name, width in (("audio", 512), ("frames", 2048), ("motion", 128)):
        for key in all_keys():
            array = np.zeros((80 if name == "frames" else 10, width), np.float16)
            np.save(feature_path(own / "features", name, key), array)
    result = pack_all(own, own / "out")
    assert result.returncode == 0
    assert "warning: the features are vggish 512, r2plus1d_18 128 wide; LLP's" in result.stdout


@pytest.mark.parametrize("missing", ["annotations", "features", "features/res152"])
def test_a_missing_folder_is_refused(own: Path, missing: str) -> None:
    (own / missing).rename(own / "elsewhere")
    refused(pack_all(own, own / "out"), own / "out", Path(missing).name, str((own / missing).parent))


def test_all_missing_feature_files_are_named_together(own: Path) -> None:
    gone = [feature_path(own / "features", name, key) for name in FEATURE_FOLDERS for key in all_keys()[:9]]
    for path in gone:
        path.unlink()
    result = pack_all(own, own / "out")
    refused(result, own / "out", "27 problems:", "… and 7 more", *(f"{path}: " for path in gone[:20]))
    assert str(gone[20]) not in result.stderr


def test_a_feature_file_of_a_wrong_shape_is_refused(own: Path) -> None:
    path = feature_path(own / "features", "motion", all_keys()[3])
    np.save(path, np.zeros((7, 4), dtype=np.float32))
    refused(pack_all(own, own / "out"), own / "out", str(path), "shape (7, 4), fewer rows than the 10 segments")


def test_all_feature_files_with_nan_are_named_together_and_the_good_shards_kept(own: Path) -> None:
    bad = ((2, "audio"), (11, "frames"), (11, "motion"), (15, "audio"))  # the last in another split
    paths = [feature_path(own / "features", name, all_keys()[i]) for i, name in bad]
    good = [np.load(path) for path in paths]
    for path in paths:
        values = np.load(path)
        values[4, 1] = np.nan
        np.save(path, values)
    result = pack_all(own, own / "out", "--videos-per-shard", "2")
    order = np.random.default_rng(0).permutation(13)
    hit = {int(np.flatnonzero(order == i)[0]) // 2 for i in (2, 11)}
    kept = 7 + 2 + 2 - len(hit) - 1
    refused(result, own / "out", "4 problems:", *(f"{p} holds NaN or infinity in 1 of " for p in paths), kept=kept)

    for path, values in zip(paths, good, strict=True):
        np.save(path, values)
    result = pack_all(own, own / "out", "--videos-per-shard", "2")
    assert result.returncode == 0
    assert f"going on after {kept} shards" in result.stderr
    assert pack_all(own, own / "at_once", "--videos-per-shard", "2").returncode == 0
    assert contents(own / "out") == contents(own / "at_once")
    assert not (own / ".out.partial").exists()


def test_other_options_are_refused_until_a_restart(own: Path) -> None:
    path = feature_path(own / "features", "audio", all_keys()[19])
    good = np.load(path)
    np.save(path, np.full_like(good, np.nan))
    assert pack_all(own, own / "out", "--videos-per-shard", "5").returncode == 2
    kept = contents(own / ".out.partial")
    np.save(path, good)
    for options in (("--seed", "1"), ("--videos-per-shard", "4"), ("--dtype", "float32"), ("--keep-frames",)):
        result = pack_all(own, own / "out", "--videos-per-shard", "5", *options)
        assert result.returncode == 2
        assert result.stderr.startswith(
            f"error: {own / '.out.partial'} holds 4 shards that an earlier start has finished"
        )
        assert result.stderr.endswith("; start as before to go on, or begin anew without (--restart)\n")
        assert contents(own / ".out.partial") == kept
    assert pack_all(own, own / "out", "--videos-per-shard", "5", "--seed", "1", "--restart").returncode == 0
    assert pack_all(own, own / "at_once", "--videos-per-shard", "5", "--seed", "1").returncode == 0
    assert contents(own / "out") == contents(own / "at_once")


def test_features_that_cannot_be_looked_at_are_not_taken_for_changed_ones(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that fails for a moment, between the look at all files and the reading of the first."""
    path = feature_path(own / "features", "audio", all_keys()[19])
    good = np.load(path)
    np.save(path, np.full_like(good, np.nan))
    assert pack_all(own, own / "out", "--videos-per-shard", "5").returncode == 2
    kept = contents(own / ".out.partial")

    def stat(self: Path, **options: Any) -> os.stat_result:
        if self.suffix == ".npy":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(self, **options)

    real = Path.stat
    with monkeypatch.context() as broken:
        broken.setattr(Path, "stat", stat)
        result = pack_all(own, own / "out", "--videos-per-shard", "5")
    assert result.returncode == 2
    assert "cannot be read (Stale file handle)" in result.stderr
    assert contents(own / ".out.partial") == kept


def test_repair_needs_the_sources_that_were_packed(own: Path) -> None:
    options = ("--videos-per-shard", "5")
    assert pack_all(own, own / "out", *options).returncode == 0
    before = contents(own / "out")
    path = own / "out" / read_manifest(own / "out").splits["val"].shards[0].name
    path.unlink()
    source = feature_path(own / "features", "audio", all_keys()[13])
    values = np.load(source)
    np.save(source, values + 1)
    result = pack_all(own, own / "out", *options, "--repair")
    assert result.returncode == 2
    assert f"{path}: written anew it has SHA-256" in result.stderr
    assert not path.exists()
    np.save(source, values)
    result = pack_all(own, own / "out", *options, "--repair")
    assert result.returncode == 0
    told = "written anew: val/shard-000000.tar\nshards that were whole: 4, written anew: 1\n"
    assert told in result.stdout
    assert contents(own / "out") == before


def test_a_value_too_large_for_float16_is_refused(own: Path) -> None:
    path = feature_path(own / "features", "audio", all_keys()[0])
    np.save(path, np.full((10, 6), 1e5, dtype=np.float32))
    refused(
        pack_all(own, own / "out"),
        own / "out",
        str(path),
        "too large for float16; store it as float32 (--dtype float32)",
        kept=2,
    )


def test_bad_label_files_are_refused(own: Path) -> None:
    header, train = "filename\tevent_labels\n", own / "annotations" / WEAK_FILES["train"]
    train.write_text(f"{header}{filename('train', 0)}\tSpeach\n{filename('train', 1)}\t\n", encoding="utf-8")
    (own / "annotations" / WEAK_FILES["val"]).write_text("", encoding="utf-8")
    refused(
        pack_all(own, own / "out"),
        own / "out",
        "3 problems:",
        f"{train}, line 2: unknown category 'Speach' (did you mean 'Speech'?)",
        f"{train}, line 3: the video {filename('train', 1)} has no labels",
        "AVVP_val_pd.csv: the file is empty",
    )


def test_a_folder_that_holds_something_is_not_overwritten(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("important", encoding="utf-8")
    result = pack_all(sources, tmp_path / "out")
    assert result.returncode == 2
    assert "out" in result.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.tex"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--unlabelled", "--annotations", "a"),
        ("--unlabelled", "--videos-per-shard", "0"),
        ("--unlabelled", "--repair", "--restart"),
    ],
)
def test_impossible_options_are_refused(sources: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = pack("--features", sources / "features", "--out", tmp_path / "out", *arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
