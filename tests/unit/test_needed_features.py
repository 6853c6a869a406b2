"""Which networks a data set's features are enough for, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jomold_dist.config import ModelConfig
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.errors import ConfigError
from jomold_dist.labels import CategorySet
from jomold_dist.models.network import Network, feature_sizes
from jomold_dist.models.registry import NETWORKS, build_network, form_of
from jomold_dist.models.weights import WeightsInfo, load_model, save_model
from jomold_dist.training.evaluate import decide_events

CATEGORIES = CategorySet(tuple(f"category {number}" for number in range(28)))
ROWS = {"audio": 1, "frames": 2, "motion": 1}  # a segment
WIDTHS = {"audio": 6, "frames": 8, "motion": 5}
SETS = {
    "audio": {"talnet"},
    "frames": {"stpn", "cmcs"},
    "frames motion": {"stpn", "cmcs"},
    "audio frames": set(NETWORKS),
    "audio frames motion": set(NETWORKS),
}
CASES = [(names, network) for names in SETS for network in NETWORKS]


def set_of(names: str, segments: int) -> Manifest:
    specs = {name: FeatureSpec((ROWS[name] * segments, WIDTHS[name]), "float32") for name in names.split()}
    return Manifest("made up", segments, CATEGORIES, specs, {}, segment_seconds=0.5)


def features_of(manifest: Manifest, videos: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(videos, *spec.shape, generator=generator) for n, spec in manifest.features.items()}


@pytest.mark.parametrize("segments", [5, 20])
@pytest.mark.parametrize(("names", "network"), [case for case in CASES if case[1] in SETS[case[0]]])
def test_a_network_parses_what_is_there(names: str, network: str, segments: int, tmp_path: Path) -> None:
    """... also when it comes back from its file, which knows how long a segment is."""
    manifest = set_of(names, segments)
    built = build_network(ModelConfig(network=network), manifest).eval()
    with torch.inference_mode():
        parsing = built.parse(**features_of(manifest))
        forward = built.parsing(built(**features_of(manifest)))
    assert parsing.segment_prob.shape == (3, segments, 2, 28)
    assert torch.allclose(forward.segment_prob, parsing.segment_prob)
    assert all(events.shape == (3, 28, segments) for events in decide_events(built, parsing))
    file, own = tmp_path / "network.safetensors", form_of(built)
    info = WeightsInfo(CATEGORIES.names, segments, manifest.segment_seconds, feature_sizes(manifest), own, {})
    save_model(file, built, info)
    with torch.inference_mode():
        again = load_model(file).parse(**features_of(manifest))
    assert torch.allclose(again.segment_prob, parsing.segment_prob)


@pytest.mark.parametrize(("names", "network"), [case for case in CASES if case[1] not in SETS[case[0]]])
def test_one_message_tells_what_is_lacking_and_who_can(names: str, network: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_network(ModelConfig(network=network), set_of(names, 5))
    assert str(caught.value).startswith(f"model.network = {network!r} needs ")
    assert ", and the data set has no " in str(caught.value)
    assert f"; take {' or '.join(name for name in NETWORKS if name in SETS[names])}, or add the" in str(caught.value)


def test_frames_of_whole_videos_are_pooled_to_their_segments() -> None:
    """Without audio and motion, nothing but the network's form tells how many there are."""
    manifest = set_of("frames", 5)
    network = build_network(ModelConfig(network="stpn"), manifest).eval()
    frames = features_of(manifest)["frames"]
    pooled = frames.unflatten(1, (5, 2)).mean(2)
    with torch.inference_mode():
        assert torch.allclose(network.parse(frames=frames).segment_prob, network.parse(frames=pooled).segment_prob)


def test_a_network_of_one_s_own_says_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="needs audio and frames, and the data set has no frames"):
        build_network(ModelConfig(network=f"{__name__}:Plain"), set_of("audio", 5))
    assert isinstance(build_network(ModelConfig(network=f"{__name__}:Listening"), set_of("audio", 5)), Listening)


class Plain(Network):
    def __init__(self, num_classes: int, feature_sizes: object) -> None:
        super().__init__()

    def form(self) -> dict[str, object]:
        return {}

    def finish(self, begun: object) -> object:
        raise NotImplementedError

    def parsing(self, outputs: object) -> object:  # type: ignore[override]
        raise NotImplementedError


class Listening(Plain):
    needs = modalities = ("audio",)
