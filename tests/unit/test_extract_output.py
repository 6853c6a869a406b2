"""What `jomold extract` takes of folders, and what it leaves in its own: no decoder and no model is needed for that."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.data.format.extraction_file import ExtractedFeature, ExtractionFile, read_extraction
from jomold_dist.errors import DataError
from jomold_dist.extraction.jobs.job import Outcome, npy_bytes
from jomold_dist.extraction.jobs.journal import FileState, read_journal
from jomold_dist.extraction.jobs.media_list import find_media
from jomold_dist.extraction.jobs.output import OutputFolder

AUDIO = ExtractedFeature("audio", (4, 3), {"encoder": {"kind": "clap"}, "sampling": {"segments": 4}})
FRAMES = ExtractedFeature("frames", (8, 5), {"encoder": {"kind": "clip"}, "sampling": {"segments": 4}})
WANTED = ExtractionFile(4, 1.0, {"audio": AUDIO, "frames": FRAMES})
SOUND_ALONE = replace(WANTED, features={"audio": AUDIO})
PICTURES_ALONE = replace(WANTED, features={"frames": FRAMES})


def outcome(key: str, wanted: ExtractionFile = WANTED, notes: tuple[tuple[str, str], ...] = ()) -> Outcome:
    arrays = {name: npy_bytes(np.full(own.shape, 0.5)) for name, own in wanted.features.items()}
    return Outcome(key, arrays, notes)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video")
    return path


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.open()))


def test_files_of_folders_are_found_by_their_endings_and_named_ones_whatever_theirs(tmp_path: Path) -> None:
    names = [
        "b/deep/two.MKV",
        "one.mp4",
        "notes.txt",
        "song.wav",
        "same.mp4",
        "b/same.webm",
        "my clip.mov",
        "odd.bin",
        "._one.mp4",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again.mp4").symlink_to(tmp_path / "one.mp4")
    found = find_media([tmp_path, tmp_path / "odd.bin", tmp_path / "one.mp4"], with_sounds=False)
    assert list(found.files) == ["again", "odd", "one", "two"]  # a link is a name of its own, as labels may have it
    assert {path.name for path in found.refused} == {"same.mp4", "same.webm", "my clip.mov"}
    assert "b/same.webm is called same too" in found.refused[tmp_path / "same.mp4"]
    assert "rename the file" in found.refused[tmp_path / "my clip.mov"]
    assert "song" in find_media([tmp_path], with_sounds=True).files
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"nowhere does not exist(.|\n)*empty: no file there ends"):
        find_media([tmp_path / "nowhere", tmp_path / "empty"], with_sounds=False)


def test_what_was_done_is_known_until_the_file_the_choices_or_the_features_change(tmp_path: Path, source: Path) -> None:
    out, state = tmp_path / "out", FileState.of(source)
    with OutputFolder(out, WANTED) as folder:
        assert not folder.is_done("a", state)
        folder.add(outcome("a", notes=(("silent", "its sound is silent"),)), source, state)
        assert folder.is_done("a", state)
    assert np.load(out / "frames" / "a.npy").shape == (8, 5)
    assert rows(out / "notes.csv") == [["key", "kind", "note"], ["a", "silent", "its sound is silent"]]
    assert not (out / "failed.csv").exists()
    assert read_extraction(out) == WANTED
    with OutputFolder(out, WANTED) as folder:
        assert folder.is_done("a", state)
        assert not folder.is_done("a", replace_state(source))
        assert not folder.is_done("b", state)
        (out / "audio" / "a.npy").write_bytes(b"cut")
        assert not folder.is_done("a", state)
        folder.add(outcome("a"), source, state)
    (out / "extraction.json").unlink()
    with pytest.raises(DataError, match=r"out/audio holds files, and no extraction\.json"):
        OutputFolder(out, WANTED)


def replace_state(source: Path) -> FileState:
    os.utime(source, ns=(1, 1))
    return FileState.of(source)


def test_features_are_added_to_those_that_are_there(tmp_path: Path, source: Path) -> None:
    out, state = tmp_path / "out", FileState.of(source)
    for wanted in (SOUND_ALONE, PICTURES_ALONE):
        with OutputFolder(out, wanted) as folder:
            assert not folder.is_done("a", state)
            folder.add(outcome("a", wanted, ((next(iter(wanted.features)), "short"),)), source, state)
    assert read_extraction(out) == WANTED
    with OutputFolder(out, WANTED) as folder:
        assert folder.is_done("a", state)
    assert rows(out / "notes.csv")[1:] == [["a", "audio", "short"], ["a", "frames", "short"]]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(WANTED, segments=5), "holds features of 4 segments of 1 s, not of 5 of 1 s; choose another --out"),
        (
            replace(WANTED, features={"audio": replace(AUDIO, extraction={"encoder": {"kind": "vggish"}})}),
            "holds audio of other choices: encoder.kind: clap there, vggish now; sampling.segments: 4 there, nothing",
        ),
        (
            replace(WANTED, features={"motion": replace(FRAMES, folder="audio")}),
            "motion would lie in the folder audio, where audio lies",
        ),
    ],
)
def test_other_choices_are_refused_with_what_differs(
    other: ExtractionFile, message: str, tmp_path: Path, source: Path
) -> None:
    with OutputFolder(tmp_path, WANTED) as folder:
        folder.add(outcome("a"), source, FileState.of(source))
    before = (tmp_path / "extraction.json").read_bytes()
    with pytest.raises(DataError, match=message):
        OutputFolder(tmp_path, other)
    assert (tmp_path / "extraction.json").read_bytes() == before


def test_choices_at_which_nothing_was_extracted_are_forgotten(tmp_path: Path, source: Path) -> None:
    with OutputFolder(tmp_path, WANTED) as folder:
        folder.fail(source, "it is empty")
    other = replace(SOUND_ALONE, segments=5)
    with OutputFolder(tmp_path, other):
        pass
    assert read_extraction(tmp_path) == other


def test_what_a_kill_has_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / ".a.npy.77-abcd.partial").touch()
    with OutputFolder(tmp_path, WANTED):
        assert list((tmp_path / "audio").iterdir()) == []


def test_failures_are_listed_until_they_are_mended(tmp_path: Path, source: Path) -> None:
    out, state = tmp_path / "out", FileState.of(source)
    with OutputFolder(out, WANTED) as folder:
        folder.add(Outcome("a", problem="it is cut off"), source, state)
        assert not folder.is_done("a", state)
    assert rows(out / "failed.csv") == [["file", "problem"], [str(source), "it is cut off"]]
    with OutputFolder(out, WANTED) as folder:
        folder.add(outcome("a"), source, state)
    assert not (out / "failed.csv").exists()


def test_names_that_are_no_text_are_listed(tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "out", WANTED) as folder:
        folder.fail(tmp_path / os.fsdecode(b"b\xff.mp4"), "it is empty")
    assert rows(tmp_path / "out" / "failed.csv")[1] == [f"{tmp_path}/b\\udcff.mp4", "it is empty"]


def test_a_cut_journal_loses_its_last_line_alone(tmp_path: Path, source: Path) -> None:
    out, state = tmp_path / "out", FileState.of(source)
    with OutputFolder(out, WANTED) as folder:
        for key in ("a", "b"):
            folder.add(outcome(key), source, state)
    journal = out / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    with OutputFolder(out, WANTED) as folder:
        assert [folder.is_done(key, state) for key in ("a", "b")] == [True, False]
        folder.add(outcome("b"), source, state)
    assert list(read_journal(out)) == ["a", "b"]


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        OutputFolder(tmp_path, WANTED),
        pytest.raises(DataError, match=f"is being written by process {os.getpid()} on"),
    ):
        OutputFolder(tmp_path, WANTED)
    with OutputFolder(tmp_path, WANTED):
        pass


def test_what_cannot_be_written_is_told(tmp_path: Path, source: Path) -> None:
    with pytest.raises(DataError, match=r"--out .*a\.mp4 cannot be written: .*File exists"):
        OutputFolder(source, WANTED)
    with OutputFolder(tmp_path / "out", WANTED) as folder:
        (tmp_path / "out" / "audio").rmdir()
        with pytest.raises(DataError, match=r"out cannot be written: .*No such file"):
            folder.add(outcome("a"), source, FileState.of(source))
