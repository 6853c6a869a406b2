"""What the stages mark before a training does not depend on how many ranks share the videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import run_ranks

from jomold_dist.config import Config, DataConfig, TrainConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.denoising.controls import placebo
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.denoising.refinement import partners
from jomold_dist.distributed.world import World, open_world
from jomold_dist.errors import RunFolderError, UserError
from jomold_dist.models.network import Parsing
from jomold_dist.training import refined_labels
from jomold_dist.training.marked_labels import RandomLabels, TrueLabels
from jomold_dist.training.refined_labels import RefinedLabels
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from tests.shard_fixtures import write_dataset

VIDEOS, CATEGORIES = 53, 5
RATIO = torch.linspace(0.1, 0.9, CATEGORIES, dtype=torch.float64)


def judge(audio: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Audio and visual probabilities (2, C) of a video (T, ·) for the made-up network below."""
    heard, seen = audio.astype(np.float32).sum(), frames.astype(np.float32).sum()
    turn = np.arange(CATEGORIES)
    return np.stack([0.5 + 0.5 * np.sin(heard + turn), 0.5 + 0.4 * np.sin(seen + 0.1 * heard + 2 * turn)])


class Made(torch.nn.Module):
    """A network that looks at each video alone, so that no batch changes what it says."""

    def parse(self, audio: torch.Tensor, frames: torch.Tensor, motion: torch.Tensor) -> Parsing:
        judged = [judge(a, f) for a, f in zip(audio.cpu().numpy(), frames.cpu().numpy(), strict=True)]
        both = torch.from_numpy(np.stack(judged)) if judged else torch.zeros(0, 2, CATEGORIES)
        return Parsing(both[:, 0], both[:, 0], both[:, 1], both)


def some_partners(index: np.ndarray, labels: np.ndarray, usable: np.ndarray, seed: int) -> np.ndarray:
    """As if every fifth video shared a label with all others."""
    return np.where(index % 5 == 0, -1, partners(index, labels, usable, seed))


def stages_of(world: World, data: Path, manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Collective: what each stage leaves, and what it is to a run that begins again."""
    refined_labels.load_trained = lambda run, weights: Made()  # type: ignore[assignment,return-value]
    refined_labels.partners = some_partners
    config = Config(data=replace(DataConfig(), shards=str(data), streams=12), train=TrainConfig(batch_size=8))
    found = {"noise_ratios": NoiseRatios(RATIO, RATIO.flip(0))}
    left: dict[str, Any] = {}
    for name, stage in (("ma", RefinedLabels("base")), ("random", RandomLabels())):
        run = Run(config, manifest, world, RunFolder(folder / f"{name}-{world.size}"))
        if world.is_main:
            run.folder.path.mkdir(parents=True)
        marked = stage.mark(run, found)
        stage.mark = lambda run, found, marked=marked: marked  # type: ignore[method-assign]
        stage.do(run, found)
        left[f"{name} marked"] = marked
        if world.is_main:
            assert stage.is_done(run)
            left[name] = np.unpackbits(stage.read(run), axis=2, count=CATEGORIES).view(bool)
    try:
        TrueLabels().do(run, found)
    except UserError as error:
        left["true"] = str(error)
    return left


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest, list[Video]]:
    folder = tmp_path_factory.mktemp("marked") / "data"
    manifest, videos = write_dataset(folder, {"train": VIDEOS, "val": 3, "test": 3})
    return folder, manifest, videos["train"]


@pytest.fixture(scope="module")
def one_rank(data: tuple[Path, Manifest, list[Video]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch, open_world("cpu") as world:
        for name in ("load_trained", "partners"):  # which are put back in the end
            patch.setattr(refined_labels, name, None)
        return stages_of(world, *data[:2], tmp_path_factory.mktemp("runs"))


def labels_of(videos: list[Video]) -> np.ndarray:
    labels = np.zeros((len(videos), CATEGORIES), dtype=bool)
    for number, video in enumerate(videos):
        labels[number, list(video.labels)] = True
    return labels


def test_ma_marks_what_its_rule_says(data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any]) -> None:
    videos = data[2]
    labels = labels_of(videos)
    features = [(video.features["audio"], video.features["frames"]) for video in videos]
    own = np.stack([judge(*pair) for pair in features], axis=1)  # (2, N, C)
    error = ((own > 0.5) != labels).mean(1)
    weight = error / error.max(1, keepdims=True)
    partner = some_partners(np.arange(VIDEOS), labels, np.ones(VIDEOS, dtype=bool), seed=0)
    expected = np.zeros((2, VIDEOS, CATEGORIES), dtype=bool)
    for i, j in enumerate(partner):
        if j >= 0:
            foreign_audio = judge(features[j][0], features[i][1])
            foreign_frames = judge(features[i][0], features[j][1])
            for modality, judged in ((0, foreign_frames), (1, foreign_audio)):
                expected[modality, i] = labels[i] & (judged / weight[modality] < 0.5).all(0)
    np.testing.assert_array_equal(one_rank["ma"], expected)
    assert expected.any((1, 2)).all()
    assert not expected[:, ::5].any()


def test_random_marks_what_the_placebo_draws(
    data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any]
) -> None:
    ratios = np.stack([RATIO.numpy(), RATIO.numpy()[::-1]])
    np.testing.assert_array_equal(one_rank["random"], placebo(labels_of(data[2]), ratios, seed=0))
    assert one_rank["true"].startswith("method true needs the truth of the training labels")


@pytest.mark.parametrize("size", [2, 3])
def test_every_number_of_ranks_marks_the_same(
    size: int, data: tuple[Path, Manifest, list[Video]], one_rank: dict[str, Any], tmp_path: Path
) -> None:
    main, *others = run_ranks(stages_of, size, tmp_path, *data[:2], tmp_path)
    for name in ("ma", "random"):
        np.testing.assert_array_equal(main[name], one_rank[name])
        assert [rank[f"{name} marked"].size for rank in others] == [0] * len(others)  # rank 0 alone writes them
    assert {rank["true"] for rank in (main, *others)} == {one_rank["true"]}


def test_a_file_that_is_not_of_this_run_is_told(data: tuple[Path, Manifest, list[Video]], tmp_path: Path) -> None:
    with open_world("cpu") as world:
        run = Run(Config(), data[1], world, RunFolder(tmp_path))
        assert not RandomLabels().is_done(run)
        np.savez(run.folder.refined_labels, marked=np.zeros((2, 7, 1), np.uint8), categories=list("abcde"))
        with pytest.raises(RunFolderError, match=r"refined_labels.npz cannot be used: it is of other videos"):
            RandomLabels().is_done(run)
        run.folder.refined_labels.write_bytes(b"PK, but not much more")
        with pytest.raises(RunFolderError, match="move the file away"):
            RandomLabels().is_done(run)
