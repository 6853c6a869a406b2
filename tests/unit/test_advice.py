"""What is said of noise ratios before a model is trained with them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jomold_dist.config import Config, DenoiseConfig, TrainConfig
from jomold_dist.config_methods import EstimatorConfig
from jomold_dist.data.format.manifest import Manifest, RecordLayout, ShardInfo, SplitInfo
from jomold_dist.denoising.noise_ratio import NoiseRatios, Predictions
from jomold_dist.denoising.separation import lift, probability_sums
from jomold_dist.files import write_json
from jomold_dist.labels import LLP_CATEGORIES, CategorySet
from jomold_dist.training.advice import estimator_advice, forecast_advice, reach_advice
from jomold_dist.tuning import sweep
from jomold_dist.tuning.rows import Cell

VIDEOS = 4000
LABELS = np.array([2000] + [40 + 20 * n for n in range(24)])  # Speech in half of the videos, the others as in LLP
CATEGORIES = len(LABELS)


def manifest(labels: np.ndarray = LABELS, names: tuple[str, ...] = LLP_CATEGORIES.names) -> Manifest:
    shard = ShardInfo("train/shard-000000.tar", VIDEOS, 0, "", labels)
    split = SplitInfo("train", 5, False, RecordLayout(0, {}), (shard,))
    return Manifest("m", 10, CategorySet(names), {}, {"train": split})


def ratios(audio: list[float], visual: list[float]) -> NoiseRatios:
    return NoiseRatios(torch.tensor(audio, dtype=torch.float64), torch.tensor(visual, dtype=torch.float64))


def config(batch_size: int, **denoise: object) -> Config:
    return Config(train=TrainConfig(batch_size=batch_size), denoise=DenoiseConfig(**denoise))  # type: ignore[arg-type]


def test_categories_that_no_batch_reaches_are_a_warning() -> None:
    small = manifest(np.array([2000, 200, 100]), ("a", "b", "c"))
    found = ratios([0.0, 0.1, 0.0], [0.9, 0.1, 0.0])
    advice = reach_advice(found, config(32), small)
    assert advice.level == logging.WARNING
    here, rest, others = advice.text.splitlines()
    assert here.endswith(": batch 32: audio 0 of 1 (0%), visual 1 of 2 (96%)")
    assert rest.startswith("in the others ratio × labels of a batch stays below 1")
    assert others.startswith("batch 128: ")
    assert others.count("; batch 512: audio 1 of 1") == 1
    assert max(map(len, (here, rest, others))) <= 120
    assert [advice.table[name][:4] for name in ("category", "modality", "labels", "intended")] == [
        ["a", "a", "b", "b"], ["audio", "visual"] * 2, [2000, 2000, 200, 200], [0, 1800, 20, 20]
    ]  # fmt: skip
    assert [name for name in advice.table if name.startswith("candidates")] == [
        f"candidates_batch_{size}" for size in (32, 128, 512)
    ]
    assert len({len(column) for column in advice.table.values()}) == 1


def test_where_all_is_reached_it_is_told_without_a_warning() -> None:
    small = manifest(np.array([2000, 200, 100]), ("a", "b", "c"))
    advice = reach_advice(ratios([0.3, 0.2, 0.2], [0.9, 0.2, 0.5]), config(512), small)
    assert advice.level == logging.INFO
    assert "batch 512: audio 3 of 3" in advice.text
    assert "next to nothing" not in advice.text


def test_a_larger_scope_is_told_beside_the_batch() -> None:
    small = manifest(np.array([2000, 200, 100]), ("a", "b", "c"))
    found = ratios([0.0, 0.1, 0.0], [0.9, 0.1, 0.0])
    window = reach_advice(found, config(32, scope="window", window_steps=4), small)
    assert ": window of 128 videos: audio 1 of 1 (" in window.text
    assert "\nbatch 32: audio 0 of 1 (" in window.text
    assert window.table["candidates_batch_128"] == reach_advice(found, config(128), small).table["candidates_batch_128"]
    whole = reach_advice(found, config(32, scope="dataset"), small)
    assert whole.level == logging.INFO
    assert ": dataset of 4,000 videos: audio 1 of 1 (100%), visual 2 of 2 (100%)\n" in whole.text
    rare = reach_advice(ratios([0.0] * 3, [0.9, 0.001, 0.01]), config(32, scope="window", window_steps=2), small)
    assert "ratio × labels of the window stays below 1" in rare.text
    other = replace(config(32, scope="dataset"), method="jocor")  # whose ranking is over the batch, whatever it says
    assert ": batch 32: " in reach_advice(found, other, small).text


def test_a_modality_that_is_not_denoised_is_not_told() -> None:
    small = manifest(np.array([2000, 200, 100]), ("a", "b", "c"))
    found = ratios([0.5, 0.5, 0.5], [0.01, 0.0, 0.0])
    assert "audio" not in reach_advice(found, config(32, modalities="visual"), small).text
    nothing = reach_advice(ratios([0.5] * 3, [0.0] * 3), config(32, modalities="visual"), small)
    assert (nothing.level, nothing.text) == (
        logging.WARNING, "the noise ratios call no label noise: nothing will be removed"
    )  # fmt: skip


def test_dry_runs_tell_what_is_known_beforehand(tmp_path: Path) -> None:
    small = manifest(np.array([2000, 200, 100]), ("a", "b", "c"))
    told = forecast_advice(config(32, ratios="constant", ratio_constant=0.1), small)
    assert "batch 32: audio 1 of 3" in told
    file = tmp_path / "ratios.json"
    write_json(file, {"categories": ["c", "b", "a"], "audio": [0, 0, 0], "visual": [0, 0, 0.9]})
    assert "visual 1 of 1" in forecast_advice(config(32, ratios="file", ratio_file=str(file)), small)
    assert "once the estimator is trained" in forecast_advice(config(32), small)


def estimates(seed: int, learnt: float) -> Predictions:
    """An estimator's predictions, (1 − learnt) of the way back to the category's mean.

    Learnt whole, it is like a good one on LLP: labels get some 0.85, of which noise gets less, others 0.02; visual
    Speech, which is mostly not seen, gets 0.6 with the label and 0.1 without.
    """
    generator = np.random.default_rng(seed)
    prob, has = np.zeros((2, VIDEOS, CATEGORIES)), np.zeros((VIDEOS, CATEGORIES), bool)
    for category, count in enumerate(LABELS):
        has[generator.permutation(VIDEOS)[:count], category] = True
        for modality in range(2):
            speech = category == 0 and modality == 1
            high, low = (6, 4) if speech else (8, 1.5), (1, 9) if speech else (0.5, 25)
            own = has[:, category]
            prob[modality, :, category] = np.where(own, generator.beta(*high, VIDEOS), generator.beta(*low, VIDEOS))
    mean = prob.mean(1, keepdims=True)
    prob = mean + learnt * (prob - mean)
    video, category = np.nonzero(has)
    columns = (category, prob[0, video, category], prob[1, video, category], *mean[:, 0])
    return Predictions(*(torch.from_numpy(column) for column in columns))


def advice_of(found: Predictions, config: Config) -> list[str]:
    thresholds = config.denoise.audio_threshold, config.denoise.visual_threshold
    known = found.noise_ratios(*thresholds, config.denoise.visual_scale)
    return estimator_advice(found, probability_sums(found), known, config, manifest())


def test_a_weak_estimator_is_told_before_its_ratios_are_used() -> None:
    found = estimates(0, learnt=0.02)
    assert found.noise_ratios(0.6, 1.8).visual.mean() > 0.9  # whatever is there
    (warning,) = advice_of(found, replace(config(64), estimator=EstimatorConfig(epochs=3)))
    assert warning.startswith("the estimator is too weak for denoise.visual_threshold = 1.8: in 25 of 25 categories")
    assert "estimator.epochs = 3" in warning
    assert "estimator.batch_size = 64" in warning
    assert advice_of(found, config(64, modalities="audio")) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_good_estimator_is_no_alarm_even_where_a_category_is_in_half_of_the_videos(seed: int) -> None:
    """Of Speech, most quotients of equation 1 lie below θ here as on LLP: that is what θ is for."""
    found = estimates(seed, learnt=1.0)
    speech = found.visual[found.category == 0] / found.visual_mean[0]
    assert (speech < 1.8).double().mean() > 0.5
    for half_learnt in (found, estimates(seed, learnt=0.5)):
        assert advice_of(half_learnt, config(64)) == []


def test_some_rare_categories_may_be_poorly_learnt() -> None:
    """... without an alarm: few labels are at stake, and the others' ratios are good."""
    found, poor = estimates(0, learnt=1.0), estimates(0, learnt=0.02)
    mixed = replace(found, visual=torch.where((found.category > 0) & (found.category <= 3), poor.visual, found.visual))
    assert advice_of(mixed, config(64)) == []
    mixed = replace(found, visual=torch.where((found.category > 0) & (found.category <= 6), poor.visual, found.visual))
    (warning,) = advice_of(mixed, config(64))
    assert "in 6 of 25 categories" in warning


def test_lift_is_what_a_plain_loop_gives_over_any_ranks() -> None:
    generator = np.random.default_rng(3)
    labels, prob = generator.random((30, 4)) < [0.5, 0.1, 0.0, 1.0], generator.random((2, 30, 4))
    video, category = np.nonzero(labels)
    means = torch.from_numpy(prob.mean(1))
    sums = torch.zeros(2, 4, dtype=torch.float64)
    for rank in range(3):  # each with some of the labels
        own = video % 3 == rank
        columns = category[own], prob[0, video[own], category[own]], prob[1, video[own], category[own]]
        sums += probability_sums(Predictions(*(torch.from_numpy(column) for column in columns), *means))
    found = lift(sums, torch.from_numpy(labels.sum(0)), means, 30)
    for modality in range(2):
        for c in range(2):
            own = labels[:, c]
            expected = prob[modality, own, c].mean() / prob[modality, ~own, c].mean()
            assert found[modality, c].item() == pytest.approx(expected, rel=1e-12)
    assert found[:, 2:].isnan().all()  # no video, every video


def test_a_sweep_names_the_row_whose_estimator_is_too_weak_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan: Any = SimpleNamespace(manifest=manifest(), sweep=SimpleNamespace(trials=tmp_path))
    monkeypatch.setattr(sweep, "read_predictions", lambda file: estimates(0, 0.0))
    told: list[str] = []
    warned: set[str] = set()
    for seed in (0, 1):
        for row, threshold in (("low", 0.1), ("high", 1.8)):
            denoise = DenoiseConfig(audio_threshold=0.1, visual_threshold=threshold)
            cell = Cell(row, seed, Config(denoise=denoise))
            found = sweep._with_ratios(plan, cell, {}, warned, told.append)
            assert found.config.denoise.ratios == "file"
    (text,) = told
    assert text.startswith("row 'high', seed 0: the estimator is too weak for denoise.visual_threshold = 1.8")
