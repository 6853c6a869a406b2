"""From video files to pictures: `jomold extract`, `pack`, `train`, and `show` of files that were never packed.

What the pictures show means nothing, as CLIP and CLAP have random weights here; that a file is parsed as the packed
video is, is what they are looked at for.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished, Tiny
from launchers_help import ROOT, run_here

from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.labels import CategorySet
from tests.media_files import Pictures, Track, times_of, tone, write_media
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, make_videos
from tests.tiny_models import tiny_clap, tiny_clip

pytestmark = pytest.mark.lengthy

Capture = pytest.CaptureFixture[str]
SHARED = ROOT.parent / "shared"
MARKS = ("Speech", "Dog", "Car", "Cello")
FIGURE = re.compile(r'<figure class="tl" id="video-([^"]+)">(.*?)</figure>', re.DOTALL)
SHADES = re.compile(r'title="([\d. ]+)"')


@dataclass(frozen=True)
class World:
    """Clips, the models that make features of them, and a run that was trained on those."""

    clips: list[Path]
    run: Path
    clip: Path
    clap: Path

    @property
    def features(self) -> list[str]:
        """The options that say where the models lie."""
        return ["--feature", f"frames=clip:{self.clip}", "--feature", f"audio=clap:{self.clap}"]


def jomold(capsys: Capture, *words: str | Path, code: int = 0) -> str:
    """What a command says, on stdout if it succeeds and on stderr if not."""
    outcome = run_here(capsys, "jomold", *words)
    assert outcome.code == code, outcome.err
    return outcome.err if code else outcome.out


def shades(page: Path) -> dict[str, np.ndarray]:
    """Of each video on a page, the probabilities of its lanes (lanes, T)."""
    return {
        key: np.array([[float(value) for value in lane.split()] for lane in SHADES.findall(body)])
        for key, body in FIGURE.findall(page.read_text())
    }


def made_clips(folder: Path) -> list[Path]:
    folder.mkdir()
    return [
        write_media(
            folder / f"clip-{number}.mp4",
            Pictures(times_of(3.0, 5, start=0.0), (64 + 16 * (number % 3), 48)),
            Track(tone(3.0, pitch=200.0 * (number + 1))),
        )
        for number in range(10)
    ]


def trained_on(capsys: Capture, folder: Path, clips: list[Path], segments: int) -> World:
    """Features of clips, packed, and a run trained on them, with nothing but commands."""
    clip, clap = tiny_clip(folder / "models" / "clip"), tiny_clap(folder / "models" / "clap")
    world = World(clips, folder / "run", clip, clap)
    sampling = ["--segments", str(segments), "--frames-per-segment", "2"]
    jomold(
        capsys, "extract", "--videos", *clips, "--out", folder / "features", "--jobs", "1", *sampling, *world.features
    )
    rows = [f"{path.stem}\t{MARKS[n % 4]},{MARKS[(n // 3 + 1) % 4]}" for n, path in enumerate(clips)]
    labels = folder / "labels.csv"
    labels.write_text("\n".join(["filename\tevent_labels", *rows]) + "\n")
    jomold(
        capsys, "pack", "--extracted", folder / "features", "--labels", labels, "--out", folder / "data",
        "--segments", str(segments),
    )  # fmt: skip
    jomold(
        capsys, "train", "--config", "base", f"data.shards={folder / 'data'}", f"run.dir={world.run}", "method=han",
        "train.epochs=1", "train.batch_size=4", "data.streams=1", "train.selection=last", "tracking.enabled=false",
        "distributed.device=cpu",
    )  # fmt: skip
    return world


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the world of made clips is kept once a test has made it."""
    return tmp_path_factory.mktemp("small")


def world_of(capsys: Capture, folder: Path) -> World:
    if (folder / "run").exists():
        clips = sorted((folder / "clips").iterdir())
        return World(clips, folder / "run", folder / "models" / "clip", folder / "models" / "clap")
    return trained_on(capsys, folder, made_clips(folder / "clips"), segments=3)


def look_at_clips(capsys: Capture, world: World, out: Path) -> dict[str, np.ndarray]:
    """One command from clips to timelines, each with pictures of its seconds, as the packed videos are parsed."""
    said = jomold(capsys, "show", world.run, "--videos", *world.clips, "--out", out, *world.features)
    assert said == f"10 timelines in {out}; all of them: {out / 'index.html'}\n"
    keys = [path.stem for path in world.clips]
    assert sorted(path.name for path in out.iterdir()) == sorted([*(f"{key}.png" for key in keys), "index.html"])
    found = shades(out / "index.html")
    assert list(found) == keys
    bodies = dict(FIGURE.findall((out / "index.html").read_text()))
    assert all(body.count('<img src="data:image/jpeg;base64,') in (3, 10) for body in bodies.values())
    assert all("Its labels are not known." in body for body in bodies.values())
    return found


def test_clips_come_to_timelines_as_packed_videos_do(small: Path, tmp_path: Path, capsys: Capture) -> None:
    world = world_of(capsys, small)
    found = look_at_clips(capsys, world, tmp_path / "files")
    keys = [path.stem for path in world.clips]
    jomold(capsys, "show", world.run, "--videos", *keys, "--out", tmp_path / "keys", "--media", world.clips[0].parent)
    packed = shades(tmp_path / "keys" / "index.html")
    assert list(packed) == keys
    text = (tmp_path / "keys" / "index.html").read_text()
    assert text.count("<img ") == 30
    assert "Labels: Speech, Dog." in text or "Labels: Dog, Speech." in text
    for key in keys:  # rows may differ, as the packed videos have labels; those that both have are alike
        common = {tuple(lane.round(2)) for lane in packed[key]}
        assert all(np.abs(np.array(list(common)) - lane).max(1).min() < 0.02 for lane in found[key])


@pytest.mark.slow
def test_real_clips_come_to_timelines(tmp_path: Path, capsys: Capture) -> None:
    clips = [*sorted((SHARED / "clips").glob("*.mp4")), SHARED / "llp" / "BjCEufrlXm4.mp4"]
    if len(clips) != 10 or not clips[-1].exists():
        pytest.skip("no ten real clips in ../shared")
    world = trained_on(capsys, tmp_path, clips, segments=10)
    found = look_at_clips(capsys, world, tmp_path / "shown")
    assert all(lanes.shape[1] == 10 for lanes in found.values())


def test_a_file_that_cannot_be_used_is_told_and_the_rest_is_shown(small: Path, tmp_path: Path, capsys: Capture) -> None:
    world = world_of(capsys, small)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film at all" * 100)
    words = ["show", world.run, "--out", tmp_path / "out", *world.features, "--videos"]
    said = jomold(capsys, *words, world.clips[0], bad)
    assert said.startswith(f"1 timeline in {tmp_path / 'out'}")
    assert str(bad) in said.splitlines()[1]
    assert str(bad) in (tmp_path / "out" / "index.html").read_text()
    assert str(bad) in jomold(capsys, *words, bad, code=2)


def test_a_model_takes_only_what_made_its_features(small: Path, tmp_path: Path, capsys: Capture) -> None:
    world = world_of(capsys, small)
    words = ["show", world.run, "--videos", world.clips[0], "--out", tmp_path / "out"]
    said = jomold(capsys, *words, code=2)
    assert said.count("lies in a folder of its own on each machine") == 2
    assert "--feature audio=clap:FOLDER" in said
    other = tiny_clip(tmp_path / "other", seed=1)
    given = ["--feature", f"frames=clip:{other}", *world.features[2:]]
    said = jomold(capsys, *words, *given, code=2)
    assert "in another way than those that the model of" in said
    assert "frames encoder.weights:" in said
    assert not (tmp_path / "out").exists()
    assert jomold(capsys, *words, *given, "--other-features").startswith("1 timeline in")
    said = jomold(capsys, *words, "--feature", f"audio=clip:{world.clip}", code=2)
    assert f"clip:{world.clip} makes frames, not audio" in said


def test_features_of_unknown_origin_are_told(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    clip = made_clips(tmp_path / "clips")[0]
    said = jomold(capsys, "show", finished.folder, "--videos", clip, code=2)
    assert said.count("nobody knows how the") == 3
    assert "train on features of jomold extract" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--videos", "0"], "--videos 0 asks for nothing"),
        (["--videos", "none.mp4"], "--videos none.mp4: there is no such file"),
        (["--videos", "test-x000001q", "test-000000"], "holds no video 'test-x000001q' among 88"),
        (["--videos", "KEY", "--videos", "none.mp4"], "takes keys or files, not both: KEY is no file, and none.mp4"),
        (["--videos", "-0A9suni5YA"], "holds no video '-0A9suni5YA' among 88"),
        (["--videos", "--4gqARaEJE"], "holds no video '--4gqARaEJE' among 88"),
        (["--pick", "differ"], "--pick differ compares runs; name two or more"),
        (["--pick", "worst", "--split", "train"], "--pick worst needs dense labels, and split 'train' of"),
        (["--split", "tset"], "the data set has no split 'tset'; it has: train, val, test"),
        (["--feature", "audio=clap:x"], "--feature says what makes features of video files, and --videos names none"),
        (["--media", "nowhere"], "--media nowhere is no folder of video files"),
        (["--shards", "nowhere"], "nowhere"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message(
    words: list[str], said: str, finished: Finished, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = jomold(capsys, "show", finished.folder, "--out", "out", *words, code=2)
    assert said in told
    assert told.startswith("error: ")
    assert "Traceback" not in told
    assert not Path("out").exists()


def test_runs_are_shown_side_by_side_by_what_sets_them_apart(
    tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    other = tmp_path / "other"
    jomold(
        capsys, "train", "--config", tiny.config, f"run.dir={other}", "method=han", "model.network=talnet",
        "train.selection=segment_audio", "train.epochs=1",
    )  # fmt: skip
    for pick in ("worst", "differ", "random"):
        out = tmp_path / pick
        jomold(capsys, "show", finished.folder, other, "--videos", "4", "--pick", pick, "--out", out)
        text = (out / "index.html").read_text()
        found = FIGURE.findall(text)
        assert len(found) == 4
        assert all(key.startswith("test-") for key, _ in found)
        assert re.search(r"<dt>jomold\b.*?</dt><dd><code>" + re.escape(str(finished.folder)), text)
        assert re.search(r"<dt>han, model\.network=talnet\b.*?</dt><dd><code>" + re.escape(str(other)), text)
        assert "segment score" in found[0][1]
    again = tmp_path / "again"
    jomold(capsys, "show", finished.folder, other, "--videos", "4", "--out", again)
    assert (again / "index.html").read_text() == (tmp_path / "random" / "index.html").read_text()


def write_few_categories(folder: Path) -> None:
    """A set of three of the categories of `tiny`."""
    names = CategorySet(CATEGORIES.names[:3])
    with DatasetWriter(folder, name="few", categories=names, segments=SEGMENTS, features=FEATURES) as writer:
        for split, count in {"train": 12, "val": 5, "test": 5}.items():
            videos = make_videos(count, prefix=split, dense=split != "train")
            few = [
                replace(
                    video,
                    labels=tuple(label for label in video.labels if label < len(names)),
                    dense=None if video.dense is None else video.dense[:, : len(names)],
                )
                for video in videos
            ]
            writer.write_split(split, few, dense=split != "train")
        writer.finish()


def test_runs_that_do_not_fit_are_told_together(
    tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture
) -> None:
    small = tmp_path / "small"
    write_few_categories(small)
    words = ["train", "--config", tiny.config, "method=han", "train.epochs=1", "train.batch_size=12"]
    jomold(capsys, *words, f"run.dir={tmp_path / 'run'}", f"data.shards={small}")
    gone = tmp_path / "moved"
    small.rename(gone)
    said = jomold(capsys, "show", tmp_path / "run", "--videos", "2", code=2)
    assert "If the run's data set has moved, name its place with --shards" in said
    shown = jomold(capsys, "show", tmp_path / "run", "--videos", "2", "--shards", gone)
    assert shown.startswith(f"2 timelines in {tmp_path / 'run' / 'shown'}")  # where nothing else is said
    said = jomold(capsys, "show", finished.folder, tmp_path / "run", code=2)
    assert (
        f"{tmp_path / 'run'} cannot be shown beside {finished.folder}: they have different categories (3 and 5)" in said
    )
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    said = jomold(capsys, "show", finished.folder, tmp_path / "run", code=2)
    assert "is no weights file, checkpoint or run folder with a model in it" in said
