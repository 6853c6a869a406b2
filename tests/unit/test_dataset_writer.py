"""DatasetWriter in a program of one's own: from the package's first names, from any iterable, with any labels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jomold_dist
from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.key_index import KeyIndex, key_digests
from jomold_dist.data.packing.shard_writer import BadVideosError, Video
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from jomold_dist.labels import CategorySet
from tests.packing_videos import CATEGORIES, FEATURES, SEGMENTS, MadeVideos, contents, sources
from tests.packing_videos import pack as pack_made


def writer(out: Path, **options: object) -> DatasetWriter:
    arguments = {"name": "made", "categories": CATEGORIES, "segments": SEGMENTS, "features": FEATURES, **options}
    return DatasetWriter(out, videos_per_shard=4, **arguments)  # type: ignore[arg-type]


def test_the_names_that_are_needed_come_without_torch() -> None:
    code = (
        "import sys; from jomold_dist import CategorySet, DatasetWriter, FeatureSpec, Video; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_example_of_its_docstring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = str(DatasetWriter.__doc__)
    first, last = text.index("with DatasetWriter"), text.index("writer.finish()") + len("writer.finish()")
    lines = (" " * 8 + text[first:last]).splitlines()
    example = "\n".join(line[8:] for line in lines)
    arrays = {name: np.zeros((10, width), np.float32) for name, width in (("audio", 512), ("frames", 768))}
    monkeypatch.chdir(tmp_path)
    names = {name: getattr(jomold_dist, name) for name in ("CategorySet", "DatasetWriter", "FeatureSpec", "Video")}
    exec(example, {**names, "my_videos": [("one", arrays, (0, 2)), ("two", arrays, ())]})
    assert read_manifest(tmp_path / "shards").split("train").positives.tolist() == [1, 0, 1]


UNREADABLE: list[tuple[dict[str, object], str]] = [
    ({"name": "a\nb"}, r"its name is 'a\\nb', not a text without control characters"),
    ({"categories": CategorySet(("a", "b\a"))}, r"a category is 'b\\x07', not a text"),
    ({"segment_seconds": 1e5}, "segment_seconds is 100000.0, not a number of seconds above 0 and at most 86400"),
    ({"segment_seconds": float("nan")}, "segment_seconds is nan"),
    ({"made_by": {"share": float("nan")}}, "origin holds nan"),
    ({"made_by": {"folder": Path("x")}}, "not JSON serializable"),
    ({"made_by": {"words": "x" * (1 << 17)}}, "origin has more than|a text in origin has more than"),
]


@pytest.mark.parametrize(("options", "said"), UNREADABLE)
def test_what_no_reader_would_take_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=f"no data set can be made of this: .*({said})"):
        writer(tmp_path / "set", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("split", "shuffled", "said"),
    [
        ("two words", None, "split 'two words' is not named with letters"),
        ("x" * 101, None, "in at most 100 bytes"),
        ("train", 10**30, "the seed by which split 'train' was shuffled is 1000"),
        ("train", -1, "the seed by which split 'train' was shuffled is -1"),
    ],
)
def test_a_split_that_no_reader_would_take_is_refused(
    tmp_path: Path, split: str, shuffled: int | None, said: str
) -> None:
    with pytest.raises(DataError, match=said), writer(tmp_path / "set") as packing:
        packing.write_split(split, MadeVideos("train"), shuffled=shuffled)
    assert not list(tmp_path.iterdir())


def test_an_iterable_is_read_once_and_gives_what_a_list_gives(tmp_path: Path) -> None:
    """Of each length relative to the shards', and never more than one video ahead."""
    made = [MadeVideos("train").video(number) for number in range(9)]
    for count in (1, 3, 4, 5, 8, 9):
        with writer(tmp_path / f"list{count}") as packing:
            packing.write_split("train", made[:count])
            packing.finish()
        with writer(tmp_path / f"iterable{count}") as packing:
            packing.write_split("train", iter(made[:count]))
            packing.finish()
        assert contents(tmp_path / f"iterable{count}") == contents(tmp_path / f"list{count}")


def test_no_more_than_a_video_of_an_iterable_is_asked_for_before_the_last_shard_is_there(tmp_path: Path) -> None:
    there: list[int] = []

    def videos(packing: DatasetWriter) -> Iterator[Video]:
        for number in range(13):
            there.append(len(list(packing.aside.rglob("*.tar"))))
            yield MadeVideos("train").video(number)

    with writer(tmp_path / "set") as packing:
        packing.write_split("train", videos(packing))
        packing.finish()
    assert there == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_an_iterable_that_fails_between_shards_is_told_with_what_is_bad_before(tmp_path: Path) -> None:
    def videos() -> Iterator[Video]:
        made = MadeVideos("train", bad=(1,))
        yield from (made.video(number) for number in range(8))
        raise DataError("the archive is cut off")

    with writer(tmp_path / "set") as packing:
        with pytest.raises(BadVideosError) as error:
            packing.write_split("train", videos())
        assert [text.split(":")[0] for text in error.value.problems] == ["video train-0001", "the archive is cut off"]
        with pytest.raises(DataError, match=r"split 'val' has no videos"):
            packing.write_split("val", iter(()))


def test_a_split_from_an_iterable_begins_anew_after_a_stop_and_the_others_go_on(tmp_path: Path) -> None:
    pack_made(tmp_path / "at_once", sources())

    def stopped(videos: MadeVideos) -> Iterator[Video]:
        yield from videos[slice(0, 6)]
        raise KeyboardInterrupt

    train, val = sources()

    def stop() -> None:
        with writer(tmp_path / "set", recipe={}) as packing:
            packing.write_split("train", train.videos, origin=train.origin)
            packing.write_split("val", stopped(val.videos), dense=True)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        stop()
    with writer(tmp_path / "set", recipe={}) as packing:
        given: list[int] = []
        packing.write_split("train", train.videos, origin=train.origin, progress=given.append)
        packing.write_split("val", iter(val.videos[slice(0, 9)]), dense=True)
        packing.finish()
    assert sum(given) == 41
    assert contents(tmp_path / "set") == contents(tmp_path / "at_once")


def test_shards_that_an_earlier_start_had_more_of_are_in_no_set(tmp_path: Path) -> None:
    """An iterable may have fewer videos the next time."""
    made = [MadeVideos("train").video(number) for number in range(12)]
    with writer(tmp_path / "set", recipe={}) as packing:
        packing.write_split("train", iter(made))
    with writer(tmp_path / "set", recipe={}) as packing:
        packing.write_split("train", iter(made[:5]))
        manifest = packing.finish()
    names = {shard.name for shard in manifest.split("train").shards}
    assert contents(tmp_path / "set").keys() == {"manifest.json", *names}


def test_videos_of_other_types_are_named_together(tmp_path: Path) -> None:
    features = MadeVideos("train").video(0).features
    wrong: list[Any] = [
        ("a", ("Dog",)),
        ("b", (1.0,)),
        ("c", (True,)),
        ("d", (0, 0)),
        ("e", (9,)),
        (5, (0,)),
        (b"f", ()),
    ]
    with pytest.raises(BadVideosError) as caught, writer(tmp_path / "set") as packing:
        packing.write_split("train", [Video(key, features, labels) for key, labels in wrong])
    *labels, five, raw = caught.value.problems
    assert [text.partition(":")[0] for text in labels] == ["video a", "video b", "video c", "video d", "video e"]
    assert labels[0] == "video a: labels ('Dog',) must be distinct whole numbers in 0..2"
    assert five.startswith("key 5 cannot be packed: a key is 1 to ")
    assert raw.startswith("key b'f' cannot be packed: ")


def test_labels_have_room_unless_they_are_very_many(tmp_path: Path) -> None:
    categories = CategorySet(tuple(f"c{number}" for number in range(300)))
    features = MadeVideos("train").video(0).features
    videos = [Video("few", features, tuple(range(60))), Video("many", features, tuple(range(199, 300)))]
    with writer(tmp_path / "set", categories=categories) as packing:
        packing.write_split("few", [replace(videos[0], key="other")])
        with pytest.raises(
            DataError, match=r"^video many has 101 labels, more than fit into the 512 bytes .*max_labels=101"
        ):
            packing.write_split("many", videos)
    with writer(tmp_path / "set", categories=categories) as packing:
        packing.write_split("many", videos, max_labels=101)
        assert packing.finish().split("many").max_labels == 101
    shard = (tmp_path / "set" / "many" / "shard-000000.tar").read_bytes()
    place = read_manifest(tmp_path / "set").split("many").record.members["labels.json"]
    assert json.loads(shard[place.offset : place.offset + place.bytes])["labels"] == list(range(60))


def test_who_made_a_set_and_how_it_was_shuffled_is_in_its_manifest(tmp_path: Path) -> None:
    with writer(tmp_path / "set", made_by={"command": "mine", "version": "3"}) as packing:
        packing.write_split("train", MadeVideos("train"), shuffled=7)
        packing.write_split("val", MadeVideos("val"), dense=True)
        packing.finish()
    manifest = read_manifest(tmp_path / "set")
    assert manifest.origin == {"command": "mine", "version": "3"}
    assert (manifest.split("train").shuffled, manifest.split("val").shuffled) == (7, None)


def test_an_index_of_keys_says_what_a_set_of_them_says() -> None:
    rng = np.random.default_rng(3)
    index, known = KeyIndex(), set()
    for _ in range(60):
        keys = [f"k{number}" for number in rng.choice(5000, size=rng.integers(0, 90), replace=False)]
        digests = key_digests(keys)
        assert index.has(digests).tolist() == [key in known for key in keys]
        new = [key not in known for key in keys]
        index.add(digests[new])
        known.update(keys)
    assert len(index._runs) <= 12
