"""Label tables: what they may look like, what is found in them, and what stops."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from jomold_dist.data.packing.label_tables import LabelFile, read_categories, read_label_tables
from jomold_dist.data.packing.video_labels import LabelSet, label_set_digest
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet

MAN, DOG, RAIN = "Male speech, man speaking", "Dog", "Rain; drizzle"
SET = {"c_0_10": [MAN, DOG], "a_0_10": [DOG], "b_5_15": [MAN], "a_10_20": [MAN, DOG]}


def write(path: Path, rows: Sequence[Sequence[str]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def write_parquet(path: Path, **columns: list[object]) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def read(
    *files: Path | tuple[str, Path], categories: Sequence[str] | None = None, separator: str | None = None
) -> LabelSet:
    labelled = [LabelFile(f) if isinstance(f, Path) else LabelFile(f[1], f[0]) for f in files]
    return read_label_tables(labelled, CategorySet(tuple(categories)) if categories else None, separator)


def refusal(*files: Path | tuple[str, Path], categories: Sequence[str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(*files, categories=categories)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [[DOG], [DOG, RAIN]]}, "rows 1, 2: label is one label; call a column of lists labels"),
        ({"label": [0.5, 2.0]}, "rows 1, 2: a label is a text, not a fraction"),
        ({"labels": [0.5, 2.0]}, "rows 1, 2: a label is a text, not a fraction"),
    ],
)
def test_cells_that_are_no_names_make_no_categories(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    said = refusal(write_parquet(tmp_path / "a.parquet", key=["a", "b"], **columns))
    assert message.replace("rows", "lines") in said


def told(labels: LabelSet) -> dict[str, dict[str, list[str]]]:
    """The labels of every video by name, in order."""
    return {
        name: {split.key(i): [labels.categories.names[c] for c in split.labels[i].tolist()] for i in range(len(split))}
        for name, split in labels.splits.items()
    }


def forms(folder: Path) -> dict[str, LabelSet]:
    """The same labels as tables of every form."""
    return {
        "csv": read(write(folder / "a.csv", [["key", "labels"], *([k, ";".join(v)] for k, v in SET.items())])),
        "tsv": read(
            write(folder / "b.csv", [["filename", "event_labels"], *([k, ";".join(v)] for k, v in SET.items())], "\t")
        ),
        "a row a label": read(
            write(folder / "c.csv", [["label", "key"], *([n, k] for k, v in SET.items() for n in v)])
        ),
        "parquet lists": read(write_parquet(folder / "d.parquet", key=[*SET], labels=[*SET.values()])),
        "parquet texts": read(write_parquet(folder / "e", key=[*SET], labels=["|".join(v) for v in SET.values()])),
        "parquet, a row a label": read(
            write_parquet(
                folder / "f.pq", key=[k for k, v in SET.items() for _ in v], label=[n for v in SET.values() for n in v]
            )
        ),
    }


def test_one_content_is_one_label_set_in_every_form(tmp_path: Path) -> None:
    found = forms(tmp_path)
    assert told(found["csv"]) == {"train": {key: sorted(names) for key, names in SET.items()}}
    assert {label_set_digest(labels.splits) for labels in found.values()} == {label_set_digest(found["csv"].splits)}
    assert all(labels.categories.names == (DOG, MAN) for labels in found.values())
    assert all("the 2 labels that occur, sorted" in labels.notes[-1] for labels in found.values())
    assert found["csv"].notes[0] == (
        "a.csv: labels are separated by semicolons; no column split, so all its videos are of train"
    )


def test_rows_of_one_video_need_not_be_neighbours(tmp_path: Path) -> None:
    path = text(tmp_path / "l.csv", "key,label\nb,Dog\na,Cat\nb,Cat\na,Cat\n")
    labels = read(path)
    assert told(labels) == {"train": {"b": ["Cat", "Dog"], "a": ["Cat"]}}
    assert labels.findings == ("l.csv: 1 row naming a label again: a (line 5)",)


def test_splits_are_a_column_or_files_of_their_own(tmp_path: Path) -> None:
    column = text(tmp_path / "all.csv", "key,split,labels\na,test,Dog\nb,train,Cat\nc,extra,Dog\nd,val,Cat\n")
    assert list(read(column).splits) == ["train", "val", "test", "extra"]
    train, val = text(tmp_path / "t.csv", "key,labels\nb,Cat\n"), text(tmp_path / "v.csv", "key,labels\nd,Cat\n")
    assert told(read(("val", val), ("train", train))) == {"train": {"b": ["Cat"]}, "val": {"d": ["Cat"]}}
    assert refusal(("train", train), ("val", train)) == (
        f"{train}, line 2: the video b is of val here and of train in line 2 of t.csv"
    )


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("Dog,Male speech, man speaking", [DOG, MAN]),
        ("Male speech, man speaking", [MAN]),
        ("Male speech, man speaking, Dog,Dog", [DOG, MAN]),
        ("", []),
    ],
)
def test_names_with_commas_are_known_by_the_categories(tmp_path: Path, cell: str, wanted: list[str]) -> None:
    path = write(tmp_path / "l.csv", [["key", "labels"], ["a", cell], ["b", "Dog,Male speech, man speaking"]])
    assert told(read(path, categories=[DOG, MAN]))["train"]["a"] == wanted


def test_a_comma_that_may_be_of_a_name_is_not_guessed_at(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [["key", "labels"], ["a", MAN]])
    assert "it cannot be told whether the commas of 'Male speech, man speaking'" in refusal(path)
    assert told(read(path, separator=";")) == {"train": {"a": [MAN]}}
    assert told(read(path, separator=",")) == {"train": {"a": ["Male speech", "man speaking"]}}
    text(path, "key\tlabels\na\tSpeech,Dog\n")  # without a space it is LLP's own way
    assert told(read(path)) == {"train": {"a": ["Dog", "Speech"]}}


def test_known_categories_choose_the_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", [["key", "labels"], ["a", f"{RAIN}|{DOG}"], ["b", RAIN]])
    labels = read(path, categories=[DOG, RAIN])
    assert told(labels) == {"train": {"a": [DOG, RAIN], "b": [RAIN]}}
    assert labels.notes[0].startswith("l.csv: labels are separated by bars")


def test_what_is_harmless_is_passed_over_and_named_once(tmp_path: Path) -> None:
    path = text(tmp_path / "l.csv", "key,url,labels,views\na,u,Dog;Dog,1\nb,u,,2\nc,u,Cat,3\n")
    assert read(path).findings == (
        "l.csv: the columns url, views, which nothing is made of",
        "l.csv: 1 row without labels, whose videos are packed: b (line 3)",
        "l.csv: 1 row naming a label again: a (line 2)",
    )


def test_where_all_labels_of_a_video_stand_the_single_one_is_passed_over(tmp_path: Path) -> None:
    labels = read(text(tmp_path / "l.csv", "key,label,labels\na,Dog,Cat;Cow\n"))
    assert told(labels) == {"train": {"a": ["Cat", "Cow"]}}
    assert labels.findings == ("l.csv: the column label, beside labels",)


def test_a_wrong_list_of_categories_is_told_at_once(tmp_path: Path) -> None:
    """A proposal for every one of these names would take minutes."""
    rows = "".join(f"k{n},wrong category {n}\n" for n in range(20000))
    path = text(tmp_path / "l.csv", f"key,label\n{rows}")
    message = refusal(path, categories=[f"right category {c}" for c in range(500)])
    assert message.startswith("20000 problems:")
    assert "line 2: unknown category 'wrong category 0' (did you mean 'right category 0'?)" in message


def test_of_many_harmless_rows_the_first_are_named(tmp_path: Path) -> None:
    path = text(tmp_path / "l.csv", "key,labels\na,Dog\n" + "".join(f"k{n},\n" for n in range(20)))
    (finding,) = read(path).findings
    assert finding.startswith("l.csv: 20 rows without labels, whose videos are packed: k0 (line 3), k1 (line 4), ")
    assert finding.endswith(", k11 (line 14) and 8 more")


def test_all_harmful_defects_of_all_files_come_in_one_message(tmp_path: Path) -> None:
    first = text(
        tmp_path / "a.csv",
        'key,labels\nx.mp4,Dog\ny,Dgo\nz,Dgo\nq,"Dog\nr,Dog,Cat\n,Dog\n' + "k" * 89 + ",Dog\nw,Dog\nw,Cat\n",
    )
    second = text(tmp_path / "b.csv", "filename;label;split\nv;Dog;train\nv;Cat;val\nu;Dog;a b\n")
    message = refusal(first, second, categories=["Dog", "Cat"])
    for part in (
        f"{first}, lines 2, 7, 8: the key cannot be packed: a key is 1 to 88 printable ASCII characters",
        "(the first: 'x.mp4')",
        f"{first}, lines 3, 4: unknown category 'Dgo' (did you mean 'Dog'?)",
        f'{first}, line 5: the double quotes (") round its fields do not pair',
        f"{first}, line 6: the row does not have 2 cells between commas, as its header; a cell that holds them stands",
        f"{second}, line 4: the split is no word of letters, digits and '_' ('a b')",
    ):
        assert part in message
    text(first, "key,labels\nw,Dog\nw,Cat\n")
    text(second, "filename;label;split\nv;Dog;train\nv;Cat;val\n")
    message = refusal(first, second, categories=["Dog", "Cat"])
    assert message.startswith("2 problems:")
    assert f"{first}, line 3: the video w stands already in line 2" in message
    assert f"{second}, line 3: the video v is of val here and of train in line 2" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"key,labels\n", "the file is empty below its header"),
        (b"video,labels\na,Dog\n", "line 1: the header 'video,labels' names no column key or filename"),
        (b"key,tags\na,Dog\n", "no column is called labels or event_labels (all labels of a video) or label (one"),
        (b"key,labels,key\na,Dog,b\n", "two columns are called key"),
        (b"key,labels\na,\xff\n", "is not UTF-8 text"),
        ("\ufeffkey,labels\n".encode("utf-16-le"), "is UTF-16 text, as spreadsheets write it"),
        (b"PAR1 and no more", "is no readable parquet file"),
        (b"key,labels\na,\nb,\n", "no video has a label"),
        (None, "the file does not exist"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "l.csv"
    if content is not None:
        path.write_bytes(content)
    found = refusal(path)
    assert message in found
    assert str(path) in found
    assert "\n" not in found


def test_a_parquet_file_that_is_cut_is_one_message(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "l.parquet", key=[f"k{i}" for i in range(5000)], labels=["Dog"] * 5000)
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:200] + bytes(300) + whole[500:]):
        path.write_bytes(damaged)
        assert refusal(path).startswith(f"{path}: ")
    write_parquet(path, key=[1.5, 2.5], labels=["Dog", "Dog"])
    assert "lines 1, 2: key and split are texts" in refusal(path)


def test_whole_numbers_of_a_parquet_file_are_what_they_are_in_a_text(tmp_path: Path) -> None:
    number = read(write_parquet(tmp_path / "n.parquet", key=[10, 20], label=[3, 4]))
    assert told(number) == told(read(text(tmp_path / "n.csv", "key,label\n10,3\n20,4\n")))
    assert told(number) == {"train": {"10": ["3"], "20": ["4"]}}


def test_flipped_bits_of_a_parquet_file_are_one_message_or_none(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "l.parquet", key=[f"k{i}" for i in range(300)], labels=[["Dog", "Cat"]] * 300)
    whole, draw, told = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(200):
        damaged = bytearray(whole)
        at, bit = divmod(int(draw.integers(8 * len(whole))), 8)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        message = "fine"
        try:
            read(path)
        except DataError as error:
            message = str(error)
        assert message == "fine" or str(path) in message
        told += message != "fine"
    assert told > 20


def test_categories_are_a_name_a_line(tmp_path: Path) -> None:
    path = text(tmp_path / "c.txt", f'\ufeffSpeech\n\n{RAIN}\r\n"{MAN}"\n')
    assert read_categories(path).names == ("Speech", RAIN, MAN)
    text(path, "Dog\nCat\nDog\n")
    with pytest.raises(DataError, match=r"c\.txt, line 3: the category 'Dog' stands already in line 1"):
        read_categories(path)
    text(path, "\n")
    with pytest.raises(DataError, match="the file names no category"):
        read_categories(path)


def test_many_rows_against_a_plain_dict(tmp_path: Path) -> None:
    """More rows than are gathered at once, with keys of several lengths, repeated at a distance."""
    draw = np.random.default_rng(7)
    names = [f"category {c}" for c in range(30)]
    wanted: dict[str, set[str]] = {}
    lines = ["key,label"]
    for number in draw.integers(0, 9000, 40000).tolist():
        key, name = f"v{number}_{number % 7}", names[number % 30 if number % 2 else int(draw.integers(30))]
        wanted.setdefault(key, set()).add(name)
        lines.append(f"{key},{name}")
    labels = read(text(tmp_path / "many.csv", "\n".join(lines)))
    assert {key: set(own) for key, own in told(labels)["train"].items()} == wanted
    assert list(told(labels)["train"]) == list(wanted)


def test_a_file_said_to_be_of_one_split_names_no_several(tmp_path: Path) -> None:
    whole = text(tmp_path / "all.csv", "key,split,labels\na,train,Dog\nb,val,Cat\n")
    assert "its rows name the splits 'train', 'val', and it is given as train=…; leave that out" in refusal(
        ("train", whole)
    )
    other = text(tmp_path / "validation.csv", "key,split,labels\na,validation,Dog\nb,validation,Cat\n")
    assert list(read(("val", other)).splits) == ["val"]


def test_splits_that_no_training_reads_are_named(tmp_path: Path) -> None:
    labels = read(text(tmp_path / "l.csv", "key,split,labels\na,train,Dog\nb,Val,Cat\nc,more,Cat\n"))
    assert labels.notes[-2:] == (
        "split Val: training reads train, val, test alone (did you mean 'val'?)",
        "split more: training reads train, val, test alone",
    )


@pytest.mark.parametrize(
    "labels",
    [[1.5], [{"a": 1}], [[["Dog"]]], [b"Dog"], [[b"Dog"]]],
    ids=["fractions", "records", "lists of lists", "bytes", "lists of bytes"],
)
def test_labels_of_parquet_that_are_no_names_are_refused(tmp_path: Path, labels: list[object]) -> None:
    message = refusal(write_parquet(tmp_path / "l.parquet", key=["a"], labels=labels))
    assert "a label is a text, not a fraction" in message or "the column labels holds" in message
    if labels == [b"Dog"]:
        assert "the column key holds binary" in refusal(write_parquet(tmp_path / "k.parquet", key=[b"a"], label=["x"]))


def test_semicolons_and_bars_together_are_not_guessed_at(tmp_path: Path) -> None:
    path = text(tmp_path / "l.csv", "key,labels\na,Owl; barn|Dog\nb,Dog|Cat\n")
    assert "it cannot be told whether labels stand between semicolons or between bars" in refusal(path)
    assert told(read(path, separator="|"))["train"]["a"] == ["Dog", "Owl; barn"]


def test_a_spreadsheets_own_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "l.xlsx").write_bytes(b"PK\x03\x04\x14\x00\xff\xfe")
    assert refusal(tmp_path / "l.xlsx").endswith("is a spreadsheet's own file; save the sheet as CSV in UTF-8")


def test_columns_without_a_name_are_told_so(tmp_path: Path) -> None:
    path = text(tmp_path / "l.csv", ",key,labels\n0,a,Dog\n")  # as pandas writes its index
    assert read(path).findings == ("l.csv: the column without a name, which nothing is made of",)


def test_names_that_differ_in_case_or_signs_alone_are_told(tmp_path: Path) -> None:
    path = text(tmp_path / "l.csv", "key,label\na,Dog bark\nb,dog_bark\nc,Cat\nd,+\ne,-\n")
    labels = read(path)
    assert len(labels.categories) == 5
    assert [note for note in labels.notes if "alike" in note] == [
        "categories that are written alike: 'Dog bark' and 'dog_bark'; is that one?"
    ]
