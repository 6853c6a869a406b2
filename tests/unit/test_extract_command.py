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
