from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import figures

from jomold_dist.models.dropout import dropout
from jomold_dist.models.losses import CLAMP, binary_cross_entropy, contrastive_loss, label_loss, smooth_targets


def test_binary_cross_entropy_matches_the_released_code() -> None:
    expected = figures("losses")
    loss = binary_cross_entropy(torch.from_numpy(expected["probability"]), torch.from_numpy(expected["target"]))
    np.testing.assert_allclose(loss, expected["loss"], atol=1e-5)


@pytest.mark.parametrize("probability", [0.0, 1e-9, 1.0, 1.3])
def test_the_clamp_bounds_the_loss_and_lets_no_gradient_through(probability: float) -> None:
    p = torch.tensor(probability, requires_grad=True)
    loss = binary_cross_entropy(p, 1.0)
    loss.backward()
    edge = min(max(probability, CLAMP), float(np.float32(1 - CLAMP)))
    assert float(loss.detach()) == pytest.approx(-np.log(edge), rel=1e-6)  # float32 has 7 digits
    assert p.grad == 0


def test_smoothed_targets() -> None:
    labels = torch.tensor([True, False])
    torch.testing.assert_close(smooth_targets(labels, 0.9), torch.tensor([0.95, 0.05]))
    assert torch.equal(smooth_targets(labels, 1.0), torch.tensor([1.0, 0.0]))


def test_a_weight_of_zero_leaves_a_label_out() -> None:
    p, y = torch.tensor([[0.2, 0.7], [0.4, 0.5]]), torch.ones(2, 2)
    only = label_loss(p, y, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    torch.testing.assert_close(only, binary_cross_entropy(torch.tensor([0.7, 0.4]), 1.0) / 2)  # a mean over both


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_contrastive_loss_equals_its_definition(smoothing: float) -> None:
    similarity = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    total = 0.0
    for video in similarity.numpy():
        for t, row in enumerate(video):
            q = np.full(5, smoothing / 4)
            q[t] = 1 - smoothing
            total -= np.log((q * np.exp(row) / np.exp(row).sum()).sum())
    assert float(contrastive_loss(similarity, smoothing, "sum")) == pytest.approx(total, rel=1e-12)
    assert float(contrastive_loss(similarity, smoothing)) == pytest.approx(total / 15, rel=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99])
def test_dropout_drops_the_asked_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(3)
    x = torch.ones(999_999)
    y = dropout(x, p)
    kept = y != 0
    assert float((~kept).float().mean()) == pytest.approx(p, abs=0.002)
    assert float(y.mean()) == pytest.approx(1, abs=0.02)
    assert len(y[kept].unique()) == 1
    shares = [float(kept[n::4].float().mean()) for n in range(4)]  # four values share a random number
    assert max(shares) - min(shares) < 0.006
    assert dropout(x, 0.0) is x
