"""Parsed videos are what a network says of each video, however they are asked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.reading.run_data import open_whole
from jomold_dist.data.reading.source import Folder
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError
from jomold_dist.models.network import Network
from jomold_dist.models.registry import network_class
from jomold_dist.showing.timelines.parsed import ParsedVideo, Videos, parse_keys, parse_numbers, parse_split
from tests.shard_fixtures import write_dataset

CPU = World(0, 1, 0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Videos, dict[str, list[Video]]]:
    folder = tmp_path_factory.mktemp("parsed") / "tiny"
    manifest, packed = write_dataset(folder, {"train": 20, "test": 9})
    config = load_config(None, [f"data.shards={folder}", "train.batch_size=4", "data.threads=1"])
    return Videos(config, Folder(folder), manifest, CPU), packed


def network_for(manifest: Manifest, name: str = "han", seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return network_class(name).build(Config().model, manifest).eval()


def test_a_split_is_parsed_video_by_video(tiny: tuple[Videos, dict[str, list[Video]]]) -> None:
    videos, packed = tiny
    network = network_for(videos.manifest)
    done: list[int] = []
    found = [one for (one,) in parse_split([network], videos, "test", progress=done.append)]
    assert ([v.key for v in found], sum(done)) == ([v.key for v in packed["test"]], 9)
    for video, was in zip(found, packed["test"], strict=True):
        features = {name: torch.from_numpy(value).float()[None] for name, value in was.features.items()}
        with torch.inference_mode():
            parsing = network.parse(**features)
        expected = parsing.segment_prob[0].permute(1, 2, 0).numpy()  # (2, C, T)
        np.testing.assert_allclose(video.probability, expected, atol=2e-6)
        gate = torch.stack([parsing.audio_prob, parsing.visual_prob], 1)[0].numpy() >= 0.5  # type: ignore[list-item]
        sure = np.abs(video.probability - 0.5) > 1e-5
        np.testing.assert_array_equal(video.found[sure], ((expected >= 0.5) & gate[..., None])[sure])
        np.testing.assert_array_equal(video.truth, was.dense)
        assert video.labels is not None
        assert np.flatnonzero(video.labels).tolist() == list(was.labels)
        assert (video.segments, video.segment_seconds) == (4, 1.0)


def test_chosen_videos_are_those_of_the_split_whoever_else_is_chosen(
    tiny: tuple[Videos, dict[str, list[Video]]],
) -> None:
    videos, packed = tiny
    networks = [network_for(videos.manifest, seed=seed) for seed in (0, 1)]
    numbers = np.array([7, 0, 3, 8, 5])
    chosen = list(parse_numbers(networks, videos, "test", numbers))
    whole = list(parse_split(networks, videos, "test"))
    for some, number in zip(chosen, numbers, strict=True):
        for one, same in zip(some, whole[number], strict=True):
            assert one.key == same.key == packed["test"][number].key
            np.testing.assert_allclose(one.probability, same.probability, atol=2e-6)
    assert not np.allclose(whole[0][0].probability, whole[0][1].probability)


def test_keys_come_in_their_order_from_whichever_split(tiny: tuple[Videos, dict[str, list[Video]]]) -> None:
    videos, packed = tiny
    keys = [packed["test"][4].key, packed["train"][11].key, packed["test"][1].key]
    found = [one for (one,) in parse_keys([network_for(videos.manifest)], videos, keys)]
    assert [video.key for video in found] == keys
    assert [video.truth is None for video in found] == [False, True, False]  # training videos have no dense labels


def test_a_network_of_one_modality_says_nothing_of_the_other(tiny: tuple[Videos, dict[str, list[Video]]]) -> None:
    videos, _ = tiny
    (video,) = next(parse_split([network_for(videos.manifest, "talnet")], videos, "test"))
    assert video.modalities == ("audio",)
    assert not video.found[1].any()
    assert not video.probability[1].any()


def test_keys_that_are_not_there_are_named_together(tiny: tuple[Videos, dict[str, list[Video]]]) -> None:
    videos, packed = tiny
    there, typed = packed["test"][0].key, packed["train"][2].key + "q"
    with pytest.raises(DataError) as error:
        parse_keys([network_for(videos.manifest)], videos, [there, typed, "nothing"])
    assert len(error.value.problems) == 2
    assert f"holds no video {typed!r} among 29 in train, test; the nearest keys: {typed[:-1]}" in str(error.value)


def test_what_is_kept_of_a_video_is_not_a_batch(tiny: tuple[Videos, dict[str, list[Video]]]) -> None:
    videos, _ = tiny
    (video,) = next(parse_split([network_for(videos.manifest)], videos, "test"))
    assert isinstance(video, ParsedVideo)
    arrays = (video.probability, video.found, video.truth, video.labels)
    assert all(array is not None and array.base is None for array in arrays)


def test_a_threshold_of_ones_own_decides(tiny: tuple[Videos, dict[str, list[Video]]]) -> None:
    videos, _ = tiny
    network = network_for(videos.manifest)
    (low,) = next(parse_split([network], videos, "test", threshold=1e-6))
    (high,) = next(parse_split([network], videos, "test", threshold=0.999))
    assert (low.found.all(), high.found.any()) == (True, False)
    assert Path(videos.config.data.where).is_dir()


def test_sets_that_are_joined_are_one(tiny: tuple[Videos, dict[str, list[Video]]], tmp_path: Path) -> None:
    videos, packed = tiny
    _, others = write_dataset(tmp_path / "more", {"train": 8, "test": 5}, prefix="more-")
    places = (videos.config.data.where, str(tmp_path / "more"))
    config = replace(videos.config, data=replace(videos.config.data, shards=places))
    source, manifest = open_whole(config.data)
    joined = Videos(config, source, manifest, CPU)
    keys = [others["test"][4].key, packed["test"][2].key, others["train"][7].key]
    found = [one for (one,) in parse_keys([network_for(manifest)], joined, keys)]
    assert [video.key for video in found] == keys
    np.testing.assert_array_equal(found[0].truth, others["test"][4].dense)
    whole = [one.key for (one,) in parse_split([network_for(manifest)], joined, "test")]
    assert whole == [video.key for video in (*packed["test"], *others["test"])]


def test_a_damaged_video_is_missing_where_a_run_may_mask_it(
    tiny: tuple[Videos, dict[str, list[Video]]], tmp_path: Path
) -> None:
    """Its neighbours are there, and are themselves."""
    videos, packed = tiny
    shutil.copytree(videos.config.data.where, tmp_path / "data")
    shard = tmp_path / "data" / videos.manifest.split("test").shards[0].name
    content = bytearray(shard.read_bytes())
    content[videos.manifest.split("test").record.bytes + 700] ^= 255  # a feature of its second video
    shard.write_bytes(content)
    config = replace(videos.config, data=replace(videos.config.data, on_bad_video="mask"))
    masked = Videos(config, Folder(tmp_path / "data"), videos.manifest, CPU)
    network = network_for(videos.manifest)
    keys = [video.key for video in packed["test"]]
    assert [one.key for (one,) in parse_keys([network], masked, keys)] == [keys[0], *keys[2:]]
    assert [one.key for (one,) in parse_split([network], masked, "test")] == [keys[0], *keys[2:]]
