"""What holds for each of TALNet, STPN, CMCS, AVE and AVSDN, whatever the data set's sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from jomold_dist.models.ave import Ave
from jomold_dist.models.avsdn import Avsdn
from jomold_dist.models.cmcs import Cmcs, diversity, norm_deviation
from jomold_dist.models.network import FeatureSizes, Network
from jomold_dist.models.stpn import Stpn
from jomold_dist.models.talnet import TalNet

Features = dict[str, Tensor]
Make = Callable[..., Network]

SEGMENTS, CATEGORIES, FRAMES = 6, 7, 3  # frames a segment
SIZES = FeatureSizes(audio=12, frames=20, motion=8)
ALL_TERMS = SimpleNamespace(sparsity=1.0, diversity=1.0, norm=1.0)
NO_TERMS = SimpleNamespace(sparsity=0.0, diversity=0.0, norm=0.0)
FORMS: dict[type[Network], tuple[dict[str, Any], ...]] = {
    TalNet: tuple({"pooling": p} for p in ("max", "ave", "lin", "exp", "att")),
    Stpn: ({},),
    Cmcs: ({}, {"branches": 3, "channel_dropout": 0.2}),
    Ave: ({"frames_per_segment": FRAMES}, {}),
    Avsdn: ({"frames_per_segment": FRAMES}, {}),
}


def case(kind: type[Network], form: dict[str, Any], sizes: FeatureSizes) -> Any:
    name = "-".join([kind.__name__, *map(str, form.values()), *([] if sizes.motion else ["no-motion"])])
    return pytest.param(kind, {"num_classes": CATEGORIES, "feature_sizes": sizes, **form}, id=name)


CASES = [
    case(kind, form, sizes)
    for kind, forms in FORMS.items()
    for form in forms
    for sizes in (SIZES, FeatureSizes(audio=12, frames=20, motion=None))
]
every_system = pytest.mark.parametrize(("kind", "form"), CASES)


def made(kind: type[Network], form: dict[str, Any], dtype: torch.dtype = torch.float32) -> Network:
    torch.manual_seed(0)
    return kind(**form).to(dtype)


def features(network: Network, videos: int, dtype: torch.dtype = torch.float32) -> Features:
    """As many frames a segment as the network reads: a pooled one where it does not care."""
    form = network.form()
    sizes = form["feature_sizes"]
    frames = SEGMENTS * form.get("frames_per_segment", FRAMES)
    shapes = {"audio": (SEGMENTS, sizes["audio"]), "frames": (frames, sizes["frames"])}
    if sizes["motion"]:
        shapes["motion"] = (SEGMENTS, sizes["motion"])
    generator = torch.Generator().manual_seed(videos)
    return {k: torch.rand(videos, *shape, generator=generator).to(dtype) for k, shape in shapes.items()}


def objective(network: Network, outputs: Any) -> Tensor:
    """A number to which everything that is trained contributes."""
    parsing = network.parsing(outputs)
    probabilities = [p for p in (parsing.video_prob, parsing.audio_prob, parsing.visual_prob) if p is not None]
    terms = network.terms(outputs, ALL_TERMS)
    assert tuple(terms) == network.own_terms
    return torch.stack([p.log().sum() for p in probabilities] + [t.sum() for t in terms.values()]).sum()


@every_system
def test_shapes_ranges_and_the_modality_that_is_lacking(kind: type[Network], form: dict[str, Any]) -> None:
    network = made(kind, form).eval()
    parsing = network.parse(**features(network, 4))
    assert parsing.segment_prob.shape == (4, SEGMENTS, 2, CATEGORIES)
    for number, (modality, prob) in enumerate((("audio", parsing.audio_prob), ("visual", parsing.visual_prob))):
        if modality in network.modalities:
            assert prob is not None
            assert prob.shape == (4, CATEGORIES)
            assert (prob > 0).all()
            assert (parsing.segment_prob[:, :, number] > 0).all()
        else:
            assert prob is None
            assert not parsing.segment_prob[:, :, number].any()
    assert parsing.video_prob.shape == (4, CATEGORIES)
    assert (parsing.segment_prob <= 1).all()
    assert (parsing.video_prob < 1).all()


@every_system
def test_every_parameter_learns(kind: type[Network], form: dict[str, Any]) -> None:
    network = made(kind, form).train()
    objective(network, network(**features(network, 4))).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@every_system
def test_no_videos_give_gradients_of_zero(kind: type[Network], form: dict[str, Any]) -> None:
    network = made(kind, form).train()
    objective(network, network(**features(network, 0))).backward()
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())


@every_system
def test_what_is_said_of_a_video_hangs_on_that_video_alone(kind: type[Network], form: dict[str, Any]) -> None:
    network = made(kind, form, torch.float64).eval()
    whole = features(network, 7, torch.float64)
    together = network(**whole)
    for start, stop in pairwise((0, 3, 3, 4, 7)):
        outputs = network(**{name: value[start:stop] for name, value in whole.items()})
        for one, other in zip(network.parsing(outputs), network.parsing(together), strict=True):
            if other is not None:
                torch.testing.assert_close(one, other[start:stop], atol=1e-12, rtol=0)
        for name, term in network.terms(outputs, ALL_TERMS).items():
            torch.testing.assert_close(term, network.terms(together, ALL_TERMS)[name][start:stop], atol=1e-12, rtol=0)


@every_system
def test_evaluation_is_repeatable_and_the_form_rebuilds_the_network(kind: type[Network], form: dict[str, Any]) -> None:
    network = made(kind, form).eval()
    again = kind.from_form(json.loads(json.dumps(network.form())))
    again.load_state_dict(network.state_dict())
    given = features(network, 3)
    for one, other in zip(network.parse(**given), again.eval().parse(**given), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@every_system
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_short_compute_type_stays_close(kind: type[Network], form: dict[str, Any], dtype: torch.dtype) -> None:
    network = made(kind, form).eval()
    given = features(network, 4)
    exact = network.parse(**given)
    network.compute_dtype = dtype
    outputs = network.train(False)(**{name: value.half() for name, value in given.items()})
    for one, other in zip(exact, network.parsing(outputs), strict=True):
        if one is not None:
            assert other.dtype == torch.float32
            torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)
    objective(network, outputs).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("kind", [Ave, Avsdn])
def test_the_ranking_pass_gives_both_modalities_without_gradient(kind: type[Network]) -> None:
    network = made(kind, {"num_classes": CATEGORIES, "feature_sizes": SIZES, "frames_per_segment": FRAMES}).train()
    given = features(network, 3)
    ranked = network.rank(network.begin(**given), with_dropout=False)
    parsing = network.eval().parse(**given)
    for prob, expected in zip(ranked, (parsing.audio_prob, parsing.visual_prob), strict=True):
        assert not prob.requires_grad
        torch.testing.assert_close(prob, expected, atol=1e-6, rtol=0)  # without gradient, LSTMs take another path


@pytest.mark.parametrize("kind", [Stpn, Cmcs])
def test_pooled_frames_give_what_unpooled_frames_give(kind: type[Network]) -> None:
    network = made(kind, {"num_classes": CATEGORIES, "feature_sizes": SIZES}, torch.float64).eval()
    given = features(network, 3, torch.float64)
    pooled = given | {"frames": given["frames"].view(3, SEGMENTS, FRAMES, -1).mean(2)}
    torch.testing.assert_close(network.parse(**given).video_prob, network.parse(**pooled).video_prob)


@pytest.mark.parametrize("kind", [Ave, Avsdn])
def test_other_frames_a_segment_than_built_for_are_refused(kind: type[Network]) -> None:
    network = made(kind, {"num_classes": CATEGORIES, "feature_sizes": SIZES, "frames_per_segment": FRAMES})
    given = features(network, 2)
    with pytest.raises(ValueError, match="1 frames a segment, and this network was built for 3"):
        network(**given | {"frames": given["frames"][:, :SEGMENTS]})


@pytest.mark.parametrize("kind", [Stpn, Cmcs, Ave, Avsdn])
def test_motion_is_asked_for_where_it_is_needed(kind: type[Network]) -> None:
    network = made(kind, {"num_classes": CATEGORIES, "feature_sizes": SIZES})
    given = features(network, 2)
    with pytest.raises(ValueError, match="built with motion features"):
        network(given["audio"], given["frames"][:, :SEGMENTS])


@pytest.mark.parametrize("kind", [Ave, Avsdn])
def test_attention_looks_at_single_frames_and_hears_the_sound(kind: type[Network]) -> None:
    network = made(kind, {"num_classes": CATEGORIES, "feature_sizes": SIZES, "frames_per_segment": FRAMES}).eval()
    given = features(network, 2)
    shuffled = given["frames"].unflatten(1, (SEGMENTS, FRAMES)).roll(1, 2).flatten(1, 2)
    louder = given | {"audio": 2 * given["audio"]}
    visual = network.parse(**given).visual_prob
    assert not torch.equal(visual, network.parse(**given | {"frames": shuffled}).visual_prob)
    assert not torch.equal(visual, network.parse(**louder).visual_prob)


@every_system
def test_all_is_computed_where_the_parameters_are(kind: type[Network], form: dict[str, Any]) -> None:
    """The meta device has no data: to mix devices, or to read a value, is an error there."""
    network = made(kind, form).train().to("meta")
    given = {name: value.to("meta") for name, value in features(network, 4).items()}
    for dtype in (None, torch.bfloat16):
        network.compute_dtype = dtype
        objective(network, network(**given)).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_terms_without_a_weight_are_not_computed() -> None:
    for kind in (Stpn, Cmcs):
        network = made(kind, {"num_classes": CATEGORIES, "feature_sizes": SIZES})
        assert network.terms(network(**features(network, 2)), NO_TERMS) == {}


def test_dropout_of_cmcs_takes_whole_channels_of_a_video() -> None:
    network = made(Cmcs, {"num_classes": CATEGORIES, "feature_sizes": SIZES}).train()
    seen: list[Tensor] = []
    network.base.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    given = features(network, 40)
    network(**given)
    x = seen[0].transpose(1, 2)  # (B, channels, T)
    dropped = (x == 0).all(2)
    assert torch.equal(dropped, (x == 0).any(2))  # all segments of a channel or none
    assert 0.4 < dropped.float().mean() < 0.6
    assert not torch.equal(dropped[0], dropped[1])
    torch.testing.assert_close(x[:, -8:], 2 * given["motion"].transpose(1, 2) * ~dropped[:, -8:, None])


def test_terms_of_cmcs_are_0_where_they_should_be() -> None:
    scores = torch.zeros(
        2, 3, 4, 2, dtype=torch.float64
    )  # two branches, each sure of a category in segments of its own
    scores[0, :, :2, 0], scores[0, :, 2:, 0] = 40, -40
    scores[1] = -scores[0]
    assert (diversity(scores) < 1e-6).all()
    assert (diversity(torch.cat([scores[:1]] * 2)) > 0.99).all()
    assert not norm_deviation(scores).any()
    assert (norm_deviation(scores * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)) > 0).all()


def test_a_pooling_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling is 'mean'; it must be one of max, ave, lin, exp, att"):
        TalNet(CATEGORIES, SIZES, pooling="mean")  # type: ignore[arg-type]
