"""Label files: what they say, what is passed over and named, and what stops."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.data.packing.annotations import AUDIO_FILE, VISUAL_FILE, WEAK_FILES, read_annotations
from jomold_dist.data.packing.dense_labels import fill_truth, read_events
from jomold_dist.data.packing.label_files import TableReport
from jomold_dist.data.packing.weak_labels import parse_weak
from jomold_dist.errors import DataError
from jomold_dist.labels import LLP_CATEGORIES, CategorySet

LLP = Path(__file__).resolve().parents[2].parent / "shared" / "llp"
needs_llp = pytest.mark.skipif(not LLP.is_dir(), reason="LLP's label files are not beside the checkout")

CATEGORIES = CategorySet(("Speech", "Dog", "Cello"))
WEAK_HEADER = "filename\tevent_labels"
DENSE_HEADER = "filename\tonset\toffset\tevent_labels"
TRAIN, VAL, TEST = "tttttttttt1_0_10", "vvvvvvvvvv1_8.5_18.5", "eeeeeeeeee1_30_40"


def sound_folder(folder: Path) -> Path:
    """Label files without any defect: two videos in train, one each in val and test."""
    contents = {
        WEAK_FILES["train"]: [WEAK_HEADER, f"{TRAIN}\tSpeech,Dog", "-_tttttttt2_0_10\tCello"],
        WEAK_FILES["val"]: [WEAK_HEADER, f"{VAL}\tDog"],
        WEAK_FILES["test"]: [WEAK_HEADER, f"{TEST}\tCello,Speech"],
        AUDIO_FILE: [DENSE_HEADER, f"{VAL}\t0\t4\tDog", f"{VAL}\t2\t6\tDog", f"{TEST}\t9\t10\tSpeech"],
        VISUAL_FILE: [DENSE_HEADER, f"{TEST}\t0\t10\tCello", f"{VAL}\t7\t8\tDog"],
    }
    folder.mkdir(exist_ok=True)
    for name, lines in contents.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_annotations(folder, CATEGORIES)
    return str(caught.value)


def test_sound_files_become_arrays(tmp_path: Path) -> None:
    annotations = read_annotations(sound_folder(tmp_path), CATEGORIES)
    assert annotations.findings == ()
    assert list(annotations.splits) == ["train", "val", "test"]
    train, val, test = annotations.splits.values()
    assert train.keys == ("tttttttttt1", "-_tttttttt2")
    assert train.filenames == (TRAIN, "-_tttttttt2_0_10")
    assert train.labels.tolist() == [[True, True, False], [False, False, True]]
    assert train.dense is None
    assert val.keys == ("vvvvvvvvvv1",)
    assert val.dense is not None
    assert test.dense is not None
    assert val.dense.dtype == np.uint8
    assert val.dense.shape == (1, 2, 3, 10)
    expected = np.zeros((2, 3, 10), dtype=np.uint8)  # audio first; a category is the union of its rows
    expected[0, 1, 0:6] = 1
    expected[1, 1, 7] = 1
    np.testing.assert_array_equal(val.dense[0], expected)
    expected[:] = 0
    expected[0, 0, 9] = 1
    expected[1, 2, :] = 1
    np.testing.assert_array_equal(test.dense[0], expected)


def test_windows_line_ends_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "weak.csv"
    path.write_bytes(f"\ufeff{WEAK_HEADER}\r\n\r\n{TRAIN}\tSpeech, Dog\r\n\r\n".encode())
    report = TableReport(path)
    weak = parse_weak(report, CATEGORIES)
    assert report.sound
    assert weak.filenames == (TRAIN,)
    assert weak.labels.tolist() == [[True, True, False]]


def test_harmless_defects_are_counted_and_named(tmp_path: Path) -> None:
    folder = sound_folder(tmp_path)
    append(folder / WEAK_FILES["train"], "tttttttttt3_0_10\tDog,Dog")
    append(
        folder / AUDIO_FILE,
        "vvvvvvvvvv1_9_19\t0\t5\tCello",  # the id of a video, but not its name
        "nobody_0_10\t0\t5\tCello",
        "nobody_0_10\t5\t6\tCello",
        f"{VAL}\t0\t4\tDog",
        f"{TEST}\t9\t0\tCello",
        f"{TEST}\t3\t3\tCello",
    )
    annotations = read_annotations(folder, CATEGORIES)
    assert annotations.findings == (
        "AVVP_train.csv: 1 row naming a label twice: tttttttttt3_0_10 (line 4)",
        f"AVVP_eval_audio.csv: 2 rows with offset ≤ onset: {TEST} (lines 9, 10)",
        f"AVVP_eval_audio.csv: 1 row repeating an earlier row: {VAL} (line 8)",
        "AVVP_eval_audio.csv: 3 rows matching no video (2 names): vvvvvvvvvv1_9_19 (line 5), nobody_0_10 (lines 6, 7)",
    )
    sound = read_annotations(sound_folder(tmp_path / "sound"), CATEGORIES)
    for split in ("val", "test"):
        np.testing.assert_array_equal(annotations.splits[split].dense, sound.splits[split].dense)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("AVVP_train.csv", "tttttttttt3_0_10\tSpeach", "line 4: unknown category 'Speach' (did you mean 'Speech'?)"),
        ("AVVP_train.csv", "tttttttttt3_0_10\t", "line 4: the video tttttttttt3_0_10 has no labels"),
        ("AVVP_train.csv", "tttttttttt3_0_10", "line 4: the video tttttttttt3_0_10 has no labels"),
        ("AVVP_train.csv", "tttttttttt1_5_15\tDog", "line 4: the video tttttttttt1 stands already in line 2"),
        ("AVVP_train.csv", "tttttttttt3_0_10\tDog\tDog", "line 4: malformed row"),
        (
            "AVVP_train.csv",
            "a.b/c_0_10\tDog",
            "line 4: malformed name, expected <11-character id>_<start>_<end> ('a.b/c_0",
        ),
        (
            "AVVP_train.csv",
            "#NAME?\tDog",
            "line 4: a spreadsheet took the name for a formula; take it from the published",
        ),
        ("AVVP_train.csv", "tttttttttt_0_10\tDog", "has the id lost or won a character? ('tttttttttt_0_10')"),
        ("AVVP_train.csv", "tttttttttt33_0_10\tDog", "has the id lost or won a character? ('tttttttttt33_0_10')"),
        ("AVVP_train.csv", 'tttttttttt3_0_10\t"Dog', 'line 4: the double quotes (") round its fields do not pair'),
        ("AVVP_train.csv", 'tttttttttt3_0_10\t"Dog""', 'fields do not pair (\'tttttttttt3_0_10\\t"Dog""\')'),
        ("AVVP_test_pd.csv", "tttttttttt1_5_15\tDog", "AVVP_train.csv and AVVP_test_pd.csv share 1 of their videos"),
        ("AVVP_eval_audio.csv", f"{VAL}\t0\t5\tdog", "line 5: unknown category 'dog' (did you mean 'Dog'?)"),
        ("AVVP_eval_audio.csv", f"{VAL}\t0\t5", "line 5: malformed row"),
        ("AVVP_eval_audio.csv", f"{VAL}\tzero\t5\tDog", "line 5: onset and offset are whole seconds from 0 to 10"),
        (
            "AVVP_eval_visual.csv",
            f"{VAL}\t0\t11\tDog",
            "line 4: onset and offset are whole seconds from 0 to 10, not '11'",
        ),
        ("AVVP_eval_visual.csv", f"{VAL}\t-1\t5\tDog", "line 4: onset and offset are whole seconds"),
        ("AVVP_eval_visual.csv", f"{VAL}\t0.5\t5\tDog", "line 4: onset and offset are whole seconds"),
        ("AVVP_eval_visual.csv", f"{VAL}\tnan\t5\tDog", "line 4: onset and offset are whole seconds"),
    ],
)
def test_a_harmful_row_is_named_with_file_and_line(tmp_path: Path, file: str, line: str, message: str) -> None:
    folder = sound_folder(tmp_path)
    append(folder / file, line)
    text = refusal(folder)
    assert message in text
    assert file in text
    assert "\n" not in text  # one problem, one line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (WEAK_HEADER.encode(), "the file is empty below its header"),
        (b"filename,event_labels\nx,Dog\n", "line 1: the header is"),
        (b"filename\tlabels\nx\tDog\n", "line 1: the header is"),
        (b"filename\tevent_labels\n\xff\xfe\tDog\n", "is not UTF-8 text"),
        (
            "\ufefffilename\tevent_labels\nx\tDog\n".encode("utf-16-le"),
            "is UTF-16 text, as spreadsheets write it; save",
        ),
        (None, "the file does not exist"),
    ],
)
@pytest.mark.parametrize("name", [WEAK_FILES["val"], VISUAL_FILE])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    folder = sound_folder(tmp_path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content.replace(b"filename\tevent_labels", _header(name).encode()))
    text = refusal(folder)
    assert message in text
    assert name in text


def _header(name: str) -> str:
    return WEAK_HEADER if name in WEAK_FILES.values() else DENSE_HEADER


def quoted(folder: Path, line_end: str) -> None:
    """Puts quotes round every field of every file."""
    for path in folder.iterdir():
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
        text = line_end.join("\t".join(f'"{field}"' for field in row) for row in rows)
        path.write_bytes((text + line_end).encode())


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_quoted_fields_are_what_they_are_without_quotes(tmp_path: Path, line_end: str) -> None:
    plain, folder = (read_annotations(sound_folder(tmp_path), CATEGORIES), sound_folder(tmp_path / "quoted"))
    quoted(folder, line_end)
    annotations = read_annotations(folder, CATEGORIES)
    assert annotations.findings == plain.findings
    for split, expected in plain.splits.items():
        assert annotations.splits[split].filenames == expected.filenames
        np.testing.assert_array_equal(annotations.splits[split].labels, expected.labels)
        if expected.dense is not None:
            np.testing.assert_array_equal(annotations.splits[split].dense, expected.dense)
    append(folder / WEAK_FILES["train"], 'tttttttttt3_0_10\t"Dog,Cat"')
    assert "AVVP_train.csv, line 4: unknown category 'Cat'" in refusal(folder)


def test_a_quote_swallows_no_further_line(tmp_path: Path) -> None:
    folder = sound_folder(tmp_path)
    append(
        folder / WEAK_FILES["train"], 'tttttttttt3_0_10\t"Dog', 'tttttttttt4_0_10\tCello"', "tttttttttt5_0_10\tSpeach"
    )
    text = refusal(folder)
    assert text.startswith("3 problems:")
    assert """AVVP_train.csv, line 4: the double quotes (") round its fields do not pair""" in text
    assert """AVVP_train.csv, line 5: unknown category 'Cello"'""" in text
    assert "AVVP_train.csv, line 6: unknown category 'Speach'" in text


@pytest.mark.parametrize("name", [WEAK_FILES["train"], AUDIO_FILE])
def test_a_file_that_is_no_regular_one_is_not_waited_for(tmp_path: Path, name: str) -> None:
    path = sound_folder(tmp_path) / name
    path.unlink()
    os.mkfifo(path)
    assert refusal(tmp_path) == f"{path}: cannot be read (it is a FIFO, not a regular file)"
    path.unlink()
    path.mkdir()
    assert refusal(tmp_path) == f"{path}: cannot be read (it is a folder, not a file)"
    path.rmdir()
    path.symlink_to("/dev/zero")
    assert refusal(tmp_path) == f"{path}: cannot be read (it is a device, not a regular file)"
    path.unlink()
    path.symlink_to(path.name)
    assert refusal(tmp_path) == f"{path}: cannot be read (Too many levels of symbolic links)"


def rename_in(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("file", [AUDIO_FILE, VISUAL_FILE])
def test_a_dense_file_that_names_the_videos_otherwise_is_refused(tmp_path: Path, file: str) -> None:
    path = sound_folder(tmp_path) / file
    rename_in(path, "_30_40", "_30.0_40.0")
    rename_in(path, "_8.5_18.5", "_8.50_18.50")
    rows = len(path.read_text().splitlines()) - 1
    forms = "'eeeeeeeeee1_30.0_40.0' here is 'eeeeeeeeee1_30_40'"
    if file == AUDIO_FILE:  # a row of val comes first
        forms = "'vvvvvvvvvv1_8.50_18.50' here is 'vvvvvvvvvv1_8.5_18.5'"
    assert refusal(tmp_path) == (
        f"{path}: {rows} of {rows} rows match no video by its whole name: {forms} in the weak label file; write the "
        "names here as they are written there"
    )


def test_a_dense_file_that_names_the_videos_of_one_split_otherwise_is_refused(tmp_path: Path) -> None:
    path = sound_folder(tmp_path) / AUDIO_FILE
    append(path, f"{TEST}\t1\t2\tSpeech", f"{TEST}\t3\t4\tSpeech", f"{VAL}\t1\t2\tSpeech")
    rename_in(path, f"{TEST}\t9", "eeeeeeeeee1_30.0_40.0\t9")
    assert len(read_annotations(tmp_path, CATEGORIES).findings) == 1  # one of three rows
    rename_in(path, f"{TEST}\t1", "eeeeeeeeee1_30.0_40.0\t1")
    assert refusal(tmp_path) == (
        f"{path}: 2 of 3 rows about videos of AVVP_test_pd.csv do not have their whole name: 'eeeeeeeeee1_30.0_40.0' "
        f"here is '{TEST}' in the weak label file; write the names here as they are written there"
    )


def test_a_dense_file_that_gives_nothing_to_one_split_is_refused(tmp_path: Path) -> None:
    path = sound_folder(tmp_path) / AUDIO_FILE
    nothing = f"{path}: no row gives any video of AVVP_test_pd.csv an event"
    rename_in(path, TEST, "fffffffffff_0_10")
    assert refusal(tmp_path) == (
        f"{nothing}; 'fffffffffff_0_10', for instance, has no such video's id; are these the dense labels of another "
        "data set?"
    )
    rename_in(path, "fffffffffff_0_10\t9\t10", f"{TEST}\t9\t9")
    assert refusal(tmp_path) == f"{nothing}; are these the dense labels of another data set?"


def test_dense_labels_of_training_videos_are_passed_over(tmp_path: Path) -> None:
    plain = read_annotations(sound_folder(tmp_path), CATEGORIES)
    append(tmp_path / AUDIO_FILE, *(f"{TRAIN}\t{t}\t{t + 1}\tDog" for t in range(9)))
    annotations = read_annotations(tmp_path, CATEGORIES)
    assert annotations.findings == (
        f"AVVP_eval_audio.csv: 9 rows of training videos, of which no dense labels are used: {TRAIN} (lines "
        "5, 6, 7, 8, 9, 10, 11, 12, 13)",
    )
    np.testing.assert_array_equal(annotations.splits["val"].dense, plain.splits["val"].dense)


def test_all_harmful_defects_come_in_one_message(tmp_path: Path) -> None:
    folder = sound_folder(tmp_path)
    append(folder / WEAK_FILES["train"], "tttttttttt3_0_10\tCat", "tttttttttt4_0_10\tCat", "tttttttttt5_0_10\t")
    append(folder / AUDIO_FILE, f"{VAL}\t0\t99\tDog")
    (folder / VISUAL_FILE).unlink()
    text = refusal(folder)
    assert text.startswith("4 problems:")
    assert "AVVP_train.csv, lines 4, 5: unknown category 'Cat'" in text  # the same mistake in two rows is one problem
    assert "AVVP_train.csv, line 6: the video tttttttttt5_0_10 has no labels" in text
    assert "AVVP_eval_audio.csv, line 5:" in text
    assert "AVVP_eval_visual.csv: the file does not exist" in text


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'} does not exist; it must hold" in refusal(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    assert f"{tmp_path / 'fifo'} is not a folder; it must hold" in refusal(tmp_path / "fifo")


def test_dense_rows_match_by_the_whole_name(tmp_path: Path) -> None:
    path = tmp_path / "dense.csv"
    path.write_text(f"{DENSE_HEADER}\nclip0002_2_12\t2\t4\tDog\nclip0002_2_13\t5\t6\tDog\n", encoding="utf-8")
    report = TableReport(path)
    names = ["clip0000_0_10", "clip0002_2_12"]
    dense = fill_truth(report, read_events(report, CATEGORIES, 7), (3, 7), names)
    assert dense.truth.dtype == np.bool_
    assert np.argwhere(dense.truth).tolist() == [[1, 1, 2], [1, 1, 3]]
    assert dense.truth.shape == (2, 3, 7)
    assert report.findings == ["dense.csv: 1 row matching no video (1 name): clip0002_2_13 (line 3)"]


@needs_llp
@pytest.mark.parametrize(("audio_file", "rows", "names"), [(AUDIO_FILE, 14, 8), ("AVVP_eval_audio_2022.csv", 17, 10)])
def test_the_real_files_hold_the_known_defects_and_no_other(audio_file: str, rows: int, names: int) -> None:
    annotations = read_annotations(LLP, audio_file=audio_file)
    assert [finding.rsplit(": ", 1)[0] for finding in annotations.findings] == [
        "AVVP_test_pd.csv: 1 row naming a label twice",
        f"{audio_file}: 6 rows with offset ≤ onset",
        f"{audio_file}: 8 rows repeating an earlier row",
        f"{audio_file}: {rows} rows matching no video ({names} names)",
        "AVVP_eval_visual.csv: 11 rows matching no video (7 names)",
    ]
    assert annotations.findings[3].count("(line") == names


@needs_llp
def test_the_real_labels_are_those_of_the_published_statistics() -> None:
    splits = read_annotations(LLP).splits
    assert [len(split) for split in splits.values()] == [10000, 649, 1200]
    counts = splits["train"].labels.sum(axis=0)
    assert counts.sum() == 16057
    assert counts[[LLP_CATEGORIES.index(name) for name in ("Speech", "Dog", "Telephone_bell_ringing")]].tolist() == [
        4988,
        761,
        99,
    ]
    labels = np.concatenate([splits["val"].labels, splits["test"].labels])
    dense = np.concatenate([splits["val"].dense, splits["test"].dense])
    present = dense.any(axis=-1)  # (N, 2, C)
    assert labels.sum() == 3348
    assert present[:, 0][labels].mean() == pytest.approx(0.947, abs=5e-4)
    assert present[:, 1][labels].mean() == pytest.approx(0.645, abs=5e-4)
    assert present.all(axis=1)[labels].mean() == pytest.approx(0.603, abs=5e-4)


@needs_llp
def test_the_newer_audio_file_differs_only_in_the_videos_that_were_misnamed() -> None:
    new, old = (read_annotations(LLP, audio_file=name).splits for name in (AUDIO_FILE, "AVVP_eval_audio_2022.csv"))
    differs = {s: (new[s].dense != old[s].dense).any(axis=(1, 2, 3)) for s in ("val", "test")}
    assert not differs["val"].any()
    assert differs["test"].sum() == 2
