"""What the stage finds of every label does not depend on how many ranks share the videos."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ranks import run_ranks

from jomold_dist.config import Config, DataConfig, DenoiseConfig, TrainConfig
from jomold_dist.config_methods import MixtureConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.data.reading.folds import folds_of
from jomold_dist.denoising.presence import fit_presence
from jomold_dist.distributed.world import World, open_world
from jomold_dist.errors import DataError, RunFolderError
from jomold_dist.models.network import Network, Parsing
from jomold_dist.models.registry import build_network
from jomold_dist.training import label_table, presence_stage
from jomold_dist.training.evidence import rounded_logits
from jomold_dist.training.presence_stage import FoundPresence
from jomold_dist.training.ratio_stage import PresenceRatios
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.stage import ready_to_compute
from tests.shard_fixtures import write_dataset

VIDEOS, CATEGORIES, FOLDS = 203, 5, 3
NOTHING = label_table.LabelRows(
    *[np.zeros(0, np.int64)] * 4,
    *[np.zeros((2, 0), np.float32)] * 3,  # a rank's without labels
)
FILES = ("labels.parquet", "mixture.json", "labels-2.parquet", "mixture-2.json")


def judge(audio: np.ndarray, frames: np.ndarray, turn: int) -> np.ndarray:
    """Audio and visual probabilities (2, C) of a video (T, ·) by a made-up network."""
    heard, seen = audio.astype(np.float64).sum(), frames.astype(np.float64).sum()
    at = np.arange(CATEGORIES) + turn
    return np.stack([0.5 + 0.5 * np.sin(heard + at), 0.5 + 0.4 * np.sin(seen + 0.1 * heard + 2 * at)])


class Made(torch.nn.Module):
    """A network that looks at each video alone, so that no batch changes what it says."""

    def __init__(self, turn: int) -> None:
        super().__init__()
        self.turn = turn

    def parse(self, audio: torch.Tensor, frames: torch.Tensor, motion: torch.Tensor) -> Parsing:
        judged = [judge(a, f, self.turn) for a, f in zip(audio.cpu().numpy(), frames.cpu().numpy(), strict=True)]
        both = torch.from_numpy(np.stack(judged)) if judged else torch.zeros(0, 2, CATEGORIES, dtype=torch.float64)
        return Parsing(both[:, 0], both[:, 0], both[:, 1], both)


def config_of(data: Path) -> Config:
    return Config(data=replace(DataConfig(), shards=str(data), streams=12), train=TrainConfig(batch_size=8))


def stage_left(world: World, data: Path, manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Collective: what the stage leaves, in pieces of a few videos."""
    presence_stage.load_trained = lambda run, weights: Made(int(weights.stem))  # type: ignore[assignment,return-value]
    label_table.CHUNK = 50
    run = Run(config_of(data), manifest, world, RunFolder(folder / f"run-{world.size}"))
    if world.is_main:
        run.folder.path.mkdir(parents=True)
    stage = FoundPresence([str(fold) for fold in range(FOLDS)])
    stage.do(run, {})
    FoundPresence([str(fold + 1) for fold in range(FOLDS)], "presence-2", earlier="presence").do(run, {})
    if not world.is_main:
        return {}
    assert stage.is_done(run)
    left = stage.read(run)
    files = {name: (run.folder.path / name).read_bytes() for name in FILES}
    return files | {"first": left.labels.first, "probability": left.labels.probability, "ratios": left.ratios}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, list[Video]]:
    folder = tmp_path_factory.mktemp("presence") / "data"
    manifest, videos = write_dataset(folder, {"train": VIDEOS, "val": 3, "test": 3})
    return folder, manifest, videos["train"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def one_rank(data: tuple[Path, Manifest, list[Video]], runs: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch, open_world("cpu") as world:
        patch.setattr(presence_stage, "load_trained", None)  # which is put back in the end
        patch.setattr(label_table, "CHUNK", 0)
        return stage_left(world, *data[:2], runs)


@pytest.mark.parametrize("size", [2, 4])
def test_every_number_of_ranks_finds_the_same(
    size: int, data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any], tmp_path: Path
) -> None:
    main, *_ = run_ranks(stage_left, size, tmp_path, *data[:2], tmp_path)
    for name in FILES:
        assert main[name] == one_rank[name], name


def test_the_table_names_every_label_with_its_own_evidence(
    data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any], runs: Path
) -> None:
    _, manifest, videos = data
    table = pq.read_table(runs / "run-1" / "labels.parquet").to_pylist()
    names = manifest.categories.names
    expected = [(video.key, i, names[c]) for i, video in enumerate(videos) for c in sorted(video.labels)]
    assert [(row["key"], row["video"], row["category"]) for row in table] == expected
    fold_of = {v: k for k, fold in enumerate(folds_of(VIDEOS, FOLDS)) for v in range(VIDEOS)
               if v // fold.run % FOLDS == k}  # fmt: skip
    for row, p in zip(table, one_rank["probability"], strict=True):
        assert row["fold"] == fold_of[row["video"]]
        features = videos[row["video"]].features
        judged = judge(features["audio"], features["frames"], row["fold"])[:, names.index(row["category"])]
        assert [row["audio_logit"], row["visual_logit"]] == rounded_logits(torch.from_numpy(judged)).tolist()
        assert [row["audio"], row["visual"]] == p.tolist()
        verdict = {(True, True): "both", (True, False): "audio only", (False, True): "visual only"}
        assert row["verdict"] == verdict[row["audio"] >= 0.5, row["visual"] >= 0.5]


def test_a_second_round_goes_by_the_mean_of_both(
    data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any], runs: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, open_world("cpu") as world:
        patch.setattr(presence_stage, "load_trained", lambda run, weights: Made(int(weights.stem)))
        run = Run(config_of(data[0]), data[1], world, RunFolder(runs / "run-1"))
        FoundPresence([str(fold + 1) for fold in range(FOLDS)], "presence-alone").do(run, {})
    names = ("labels.parquet", "labels-alone.parquet", "labels-2.parquet")
    first, second, both = (pq.read_table(runs / "run-1" / name).to_pydict() for name in names)
    assert [first[name] for name in ("key", "category", "fold")] == [both[n] for n in ("key", "category", "fold")]
    assert first["audio_probit"] != second["audio_probit"]
    for name in ("audio_probit", "visual_probit"):
        mean = (np.array(first[name], np.float32) + np.array(second[name], np.float32)) / 2
        np.testing.assert_array_equal(np.array(both[name], np.float32), mean)


def test_ratios_are_the_shares_that_are_not_there(
    data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any]
) -> None:
    category = np.concatenate([sorted(video.labels) for video in data[2]]).astype(int)
    for ratio, column in zip(one_rank["ratios"], one_rank["probability"].T, strict=True):
        for c in range(CATEGORIES):
            assert float(ratio[c]) == pytest.approx(1 - column[category == c].mean(dtype=np.float64), abs=1e-6)


def test_one_estimator_s_scale_is_not_another_s(data: tuple[Path, Manifest, list[Video]]) -> None:
    """Without folds, the public function says the same."""
    videos = data[2]
    labels = torch.zeros(VIDEOS, CATEGORIES, dtype=torch.bool)
    for number, video in enumerate(videos):
        labels[number, list(video.labels)] = True
    judged = np.stack([judge(v.features["audio"], v.features["frames"], 0) for v in videos])
    logits = rounded_logits(torch.from_numpy(judged))
    found = fit_presence(logits[:, 0], logits[:, 1], labels)
    assert found.audio.shape == (VIDEOS, CATEGORIES)
    assert (found.audio[~labels] == 0).all()


@pytest.fixture
def copied(
    data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any], tmp_path: Path
) -> Iterator[tuple[Run, FoundPresence]]:
    """The first round's files in a folder of their own."""
    with open_world("cpu") as world:
        run = Run(config_of(data[0]), data[1], world, RunFolder(tmp_path))
        for name in ("labels.parquet", "mixture.json"):
            (tmp_path / name).write_bytes(one_rank[name])
        yield run, FoundPresence(["0", "1", "2"])


def test_both_files_mark_the_stage_as_done(copied: tuple[Run, FoundPresence]) -> None:
    run, stage = copied
    assert stage.is_done(run)
    for path in (run.folder.labels(), run.folder.mixture()):
        content = path.read_bytes()
        path.unlink()
        assert not stage.is_done(run)
        path.write_bytes(content)
    assert stage.is_done(run)


def test_another_run_s_files_are_told(copied: tuple[Run, FoundPresence]) -> None:
    run, stage = copied
    config = run.config
    others = (
        replace(run, config=replace(config, run=replace(config.run, seed=1))),
        replace(run, config=replace(config, mixture=MixtureConfig(folds=4))),
        replace(run, manifest=replace(run.manifest, name="another")),
    )
    for other in others:
        with pytest.raises(RunFolderError, match=r"mixture.json belongs to another config.*move .*mixture.json away"):
            stage.is_done(other)
    assert stage.is_done(replace(run, config=replace(config, train=replace(config.train, epochs=99))))


def test_a_changed_byte_of_the_table_is_told(copied: tuple[Run, FoundPresence]) -> None:
    run, stage = copied
    content = run.folder.labels().read_bytes()
    for place in range(4, len(content), len(content) // 20):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        run.folder.labels().write_bytes(damaged)
        with pytest.raises(RunFolderError, match=r"labels.parquet are not those that .*mixture.json was written with"):
            stage.is_done(run)
    run.folder.labels().write_bytes(content[:-100])
    with pytest.raises(RunFolderError, match="are not those"):
        stage.is_done(run)


@pytest.mark.parametrize("noise", ["NaN", "7.0", "-0.1", "null"])
def test_a_share_that_is_none_is_told(noise: str, copied: tuple[Run, FoundPresence]) -> None:
    run, stage = copied
    described = json.loads(run.folder.mixture().read_text())
    described["categories"][run.manifest.categories.names[1]]["noise"]["visual"] = json.loads(noise)
    run.folder.mixture().write_text(json.dumps(described))
    with pytest.raises(RunFolderError, match=r"mixture.json cannot be used"):
        stage.is_done(run)


def test_a_table_that_cannot_be_read_piece_by_piece_is_told(copied: tuple[Run, FoundPresence]) -> None:
    run, _ = copied
    path, content = run.folder.labels(), run.folder.labels().read_bytes()
    for damage in (b"PAR1 but not much more", content[:-100]):
        path.write_bytes(damage)
        for read in (
            lambda: label_table.read_probits(run, path, NOTHING),
            lambda: label_table.read_label_table(path, run.manifest.digest, VIDEOS),
        ):
            with pytest.raises(DataError, match=r"labels.parquet cannot be used"):
                read()


def test_its_noise_ratios_are_compared_with_no_file(
    data: tuple[Path, Manifest, list[Video]], runs: Path, one_rank: dict[str, Any]
) -> None:
    """`denoise.ratios` is for other methods: a run that names a file goes on all the same."""
    with open_world("cpu") as world:
        run = Run(config_of(data[0]), data[1], world, RunFolder(runs / "run-1"))
        found = {"presence": FoundPresence([]).read(run)}
        from_file = DenoiseConfig(ratios="file", ratio_file="no-such-file.json")
        run, stage = replace(run, config=replace(run.config, method="mixture", denoise=from_file)), PresenceRatios()
        stage.do(run, found)
        assert stage.is_done(run)
        assert torch.equal(stage.read(run).audio, one_rank["ratios"].audio)


def stage_left_by_network(world: World, data: Path, manifest: Manifest, folder: Path) -> bytes:
    """Collective: the table that hybrid attention networks with parameters of no meaning leave."""

    def network(run: Run, weights: Path) -> Network:
        torch.manual_seed(int(weights.stem))
        return ready_to_compute(build_network(run.config.model, manifest).double(), run.config, world)

    presence_stage.load_trained = network
    config = config_of(data)
    config = replace(config, train=replace(config.train, precision="float64"))
    run = Run(config, manifest, world, RunFolder(folder / f"run-{world.size}"))
    if world.is_main:
        run.folder.path.mkdir(parents=True)
    FoundPresence([str(fold) for fold in range(FOLDS)]).do(run, {})
    return run.folder.labels().read_bytes()


def test_a_real_network_s_table_is_the_same_on_every_number_of_ranks(
    data: tuple[Path, Manifest, list[Video]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 the last bits, which differ with the sizes of batches, are below what logits are rounded to."""
    monkeypatch.setattr(presence_stage, "load_trained", None)  # which is put back in the end
    with open_world("cpu") as world:
        alone = stage_left_by_network(world, *data[:2], tmp_path)
    judged = pq.read_table(pa.BufferReader(alone))
    assert len(set(judged.column("audio_logit").to_pylist())) > 100
    for size in (2, 4):
        assert set(run_ranks(stage_left_by_network, size, tmp_path / str(size), *data[:2], tmp_path)) == {alone}
