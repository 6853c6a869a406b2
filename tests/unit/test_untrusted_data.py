"""Data from anybody: whatever a manifest or a record says is one message at most, and reaches no file elsewhere."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.config import DataConfig
from jomold_dist.data.format import manifest_file, positives
from jomold_dist.data.format.manifest import MANIFEST_NAME
from jomold_dist.data.format.manifest_file import ManifestError, parse_manifest
from jomold_dist.data.format.records import LABELS
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.source import Folder, Source, read_manifest, source_of
from jomold_dist.errors import DataError
from tests.servers import serving
from tests.shard_fixtures import write_dataset


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrusted") / "set"
    write_dataset(folder, {"train": 17, "val": 9})
    return folder


@pytest.fixture
def content(sound: Path) -> dict[str, Any]:
    """The manifest's JSON, without its digest: who forges the one forges the other."""
    data: dict[str, Any] = json.loads((sound / MANIFEST_NAME).read_text())
    del data["digest"]
    return data


def first_shard(data: dict[str, Any]) -> dict[str, Any]:
    shard: dict[str, Any] = data["splits"]["train"]["shards"][0]
    return shard


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_all(source: Source, **options: Any) -> None:
    with Loader(
        source, read_manifest(source), "train",
        batch_size=5, rank=0, world=1, seed=0, streams=1, block=5, threads=1, **options,
    ) as loader:  # fmt: skip
        list(loader.epoch(0))


@pytest.mark.parametrize("size", ["the shard's", "another"])
@pytest.mark.parametrize(
    "form", ["{home}/backup", "../../home/backup", "../backup", "", "A" * 64, "0" * 63, "{home}/\0"]
)
def test_a_digest_that_is_none_reaches_no_file(
    form: str, size: str, content: dict[str, Any], sound: Path, tmp_path: Path
) -> None:
    """It names the cache's file, which is read, and removed if it has another size."""
    home, served = tmp_path / "home", tmp_path / "served"
    (tmp_path / "cache").mkdir()
    for name in ("home/backup.tar", "cache/backup.tar", ".tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * (first_shard(content)["bytes"] if size == "the shard's" else 5))
    first_shard(content)["sha256"] = form.format(home=home)
    served.mkdir()
    (served / MANIFEST_NAME).write_text(json.dumps(content))
    (served / "train").symlink_to(sound / "train")
    before = files_below(tmp_path)
    with serving(served) as server:
        source = source_of(DataConfig(shards=server.url, cache=str(tmp_path / "cache"), attempts=1))
        with pytest.raises(DataError, match=r"is damaged \(shard train/shard-000000.tar has the SHA-256"):
            read_all(source)
    assert files_below(tmp_path) == before


def edit(data: dict[str, Any], path: str, value: object) -> None:
    """`path` goes through keys and indices; `-` as the value takes the entry out."""
    *above, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    place: Any = data
    for part in above:
        place = place[part]
    if value == "-":
        del place[last]
    else:
        place[last] = value


SHARD, TRAIN = "splits/train/shards/0", "splits/train"
NO_SHARD_NAMES = (
    "/etc/x.tar", "../x.tar", "train/../../x.tar", "./x.tar", "train//x.tar", "", "x", MANIFEST_NAME, ".hidden.tar",
    ".resident/x.tar", "-x.tar", "train/-x.tar", "a\\b.tar", "C:\\x.tar", "a\nb.tar", "a\0.tar", "a\x1b[2J.tar",
    "a?b=c.tar", "a#b.tar", "%2e%2e/x.tar", "a b.tar", "s3://x/y.tar", "*.tar", "\ud800.tar",
    "x" * 300 + ".tar", 7, None, ["x.tar"],
)  # fmt: skip
NO_DIGESTS = (7, None, "g" * 64, "a" * 65, "a" * 64 + "\n", ["a" * 64])
NO_SHAPES = ([0, 3], [-4, 3], [4], [4, 3, 1], [2**40, 2**40], [4.0, 3])
NO_MOST = (-1, 6, 10**30, 1.5, False, None)
NO_COUNTS = (-1, 0, 1.0, 7.0, True, "7", None, float("nan"), float("inf"), 2**31, 10**400, [7])
NO_SECONDS = (0, -1, True, "1", None, float("nan"), float("inf"), 1e9, 10**400)
NOTES = ("origin", "simulated")
BAD: list[tuple[str, object, str]] = [
    *((f"{SHARD}/name", name, "is not named as a .tar below the folder") for name in NO_SHARD_NAMES),
    (f"{SHARD}/name", "train/shard-000001.tar", "shard train/shard-000001.tar is named twice"),
    *((f"{SHARD}/sha256", digest, "not 64 digits from 0 to f") for digest in NO_DIGESTS),
    *((f"{SHARD}/videos", count, "videos is .*, not a whole number from 1 to") for count in NO_COUNTS),
    *((f"{SHARD}/bytes", count, "bytes, but 7 videos take") for count in (*NO_COUNTS, 10240)),
    *((f"{SHARD}/positives", value, "positives") for value in (0, -1, True, None, [1], [9, 0, 0, 0, 0], "-")),
    *((f"{TRAIN}/videos", count, "holds 17 videos, not") for count in (16, -1, None, "17")),
    *((f"{TRAIN}/max_labels", most, "max_labels is .*, not a whole number") for most in NO_MOST),
    (f"{TRAIN}/max_labels", 0, "too many positives"),
    *((f"{TRAIN}/dense", value, "neither true nor false") for value in (0, 1, None, "false")),
    (f"{TRAIN}/shards", [], "holds 0 videos, not 17"),
    (f"{TRAIN}/shards", {}, "not a list"),
    (f"{TRAIN}/record/bytes", 10**18, "do not fit its features"),
    (f"{TRAIN}/record/members/audio.npy", [-512, 24], "do not fit its features"),
    (f"{TRAIN}/record/members/audio.npy", [10**12, 24], "do not fit its features"),
    (f"{TRAIN}/record/members/motion.npy", [640, 24], "do not fit its features"),  # where audio lies
    (f"{TRAIN}/record/members/{LABELS}", [4096, 10**12], "the label text's room is"),
    (f"{TRAIN}/record/members/{LABELS}", [4096, 100], "do not fit its features"),
    (f"{TRAIN}/record/members/{LABELS}", "-", "it lacks 'labels.json'"),
    ("splits", {}, "it has no splits"),
    ("features", {}, "it has no features"),
    *(("features/audio/shape", shape, "audio") for shape in NO_SHAPES),
    ("features/audio/shape", [4, 2**27], "a video of split 'train' takes .* bytes, more than"),
    ("features/audio/dtype", "object", "object"),
    ("segments", 0, "segments is 0"),
    ("segments", 10**9, "segments is 1000000000"),
    ("segments", True, "segments is True"),
    ("categories", ["a", "a", "b", "c", "d"], "names a category twice"),
    ("categories", ["a", 7, "b", "c", "d"], "a category is 7, not a text"),
    ("categories", ["a", "\x1b]0;x", "b", "c", "d"], "a category is .*control characters"),
    ("categories", "Speech", "categories is 'Speech', not a list"),
    ("name", 5, "its name is 5"),
    ("simulated", "yes", "simulated is 'yes'"),
    ("splits", [1], "splits is"),
    ("splits/train/truth", 1, "truth is 1, neither true nor false"),
    ("simulated", "-", "it lacks 'simulated'"),
    *((what, {"a": ["\x1b[2J"]}, rf"a text in {what} is .*control characters") for what in NOTES),
    *((what, {"a\u2028": 1}, rf"a name in {what} is .*control characters") for what in NOTES),
    *((what, {"a": float("nan")}, rf"{what} holds nan, which is no number of JSON") for what in NOTES),
    *((what, {"a": [[[[[[[[[1]]]]]]]]]}, rf"{what} is nested too deeply") for what in NOTES),
    *((what, {"a": "x" * 70_000}, rf"a text in {what} has more than") for what in NOTES),
    *((what, {"a": [1] * 40_000}, rf"{what} takes more than") for what in NOTES),
    ("origin", [1], "origin is .*not a JSON object"),
    ("origin", "-", "it lacks 'origin'"),
    *(("segment_seconds", value, "segment_seconds is .*, not a number of seconds") for value in NO_SECONDS),
    ("segment_seconds", "-", "it lacks 'segment_seconds'"),
    *((f"{TRAIN}/shuffled", value, "was shuffled is .*, not a whole number") for value in (-1, 1.5, True, "7", 10**30)),
    (f"{TRAIN}/shuffled", "-", "it lacks 'shuffled'"),
    *(("features/audio/pooled", value, "how audio was pooled is") for value in (7, None, "a\nb", "\x9b31m")),
    ("features/audio/pooled", "x" * 70_000, "how audio was pooled has more than"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "part"), BAD, ids=[f"{path}={value!r:.20}" for path, value, _ in BAD])
def test_what_no_manifest_may_say(path: str, value: object, part: str, content: dict[str, Any]) -> None:
    edit(content, path, value)
    with pytest.raises(ManifestError, match=rf"^m.json is damaged \((?s:.)*{part}.*pack the data set again$") as error:
        parse_manifest(json.dumps(content).encode(), "m.json")
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "-x", "two words", "a\nb", "x" * 300, "con:1", "x" * 101])
def test_what_no_split_may_be_called(name: str, content: dict[str, Any]) -> None:
    """Resident files lie in a folder of its name."""
    content["splits"] = {name if split == "train" else split: value for split, value in content["splits"].items()}
    with pytest.raises(ManifestError, match="is not named with letters, digits and '_'"):
        parse_manifest(json.dumps(content).encode(), "m.json")


TEXTS = {
    "deep": b"[" * 200_000,
    "deep in a value": b'{"schema": 1, "simulated": ' + b'{"a":' * 100_000,
    "long number": b'{"schema": ' + b"9" * 10_000 + b"}",
    "no UTF-8": b'{"schema": "\xff"}',
    "nothing": b"",
    "a list": b"[1]",
    "many lists without an end": b'{"positives":[' * 20_000,
    "other schema": json.dumps({"schema": "x" * 10_000}).encode(),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_texts_that_are_no_manifest(text: bytes) -> None:
    with pytest.raises(DataError, match=r"^m.json (is damaged|has schema)") as error:
        parse_manifest(text, "m.json")
    assert len(str(error.value)) < 400


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: what holds it, and its key or index there."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inside for place in ((value, key), *nodes(item))]


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=20),
    st.lists(st.integers(-2, 9), max_size=6), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)  # fmt: skip


@settings(max_examples=300)
@given(st.data())
def test_any_value_in_any_place_is_a_manifest_or_damage(sound: Path, data: st.DataObject) -> None:
    changed = json.loads((sound / MANIFEST_NAME).read_text())
    del changed["digest"]
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(nodes(changed)))
        holder[key] = copy.deepcopy(data.draw(JUNK))
    try:
        manifest = parse_manifest(json.dumps(changed).encode(), "m.json")
    except DataError:
        return
    assert len(manifest.digest) == 64
    assert {type(shard.bytes) for split in manifest.splits.values() for shard in split.shards} == {int}


def test_a_shard_may_count_more_than_memory_holds_words_for(content: dict[str, Any]) -> None:
    """Its digest is of the text, and the numbers up to the largest would take gigabytes as text."""
    split = content["splits"]["train"]
    size, videos = split["record"]["bytes"], 2**31 - 1
    split["shards"] = [split["shards"][0] | {"videos": videos, "positives": [videos, 0, 0, 0, 7]}]
    split["shards"][0]["bytes"] = -(-(videos * size + 1024) // 10240) * 10240
    split["videos"] = videos
    assert len(parse_manifest(json.dumps(content).encode(), "m.json").digest) == 64


@pytest.mark.parametrize("remote", [True, False])
def test_a_manifest_that_has_no_end(remote: bool, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jomold_dist.data.reading.source.MOST_BYTES", 10_000)
    (tmp_path / MANIFEST_NAME).write_bytes(b" " * 3_000_000)
    with serving(tmp_path) as server:
        place = server.url if remote else str(tmp_path)
        source = source_of(DataConfig(shards=place, cache=str(tmp_path / "cache"), attempts=5))
        with pytest.raises(DataError, match=r"manifest.json is damaged: it is longer than 10000 bytes"):
            read_manifest(source)
        assert server.gets[MANIFEST_NAME] == remote  # there is nothing to try again


def test_a_manifest_of_very_many_small_things(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of which takes many times its text as a Python object."""
    monkeypatch.setattr(manifest_file, "MOST_TEXT", 1000)
    monkeypatch.setattr(positives, "MOST_LISTS", 10)
    for text, part in (
        (b'{"a": [' + b"[]," * 400 + b"[]]}", "more than 1000 bytes beside its counts"),
        (b'{"a": [' + b'{"positives":[]},' * 11 + b"0]}", "more than 10 lists of positives"),
    ):
        with pytest.raises(ManifestError, match=part):
            parse_manifest(text, "m.json")


def test_the_digest_is_compared_wherever_it_comes_from(sound: Path, tmp_path: Path) -> None:
    """One count altered changes what is said of removals, and no shard tells."""
    data = json.loads((sound / MANIFEST_NAME).read_text())
    positives = first_shard(data)["positives"]
    positives[0] += 1 if positives[0] < 3 else -1
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(data))
    with pytest.raises(ManifestError, match="its digest is not that of its content; if you edited it"):
        read_manifest(tmp_path)


def test_a_key_that_no_video_may_have_is_damage_for_a_reader_too(sound: Path, tmp_path: Path) -> None:
    """Also resident, where keys are stored as ASCII."""
    folder = tmp_path / "set"
    manifest, videos = write_dataset(folder, {"train": 5})
    shard = folder / manifest.split("train").shards[0].name
    shard.write_bytes(
        shard.read_bytes().replace(videos["train"][3].key.encode(), b"\xff" + videos["train"][3].key[1:].encode())
    )
    for resident in (False, True):
        with pytest.raises(DataError, match="the key of video 3 holds a character that a key may not hold"):
            read_all(Folder(folder), resident=resident)


def test_limits_leave_room_for_what_is_there() -> None:
    """Ten million videos and 527 categories; LLP with all frames in float32."""
    assert manifest_file.MOST_BYTES > 36e6
    assert manifest_file.MOST_RECORD_BYTES > 10 * (80 * 2048 + 10 * 640) * 4
