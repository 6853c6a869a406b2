from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden import SEED, figures
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jomold_dist.denoising.small_loss import (
    Agreeing,
    count_forgotten,
    disagree,
    forget_crosswise,
    forget_jointly,
    joint_loss,
)
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.models.losses import bernoulli_divergence, binary_cross_entropy, smooth_targets

GOLDEN = figures("table1_small_loss")
MODALITIES = ("audio", "visual")
RATES = {
    "0": np.zeros(25),
    "0.2": np.full(25, 0.2),
    "0.5": np.full(25, 0.5),
    "class": np.linspace(0.05, 0.95, 25) * warmup_factor(4, 1, 10.0),
}


def golden_batch(dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    """Labels (64, 25) of the multi-label form's figures, and by modality the probabilities of both networks."""
    seed = SEED + 3000
    labels = np.random.default_rng([seed, 4]).random((64, 25)) < np.linspace(0.7, 0.08, 25)
    prob = {}
    for number, modality in enumerate(MODALITIES):
        z = [1.5 * np.random.default_rng([seed, 40 + 10 * k + number]).standard_normal((64, 25)) for k in (1, 2)]
        prob[modality] = 1 / (1 + np.exp(-(np.stack(z) + 0.5 * labels)))
    labels[32:, :3] = labels[:32, :3]
    for p in prob.values():
        p[:, 32:, :3] = p[:, :32, :3]
    check = [prob[m][k].sum() for k in (0, 1) for m in MODALITIES] + [labels.sum()]
    np.testing.assert_allclose(check, GOLDEN["multi_check"], rtol=1e-12)
    np.testing.assert_array_equal(labels, GOLDEN["multi_labels"])
    return torch.from_numpy(labels), {m: torch.from_numpy(p).to(dtype) for m, p in prob.items()}


def as_rows(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Video and category of every label, as they come out of the exchange."""
    category, video = labels.T.nonzero(as_tuple=True)
    return video, category


def kept(forgotten: Tensor, labels: Tensor) -> np.ndarray:
    """The mask by video and category of what is not forgotten by row; labels that are absent are always kept."""
    video, category = as_rows(labels)
    mask = torch.ones(*forgotten.shape[:-1], *labels.shape, dtype=torch.bool)
    mask[..., video, category] = ~forgotten
    return mask.numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("modality", MODALITIES)
def test_the_multi_label_form_chooses_and_loses_what_the_plain_loops_give(modality: str, dtype: torch.dtype) -> None:
    labels, probs = golden_batch(dtype)
    first, second = probs[modality]
    target = smooth_targets(labels.to(dtype), 1.0 if modality == "audio" else 0.9)
    bce = torch.stack([binary_cross_entropy(p, target) for p in (first, second)])
    divergence = torch.stack([bernoulli_divergence(first, second), bernoulli_divergence(second, first)])
    joint = joint_loss(first, second, target, 0.1)
    near: dict[str, Any] = {"rtol": 0, "atol": 1e-11 if dtype == torch.float64 else 1e-5}
    for name, value in (("bce", bce), ("kl", divergence), ("joint", joint)):
        np.testing.assert_allclose(value, GOLDEN[f"multi_{modality}_{name}"], **near)

    video, category = as_rows(labels)
    valid = torch.ones_like(category, dtype=torch.bool)
    apart = disagree(first, second)[video, category]
    for name, rate in RATES.items():
        rates = torch.from_numpy(rate)
        found = {
            "hj": forget_jointly(category, valid, joint[video, category], rates),
            "hc_plain": forget_crosswise(category, valid, bce[:, video, category], apart, rates, "rank"),
            "hc": forget_crosswise(category, valid, bce[:, video, category], apart, rates, "drop"),
        }
        for method, forgotten in found.items():
            mask = kept(forgotten, labels)
            prefix = f"multi_r{name}_{modality}_{method}"
            np.testing.assert_array_equal(mask, GOLDEN[f"{prefix}_kept"], err_msg=prefix)
            loss = (joint if method == "hj" else bce).numpy() * mask
            np.testing.assert_allclose(loss.sum((-2, -1)), GOLDEN[f"{prefix}_loss_sum"], rtol=1e-6)


def single_label(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropies (2, count) of the official programs' samples, and their divergences in both directions."""
    logits = torch.from_numpy(np.stack([GOLDEN["single_logits_1"], GOLDEN["single_logits_2"]]))[:, :count]
    labels = torch.from_numpy(GOLDEN["single_labels"])[:count]
    logs = logits.log_softmax(-1)
    ce = -logs[:, torch.arange(count), labels]
    divergence = (logs.exp() * (logs - logs.flip(0))).sum(-1)
    np.testing.assert_allclose(ce, GOLDEN["single_ce"][:, :count], atol=2e-6)
    np.testing.assert_allclose(divergence, GOLDEN["single_kl"][:, :count], atol=2e-6)
    return ce, divergence, labels


CASES = [(24, "0"), (24, "0.2"), (24, "0.5"), (24, "0.7"), (10, "0.2"), (10, "0.8"), (10, "0.9")]


def rate_of(count: int, rate: str) -> Tensor:
    """The rate at which ours keeps what the official programs do. They keep int((1−R)·n) of n, we keep n − ⌊R·n⌋: one
    sample more where (1−R)·n is no whole number (or is one only before rounding: R = 0.8 of 10)."""
    return torch.tensor([(count - int((1 - float(rate)) * count)) / count], dtype=torch.float64)


@pytest.mark.parametrize(("count", "rate"), CASES)
def test_jocor_on_single_labels(count: int, rate: str) -> None:
    ce, divergence, _ = single_label(count)
    category, valid = torch.zeros(count, dtype=torch.int64), torch.ones(count, dtype=torch.bool)
    for weight in ("0.1", "0.95"):
        loss = (1 - float(weight)) * ce.sum(0) + float(weight) * divergence.sum(0)
        mask = ~forget_jointly(category, valid, loss, rate_of(count, rate))
        tag = f"jocor_n{count}_r{rate}_l{weight}"
        np.testing.assert_array_equal(mask, GOLDEN[f"{tag}_kept"])
        np.testing.assert_allclose(loss[mask].mean(), GOLDEN[f"{tag}_loss"], atol=2e-6)  # of nothing: NaN, as there


@pytest.mark.parametrize(("count", "rate"), CASES)
def test_coteaching_on_single_labels(count: int, rate: str) -> None:
    """The official loss is the mean over the chosen samples divided by their number once more; ours divides once. With
    no sample kept, theirs takes all; ours forgets them."""
    ce, _, _ = single_label(count)
    category, valid = torch.zeros(count, dtype=torch.int64), torch.ones(count, dtype=torch.bool)
    forgotten = forget_crosswise(category, valid, ce, valid, rate_of(count, rate), "rank")
    tag = f"coteaching_n{count}_r{rate}"
    if rate == "0.9":
        assert forgotten.all()
        assert GOLDEN[f"{tag}_small_1"].all()
        return
    for network in (0, 1):
        np.testing.assert_array_equal(~forgotten[network], GOLDEN[f"{tag}_small_{2 - network}"])
        chosen = ce[network][~forgotten[network]]
        np.testing.assert_allclose(chosen.mean() / len(chosen), GOLDEN[f"{tag}_loss"][network], atol=2e-6)


PLUS = ["r0", "r0.2", "r0.5", "r0.97", "zero_disagrees_r0.2", "zero_agrees_r0.2", "none_early_r0.2", "none_late_r0.2"]


@pytest.mark.parametrize("tag", PLUS)
def test_coteaching_plus_on_single_labels_but_for_its_quirks(tag: str) -> None:
    """Given what the official program feeds it with — the cross-entropy of a *second* softmax, and `used`, from which
    the sample with data-set index 0 may push another one out — ours chooses the same samples. Not ours: the division
    by the number of samples, all samples where none would be kept (r0.97), and a loss of 0 without disagreement late
    in an epoch (none_late)."""
    _, _, labels = single_label(24)
    logits = torch.from_numpy(np.stack([GOLDEN["single_logits_1"], GOLDEN["single_logits_2"]]))
    if tag.startswith("none"):
        logits[1] = 0.9 * logits[0]
    ce = -logits.softmax(-1).log_softmax(-1)[:, torch.arange(24), labels]
    apart = logits[0].argmax(-1) != logits[1].argmax(-1)
    used = torch.from_numpy(GOLDEN[f"plus_{tag}_used"]).bool()
    category, valid = torch.zeros(24, dtype=torch.int64), torch.ones(24, dtype=torch.bool)
    if tag.startswith("none"):
        assert not apart.any()
        forgotten = forget_crosswise(category, valid, ce, apart, torch.zeros(1, dtype=torch.float64), "drop")
        assert not forgotten.any()  # all samples, as there while the epoch is young
        expected = ce.mean(1) if tag.startswith("none_early") else torch.zeros(2)
        np.testing.assert_allclose(expected, GOLDEN[f"plus_{tag}_loss"], atol=2e-6)
        return
    index = GOLDEN[f"plus_{tag}_index"]
    if tag == "zero_disagrees_r0.2":
        assert apart[index == 0].all()
        apart[apart.nonzero()[-1]] = False  # the last disagreeing sample of the batch is lost
    np.testing.assert_array_equal(apart, used)
    count, rate = int(used.sum()), float(tag.split("_r")[-1].lstrip("r"))
    forgotten = forget_crosswise(category, valid, ce, used, rate_of(count, str(rate)), "drop")
    keeps_none = int((1 - rate) * count) == 0
    for network in (0, 1):
        chosen = used if keeps_none else ~forgotten[network]
        if not keeps_none:
            np.testing.assert_array_equal(chosen, GOLDEN[f"plus_{tag}_small_{2 - network}"])
        loss = ce[network][chosen]
        np.testing.assert_allclose(loss.mean() / len(loss), GOLDEN[f"plus_{tag}_loss"][network], atol=2e-6)


def test_the_official_schedule_reaches_its_rate_an_epoch_early() -> None:
    """linspace(0, τ, 10) by epoch from 0 has τ at epoch 9; ours, min(t/10, 1)·τ, has it after ten whole epochs."""
    official = GOLDEN["schedule_tau0.2"]
    ours = [0.2 * warmup_factor(epoch, 1, 9.0) for epoch in range(len(official))]
    np.testing.assert_allclose(ours, official, atol=1e-15)
    assert 0.2 * warmup_factor(9, 1, 10.0) == pytest.approx(0.18)


def by_definition(batch: dict[str, Any], agreeing: str) -> np.ndarray:
    """What each network forgets, category by category: (2, N)."""
    forgotten = np.zeros((2, len(batch["category"])), dtype=bool)
    for c, rate in enumerate(batch["rate"]):
        mine = [i for i in np.flatnonzero(batch["valid"]) if batch["category"][i] == c]
        among = mine if agreeing == "rank" else [i for i in mine if batch["apart"][i]]
        if not among and agreeing == "drop":
            among = mine
        for network in (0, 1):
            order = sorted(among, key=lambda i: (batch["loss"][1 - network][i], batch["position"][i]))
            small = set(order[: len(among) - int(np.floor(rate * len(among)))])
            for i in mine:
                forgotten[network, i] = i not in small if i in among else agreeing == "drop"
    return forgotten


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Any]:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    categories, count = draw(st.integers(1, 5)), draw(st.integers(0, 60))
    levels = draw(st.sampled_from([1, 3, 10**6]))  # few levels: many ties
    category = np.sort(random.integers(0, categories, count))
    return {
        "category": category,
        "position": np.concatenate([np.arange((category == c).sum()) for c in range(categories)]).astype(np.int64),
        "valid": random.random(count) < draw(st.sampled_from([0.6, 1.0])),
        "loss": (random.integers(0, levels, (2, count)) / levels).astype(np.float32),
        "apart": random.random(count) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        "rate": random.choice([0.0, 0.2, 0.29, 0.5, 1.0], categories),
    }


def choose(batch: dict[str, Any], agreeing: Agreeing, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """The crossed choice with disagreement of some rows, or of all."""
    category, valid, apart = (torch.from_numpy(batch[k][rows]) for k in ("category", "valid", "apart"))
    loss = torch.from_numpy(batch["loss"][:, rows])
    return forget_crosswise(category, valid, loss, apart, torch.from_numpy(batch["rate"]), agreeing).numpy()


@settings(max_examples=200)
@given(batch=batches(), agreeing=st.sampled_from(["keep", "drop", "rank"]))
def test_choices_equal_their_definition(batch: dict[str, Any], agreeing: Agreeing) -> None:
    np.testing.assert_array_equal(choose(batch, agreeing), by_definition(batch, agreeing))
    category, valid, apart, rate = (torch.from_numpy(batch[k]) for k in ("category", "valid", "apart", "rate"))
    ranked = by_definition(batch, "rank")
    np.testing.assert_array_equal(forget_jointly(category, valid, torch.from_numpy(batch["loss"][1]), rate), ranked[0])
    for reading in ("keep", "rank"):  # in which all that is forgotten is so for its loss
        counted = count_forgotten(category, valid, apart, rate, reading)  # type: ignore[arg-type]
        forgotten = batch["category"][choose(batch, reading)[0]]  # type: ignore[arg-type]
        np.testing.assert_array_equal(counted, np.bincount(forgotten, minlength=len(rate)))


@settings(max_examples=100)
@given(batch=batches(), agreeing=st.sampled_from(["keep", "drop", "rank"]), seed=st.integers(0, 2**32))
def test_neither_padding_nor_the_order_of_rows_and_categories_matters(
    batch: dict[str, Any], agreeing: Agreeing, seed: int
) -> None:
    expected = choose(batch, agreeing)
    by_position = np.lexsort((batch["category"], batch["position"]))
    np.testing.assert_array_equal(choose(batch, agreeing, by_position), expected[:, by_position])
    np.testing.assert_array_equal(choose(batch, agreeing, batch["valid"]), expected[:, batch["valid"]])
    nonsense = dict(batch, category=np.where(batch["valid"], batch["category"], 10**15))
    nonsense["loss"] = np.where(batch["valid"], batch["loss"], np.float32("nan"))
    np.testing.assert_array_equal(choose(nonsense, agreeing), expected)
    other = np.random.default_rng(seed).permutation(len(batch["rate"]))  # category c is called other[c]
    renamed = dict(batch, category=other[batch["category"]], rate=batch["rate"][np.argsort(other)])
    np.testing.assert_array_equal(choose(renamed, agreeing), expected)


def test_labels_that_both_networks_agree_on_are_left_out_or_kept() -> None:
    category, valid = torch.tensor([0, 0, 0, 0, 1, 1]), torch.ones(6, dtype=torch.bool)
    loss = torch.tensor([[1.0, 2.0, 3.0, 4.0, 1.0, 2.0], [4.0, 3.0, 2.0, 1.0, 1.0, 2.0]])
    apart = torch.tensor([True, True, False, False, False, False])
    rate = torch.tensor([0.5, 0.5], dtype=torch.float64)
    # category 0: network 1 learns the one that network 2 finds easier; category 1, without disagreement: all have part
    dropped = forget_crosswise(category, valid, loss, apart, rate, "drop")
    assert dropped.int().tolist() == [[1, 0, 1, 1, 0, 1], [0, 1, 1, 1, 0, 1]]
    held = forget_crosswise(category, valid, loss, apart, rate, "keep")
    assert held.int().tolist() == [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]]


def test_no_value_is_read_back_from_the_device() -> None:
    category, valid = torch.zeros(9, dtype=torch.int64, device="meta"), torch.ones(9, dtype=torch.bool, device="meta")
    loss, rate = torch.zeros(2, 9, device="meta"), torch.zeros(3, dtype=torch.float64, device="meta")
    for agreeing in ("keep", "drop", "rank"):
        assert forget_crosswise(category, valid, loss, valid, rate, agreeing).shape == (2, 9)  # type: ignore[arg-type]
        assert count_forgotten(category, valid, valid, rate, agreeing).shape == (3,)  # type: ignore[arg-type]
    assert forget_jointly(category, valid, loss[0], rate).shape == (9,)
