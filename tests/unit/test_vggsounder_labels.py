"""VGGSounder's label files: what they say, how clips are split, what is passed over and what stops."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.data.packing.vggsounder_labels import LABEL_FILES, SPLITS, read_vggsounder, split_of
from jomold_dist.errors import DataError

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "vggsounder"
needs_vggsounder = pytest.mark.skipif(not REAL.is_dir(), reason="VGGSounder's label files are not beside the checkout")

CLASSES = ["index,mid,display_name", '0,vgg_0,"dog barking"', '1,vgg_1,"child speech, kid speaking"', "2,vgg_2,wind"]
HEADER = "video_id,label,modality,background_music,static_image,voice_over"
SMALLER = "vggsounder+background-music.csv is not there, vggsounder.csv is taken"
CLIP, SAME_ID, OTHER = "--i-y1v8Hy8_000000", "--i-y1v8Hy8_000127", "abcdefghij1_000010"
ROWS = [
    f'{CLIP},"child speech, kid speaking",AV,False,False,True',
    f"{CLIP},wind,A,False,False,True",
    f"{SAME_ID},dog barking,V,False,False,False",
    f"{OTHER},dog barking,AV,True,False,False",
]


def vggsounder(folder: Path, *more: str, classes: list[str] = CLASSES, name: str = LABEL_FILES[1]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "classes.csv").write_text("\n".join(classes) + "\n", encoding="utf-8")
    (folder / name).write_text("\n".join([HEADER, *ROWS, *more]) + "\n", encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, set[tuple[int, int]]]:
    """What each clip holds: modality and category."""
    found = {}
    for split in read_vggsounder(folder).splits.values():
        assert split.present is not None
        np.testing.assert_array_equal(split.present.any(axis=1), split.labels)
        for key, present in zip(split.keys, split.present, strict=True):
            found[key] = {(m, c) for m, c in np.argwhere(present).tolist()}
    return found


def test_tags_tell_what_is_heard_and_what_is_seen(tmp_path: Path) -> None:
    annotations = read_vggsounder(vggsounder(tmp_path))
    assert annotations.findings == (SMALLER,)
    assert annotations.categories.names == ("dog barking", "child speech, kid speaking", "wind")
    assert all(split.dense is None for split in annotations.splits.values())
    assert contents(tmp_path) == {CLIP: {(0, 1), (1, 1), (0, 2)}, SAME_ID: {(1, 0)}, OTHER: {(0, 0), (1, 0)}}


def test_the_file_with_all_clips_is_preferred(tmp_path: Path) -> None:
    vggsounder(tmp_path, "onlyinfulla_000001,wind,A,True,False,False", name=LABEL_FILES[0])
    vggsounder(tmp_path)
    assert "onlyinfulla_000001" in contents(tmp_path)


def test_a_split_hangs_on_the_id_alone() -> None:
    assert split_of(CLIP) == split_of(SAME_ID)
    counts = Counter(split_of(f"{number:011d}_000000") for number in range(5000))
    assert list(SPLITS) == ["train", "val", "test"]
    assert [round(counts[split] / 5000, 2) for split in SPLITS] == [0.79, 0.09, 0.12]
    assert [split_of(f"{number:011d}_000030") for number in (0, 10, 11)] == ["train", "train", "test"]  # for ever


BAD = {
    "unknown class": (f"{OTHER},wimd,A,False,False,False", "line 6: unknown category 'wimd' (did you mean 'wind'?)"),
    "modality": (f"{OTHER},wind,VA,False,False,False", "line 6: the modality is A, V or AV ('VA')"),
    "two tags": (f"{CLIP},wind,V,False,False,True", f"line 6: 'wind' of {CLIP} is V here and A in line 3"),
    "no start": ("abcdefghij1,wind,A,False,False,False", "line 6: malformed name, expected <11-character id>_<start>"),
    "short": (f"{OTHER},wind,A", "line 6: malformed row"),
    "comma without quotes": (f"{OTHER},child speech, kid speaking,A,False,False,False", "line 6: malformed row"),
    "open quote": (f'{OTHER},"wind,A,False,False,False', "line 6: the double quotes"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_harmful_defect_stops(case: str, tmp_path: Path) -> None:
    row, message = BAD[case]
    with pytest.raises(DataError) as caught:
        read_vggsounder(vggsounder(tmp_path, row))
    assert f"{tmp_path / LABEL_FILES[1]}, {message}" in str(caught.value)


def test_all_harmful_defects_come_in_one_message_and_harmless_ones_are_named(tmp_path: Path) -> None:
    folder = vggsounder(tmp_path, *(row for row, _ in BAD.values()))
    with pytest.raises(DataError, match=r"^6 problems:"):  # two rows are malformed alike
        read_vggsounder(folder)
    annotations = read_vggsounder(vggsounder(tmp_path, f"{CLIP},wind,A,False,False,True"))
    assert annotations.findings == (
        SMALLER,
        f"vggsounder.csv: 1 row repeating an earlier row: {CLIP} (line 6)",
    )
    assert contents(tmp_path)[CLIP] == {(0, 1), (1, 1), (0, 2)}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([*CLASSES, "4,vgg_4,rain"], "line 5: the index does not count from 0 ('4')"),
        ([*CLASSES, "3,vgg_3,wind"], "line 5: the name is missing, or stands in an earlier row ('wind')"),
        (["index,name", "0,wind"], "expected the ','-separated columns ['index', 'mid', 'display_name']"),
    ],
)
def test_classes_that_are_none_stop(classes: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_vggsounder(vggsounder(tmp_path, classes=classes))
    assert message in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist; it must hold classes.csv"):
        read_vggsounder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"classes.csv: the file does not exist"):
        read_vggsounder(tmp_path)
    (vggsounder(tmp_path) / LABEL_FILES[1]).unlink()
    with pytest.raises(DataError, match=r"vggsounder\+background-music.csv: the file does not exist"):
        read_vggsounder(tmp_path)


@needs_vggsounder
def test_the_real_files_say_what_is_known_of_them() -> None:
    """The file without the clips with background music; with them there are 15069 clips."""
    annotations = read_vggsounder(REAL)
    assert annotations.findings == (SMALLER,)
    assert len(annotations.categories) == 309
    splits = annotations.splits.values()
    assert sum(len(split) for split in splits) == 12014
    labels = sum(int(split.labels.sum()) for split in splits)
    present = sum(split.present.sum(axis=(0, 2)) for split in splits if split.present is not None)
    assert labels == 29509
    assert [round(1 - int(present[m]) / labels, 3) for m in (0, 1)] == [0.033, 0.344]
    assert not {key[:11] for key in annotations.splits["train"].keys} & {
        key[:11] for name in ("val", "test") for key in annotations.splits[name].keys
    }
