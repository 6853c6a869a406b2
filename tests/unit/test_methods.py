"""What the methods beside jomold make of a batch: their choices, targets, losses, and which settings they look at."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from golden import SEED, figures
from torch import Tensor

from jomold_dist.config import Config, DenoiseConfig, LossConfig
from jomold_dist.config_fields import Tree
from jomold_dist.config_files import load_config
from jomold_dist.config_methods import LargeLossConfig, MixtureConfig, RefineConfig, SmallLossConfig
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, RecordLayout, SplitInfo
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.denoising.removal import Rows
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.methods.base import Method, Moment, Targets, parsing_losses
from jomold_dist.methods.han import Han
from jomold_dist.methods.registry import METHODS, essential, method_class
from jomold_dist.models.cmcs import Cmcs
from jomold_dist.models.han import HybridAttentionNetwork
from jomold_dist.models.network import FeatureSizes, Parsing
from jomold_dist.models.pair import Pair
from jomold_dist.models.stpn import Stpn
from jomold_dist.models.talnet import TalNet
from jomold_dist.training import marked_labels
from jomold_dist.training.marked_labels import SplitLabels
from jomold_dist.tuning.trials import run_name

PAPER = Config(loss=LossConfig(visual_smoothing=0.9))
MULTI = figures("table1_small_loss")
WHOLE = Moment(step=10, steps_per_epoch=1)  # rates have grown to their end
KEYS = tuple(f"video{n}" for n in range(64))


def manifest(categories: int = 25, simulated: dict[str, Any] | None = None) -> Manifest:
    specs = {"audio": FeatureSpec((2, 3), "float32"), "frames": FeatureSpec((2, 4), "float32")}
    split = SplitInfo("train", categories, False, RecordLayout(0, {}), ())
    names = CategorySet(tuple(f"c{n}" for n in range(categories)))
    return Manifest("made up", 2, names, specs, {"train": split}, simulated)


def make(config: Config, ratio: float | np.ndarray = 0.5, **found: Any) -> Method:
    ratios = torch.from_numpy(np.broadcast_to(ratio, 25).astype(np.float64).copy())
    found = {"noise_ratios": NoiseRatios(ratios, ratios), **found}
    return method_class(config.method)(config, manifest(), found, torch.device("cpu"))


def batch_of(labels: Tensor) -> Batch:
    number = torch.arange(len(labels))
    return Batch({}, labels, number, number, KEYS[: len(labels)], None, len(labels))


def golden_parsings() -> tuple[Tensor, tuple[Parsing, Parsing]]:
    """Labels (64, 25) of the multi-label form's figures, and both networks' parsings, float64."""
    seed = SEED + 3000
    labels = np.random.default_rng([seed, 4]).random((64, 25)) < np.linspace(0.7, 0.08, 25)
    prob = np.empty((2, 2, 64, 25))  # network, modality
    for network, modality in np.ndindex(2, 2):
        z = 1.5 * np.random.default_rng([seed, 50 + 10 * network + modality]).standard_normal((64, 25)) + 0.5 * labels
        prob[network, modality] = 1 / (1 + np.exp(-z))
    labels[32:, :3] = labels[:32, :3]
    prob[:, :, 32:, :3] = prob[:, :, :32, :3]
    whole = torch.from_numpy(prob)
    segments, similarity = torch.zeros(64, 2, 2, 25), torch.zeros(64, 2, 2)
    parsings = [Parsing(audio, audio, visual, segments, similarity) for audio, visual in whole]
    return torch.from_numpy(labels), (parsings[0], parsings[1])


def chosen(method: Method, labels: Tensor, outputs: Any) -> Tensor:
    """The labels (M, b, C) that the method takes out of a batch of one rank."""
    category, video = labels.T.nonzero(as_tuple=True)
    scored = method.score(method.network(method.config, method.manifest), None, outputs)
    columns = method.columns_of(*(values[video, category] for values in scored)).to(torch.float32)
    assert columns.shape[1] == method.columns
    choice = method.choose(Rows(video, category, columns, torch.ones_like(video, dtype=torch.bool)), WHOLE)
    masks = torch.zeros(len(method.masks), *labels.shape, dtype=torch.bool)
    masks[:, video, category] = choice.masks
    assert choice.candidates.shape == (len(method.masks), labels.shape[1])
    return masks


SMALL = {
    "jocor": {"method": "jocor", "small_loss": SmallLossConfig(agreement=0.1)},
    "drop": {"method": "coteaching-plus", "small_loss": SmallLossConfig(agreeing="drop")},
    "rank": {"method": "coteaching-plus", "small_loss": SmallLossConfig(agreeing="rank")},
}
NAMES = {"jocor": "hj", "drop": "hc", "rank": "hc_plain"}
RATES: dict[str, Any] = {"0": 0.0, "0.2": 0.2, "0.5": 0.5, "class": 0.4 * np.linspace(0.05, 0.95, 25)}


@pytest.mark.parametrize("rate", list(RATES))
@pytest.mark.parametrize("case", list(SMALL))
def test_two_networks_forget_and_lose_what_the_figures_say(case: str, rate: str) -> None:
    method = make(replace(PAPER, **SMALL[case]), RATES[rate])
    labels, parsings = golden_parsings()
    masks = chosen(method, labels, parsings)
    expected = [~MULTI[f"multi_r{rate}_{m}_{NAMES[case]}_kept"].astype(bool) for m in ("audio", "visual")]
    by_network = np.stack(expected)[None] if case == "jocor" else np.stack(expected, axis=1)  # (networks, 2, 64, 25)
    np.testing.assert_array_equal(masks, by_network.reshape(-1, 64, 25))

    targets = method.targets(batch_of(labels), labels, masks, WHOLE)
    losses = method.losses(method.network(method.config, method.manifest), parsings, targets)
    assert losses.keys() == method.weights(method.network(method.config, method.manifest)).keys()
    for name in ("audio", "visual"):
        total = MULTI[f"multi_r{rate}_{name}_{NAMES[case]}_loss_sum"].sum()  # of both networks
        assert float(losses[name].sum() * 25) == pytest.approx(float(total), rel=1e-6)


def test_what_is_forgotten_grows_from_nothing_to_the_noise_ratios() -> None:
    method = make(replace(PAPER, method="jocor", small_loss=SmallLossConfig(gradual_epochs=4.0)), 0.4)
    rates = [float(method.rates(Moment(step, 5))[0, 0]) for step in (0, 5, 10, 20, 100)]  # type: ignore[attr-defined]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])


@pytest.mark.parametrize("video_target", ["labels", "audio"])
def test_ma_trains_towards_the_authors_targets(video_target: Any) -> None:
    ma = figures("table1_ma")
    config = replace(PAPER, method="ma", refine=RefineConfig(video_target=video_target))
    removed = np.stack([ma["remove_audio"], ma["remove_visual"]]).astype(bool)
    labels = torch.from_numpy(ma["labels"].astype(bool))
    method = make(config, labels=np.packbits(removed, axis=2))
    masks = method.masks_of(batch_of(labels), labels, WHOLE)
    assert masks is not None
    (targets,) = method.targets(batch_of(labels), labels, masks, WHOLE)
    np.testing.assert_array_equal(targets.audio, ma["target_audio"])
    np.testing.assert_allclose(targets.visual, ma["target_visual"], atol=1e-7)
    released = video_target == "audio"
    np.testing.assert_array_equal(targets.video, ma["target_video_released" if released else "target_video"])


def test_marks_are_found_by_the_videos_number_and_hit_labels_only() -> None:
    marked = np.random.default_rng(0).random((2, 64, 25)) < 0.5
    labels = torch.from_numpy(np.random.default_rng(1).random((3, 25)) < 0.5)
    method = make(replace(PAPER, method="random"), labels=np.packbits(marked, axis=2))
    batch = replace(batch_of(labels), index=torch.tensor([40, 3, 63]))
    masks = method.masks_of(batch, labels, WHOLE)
    np.testing.assert_array_equal(masks, marked[:, [40, 3, 63]] & labels.numpy())


def test_large_losses_are_dropped_from_the_second_epoch_on() -> None:
    settings = LargeLossConfig(growth=0.1, audio_most=0.1, visual_most=0.5)
    method = make(replace(PAPER, method="large-loss", large_loss=settings))
    position, category = torch.arange(10), torch.arange(10) % 3
    columns = torch.stack([torch.arange(10.0), torch.arange(10.0).flip(0)], dim=1)
    rows = Rows(position, category, columns, torch.ones(10, dtype=torch.bool))
    found = [method.choose(rows, Moment(epoch * 7, 7)) for epoch in (0, 1, 3)]
    audio, visual = ([choice.masks[m].nonzero().flatten().tolist() for choice in found] for m in (0, 1))
    assert audio == [[], [9], [9]]
    assert visual == [[], [0], [0, 1, 2]]
    assert found[2].candidates[:, :3].tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("modality", ["audio", "visual"])
@pytest.mark.parametrize("method", ["jomold", "jocor", "coteaching-plus"])
def test_a_modality_that_is_not_denoised_keeps_its_labels(method: str, modality: Any) -> None:
    plain = replace(PAPER, method=method)
    config = replace(plain, denoise=replace(plain.denoise, modalities=modality, warmup_epochs=None))
    labels, parsings = golden_parsings()
    outputs = parsings if method != "jomold" else None
    made = make(config)
    if method == "jomold":
        made.score = lambda *_: (parsings[0].audio_prob, parsings[1].visual_prob)  # type: ignore[assignment,method-assign,return-value]
    masks = chosen(made, labels, outputs)
    for mask, taken in zip(made.masks, masks, strict=True):
        assert bool(taken.any()) == (MODALITIES[mask.modality] == modality)
    assert essential(config) != essential(plain)


def test_the_placebo_leaves_a_modality_alone_that_is_not_denoised(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.ones((64, 25), dtype=bool)
    monkeypatch.setattr(marked_labels, "read_labels", lambda run, loader: SplitLabels(labels, labels[:, 0]))
    ratios = torch.full((25,), 0.5, dtype=torch.float64)
    plain = replace(PAPER, method="random")
    config = replace(plain, denoise=replace(plain.denoise, modalities="visual"))
    (_, _, labelling, _) = method_class("random").stages(config)
    run = SimpleNamespace(config=config, loader=lambda *_: nullcontext())
    marked = labelling.mark(run, {"noise_ratios": NoiseRatios(ratios, ratios)})  # type: ignore[attr-defined]
    assert marked.any(axis=(1, 2)).tolist() == [False, True]
    assert essential(config) != essential(plain)


def test_true_needs_data_whose_truth_is_known(tmp_path: Path) -> None:
    """Told before anything starts: of real data, and of simulated data that has lost it."""
    config = replace(PAPER, method="true", data=replace(PAPER.data, shards=str(tmp_path)))
    for found in (manifest(), manifest(simulated={"scenario": "llp"})):
        (problem,) = method_class("true").problems(config, found)
        assert "needs the truth of the training labels" in problem
        assert f"{tmp_path} has none (truth/train.npz)" in problem


LOOKS_AT = {  # of the sections of single methods
    "han": (),
    "static": (),
    "jomold": ("estimator",),
    "coteaching-plus": ("estimator", "small_loss"),
    "jocor": ("estimator", "small_loss"),
    "ma": ("refine",),
    "true": (),
    "cleaned": (),
    "random": ("estimator",),
    "large-loss": ("large_loss",),
    "mixture": ("estimator", "mixture"),
}
OTHERS = {
    "estimator": replace(PAPER.estimator, epochs=3),
    "small_loss": SmallLossConfig(gradual_epochs=2.0),
    "refine": RefineConfig(epochs=3),
    "large_loss": LargeLossConfig(growth=0.2),
    "mixture": MixtureConfig(folds=3),
}


@pytest.mark.parametrize("method", list(METHODS))
def test_runs_that_differ_in_what_a_method_does_not_look_at_are_alike(method: str) -> None:
    plain = replace(PAPER, method=method)
    for section, settings in OTHERS.items():
        differs = essential(replace(plain, **{section: settings})) != essential(plain)
        assert differs == (section in LOOKS_AT[method]), section
    given = replace(plain, denoise=DenoiseConfig(ratios="constant", ratio_constant=0.2))
    same = essential(replace(given, estimator=OTHERS["estimator"])) == essential(given)  # type: ignore[arg-type]
    assert same == (method != "mixture")  # which has estimators wherever noise ratios come from
    assert essential(replace(plain, recipe="released")) == essential(plain)


OWN = {"jocor": ("agreement", 0.3), "coteaching-plus": ("agreeing", "rank")}


@pytest.mark.parametrize("method", list(OWN))
def test_methods_of_two_networks_look_at_their_own_settings_only(method: str) -> None:
    plain = replace(PAPER, method=method)
    for name, value in OWN.values():
        other = replace(plain, small_loss=replace(plain.small_loss, **{name: value}))
        assert (essential(other) == essential(plain)) == (name != OWN[method][0])


class Own(TalNet):
    """A user's network, one of whose terms is called like a setting of another meaning."""

    own_terms = ("contrastive_smoothing", "norm")


def test_only_weights_that_a_network_says_are_settings_are_taken() -> None:
    sizes = FeatureSizes(audio=3, frames=4, motion=None)
    loss = replace(PAPER.loss, contrastive=0.5, sparsity=0.25, diversity=0.75, norm=0.125)
    method = make(replace(PAPER, method="han", loss=loss))
    ours = {"contrastive": 0.5}, {"sparsity": 0.25}, {"diversity": 0.75, "norm": 0.125}
    for network, own in zip((HybridAttentionNetwork, Stpn, Cmcs), ours, strict=True):
        weights = method.weights(network(num_classes=3, feature_sizes=sizes))  # type: ignore[call-arg]
        assert {name: weights[name] for name in network.own_terms} == own
    weights = method.weights(Pair(Own(3, sizes), Own(3, sizes)))
    assert weights == {"audio": 2.0, "video": 1.0, "contrastive_smoothing": 1.0, "norm": 1.0}


def test_segments_of_a_modality_that_a_network_lacks_are_no_loss() -> None:
    prob = torch.tensor([0.8, 0.0]).view(1, 1, 2, 1).expand(2, 4, 2, 3)  # no visual modality
    video = torch.ones(2, 3)
    parsing = Parsing(prob[:, 0, 0], prob[:, 0, 0], None, prob)
    targets = Targets(video, video, video, segments=torch.ones_like(prob), segments_weight=torch.ones_like(prob))
    for given in (targets, replace(targets, segments_weight=None)):
        segment = parsing_losses(parsing, given, ("audio",))["segment"]
        torch.testing.assert_close(segment, torch.full((2,), -math.log(0.8)))


OF_HAN = {"model": {"layers": 2}, "loss": {"contrastive_smoothing": 0.3}}
OF_CMCS = {"model": {"options": Tree({"branches": 3})}, "loss": {"diversity": 0.5}}


@pytest.mark.parametrize(("network", "counts"), [("han", OF_HAN), ("cmcs", OF_CMCS), (f"{__name__}:Own", None)])
def test_settings_of_other_networks_make_no_other_run(network: str, counts: Any) -> None:
    plain = replace(PAPER, method="han", model=replace(PAPER.model, network=network))
    for given in (OF_HAN, OF_CMCS):
        for section, settings in given.items():
            other = replace(plain, **{section: replace(getattr(plain, section), **settings)})  # type: ignore[arg-type]
            assert (essential(other) != essential(plain)) == (counts in (given, None)), (section, settings)


def test_how_the_best_epoch_is_chosen_is_nothing_to_a_method_that_keeps_the_last() -> None:
    for method, alike in (("ma", True), ("han", False)):
        plain = replace(PAPER, method=method)
        other = replace(plain, train=replace(plain.train, selection="event_audio", selection_ties="last"))
        assert (essential(other) == essential(plain)) == alike


def test_a_scope_counts_for_jomold_and_a_window_s_length_for_windows() -> None:
    def settings(method: str, **scope: Any) -> Config:
        return essential(replace(PAPER, method=method, denoise=replace(PAPER.denoise, **scope)))

    assert settings("jomold", window_steps=4) == settings("jomold") != settings("jomold", scope="dataset")
    assert settings("jomold", scope="window", window_steps=4) != settings("jomold", scope="window")
    assert settings("jocor", scope="window", window_steps=4) == settings("jocor")


class LooksAtMore(Han):
    """A user's: `han`, with settings that `han` does not look at."""


class SaysSo(LooksAtMore):
    @classmethod
    def essential(cls, config: Config) -> Config:
        return replace(config, refine=RefineConfig())


def test_a_user_s_class_keeps_every_setting_unless_it_says_itself_which_it_needs() -> None:
    growths = [LargeLossConfig(growth=growth) for growth in (0.1, 0.2)]
    for cls in (LooksAtMore, SaysSo):
        configs = [replace(PAPER, method=f"{__name__}:{cls.__name__}", large_loss=growth) for growth in growths]
        assert essential(configs[0]).large_loss == growths[0]
        assert run_name(configs[0], "data") != run_name(configs[1], "data")
    refined = replace(configs[0], refine=RefineConfig(epochs=3))
    assert run_name(refined, "data") == run_name(configs[0], "data")


SYSTEMS = Path(__file__).resolve().parents[2] / "configs" / "systems"


@pytest.mark.parametrize("file", sorted(SYSTEMS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_system_can_be_built_from_its_config(file: Path) -> None:
    config = load_config(file)
    method = method_class(config.method)
    assert config.run.dir == f"runs/systems/{file.stem}"
    assert [stage.name for stage in method.stages(config)][-1] == "train"
    assert sum(p.numel() for p in method.network(config, manifest()).parameters()) > 0


@pytest.mark.parametrize("method", ["jomold", "coteaching-plus", "jocor", "large-loss"])
@pytest.mark.parametrize("agreeing", ["drop", "keep", "rank"])
def test_choices_stay_on_the_device_and_have_a_fixed_shape(method: str, agreeing: Any) -> None:
    """torch's meta device has no data: to mix it with the CPU's, or to ask for a value, is an error."""
    config = replace(PAPER, method=method, small_loss=SmallLossConfig(agreeing=agreeing))
    ratios = NoiseRatios(torch.full((25,), 0.5), torch.full((25,), 0.5))
    made = method_class(method)(config, manifest(), {"noise_ratios": ratios}, torch.device("meta"))
    whole = torch.zeros(40, dtype=torch.int64, device="meta")
    columns = made.columns_of(*torch.zeros(4 if method in ("coteaching-plus", "jocor") else 2, 40, device="meta"))
    choice = made.choose(Rows(whole, whole, columns, whole == 0), WHOLE)
    masks = len(made.masks)
    assert (choice.masks.shape, choice.candidates.shape) == ((masks, 40), (masks, 25))
    assert choice.masks.device.type == choice.candidates.device.type == "meta"
    labels = torch.zeros(8, 25, dtype=torch.bool, device="meta")
    for targets in made.targets(
        batch_of(labels), labels, torch.zeros(masks, 8, 25, dtype=torch.bool, device="meta"), WHOLE
    ):
        assert targets.audio.device.type == targets.visual.device.type == "meta"
