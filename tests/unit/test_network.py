from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import INPUTS, SEED, figures, network, parameters, videos

from jomold_dist.errors import UserError
from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork
from jomold_dist.models.losses import contrastive_loss

FIELDS = ("video_prob", "audio_prob", "visual_prob", "segment_prob")


def test_the_made_up_inputs_are_those_of_the_figures() -> None:
    features, labels = videos(4, SEED)
    for name, value in {**features, "labels": labels}.items():
        assert float(value.double().sum()) == pytest.approx(INPUTS["input_check"][name], rel=1e-6)


@pytest.mark.parametrize(("cross_modal", "tag"), [(True, "ca"), (False, "noca")])
def test_forward_matches_the_released_network(cross_modal: bool, tag: str) -> None:
    features, _ = videos(4, SEED)
    expected = figures("forward")
    with torch.no_grad():
        parsing = network().eval()(**features, cross_modal=cross_modal)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(parsing, name), expected[f"{name}_{tag}"], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(parsing.similarity.flatten(0, 1), expected[f"similarity_{tag}"], atol=1e-5)
    loss = contrastive_loss(parsing.similarity)
    np.testing.assert_allclose(loss, expected[f"contrastive_loss_{tag}"], atol=1e-5)


def test_pooled_frames_give_what_unpooled_frames_give() -> None:
    features, _ = videos(3, SEED)
    net = network().eval()
    pooled = features | {"frames": features["frames"].view(3, 10, 8, 2048).mean(2)}
    with torch.no_grad():
        for one, other in zip(net(**features), net(**pooled), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)  # rounding makes 1e-6


@pytest.mark.parametrize("layers", [1, 2])
def test_the_ranking_pass_is_the_forward_pass_without_cross_modal_attention(layers: int) -> None:
    features, _ = videos(3, SEED)
    net = HybridAttentionNetwork(layers=layers).train()
    begun = net.begin(**features)
    audio, visual = net.rank(begun, with_dropout=False)
    with torch.no_grad():
        expected = net.eval()(**features, cross_modal=False)
    for prob, wanted in ((audio, expected.audio_prob), (visual, expected.visual_prob)):
        torch.testing.assert_close(prob, wanted, atol=1e-6, rtol=0)  # one head less: a product of another shape
    assert not audio.requires_grad


def test_dropout_in_the_ranking_pass_only_if_asked_for() -> None:
    features, _ = videos(3, SEED)
    net = network().train()
    begun = net.begin(**features)
    plain, _ = net.rank(begun, with_dropout=False)
    again, _ = net.rank(begun, with_dropout=False)
    noisy, _ = net.rank(begun, with_dropout=True)
    assert torch.equal(plain, again)
    assert not torch.equal(plain, noisy)


def test_dropout_of_the_heads_spares_the_audio_modality_and_the_similarity() -> None:
    features, _ = videos(3, SEED)
    net = network(attention_dropout=0.0).train()
    one, two = net(**features), net(**features)
    assert torch.equal(one.audio_prob, two.audio_prob)
    assert torch.equal(one.similarity, two.similarity)
    assert not torch.equal(one.visual_prob, two.visual_prob)


def test_bfloat16_stays_close_and_gives_float32_probabilities() -> None:
    features, _ = videos(4, SEED)
    net = network().eval()
    with torch.no_grad():
        exact = net(**features)
        net.compute_dtype = torch.bfloat16
        rough = net(**features)
    for one, other in zip(exact, rough, strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.06, rtol=0.05)


def test_a_network_without_motion_and_with_other_sizes() -> None:
    net = HybridAttentionNetwork(num_classes=7, feature_sizes=FeatureSizes(audio=12, frames=20, motion=None))
    parsing = net(torch.rand(2, 6, 12), torch.rand(2, 6, 20))
    assert parsing.segment_prob.shape == (2, 6, 2, 7)
    assert parsing.similarity.shape == (2, 6, 6)
    parsing.video_prob.sum().backward()


def test_no_videos_are_no_trouble() -> None:
    net = HybridAttentionNetwork().train()
    parsing = net(torch.rand(0, 10, 128), torch.rand(0, 10, 2048), torch.rand(0, 10, 512))
    parsing.video_prob.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())


def test_a_checkpoint_that_does_not_fit_is_refused_with_every_reason() -> None:
    state = parameters()
    del state["fc_a.weight"]
    state["fc_b.weight"] = torch.zeros(1)
    state["fc_prob.bias"] = torch.zeros(7)
    net = HybridAttentionNetwork()
    before = net.event_head.weight.clone()
    with pytest.raises(UserError, match=r"missing fc_a.weight; unknown fc_b.weight; fc_prob.bias has shape \(7,\)"):
        net.load_released(state)
    assert torch.equal(net.event_head.weight, before)
