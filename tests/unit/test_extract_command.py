"""Mistakes with `jomold extract`, and what is missing, are told before anything is made."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from jomold_dist.commands import extract
from tests.unit.test_pack_command import command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--feature", "motion=clip"], "'motion=clip': clip makes frames, not motion"),
        (["--feature", "frames=klip"], "'klip' is none of .*did you mean 'clip'"),
        (["--feature", "clip"], r"is not NAME=KIND\[:MODEL\]"),
        (["--feature", "audio=clap", "--feature", "audio=vggish:x"], "names one feature twice"),
        (["--jobs", "0"], "--jobs must be at least 1, not 0"),
        (["--segments", "0"], "segments"),
        (["--frames-per-segment", "1000", "--segments", "30"], "30 segments of 1000 frames are more than the 20,000"),
        (["--out", "s3://bucket/x"], "'s3://bucket/x' is an address, and a path on this machine is wanted"),
        (["--labels", "others.csv"], "none of the files of --videos is of a video that --labels names, such as other"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    Path("others.csv").write_text("key,labels\nother,dog\n")
    said = command("--videos", ".", "--out", "out", *words, main=extract.main)
    assert said.code == 2
    assert re.search(message, said.err)
    assert said.err.count("error:") == 1
    assert not Path("out").exists()


def test_places_are_gathered_from_several_options(tmp_path: Path) -> None:
    said = command(
        "--videos", tmp_path / "one", "--videos", tmp_path / "two", "--out", tmp_path / "o", main=extract.main
    )
    assert re.search(r"one does not exist(.|\n)*two does not exist", said.err)


def test_help_tells_of_kinds_and_their_options() -> None:
    said = command("--help", main=extract.main)
    assert "frames=clip: MODEL is openai/clip-vit-large-patch14 unless named" in said.out
    assert "+quantised: whitened, then in steps of 0 to 255" in said.out


@pytest.mark.parametrize("missing", ["av", "transformers"])
def test_without_the_extra_a_message_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)  # as if it was not installed
    (tmp_path / "a.mp4").touch()
    said = command("--videos", tmp_path, "--out", tmp_path / "out", "--jobs=1", main=extract.main)
    assert said.code == 2
    assert "pip install 'jomold_dist[extract]'" in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
