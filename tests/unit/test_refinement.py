from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from golden import SEED, figures, parameters, videos
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jomold_dist.denoising.refinement import count_errors, error_rates, error_weights, partners, refine
from jomold_dist.models.han import HybridAttentionNetwork
from jomold_dist.models.losses import CLAMP, binary_cross_entropy, contrastive_loss, smooth_targets

GOLDEN = figures("table1_ma")


def golden_network() -> HybridAttentionNetwork:
    """The network of MA's figures: as all golden ones, but with a steeper event head."""
    state = parameters()
    name = "fc_prob.weight"
    drawn = np.random.default_rng([SEED, zlib.crc32(name.encode())]).standard_normal(state[name].shape)
    state[name] = torch.from_numpy(drawn.astype(np.float32) * np.float32(0.12))
    network = HybridAttentionNetwork(similarity="projected")
    network.load_released(state)
    return network.eval()


@pytest.fixture(scope="module")
def golden_set() -> tuple[dict[str, Tensor], Tensor]:
    """Features and labels bool (24, 25)."""
    features, _ = videos(24, SEED + 2000)
    np.testing.assert_allclose([f.sum(dtype=torch.float64) for f in features.values()], GOLDEN["check_features"], 1e-6)
    labels = np.random.default_rng([SEED + 2000, 4]).random((24, 25)) < np.linspace(0.25, 0.03, 25)
    labels[np.arange(24), np.arange(24) % 25] = True
    np.testing.assert_array_equal(labels, GOLDEN["labels"])
    return features, torch.from_numpy(labels)


def next_without_common_label(labels: np.ndarray) -> list[int]:
    """The partners of the figures: the first of the following videos that shares no label."""
    count = len(labels)
    return [
        next(j % count for j in range(i + 1, i + count) if not (labels[i] & labels[j % count]).any())
        for i in range(count)
    ]


def check_refinement(prefix: str, labels: Tensor, own: Tensor, foreign_audio: Tensor, foreign_visual: Tensor) -> Tensor:
    """Error rates, weights and removals from probabilities (2, n, C), all against the figures; the removals."""
    weights = []
    for modality, prob in zip(("audio", "visual"), own, strict=True):
        errors = sum(
            (count_errors(prob[part], labels[part]) for part in (slice(0, 7), slice(7, None))), torch.tensor(0)
        )
        weights.append(error_weights(errors, len(labels)))
        np.testing.assert_array_equal(error_rates(errors, len(labels)), GOLDEN[f"{prefix}error_{modality}"])
        np.testing.assert_array_equal(weights[-1], GOLDEN[f"{prefix}weight_{modality}"])
    removed = refine(labels, foreign_audio, foreign_visual, torch.stack(weights))
    np.testing.assert_array_equal(removed[0], GOLDEN[f"{prefix}remove_audio"])
    np.testing.assert_array_equal(removed[1], GOLDEN[f"{prefix}remove_visual"])
    return removed


def test_refinement_and_losses_match_the_authors_program(golden_set: tuple[dict[str, Tensor], Tensor]) -> None:
    (features, labels), network = golden_set, golden_network()
    partner = next_without_common_label(labels.numpy())
    np.testing.assert_array_equal(partner, GOLDEN["partner"])
    audio, frames, motion = features.values()
    with torch.no_grad():
        own = network(audio, frames, motion)
        foreign_audio = network(audio[partner], frames, motion)
        foreign_visual = network(audio, frames[partner], motion[partner])
    found = {
        "": (own.audio_prob, own.visual_prob),
        "foreign_audio_": (foreign_audio.audio_prob, foreign_audio.visual_prob),
        "foreign_visual_": (foreign_visual.audio_prob, foreign_visual.visual_prob),
    }
    for prefix, probs in found.items():
        for modality, prob in zip(("audio", "visual"), probs, strict=True):
            np.testing.assert_allclose(prob, GOLDEN[f"{prefix}{modality}_prob"], atol=2e-6)
    np.testing.assert_allclose(own.video_prob, GOLDEN["video_prob"], atol=2e-6)
    np.testing.assert_allclose(own.segment_prob[:4], GOLDEN["segment_prob"], atol=2e-6)
    similarity = own.similarity
    assert similarity is not None
    np.testing.assert_allclose(similarity[:4].flatten(0, 1), GOLDEN["similarity"], atol=1e-5)
    contrastive = contrastive_loss(similarity, form="sum_of_logs")
    assert float(contrastive) == pytest.approx(float(GOLDEN["loss_contrastive"]), abs=2e-6)

    removed = check_refinement("", labels, *(torch.stack(probs) for probs in found.values()))
    assert int((removed[0] & removed[1]).sum()) == 5  # nothing keeps a label from leaving both modalities
    targets = torch.stack([labels.float(), smooth_targets(labels, 0.9)]).masked_fill(removed, 0.0)
    released = labels.float().masked_fill(removed[0], 0.0)  # the video's target, as released: audio's own tensor
    np.testing.assert_array_equal(targets[0], GOLDEN["target_audio"])
    np.testing.assert_allclose(targets[1], GOLDEN["target_visual"], atol=1e-7)
    np.testing.assert_array_equal(labels, GOLDEN["target_video"])
    np.testing.assert_array_equal(released, GOLDEN["target_video_released"])
    probs = torch.stack([own.audio_prob, own.visual_prob, own.video_prob])
    base = torch.stack([labels.float(), smooth_targets(labels, 0.9), labels.float()])
    retrain = torch.stack([*targets, labels.float()])
    with_defect = torch.stack([*targets, released])
    for name, target in (("base", base), ("retrain", retrain), ("retrain_released", with_defect)):
        losses = binary_cross_entropy(probs, target).mean((1, 2))
        np.testing.assert_allclose(losses, GOLDEN[f"loss_{name}"], atol=2e-6)


def test_the_rule_on_given_probabilities() -> None:
    seed = SEED + 2001
    labels = np.random.default_rng([seed, 4]).random((200, 25)) < np.linspace(0.5, 0.05, 25)
    own = []
    for modality, perfect in ((0, 20), (1, 21)):
        u = np.random.default_rng([seed, 10 + modality]).random((200, 25))
        prob = np.where(labels, 1 - 2 * np.linspace(0.2, 0.45, 25) * u, 2 * np.linspace(0.2, 0.45, 25) * u)
        prob[:, perfect] = np.where(labels[:, perfect], 0.7, 0.3)
        own.append(prob.astype(np.float32))
    foreign = [
        (np.random.default_rng([seed, 20 + k]).random((200, 25)) ** 2 * 0.8 + 0.01).astype(np.float32) for k in range(4)
    ]
    np.testing.assert_allclose([p.sum(dtype=np.float64) for p in (*own, *foreign)], GOLDEN["given_check"], rtol=1e-5)
    np.testing.assert_array_equal(labels, GOLDEN["given_labels"])
    own_prob, foreign_audio, foreign_visual = (torch.from_numpy(np.stack(p)) for p in (own, foreign[:2], foreign[2:]))
    removed = check_refinement("given_", torch.from_numpy(labels), own_prob, foreign_audio, foreign_visual)
    assert not removed[0, :, 20].any()  # judged without error, so that nothing of it is removed
    assert not removed[1, :, 21].any()


def test_without_any_error_nothing_is_removed() -> None:
    labels = torch.ones(3, 2, dtype=torch.bool)
    weights = error_weights(torch.zeros(2, dtype=torch.int64), 3)
    low = torch.full((2, 3, 2), CLAMP)
    assert not refine(labels, low, low, torch.stack([weights, weights])).any()


def test_both_outputs_must_be_low_and_are_divided_by_the_judged_modalitys_weight() -> None:
    labels = torch.tensor([[True, True, True, False]])
    foreign_audio = torch.tensor([[[0.2, 0.2, 0.4, 0.0]], [[0.2, 0.6, 0.2, 0.0]]])
    high = torch.ones(2, 1, 4)
    weights = torch.tensor([[0.1, 0.1, 0.1, 0.1], [1.0, 1.0, 0.5, 1.0]])  # 0.4 / 0.5 is not below ½
    removed = refine(labels, foreign_audio, high, weights)
    assert removed.int().tolist() == [[[0, 0, 0, 0]], [[1, 0, 0, 0]]]


@settings(max_examples=100)
@given(count=st.integers(1, 60), density=st.sampled_from([0.0, 0.05, 0.3, 0.9, 1.0]), seed=st.integers(0, 2**40))
def test_partners_share_no_label_and_depend_on_nothing_else(count: int, density: float, seed: int) -> None:
    labels = np.random.default_rng(seed).random((count, 6)) < density
    usable = np.random.default_rng(seed + 2).random(count) < 0.7
    found = partners(np.arange(count), labels, usable, seed)
    for video, partner in enumerate(found):
        fitting = [j for j in range(count) if j != video and usable[j] and not (labels[video] & labels[j]).any()]
        assert partner in fitting or (partner == -1 and not fitting)
    some = np.random.default_rng(seed + 1).permutation(count)[: count // 2]  # as another rank, in another order
    np.testing.assert_array_equal(partners(some, labels, usable, seed), found[some])


def test_partners_are_drawn_uniformly_also_where_they_are_rare() -> None:
    labels = np.zeros((4000, 3), dtype=bool)
    labels[:2000, 0] = labels[2000:, 1] = True
    labels[3990:, 1] = False  # ten videos have no label at all
    labels[2000:2100, 0] = True  # these share a label with all others: draws seldom find one of the ten
    usable = np.ones(4000, dtype=bool)
    found = partners(np.arange(4000), labels, usable, 7)
    assert set(found[2000:2100]) <= set(range(3990, 4000))
    assert len(set(found[2000:2100])) >= 8
    counts = np.bincount(found[:2000] // 200, minlength=20)
    assert counts[:10].sum() == 0
    assert counts[11:].min() > 150  # about 200 of 2000 from each two hundred videos
    assert counts.max() < 260
    assert (partners(np.arange(4000), labels, usable, 8) != found).mean() > 0.9
