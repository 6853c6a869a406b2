"""What the stage finds of every label does not depend on how many ranks share the videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ranks import run_ranks

from jomold_dist.config import Config, DataConfig, DenoiseConfig, TrainConfig
from jomold_dist.data.folds import folds_of
from jomold_dist.data.manifest import Manifest
from jomold_dist.data.shards import Video
from jomold_dist.denoising.presence import fit_presence
from jomold_dist.distributed.world import World, open_world
from jomold_dist.errors import RunFolderError
from jomold_dist.models.network import Parsing
from jomold_dist.training import label_table, presence_stage
from jomold_dist.training.evidence import rounded_logits
from jomold_dist.training.presence_stage import FoundPresence
from jomold_dist.training.ratio_stage import PresenceRatios
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from tests.shard_fixtures import write_dataset

VIDEOS, CATEGORIES, FOLDS = 203, 5, 3
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


def stage_left(world: World, data: Path, manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Collective: what the stage leaves, in pieces of a few videos."""
    presence_stage.load_trained = lambda run, weights: Made(int(weights.stem))  # type: ignore[assignment,return-value]
    label_table.CHUNK = 50
    config = Config(data=replace(DataConfig(), shards=str(data), streams=12), train=TrainConfig(batch_size=8))
    run = Run(config, manifest, world, RunFolder(folder / f"run-{world.size}"))
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
    config = Config(data=replace(DataConfig(), shards=str(data[0]), streams=12), train=TrainConfig(batch_size=8))
    with pytest.MonkeyPatch.context() as patch, open_world("cpu") as world:
        patch.setattr(presence_stage, "load_trained", lambda run, weights: Made(int(weights.stem)))
        run = Run(config, data[1], world, RunFolder(runs / "run-1"))
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


def test_a_file_that_is_not_of_this_run_is_told(
    data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any], tmp_path: Path
) -> None:
    with open_world("cpu") as world:
        run = Run(Config(), data[1], world, RunFolder(tmp_path))
        stage = FoundPresence(["0", "1"])
        assert not stage.is_done(run)
        run.folder.labels().write_bytes(one_rank["labels.parquet"])
        with pytest.raises(RunFolderError, match=r"mixture.json cannot be used"):
            stage.is_done(run)
        run.folder.mixture().write_bytes(one_rank["mixture.json"])
        assert stage.is_done(run)
        for damage in (b"PAR1 but not much more", one_rank["labels.parquet"][:-100]):
            run.folder.labels().write_bytes(damage)
            with pytest.raises(RunFolderError, match=r"labels.parquet cannot be used.*move the file away"):
                stage.is_done(run)
        run.folder.labels().write_bytes(one_rank["labels.parquet"])
        other = Run(Config(), replace(data[1], name="another"), world, RunFolder(tmp_path))
        with pytest.raises(RunFolderError, match="it is of another data set"):
            stage.is_done(other)


def test_its_noise_ratios_are_compared_with_no_file(
    data: tuple[Path, Manifest, list[Video]], runs: Path, one_rank: dict[str, Any]
) -> None:
    """`denoise.ratios` is for other methods: a run that names a file goes on all the same."""
    with open_world("cpu") as world:
        config = Config(method="mixture", denoise=DenoiseConfig(ratios="file", ratio_file="no-such-file.json"))
        run = Run(config, data[1], world, RunFolder(runs / "run-1"))
        stage = PresenceRatios()
        stage.do(run, {"presence": FoundPresence([]).read(run)})
        assert stage.is_done(run)
        assert torch.equal(stage.read(run).audio, one_rank["ratios"].audio)
