"""TALNet, STPN, CMCS, AVE and AVSDN against the figures of the released programs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import figures
from golden_table1 import SIZES, inputs, load, regions
from torch import Tensor

from jomold_dist.models.ave import Ave
from jomold_dist.models.avsdn import Avsdn
from jomold_dist.models.cmcs import Cmcs
from jomold_dist.models.event_network import EventNetwork
from jomold_dist.models.losses import binary_cross_entropy
from jomold_dist.models.network import Network
from jomold_dist.models.projection import pool_frames
from jomold_dist.models.stpn import Stpn
from jomold_dist.models.talnet import TalNet, pool_probabilities

EXPECTED = figures("table1_systems")
WEIGHTS = SimpleNamespace(sparsity=1e-4, diversity=0.2, norm=0.2)


def check(name: str, value: Tensor, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(value.detach().double(), EXPECTED[name], atol=tolerance, rtol=0, err_msg=name)


def loaded(kind: type[Network], **form: object) -> Network:
    network = kind(num_classes=25, feature_sizes=SIZES, **form).eval()  # type: ignore[arg-type]
    load(network, kind.__name__.lower())
    return network


def test_the_made_up_inputs_are_those_of_the_figures() -> None:
    features, labels = inputs()
    assert np.array_equal(labels.numpy(), EXPECTED["labels"])
    audio = loaded(TalNet).audio_projection(features["audio"])
    views = loaded(Ave, frames_per_segment=8).projection(features["frames"], features["motion"], 10)
    sums = [features["audio"], pool_frames(features["frames"], 10), features["motion"], audio, views]
    np.testing.assert_allclose([float(x.detach().double().sum()) for x in sums], EXPECTED["check"], rtol=1e-5)


@pytest.mark.parametrize("pooling", ["max", "ave", "lin", "exp", "att"])
def test_talnet(pooling: str) -> None:
    network = loaded(TalNet, pooling=pooling)
    features, _ = inputs()
    outputs = network(**features)
    check("talnet_frame", outputs.segment_prob)
    check(f"talnet_global_{pooling}", outputs.audio_prob)
    if pooling != "att":
        check(f"talnet_global_{pooling}", pool_probabilities(torch.from_numpy(EXPECTED["talnet_frame"]), pooling))
    else:
        x = network.recurrent(network.audio_projection(features["audio"]))
        check("talnet_attention", network.attention(x))


def test_stpn() -> None:
    network = loaded(Stpn)
    features, labels = inputs()
    outputs = network(**features)
    other = {"frames": outputs.motion, "motion": outputs.frames}
    for name, stream in zip(("frames", "motion"), outputs.streams, strict=True):
        prob = stream.logits.sigmoid()
        check(f"stpn_{name}_attention", stream.attention)
        check(f"stpn_{name}_logits", stream.logits)
        check(f"stpn_{name}_prob", prob)
        check(f"stpn_{name}_tcam", stream.activation)
        check(f"stpn_{name}_weighted_tcam", stream.weighted_activation)
        check(f"stpn_{name}_score", stream.score(other[name]))
        check(f"stpn_{name}_active", stream.weighted_activation >= network.segment_threshold, 0)
        sparsity = network.terms(outputs._replace(frames=stream, motion=None), WEIGHTS)["sparsity"].mean()
        check(f"stpn_{name}_sparsity", sparsity)
        check(f"stpn_{name}_loss", binary_cross_entropy(prob, labels).mean() + WEIGHTS.sparsity * sparsity)


def test_cmcs() -> None:
    network = loaded(Cmcs)
    outputs = network(**inputs()[0])
    check("cmcs_branch", outputs.branches)
    check("cmcs_average", outputs.average)
    check("cmcs_attention", outputs.attention)
    check("cmcs_global", outputs.video)
    for name, value in network.terms(outputs, WEIGHTS).items():
        check(f"cmcs_{name}_per_video", value)
        check(f"cmcs_{name}", value.mean())
    curve = outputs.average.softmax(-1)  # the released detection's curve
    curve = curve - curve.amin(1, keepdim=True)
    check("cmcs_curve", curve / curve.amax(1, keepdim=True))


def softmax_loss(prob: Tensor, labels: Tensor) -> Tensor:
    """What the released AVE and AVSDN train with: a sigmoid on top of probabilities."""
    return F.multilabel_soft_margin_loss(prob, labels)


def attention_of(network: EventNetwork, audio: Tensor, views: Tensor) -> Tensor:
    assert network.attention is not None
    return network.attention(audio, views)


@pytest.mark.parametrize(("system", "count"), [("ave", 8), ("ave49", 49)])
def test_ave(system: str, count: int) -> None:
    features, labels = inputs()
    network = Ave(25, SIZES, frames_per_segment=count).eval()
    load(network, system)
    views = network.projection(features["frames"], features["motion"], 10) if system == "ave" else regions()
    audio, labels = features["audio"][: len(views)], labels[: len(views)]
    scores = network.segment_scores(network.encode(audio, network.attend(audio, views)))
    prob = scores.amax(1).softmax(-1)
    check(f"{system}_attention", attention_of(network, audio, views))
    check(f"{system}_segment_score", scores)
    check(f"{system}_video_prob", prob)
    check(f"{system}_loss", softmax_loss(prob, labels))
    if system == "ave":
        torch.testing.assert_close(network(**features).video, scores.amax(1).sigmoid())


def test_avsdn() -> None:
    features, labels = inputs()
    network = loaded(Avsdn, frames_per_segment=8)
    assert isinstance(network, Avsdn)
    audio = features["audio"]
    views = network.projection(features["frames"], features["motion"], 10)
    attended = network.attend(audio, views)
    fused = network.decode(audio, attended, network.encode(audio, attended))
    event, category = network.scores(fused)
    prob = (event.sigmoid().unsqueeze(-1) * category.unsqueeze(1)).amax(1).softmax(-1)
    check("avsdn_attention", attention_of(network, audio, views))
    check("avsdn_fusion", fused)
    check("avsdn_event_logits", event)
    check("avsdn_category_logits", category)
    check("avsdn_video_prob", prob)
    check("avsdn_loss", softmax_loss(prob, labels))
    product = event.sigmoid().unsqueeze(-1) * category.sigmoid().unsqueeze(1)
    torch.testing.assert_close(network(**features).video, product.amax(1))
