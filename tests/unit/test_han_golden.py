"""HAN as published against the figures of its released program (another scale of parameters than forward.npz)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import SEED, figures, parameters, videos

from jomold_dist.models.han import HybridAttentionNetwork, released_names
from jomold_dist.models.losses import binary_cross_entropy, smooth_targets
from jomold_dist.training.evaluate import decide_events

EXPECTED = figures("table1_han")
FIELDS = ("video_prob", "audio_prob", "visual_prob", "segment_prob")
WITHOUT_GRADIENT = ("fc_frame_att.bias", "fc_av_att.bias")  # 0 but for rounding: a softmax follows


@pytest.fixture(scope="module")
def network() -> HybridAttentionNetwork:
    """HAN with the parameters of the figures; dropout is off."""
    state = parameters()
    state["fc_prob.weight"] *= 3  # 0.12 for 0.04
    net = HybridAttentionNetwork(gate="video")
    net.load_released(state)
    return net.eval()


def test_forward(network: HybridAttentionNetwork) -> None:
    features, labels = videos(4, SEED)
    assert np.array_equal(labels.numpy(), EXPECTED["labels"])
    parsing = network(**features)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(parsing, name).detach(), EXPECTED[name], atol=1e-5, err_msg=name)


def test_parsing_with_the_gate_of_the_whole_video(network: HybridAttentionNetwork) -> None:
    with torch.no_grad():
        parsing = network.parse(**videos(4, SEED)[0])
    parsed = decide_events(network, parsing)
    for events, name in zip(parsed, ("parsed_audio", "parsed_visual"), strict=True):
        assert np.array_equal(events.transpose(1, 2), EXPECTED[name].astype(bool)), name  # (B, C, T) -> (B, T, C)
    network.gate = "own"
    own = decide_events(network, parsing)
    network.gate = "video"
    assert not all(torch.equal(one, other) for one, other in zip(own, parsed, strict=True))  # the gate matters here


def test_losses_and_gradients(network: HybridAttentionNetwork) -> None:
    features, labels = videos(4, SEED)
    parsing = network(**features)
    losses = [
        binary_cross_entropy(prob, smooth_targets(labels, smoothing)).mean()
        for prob, smoothing in ((parsing.audio_prob, 1), (parsing.visual_prob, 0.9), (parsing.video_prob, 1))
    ]
    total = torch.stack(losses).sum()
    np.testing.assert_allclose(torch.stack([*losses, total]).detach(), EXPECTED["losses"], atol=1e-5)
    gradients = dict(zip(network.state_dict(), torch.autograd.grad(total, list(network.parameters())), strict=True))
    theirs = {released_names(1)[name]: float(g.norm()) for name, g in gradients.items()}
    expected = dict(zip(EXPECTED["grad_names"], EXPECTED["grad_norms"], strict=True))
    assert theirs.keys() == expected.keys()
    for name in sorted(expected.keys() - set(WITHOUT_GRADIENT)):
        assert theirs[name] == pytest.approx(expected[name], rel=1e-5), name
