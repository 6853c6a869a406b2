"""`jomold pack` from what others have: plain WebDataset tars and tables give the bytes that files give, and what is
wrong with them is one message."""

from __future__ import annotations

import io
import json
import pickle
import random
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jomold_dist.commands import pack
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.foreign import open_table_set, open_tars
from jomold_dist.data.packing.member_index import index_tars
from jomold_dist.data.packing.table_files import open_tables
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet

T = 5
NAMES = ("Dog", "Male speech, man speaking", "Bell")
Arrays = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """By video: audio (T, 3) and frames (4 T, 2)."""
    draw = np.random.default_rng(2)
    return {
        f"clip_{n:03d}": {
            "audio": draw.standard_normal((T, 3), dtype=np.float32),
            "frames": draw.standard_normal((4 * T, 2), dtype=np.float32),
        }
        for n in range(23)
    }


def labels_of(key: str) -> list[str]:
    number = int(key[-3:])
    return sorted({NAMES[number % 3], NAMES[number % 2]})


@pytest.fixture(scope="module")
def from_files(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The set as it is packed from a file a video and a table of labels."""
    folder = tmp_path_factory.mktemp("files")
    for key, features in arrays.items():
        for name, array in features.items():
            (folder / name).mkdir(exist_ok=True)
            np.save(folder / name / f"{key}.npy", array)
    rows = "".join(f"{key}\t{'|'.join(labels_of(key))}\n" for key in arrays)
    (folder / "labels.tsv").write_text(f"key\tlabels\n{rows}", encoding="utf-8")
    return packed(
        folder / "set", "--labels", f"{folder}/labels.tsv",
        "--feature", f"audio={folder}/audio/{{key}}.npy", "--feature", f"frames={folder}/frames/{{key}}.npy",
    )  # fmt: skip


def run(out: Path, *words: str) -> int:
    command = [
        "jomold pack",
        *words,
        "--segments",
        f"{T}",
        "--videos-per-shard",
        "8",
        "--name",
        "set",
        "--out",
        f"{out}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        return pack.main()


def packed(out: Path, *words: str) -> Manifest:
    assert run(out, *words) == 0
    return read_manifest(out)


def digests(manifest: Manifest) -> list[str]:
    return [shard.sha256 for split in manifest.splits.values() for shard in split.shards]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def members_of(key: str, arrays: Arrays) -> dict[str, bytes]:
    return {
        f"some/folder/{key}.audio.npy": npy(arrays[key]["audio"]),
        f"some/folder/{key}.Clip.npy": npy(np.asfortranarray(arrays[key]["frames"])),
        f"some/folder/{key}.json": json.dumps({"labels": labels_of(key), "split": "train"}).encode(),
    }


def test_tars_give_what_files_give(arrays: Arrays, from_files: Manifest, tmp_path: Path) -> None:
    keys = list(arrays)
    for number, part in enumerate((keys[:9], keys[9:10], keys[10:])):
        members = {name: content for key in part for name, content in members_of(key, arrays).items()}
        write_tar(tmp_path / f"train-{number}.tar", {"notes": b"", ".hidden.npy": b"x", **members})
    manifest = packed(
        tmp_path / "set", "--tars", f"{tmp_path}/train-*.tar", "--label-field", "json",
        "--feature", "audio=audio.npy", "--feature", "frames=clip.npy",
    )  # fmt: skip
    assert digests(manifest) == digests(from_files)
    assert manifest.categories == from_files.categories
    assert manifest.features["frames"].pooled == from_files.features["frames"].pooled != ""


def as_lists(arrays: Arrays, name: str) -> list[list[list[float]]]:
    return [features[name].tolist() for features in arrays.values()]


def table_of(arrays: Arrays) -> pa.Table:
    """Audio as rows of a fixed size, as Hugging Face's Array2D is stored; frames as one flat list."""
    audio = pa.array(as_lists(arrays, "audio"), pa.list_(pa.list_(pa.float32(), 3)))
    frames = pa.array([features["frames"].ravel() for features in arrays.values()], pa.large_list(pa.float32()))
    labels = [[NAMES.index(name) for name in labels_of(key)] for key in arrays]
    feature = {"feature": {"names": list(NAMES), "_type": "ClassLabel"}, "_type": "Sequence"}
    told = json.dumps({"info": {"features": {"labels": feature}}})
    array2d = {
        "ARROW:extension:name": "datasets.features.features.Array2DExtensionType",
        "ARROW:extension:metadata": "[]",
    }
    columns = {"key": list(arrays), "labels": labels, "clap": audio, "clip": frames, "url": ["x"] * len(arrays)}
    table = pa.table(columns)
    schema = table.schema.set(2, table.schema.field("clap").with_metadata(array2d))
    return table.cast(schema).replace_schema_metadata({"huggingface": told})


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=4)


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), table.schema) as writer:  # as Dataset.save_to_disk writes it
        writer.write_table(table, max_chunksize=4)


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


@pytest.mark.parametrize("write", [write_parquet, write_stream, write_arrow])
def test_tables_give_what_files_give(
    write: Callable[[pa.Table, Path], None], arrays: Arrays, from_files: Manifest, tmp_path: Path
) -> None:
    table = table_of(arrays)
    write(table[:15], tmp_path / "part-0")
    write(table[15:], tmp_path / "part-1")
    manifest = packed(
        tmp_path / "set", "--table", f"train={tmp_path}/part-*", "--label-field", "labels",
        "--feature", "audio=clap", "--feature", "frames=clip:20",
    )  # fmt: skip
    assert digests(manifest) == digests(from_files)


def test_a_source_goes_to_another_process(arrays: Arrays, tmp_path: Path) -> None:
    write_parquet(table_of(arrays), tmp_path / "a.parquet")
    write_tar(tmp_path / "a.tar", members_of("clip_004", arrays))
    tables = open_table_set([("", f"{tmp_path}/a.parquet")], {"audio": "clap", "frames": "clip:20"}, T)
    tars = open_tars([("", f"{tmp_path}/a.tar")], {"audio": "audio.npy"}, None)
    copy = pickle.loads(pickle.dumps(tables.sources))
    for name in ("audio", "frames"):
        array = arrays["clip_004"][name]
        assert copy[name].shape("clip_004") == array.shape
        np.testing.assert_array_equal(copy[name].read("clip_004"), array)
    del copy  # what was made of the parquet is the first one's
    np.testing.assert_array_equal(tables.sources["audio"].read("clip_022"), arrays["clip_022"]["audio"])
    source = pickle.loads(pickle.dumps(tars.sources))["audio"]
    np.testing.assert_array_equal(source.read("clip_004"), arrays["clip_004"]["audio"])
    assert source.keys() == ["clip_004"]


def test_a_column_of_tensors(arrays: Arrays, tmp_path: Path) -> None:
    frames = np.stack([features["frames"] for features in arrays.values()])
    table = pa.table({"key": list(arrays), "clip": pa.FixedShapeTensorArray.from_numpy_ndarray(frames)})
    for write in (write_parquet, write_arrow):
        write(table, tmp_path / "a")
        source = open_table_set([("", f"{tmp_path}/a")], {"frames": "clip"}, T).sources["frames"]
        np.testing.assert_array_equal(source.read("clip_007"), frames[7])
        assert source.problems(["clip_007"]) == []


def test_keys_are_texts_however_a_table_keeps_them(arrays: Arrays, tmp_path: Path) -> None:
    clips = pa.array([features["frames"].tolist() for features in arrays.values()])
    keys = pa.array(list(arrays))
    for column in (keys.dictionary_encode(), keys.cast(pa.large_string()), keys.cast(pa.string_view())):
        write_parquet(pa.table({"key": column, "clip": clips}), tmp_path / "a")
        found = open_table_set([("", f"{tmp_path}/a")], {"frames": "clip"}, T)
        assert found.sources["frames"].keys() == sorted(arrays)
    write_parquet(pa.table({"key": range(len(arrays)), "clip": clips}), tmp_path / "a")
    with pytest.raises(
        DataError, match=r"the column 'key' of keys holds int64, not texts; name another with --key-col"
    ):
        open_table_set([("", f"{tmp_path}/a")], {"frames": "clip"}, T)


def test_a_change_of_the_source_is_seen(arrays: Arrays, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", members_of("clip_000", arrays) | members_of("clip_001", arrays))
    (source,) = open_tars([("", str(tar))], {"audio": "audio.npy"}, None).sources.values()
    stamps = [source.stamp("clip_000"), source.stamp("clip_001"), source.stamp("clip_002")]
    assert len(set(stamps)) == 3
    write_tar(tar, members_of("clip_000", arrays) | members_of("clip_001", arrays))
    assert source.stamp("clip_000") != stamps[0]


def test_what_is_made_of_parquet_is_removed(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    write_parquet(table_of(arrays), tmp_path / "a.parquet")
    tables = open_tables([("", tmp_path / "a.parquet")], ["clap"], None)
    assert len([*(tmp_path / "temporary").iterdir()]) == 1
    assert set(tables.files[0].table.column_names) == {"key", "clap"}
    del tables
    assert [*(tmp_path / "temporary").iterdir()] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.cls": b"1\n"}, "Male speech, man speaking"),
        ({"a.cls": b"Bell"}, "Bell"),
        ({"a.json": b'{"label": 2}'}, "Bell"),
        ({"a.json": b'["Dog", 1]'}, "Dog+Male speech, man speaking"),
        ({"a.txt": b"Dog\nMale speech, man speaking\n"}, "Dog+Male speech, man speaking"),
        ({"a.txt": b"Dog;Bell"}, "Dog+Bell"),
    ],
)
def test_how_members_tell_labels(content: dict[str, bytes], message: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"a.npy": npy(np.ones((2, 2))), **content})
    (name,) = content
    found = open_tars([("val", f"{tmp_path}/a.tar")], {"audio": "npy"}, name.partition(".")[2])
    (split,) = (labels := found.labels(CategorySet(NAMES), None)).splits
    assert split == "val"
    assert "+".join(NAMES[label] for label in labels.splits["val"].labels[0].tolist()) == message


def test_where_no_split_is_said_all_are_of_train(
    arrays: Arrays, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(table_of(arrays), tmp_path / "a.parquet")
    write_parquet(table_of(arrays).append_column("split", pa.array(["val"] * 23)), tmp_path / "b.parquet")
    for name, split, note in (("a", "train", True), ("b", "val", False)):
        words = ["--table", f"{tmp_path}/{name}.parquet", "--label-field", "labels", "--feature", "audio=clap"]
        assert set(packed(tmp_path / name, *words).splits) == {split}
        said = "no split is said in a.parquet, so the videos there are of train"
        assert (said in capsys.readouterr().out) == note


def test_videos_without_labels_are_named(arrays: Arrays, tmp_path: Path) -> None:
    members = members_of("clip_000", arrays) | members_of("clip_001", arrays)
    members = {name: content for name, content in members.items() if not name.endswith("clip_001.json")}
    found = open_tars([("", str(write_tar(tmp_path / "a.tar", members)))], {"audio": "audio.npy"}, "json")
    assert found.labels(None, None).findings == ("1 video without .json: clip_001",)


def test_splits_within_what_is_said_to_be_one_are_refused(arrays: Arrays, tmp_path: Path) -> None:
    splits = pa.array(["train"] * 20 + ["val"] * 3)
    write_parquet(table_of(arrays).append_column("split", splits), tmp_path / "a.parquet")
    found = open_table_set([("train", f"{tmp_path}/a.parquet")], {"audio": "clap"}, T, label_field="labels")
    with pytest.raises(DataError, match="its rows name the splits 'train', 'val', and it is given as train=…"):
        found.labels(None, None)


def tar_of(**members: bytes) -> Callable[[Path, Arrays], list[str]]:
    def write(folder: Path, arrays: Arrays) -> list[str]:
        given = {name.replace("__", "/").replace("_dot_", "."): content for name, content in members.items()}
        write_tar(folder / "a.tar", members_of("clip_000", arrays) | given)
        return ["--tars", f"{folder}/a.tar", "--feature", "audio=audio.npy", "--label-field", "json"]

    return write


def cut_tar(folder: Path, arrays: Arrays) -> list[str]:
    words = tar_of()(folder, arrays)
    content = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(content[:1536])
    return words


def damaged_tar(folder: Path, arrays: Arrays) -> list[str]:
    words = tar_of()(folder, arrays)
    content = bytearray((folder / "a.tar").read_bytes())
    content[1024 + 3] ^= 1  # the second member's header
    (folder / "a.tar").write_bytes(content)
    return words


def compressed_tar(folder: Path, arrays: Arrays) -> list[str]:
    words = tar_of()(folder, arrays)
    write_tar(folder / "a.tar", members_of("clip_000", arrays), "w:gz")
    return words


def joined_tar(folder: Path, arrays: Arrays) -> list[str]:
    words = tar_of()(folder, arrays)
    (folder / "a.tar").write_bytes((folder / "a.tar").read_bytes() * 2)
    return words


def table_with(**columns: list[object]) -> Callable[[Path, Arrays], list[str]]:
    def write(folder: Path, arrays: Arrays) -> list[str]:
        given = {"key": ["a"], "labels": [["Dog"]], "clap": [[[1.0, 2.0]] * T], **columns}
        pq.write_table(pa.table(given), folder / "a.parquet")
        return ["--table", f"{folder}/a.parquet", "--feature", "audio=clap", "--label-field", "labels"]

    return write


def cut_table(folder: Path, arrays: Arrays) -> list[str]:
    words = table_with()(folder, arrays)
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-20])
    return words


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (cut_tar, "a.tar: is cut or damaged ("),
        (damaged_tar, "a.tar: is cut or damaged ("),
        (joined_tar, "several tars in one"),
        (compressed_tar, "a.tar: is compressed (gzip), and"),
        (tar_of(other__clip_000_dot_audio_dot_npy=b""), "clip_000.audio.npy comes twice (folders within a tar"),
        (tar_of(clip_001_dot_json=b'{"labels": ["Dog"]}'), "the tars hold no clip_001.audio.npy"),
        (tar_of(clip_001_dot_json=b'{"labels": [7]}'), "a.tar, member 2: labels are numbers; say with --categories"),
        (tar_of(clip_001_dot_json=b"[" * 100_000), "a.tar, member 2: holds no JSON ('clip_001.json')"),
        (tar_of(clip_001_dot_json=b"{}"), 'the JSON says neither "labels" nor "label"'),
        (tar_of(**{"clip 1_dot_json": b"{}"}), "clip 1.json cannot be packed: a key is"),
        (tar_of(clip_000_dot_x=b""), ""),
        (cut_table, "a.parquet: is damaged, or neither parquet nor Arrow"),
        (table_with(key=["a.b"]), "a.parquet, row 1: 'a.b' cannot be packed: a key is"),
        (table_with(clap=[[[1.0, 2.0]] * (T - 1)]), "shape (4, 2), fewer rows than the 5 segments"),
        (table_with(clap=[[[1.0, 2.0]] * (T - 1) + [[1.0]]]), "its 5 rows are not all of one width"),
        (table_with(clap=[[[1.0, None]] * T]), "5 of its numbers are missing (null)"),
        (table_with(clap=[None]), "a.parquet: the column 'clap' holds null, expected lists of"),
        (table_with(clap=[[1, 2, 3, 4, 5]]), "the column 'clap' holds list<"),
        (table_with(clap=[[1.0] * 7]), "7 numbers in one list cannot be cut into 5 rows (say COLUMN:ROWS)"),
        (table_with(clap=[[[np.inf, 2.0]] * T]), "NaN or infinity"),
        (table_with(clap=[b"\x93NUMPY"]), "clap of a: not a readable .npy file"),
        (table_with(labels=[[3]]), "a.parquet, row 1: labels are numbers; say with --categories FILE"),
        (table_with(lables=[[3]]), ""),
        (table_with(split=[None]), "a.parquet, row 1: the split is empty"),
    ],
)
def test_what_is_wrong_is_one_message(
    write: Callable[[Path, Arrays], list[str]],
    message: str,
    arrays: Arrays,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run(tmp_path / "set", *write(tmp_path, arrays))
    said = capsys.readouterr().err
    assert code == (2 if message else 0), said
    assert message in said
    assert said.count("error:") == (1 if message else 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tars", "none-*.tar", "--label-field", "json"], "--tars none-*.tar leads to no file"),
        (["--label-field", "json"], "--label-field goes with --tars or --table only"),
        (["--labels", "x", "--split-column", "s"], "--split-column goes with --table only"),
    ],
)
def test_options_that_do_not_fit(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "set", *words, "--feature", "audio=npy") == 2
    assert message in capsys.readouterr().err


def test_columns_that_are_not_there_lead_to_near_ones(arrays: Arrays, tmp_path: Path) -> None:
    write_parquet(table_of(arrays), tmp_path / "a.parquet")
    patterns = [("", f"{tmp_path}/a.parquet")]
    with pytest.raises(DataError, match=r"no column 'clab' \(did you mean 'clap'\?\); it has: key, labels, clap"):
        open_table_set(patterns, {"audio": "clab"}, T)
    with pytest.raises(DataError, match="no column 'name'"):
        open_table_set(patterns, {"audio": "clap"}, T, key="name")
    with pytest.raises(DataError, match="comes twice"):
        open_table_set([*patterns, *patterns], {"audio": "clap"}, T)


def test_flipped_bits_of_tars_and_tables_end_in_messages(arrays: Arrays, tmp_path: Path) -> None:
    """Whatever is altered, it is read, or refused with a message; offsets that lead nowhere do not end the process."""
    draw = random.Random(4)
    write_arrow(table_of(arrays), tmp_path / "good.arrow")
    write_parquet(table_of(arrays), tmp_path / "good.parquet")
    write_tar(tmp_path / "good.tar", members_of("clip_000", arrays) | members_of("clip_001", arrays))
    refused = 0
    for name in ("arrow", "parquet", "tar"):
        content = bytearray((tmp_path / f"good.{name}").read_bytes())
        for _ in range(80):
            at, bit = draw.randrange(len(content)), 1 << draw.randrange(8)
            content[at] ^= bit
            path = tmp_path / f"bad.{name}"
            path.write_bytes(content)
            content[at] ^= bit
            try:
                if name == "tar":
                    source = open_tars([("", str(path))], {"audio": "audio.npy"}, None).sources["audio"]
                else:
                    source = open_table_set([("", str(path))], {"audio": "clap"}, T).sources["audio"]
                for key in list(source.keys()):
                    source.read(key)
            except DataError:
                refused += 1
    assert refused


def test_an_offset_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """Arrow reads what an offset says, wherever that is."""
    path = tmp_path / "a.arrow"
    write_arrow(pa.table({"key": ["a", "b", "c"], "clap": [[1.0] * T] * 3}), path)
    offsets = np.arange(0, 4 * T, T, dtype=np.int32)
    content = path.read_bytes()
    assert content.count(offsets.tobytes()) == 1
    offsets[2] = 1 << 28
    path.write_bytes(content.replace(np.arange(0, 4 * T, T, dtype=np.int32).tobytes(), offsets.tobytes()))
    with pytest.raises(DataError, match=r"a\.arrow: is damaged, or neither parquet nor Arrow"):
        open_table_set([("", str(path))], {"audio": "clap"}, T)


def test_an_ending_that_no_member_has(arrays: Arrays, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", members_of("clip_000", arrays))
    with pytest.raises(
        DataError, match=r"ends in \.vggish\.npy; the endings there are: \.audio\.npy, \.clip\.npy, \.json"
    ):
        index_tars([("", tar)], ["vggish.npy"])
