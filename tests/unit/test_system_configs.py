"""The configs of the systems, and their networks as a config and a data set want them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from jomold_dist.config import Config, ModelConfig
from jomold_dist.config_fields import Tree
from jomold_dist.config_files import load_config
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.errors import ConfigError
from jomold_dist.labels import CategorySet
from jomold_dist.methods.han import Han
from jomold_dist.models.registry import build_network, form_of, network_class, network_of
from jomold_dist.score_names import score_names

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "systems"
NETWORKS = ("talnet", "stpn", "cmcs", "ave", "avsdn")


def manifest(frames: int = 8, motion: bool = True) -> Manifest:
    """A data set of 4 segments and 3 categories, with so many frames a segment."""
    features = {"audio": FeatureSpec((4, 12), "float32"), "frames": FeatureSpec((4 * frames, 20), "float32")}
    if motion:
        features["motion"] = FeatureSpec((4, 8), "float32")
    return Manifest("made up", 4, CategorySet(("Dog", "Cat", "Car")), features, {})


def config_of(network: str) -> Config:
    return load_config(CONFIGS / f"{network}.yaml")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_system_trains_on_what_its_network_gives_and_is_selected_by_a_score_that_it_has(name: str) -> None:
    config = config_of(name)
    network = build_network(config.model, manifest())
    assert type(network) is network_class(name)
    assert config.train.selection in score_names(network.modalities)
    weights = Han(config, manifest(), {}, torch.device("cpu")).weights(network)
    assert {*network.modalities, "video", *network.own_terms} == set(weights)
    counted = {term: weights[term] for term in (*network.modalities, "video")}
    assert sum(counted.values()) == len(network.modalities) + (len(network.modalities) == 2)  # no term counts twice


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("motion", [True, False])
@pytest.mark.parametrize("frames", [1, 8])
def test_a_network_is_built_for_the_data_set_and_rebuilt_from_its_form(name: str, motion: bool, frames: int) -> None:
    data = manifest(frames, motion)
    network = build_network(config_of(name).model, data).eval()
    given = {kind: torch.rand(2, *spec.shape) for kind, spec in data.features.items()}
    parsing = network.parse(**given)
    assert parsing.segment_prob.shape == (2, 4, 2, 3)
    again = network_of(json.loads(json.dumps(form_of(network))))
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval().parse(**given).video_prob, parsing.video_prob)


def test_options_reach_the_network_and_unknown_ones_are_refused() -> None:
    model = ModelConfig(network="talnet", options=Tree({"pooling": "att"}))
    assert build_network(model, manifest()).form()["pooling"] == "att"
    for options, said in (
        ({"poling": "att"}, "no such option.*did you mean 'pooling'"),
        ({"pooling": "mean"}, "must be one of max, ave, lin, exp, att"),
        ({"num_classes": 7}, "no such option"),  # the data set says so
    ):
        with pytest.raises(ConfigError, match=said):
            build_network(ModelConfig(network="talnet", options=Tree(options)), manifest())
