"""Which methods go with which networks, engines and scores: told before a run starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jomold_dist.config import Config, DeepSpeedConfig, DenoiseConfig, ModelConfig, TrainConfig
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, RecordLayout, ShardInfo, SplitInfo
from jomold_dist.labels import CategorySet
from jomold_dist.methods.han import Han
from jomold_dist.methods.registry import METHODS
from jomold_dist.models.network import Network
from jomold_dist.models.registry import NETWORKS, build_network
from jomold_dist.training.preflight import problems_of_method, scores_of_model
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained
from jomold_dist.tuning.trials import needs_estimator

SPECS = {
    "audio": FeatureSpec((4, 3), "float32"),
    "frames": FeatureSpec((8, 4), "float32"),
    "motion": FeatureSpec((4, 2), "float32"),
}
SHARDS = (ShardInfo("a", 9, 0, "", np.zeros(3)),)
SPLITS = {name: SplitInfo(name, 3, name != "train", RecordLayout(0, {}), SHARDS) for name in ("train", "val", "test")}
MANIFEST = Manifest("made up", 4, CategorySet(("a", "b", "c")), SPECS, SPLITS, {"scenario": "llp"})
ONE_MODALITY = {"talnet": "segment_audio", "cmcs": "segment_visual", "stpn": "segment_visual"}
GIVEN = DenoiseConfig(ratios="constant", ratio_constant=0.2)


def config_of(method: str, network: str, **more: object) -> Config:
    train = TrainConfig(selection=ONE_MODALITY.get(network, "segment_type"))
    return replace(Config(method=method, model=ModelConfig(network=network), train=train), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", list(METHODS))
def test_a_method_that_compares_modalities_needs_both(method: str, network: str) -> None:
    problems = [
        problem
        for problem in problems_of_method(config_of(method, network), MANIFEST)
        if "truth of the training labels" not in problem and "cleaned_labels" not in problem  # which are nowhere
    ]
    if network in ONE_MODALITY and method not in ("han", "static", "true", "cleaned"):
        assert any("compares the two modalities" in problem for problem in problems), problems
    else:
        assert problems == []


def test_a_placebo_of_given_ratios_compares_nothing() -> None:
    assert problems_of_method(config_of("random", "talnet", denoise=GIVEN), MANIFEST) == []


@pytest.mark.parametrize(("method", "network"), [("han", "ave"), ("jocor", "ave"), ("coteaching-plus", "han")])
def test_parameters_that_zero_3_cannot_hold_are_told(method: str, network: str) -> None:
    plain = config_of(method, network, deepspeed=DeepSpeedConfig(zero_stage=3), denoise=GIVEN)
    shared = replace(plain, train=replace(plain.train, engine="deepspeed"))
    told = [problem for problem in problems_of_method(shared, MANIFEST) if "zero_stage = 3" in problem]
    assert len(told) == (network == "ave")


class Listens(Han):
    """A user's: whatever model.network says, its network hears only."""

    @classmethod
    def network(cls, config: Config, manifest: Manifest) -> Network:
        return build_network(replace(config.model, network="talnet"), manifest)


class TwoTrainings(Han):
    """A user's: a training of another method's network before its own."""

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (Trained("estimator", Listens, "first"), Trained("train", cls))


def test_every_training_is_looked_at() -> None:
    (problem,) = problems_of_method(config_of(f"{__name__}:TwoTrainings", "han"), MANIFEST)
    assert "train.selection = 'segment_type' is no score" in problem


def test_the_scores_are_those_of_the_method_s_network() -> None:
    assert "segment_visual" not in scores_of_model(config_of(f"{__name__}:Listens", "han"), MANIFEST)
    assert "segment_visual" in scores_of_model(config_of(f"{__name__}:TwoTrainings", "han"), MANIFEST)


def test_a_sweep_trains_its_own_estimator_only() -> None:
    assert needs_estimator(config_of("jomold", "han"))
    assert not needs_estimator(config_of("jomold", "han", denoise=GIVEN))
    assert not needs_estimator(config_of(f"{__name__}:TwoTrainings", "han"))
