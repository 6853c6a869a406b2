"""What a network is taught by probabilities of labels, and the stages that find these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jomold_dist.config import Config, DenoiseConfig, LossConfig, TrainConfig
from jomold_dist.config_methods import EstimatorConfig, MixtureConfig
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, RecordLayout, ShardInfo, SplitInfo
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.label_probabilities import LabelProbabilities
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.errors import RunFolderError
from jomold_dist.labels import CategorySet
from jomold_dist.methods.base import Moment, Targets
from jomold_dist.methods.registry import essential, method_class
from jomold_dist.training.presence_stage import FoundLabels, FoundPresence
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.trained import Trained
from jomold_dist.tuning.rows import Cell
from jomold_dist.tuning.trials import trials_of

LABELS = torch.tensor([[True, False, True], [False, False, False], [True, True, False], [False, True, False]])
INDEX = torch.tensor([5, 2, 0, 4])
PRESENCE = LabelProbabilities(
    first=np.array([0, 2, 2, 2, 3, 3, 5]),  # video 3 has a label, which is in no batch here; video 4 was not judged
    probability=np.array([[1.0, 0.25], [0.375, 1.0], [0.5, 0.5], [0.75, 0.125], [0.0, 1.0]], dtype=np.float32),
)
AUDIO = torch.tensor([[0.75, 0, 0.0], [0, 0, 0], [1.0, 0.375, 0], [0, 1, 0]])
VISUAL = torch.tensor([[0.125, 0, 1.0], [0, 0, 0], [0.25, 1.0, 0], [0, 1, 0]])


def manifest() -> Manifest:
    split = SplitInfo("train", 3, False, RecordLayout(0, {}), ())
    return Manifest(
        "made up", 2, CategorySet(tuple("abc")), {"audio": FeatureSpec((2, 3), "float32")}, {"train": split}
    )


def batch() -> Batch:
    keys = tuple("pqrs")
    return Batch({}, LABELS, torch.arange(4), INDEX, keys, None, 4)


def taught(targets: str, **settings: Any) -> tuple[torch.Tensor, Targets]:
    config = Config(method="mixture", mixture=MixtureConfig(targets=targets), **settings)  # type: ignore[arg-type]
    zeros = torch.zeros(3, dtype=torch.float64)
    found = {"presence": FoundLabels(PRESENCE, NoiseRatios(zeros, zeros))}
    method = method_class("mixture")(config, manifest(), found, torch.device("cpu"))
    masks = method.masks_of(batch(), LABELS, Moment(0, 1))
    assert masks is not None
    (made,) = method.targets(batch(), LABELS, masks, Moment(0, 1))
    return masks, made


def test_a_label_that_is_likelier_not_there_is_removed() -> None:
    masks, targets = taught("hard")
    assert torch.equal(masks, torch.stack([LABELS & (AUDIO < 0.5), LABELS & (VISUAL < 0.5)]))
    assert torch.equal(targets.audio, (AUDIO >= 0.5).float())
    assert torch.equal(targets.visual, (VISUAL >= 0.5).float())
    assert torch.equal(targets.video, LABELS.float())
    assert targets.audio_weight is None


def test_weights_tell_how_sure_it_is() -> None:
    masks, targets = taught("weighted")
    assert torch.equal(targets.audio, (LABELS & ~masks[0]).float())
    expected = torch.where(LABELS, (2 * AUDIO - 1).abs(), 1.0), torch.where(LABELS, (2 * VISUAL - 1).abs(), 1.0)
    assert torch.equal(targets.audio_weight, expected[0])  # type: ignore[arg-type]
    assert torch.equal(targets.visual_weight, expected[1])  # type: ignore[arg-type]
    assert targets.video_weight is None


@pytest.mark.parametrize("smoothing", [1.0, 0.9])
def test_soft_targets_are_the_probabilities(smoothing: float) -> None:
    _, targets = taught("soft", loss=LossConfig(visual_smoothing=smoothing))
    assert torch.equal(targets.audio, AUDIO)
    torch.testing.assert_close(targets.visual, smoothing * VISUAL + (1 - smoothing) / 2)


def test_one_modality_alone_may_be_denoised() -> None:
    masks, targets = taught("weighted", denoise=DenoiseConfig(modalities="visual"))
    assert not masks[0].any()
    assert masks[1].any()
    assert torch.equal(targets.audio_weight, torch.ones(4, 3))  # type: ignore[arg-type]


def test_labels_of_another_data_set_are_told() -> None:
    with pytest.raises(ValueError, match="video 5 of the split has other labels now"):
        PRESENCE.of(np.array([5]), np.array([[True, True, True]]))


def test_the_estimators_of_a_fold_take_as_many_steps_as_one_of_all_videos() -> None:
    config = Config(method="mixture", estimator=EstimatorConfig(epochs=7), train=TrainConfig(batch_size=64))
    for folds, size in ((2, 32), (3, 43)):
        stages = method_class("mixture").stages(replace(config, mixture=MixtureConfig(folds=folds)))
        trained = [stage for stage in stages if isinstance(stage, Trained)]
        assert len(trained) == 2 * folds + 1
        for number, stage in enumerate(trained[:-1]):
            own = stage.settings(replace(config, mixture=MixtureConfig(folds=folds))).train
            assert (own.epochs, own.batch_size, stage.keep) == (7, size, "last")
            fold = stage.fold(600)
            assert fold is not None
            assert (fold.number, fold.others) == (number % folds, True)
        assert trained[-1].fold(600) is None


@pytest.mark.parametrize("rounds", [1, 2])
def test_each_round_asks_its_own_estimators(rounds: int) -> None:
    config = Config(method="mixture", mixture=MixtureConfig(rounds=rounds))  # type: ignore[arg-type]
    stages = method_class("mixture").stages(config)
    asked = [(stage.name, stage.weights) for stage in stages if isinstance(stage, FoundPresence)]
    if rounds == 1:
        assert asked == [("presence", ("estimator-0", "estimator-1"))]
    else:
        assert asked == [
            ("presence-1", ("estimator-1-0", "estimator-1-1")),
            ("presence", ("estimator-2-0", "estimator-2-1")),
        ]
    assert [stage.name for stage in stages][-2:] == ["noise_ratios", "train"]


@pytest.mark.parametrize(("method", "last"), [("mixture", "train"), ("jomold", "noise_ratios")])
def test_what_is_known_of_labels_is_held_as_long_as_it_is_looked_at(method: str, last: str) -> None:
    config = Config(method=method, denoise=DenoiseConfig(ratios="mixture"))
    readers = {stage.name: stage.last_reader for stage in method_class(method).stages(config) if stage.last_reader}
    assert readers == {"presence-1": "estimator-2-1", "presence": last}


def test_other_methods_may_take_its_noise_ratios() -> None:
    config = Config(denoise=DenoiseConfig(ratios="mixture"))
    names = [stage.name for stage in method_class("jomold").stages(config)]
    assert names[-3:] == ["presence", "noise_ratios", "train"]


ONE_ROUND = MixtureConfig(rounds=1)


@pytest.mark.parametrize(
    ("plain", "other", "counts"),
    [
        (MixtureConfig(), MixtureConfig(folds=3), True),
        (MixtureConfig(), ONE_ROUND, True),
        (MixtureConfig(), MixtureConfig(targets="soft"), True),
        (MixtureConfig(), MixtureConfig(targets="hard"), True),
        (ONE_ROUND, replace(ONE_ROUND, targets="soft"), False),  # whose estimators learn the labels as they are
    ],
)
@pytest.mark.parametrize("method", ["jomold", "random", "jocor"])
def test_what_decides_the_ratios_tells_runs_apart(
    method: str, plain: MixtureConfig, other: MixtureConfig, counts: bool
) -> None:
    config = Config(method=method, denoise=DenoiseConfig(ratios="mixture"))
    configs = [replace(config, mixture=mixture) for mixture in (plain, other)]
    assert (essential(configs[0]) != essential(configs[1])) == counts
    cells = [Cell(str(number), 0, each) for number, each in enumerate(configs)]
    trials = trials_of(cells, "digest", Path("trials"))
    assert [trial.config.mixture for trial in trials] == [plain, other][: 1 + counts]


@pytest.mark.parametrize(("videos", "folds", "told"), [(2, 3, True), (3, 3, False), (9, 16, True)])
def test_more_folds_than_videos_are_told_beforehand(videos: int, folds: int, told: bool) -> None:
    split = replace(manifest().split("train"), shards=(ShardInfo("a", videos, 0, "", np.zeros(3)),))
    few = replace(manifest(), splits={"train": split})
    for config in (Config(method="mixture"), Config(denoise=DenoiseConfig(ratios="mixture")), Config()):
        own = replace(config, mixture=MixtureConfig(folds=folds))
        problems = method_class(own.method).problems(own, few)
        assert len(problems) == (told and config != Config())
        assert all(f"mixture.folds = {folds} cuts the {videos} training videos" in problem for problem in problems)


def test_a_run_keeps_its_folds(tmp_path: Path) -> None:
    config, folder = Config(method="mixture"), RunFolder(tmp_path / "run")
    with folder.claimed(config, "digest"):
        pass
    folder.check(config, "digest")
    with pytest.raises(RunFolderError, match=r"another config: mixture.folds was 2 and is 3\. Choose another run.dir"):
        folder.check(replace(config, mixture=MixtureConfig(folds=3)), "digest")
