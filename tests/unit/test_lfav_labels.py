"""LFAV's label files: what they say, how long videos become ten segments, what is passed over and what stops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.data.packing.annotations import Annotations
from jomold_dist.data.packing.dense_labels import Event, fill_truth
from jomold_dist.data.packing.label_files import TableReport
from jomold_dist.data.packing.lfav_labels import LFAV_CATEGORIES, read_lfav
from jomold_dist.errors import DataError

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "lfav"
needs_lfav = pytest.mark.skipif(not REAL.is_dir(), reason="LFAV's label files are not beside the checkout")

WEAK = "filename\tevent_labels"
DENSE = "filename\tonset\toffset\tevent_labels"
TRAIN, OTHER, VAL, TEST = "tttttttttt1", "-_tttttttt2", "vvvvvvvvvv1", "eeeeeeeeee1"
SPEECH, CAR, DOG = (LFAV_CATEGORIES.index(name) for name in ("speech", "car", "dog"))

SOUND = {
    "train_weakly.csv": [WEAK, f"{TRAIN}\tspeech,car", f"{OTHER}\tdog"],
    "train_audio_weakly.csv": [WEAK, f"{OTHER}\tdog", f"{TRAIN}\tspeech"],  # in another order
    "train_visual_weakly.csv": [WEAK, f"{TRAIN}\tspeech,car", f"{OTHER}\tdog"],
    "val_weak_av.csv": [WEAK, f"{VAL}\tspeech,car"],
    "val_audio_weakly.csv": [WEAK, f"{VAL}\tspeech"],
    "val_visual_weakly.csv": [WEAK, f"{VAL}\tcar"],
    "val_audio.csv": [DENSE, f"{VAL}\t0\t52\tspeech", f"{VAL}\t81\t83\tspeech"],
    "val_visual.csv": [DENSE, f"{VAL}\t90\t200\tcar"],
    "test_weak_av.csv": [WEAK, f"{TEST}\tdog"],
    "test_audio_weakly.csv": [WEAK, f"{TEST}\tdog"],
    "test_visual_weakly.csv": [WEAK, f"{TEST}\tdog"],
    "test_audio.csv": [DENSE, f"{TEST}\t0\t5\tdog"],
    "test_visual.csv": [DENSE, f"{TEST}\t1\t2\tdog"],
}


def lfav(folder: Path, more: dict[str, list[str]] | None = None, replaced: dict[str, list[str]] | None = None) -> Path:
    """A sound folder, with `more` rows in some files and other content in those that are `replaced`."""
    folder.mkdir(exist_ok=True)
    for name, lines in (SOUND | (replaced or {})).items():
        (folder / name).write_text("\n".join([*lines, *(more or {}).get(name, [])]) + "\n", encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_lfav(folder)
    return str(caught.value)


def segments(annotations: Annotations, split: str, modality: int, category: int) -> list[int]:
    dense = annotations.splits[split].dense
    assert dense is not None
    return np.flatnonzero(dense[0, modality, category]).tolist()


def test_labels_and_what_is_present_of_them(tmp_path: Path) -> None:
    annotations = read_lfav(lfav(tmp_path))
    assert annotations.findings == ()
    train = annotations.splits["train"]
    assert train.keys == train.filenames == (TRAIN, OTHER)
    assert train.dense is None
    assert train.present is not None
    assert {(i, c) for i, c in np.argwhere(train.labels).tolist()} == {(0, SPEECH), (0, CAR), (1, DOG)}
    wanted = {(0, 0, SPEECH), (0, 1, SPEECH), (0, 1, CAR), (1, 0, DOG), (1, 1, DOG)}
    assert {tuple(place) for place in np.argwhere(train.present).tolist()} == wanted
    assert {name: len(split) for name, split in annotations.splits.items()} == {"train": 2, "val": 1, "test": 1}


def test_a_video_lasts_until_its_last_event_and_its_segments_share_that_time(tmp_path: Path) -> None:
    """200 seconds, of which the sounds alone would tell 83: 20 s a segment; and 5 seconds: half a second a segment."""
    annotations = read_lfav(lfav(tmp_path))
    assert segments(annotations, "val", 0, SPEECH) == [0, 1, 2, 4]  # 0–52 s; 81–83 s is within 80–100
    assert segments(annotations, "val", 1, CAR) == [5, 6, 7, 8, 9]  # 90 s is as near to 80 as to 100
    assert segments(annotations, "test", 0, DOG) == list(range(10))
    assert segments(annotations, "test", 1, DOG) == [2, 3]
    assert read_lfav(tmp_path, segments=4).splits["val"].dense.shape == (1, 2, 35, 4)  # type: ignore[union-attr]


@given(st.integers(1, 1200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1), st.integers(1, n))))
def test_no_event_is_lost_nor_moved_by_more_than_half_a_segment(times: tuple[int, int, int]) -> None:
    length, onset, offset = times
    report = TableReport(Path("x.csv"))
    event = Event(2, "v", onset, offset, 0)
    found = fill_truth(report, [event], (1, 10), ["v"], lengths={"v": length}).truth[0, 0]
    on = np.flatnonzero(found)
    if offset <= onset:
        assert not len(on)
        return
    assert on.tolist() == list(range(on[0], on[-1] + 1))
    first, end = on[0] * length, (on[-1] + 1) * length  # in tenths of a second, which are whole
    if len(on) > 1:
        assert 2 * abs(first - 10 * onset) <= length
        assert 2 * abs(end - 10 * offset) <= length
    else:
        assert 2 * first - length <= 10 * (onset + offset) <= 2 * end + length
    if length == 10:
        assert on.tolist() == list(range(onset, offset))


def test_a_training_label_that_neither_modality_has_is_told(tmp_path: Path) -> None:
    replaced = {"train_audio_weakly.csv": [WEAK, f"{TRAIN}\tspeech", f"{OTHER}\tsilent"]}
    replaced |= {"train_visual_weakly.csv": [WEAK, f"{TRAIN}\tspeech", f"{OTHER}\tdog"]}
    (finding,) = read_lfav(lfav(tmp_path, {}, replaced)).findings[:1]
    assert finding == f"train_weakly.csv: 1 row with a label that neither modality has: {TRAIN} (line 2)"


def test_harmless_defects_are_counted_and_named_with_their_lines(tmp_path: Path) -> None:
    more = {
        "val_audio.csv": [f"{VAL}\t7\t7\tspeech", f"{VAL}\t0\t52\tspeech"],
        "val_visual.csv": [f"{VAL}\t112\t116117\tcar", "nobodynobod\t0\t9\tdog"],
    }
    replaced = {
        "train_audio_weakly.csv": [WEAK, f"{TRAIN}\tspeech,speech", f"{OTHER}\tsilent"],
        "val_visual_weakly.csv": [WEAK, f"{VAL}\tcar,train,dog"],
        "test_visual.csv": [DENSE, f"{TEST}\t1\t1\tdog", f"{OTHER}\t1\t2\tdog"],
    }
    folder = lfav(tmp_path, more, replaced)
    (folder / "test_weak_av.csv").write_text(f"{WEAK}\n{TEST}\tdog,car\n", encoding="utf-8")
    (folder / "test_visual_weakly.csv").write_text(f"{WEAK}\n{TEST}\tdog,car\n", encoding="utf-8")
    (folder / "test_visual.csv").write_text(f"{DENSE}\n{TEST}\t1\t1\tdog\n{TEST}\t1\t2\tcar\n", encoding="utf-8")
    annotations = read_lfav(folder)
    assert set(annotations.findings) == {
        f"train_audio_weakly.csv: 1 row naming a label twice: {TRAIN} (line 2)",
        f"train_audio_weakly.csv: 1 row naming silent, which is no category: {OTHER} (line 3)",
        f"val_visual_weakly.csv: 1 row naming train, which is no category: {VAL} (line 2)",
        f"val_visual_weakly.csv: 1 row with a label that the video does not have in val_weak_av.csv: {VAL} (line 2)",
        f"val_audio.csv: 1 row with offset ≤ onset: {VAL} (line 4)",
        f"val_audio.csv: 1 row repeating an earlier row: {VAL} (line 5)",
        f"val_visual.csv: 1 row with offset > 1 hour: {VAL} 116117 s (line 3)",
        "val_visual.csv: 1 row matching no video (1 name): nobodynobod (line 4)",
        f"test_visual.csv: 1 row with offset ≤ onset: {TEST} (line 2)",
        f"test_visual_weakly.csv: 1 row with a label that has no event: {TEST} (line 2)",
    }
    sound = read_lfav(lfav(tmp_path / "sound"))
    np.testing.assert_array_equal(annotations.splits["val"].dense, sound.splits["val"].dense)
    np.testing.assert_array_equal(annotations.splits["val"].present, sound.splits["val"].present)
    train = annotations.splits["train"].present
    assert train is not None
    assert not train[1, 0].any()


BAD = {
    "unknown category": ({"train_audio_weakly.csv": ["strange0001\tspeach"]}, "line 4: unknown category 'speach' (did"),
    "no label": ({"train_weakly.csv": ["strange0001\t"]}, "line 4: the video strange0001 has no labels"),
    "lost character": ({"train_weakly.csv": ["strange01\t"]}, "no name of the form|has no labels"),
    "only here": (
        {"val_audio_weakly.csv": ["strange0001\tdog"]},
        "1 videos stand only here or only in",
    ),
    "in two splits": ({name: [f"{TRAIN}\tdog"] for name in SOUND if "test" in name and "weak" in name}, "share 1 of"),
    "no second": ({"test_audio.csv": [f"{TEST}\t0\tend\tdog"]}, "line 3: onset and offset are whole seconds"),
    "half a second": ({"test_audio.csv": [f"{TEST}\t0\t0.5\tdog"]}, "not '0.5'"),
    "malformed": ({"val_visual.csv": [f"{VAL} 3 5 dog"]}, "line 3: malformed row"),
    "twice": ({"train_weakly.csv": [f"{TRAIN}\tdog"]}, f"the video {TRAIN} stands already in line 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_harmful_defect_stops(case: str, tmp_path: Path) -> None:
    more, message = BAD[case]
    text = refusal(lfav(tmp_path, more))
    assert any(part in text for part in message.split("|"))
    assert any(name in text for name in more)


def test_all_harmful_defects_come_in_one_message(tmp_path: Path) -> None:
    folder = lfav(tmp_path, {"train_weakly.csv": ["strange0001\tcow"], "val_audio.csv": [f"{VAL}\t-1\t5\tspeech"]})
    (folder / "test_visual_weakly.csv").unlink()
    text = refusal(folder)
    assert text.startswith("3 problems:")
    assert "test_visual_weakly.csv: the file does not exist" in text
    assert f"{tmp_path / 'nowhere'} does not exist" in refusal(tmp_path / "nowhere")


def test_dense_labels_of_another_data_set_stop(tmp_path: Path) -> None:
    other = [DENSE, "nobodynobod\t0\t9\tdog"]
    assert "1 of 1 rows match no video" in refusal(lfav(tmp_path, replaced={"test_audio.csv": other}))


@needs_lfav
def test_the_real_files_say_what_is_known_of_them() -> None:
    annotations = read_lfav(REAL)
    noise = {}
    for name, split in annotations.splits.items():
        present, labels = split.present, split.labels
        assert present is not None
        assert not (labels & ~present.any(axis=1)).any()  # the weak labels are exactly the union
        assert not (present & ~labels[:, None]).any()
        noise[name] = [round(float((labels & ~present[:, m]).sum() / labels.sum()), 3) for m in (0, 1)]
        if split.dense is not None:
            assert not (split.dense.any(axis=3) & ~present).any()
    assert {name: len(split) for name, split in annotations.splits.items()} == {"train": 3721, "val": 486, "test": 968}
    assert noise["train"] == [0.182, 0.306]
    assert annotations.splits["train"].labels.sum() == 11017
    counted = {finding.rsplit(": ", 1)[0] for finding in annotations.findings}
    assert "test_visual.csv: 1 row with offset > 1 hour" in counted
    assert "test_audio.csv: 144 rows with offset ≤ onset" in counted
    assert len(annotations.findings) == 20
