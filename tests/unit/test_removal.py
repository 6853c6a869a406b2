from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import figures
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising.exchange import Exchanged, OwnRows, own_rows, pack_rows, unpack_rows
from jomold_dist.denoising.removal import (
    Removal,
    Rows,
    count_candidates,
    find_extremes,
    remove_rows,
    select_noisy_labels,
)
from jomold_dist.distributed.signals import Ask
from jomold_dist.models.losses import binary_cross_entropy, smooth_targets


def by_definition(
    audio_loss: np.ndarray,
    visual_loss: np.ndarray,
    labels: np.ndarray,
    ratios: tuple[np.ndarray, np.ndarray],
    rule: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 1 class by class, with equal losses in the order of the videos."""
    audio, visual = np.zeros_like(labels), np.zeros_like(labels)
    for c in range(labels.shape[1]):
        positives = [int(i) for i in np.flatnonzero(labels[:, c])]
        by_audio = sorted(positives, key=lambda i: (audio_loss[i, c], i))
        by_visual = sorted(positives, key=lambda i: (visual_loss[i, c], i))
        for ratio, mine, other, removed in (
            (ratios[0][c], by_audio, by_visual, audio),
            (ratios[1][c], by_visual, by_audio, visual),
        ):
            k = int(float(ratio) * len(positives))
            high, low = set(mine[len(mine) - k :]), set(other[:k])
            for i in high & low if rule == "joint" else high:
                removed[i, c] = True
    return audio, visual


@st.composite
def batches(draw: st.DrawFn) -> dict[str, np.ndarray]:
    videos, categories = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([1, 2, 5, 10**6]))  # few levels: many ties
    shape = (videos, categories)
    extremes = draw(st.booleans())
    ratios = random.choice([0.0, 1.0, 0.5], (2, categories)) if extremes else random.random((2, categories))
    return {
        "audio_loss": (random.integers(0, levels, shape) / levels).astype(np.float32) * 16,
        "visual_loss": (random.integers(0, levels, shape) / levels).astype(np.float32) * 16,
        "labels": random.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        "ratios": ratios,
        "owner": random.integers(0, draw(st.integers(1, 8)), videos),
    }


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


@pytest.mark.parametrize("case", range(10))
def test_removals_match_the_released_code(case: int) -> None:
    data = {k.split("_", 1)[1]: v for k, v in figures("denoise").items() if k.startswith(f"c{case}_")}
    audio_prob, visual_prob, audio_ratio, visual_ratio = tensors(
        data["audio_prob"], data["visual_prob"], data["audio_ratio"], data["visual_ratio"]
    )
    labels = torch.from_numpy(data["labels"]).bool()
    removed = select_noisy_labels(
        binary_cross_entropy(audio_prob, labels.float()),
        binary_cross_entropy(visual_prob, smooth_targets(labels, float(data["visual_smoothing"]))),
        labels,
        audio_ratio,
        visual_ratio,
    )
    np.testing.assert_array_equal(removed.audio, data["remove_audio"])
    np.testing.assert_array_equal(removed.visual, data["remove_visual"])


@settings(max_examples=300)
@given(batch=batches(), rule=st.sampled_from(["joint", "intra"]))
def test_removal_equals_its_definition(batch: dict[str, np.ndarray], rule: str) -> None:
    audio, visual = by_definition(batch["audio_loss"], batch["visual_loss"], batch["labels"], batch["ratios"], rule)
    removed = select_noisy_labels(
        *tensors(batch["audio_loss"], batch["visual_loss"], batch["labels"], *batch["ratios"]),
        rule=rule,  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(removed.audio, audio)
    np.testing.assert_array_equal(removed.visual, visual)


NO_SUMS = torch.zeros(0, dtype=torch.float64)


def exchange_in_process(
    batch: dict[str, np.ndarray],
    ranks: int,
    asks: dict[int, Ask] | None = None,
    bad: int = -1,
    sums: torch.Tensor = NO_SUMS,
) -> tuple[Exchanged, list[OwnRows]]:
    """What every rank would send for its videos, and what all then know."""
    labels = torch.from_numpy(batch["labels"])
    capacity = int(labels.sum()) + 3
    sent, owned = [], []
    for rank in range(ranks):
        position = torch.from_numpy(np.flatnonzero(batch["owner"] == rank))
        own = own_rows(labels[position], position, capacity)
        losses = [own.take(torch.from_numpy(batch[k])[position]) for k in ("audio_loss", "visual_loss")]
        ask = (asks or {}).get(rank, Ask.NOTHING)
        sent.append(pack_rows(own, torch.stack(losses, dim=1), position != bad, position, sums * (rank + 1), ask=ask))
        owned.append(own)
    return unpack_rows(torch.stack(sent), 2, labels.shape[1], len(sums)), owned


@settings(max_examples=200)
@given(batch=batches())
def test_removal_does_not_depend_on_who_holds_the_videos(batch: dict[str, np.ndarray]) -> None:
    ratios = tensors(*batch["ratios"])
    exchanged, owned = exchange_in_process(batch, 8)
    assert exchanged.rows.valid.sum() == batch["labels"].sum()
    removed = torch.stack(remove_rows(exchanged.rows, ratios[0], ratios[1]))
    whole = Removal(*(torch.zeros(batch["labels"].shape, dtype=torch.bool) for _ in range(2)))
    for rank, own in enumerate(owned):
        here = torch.from_numpy(batch["owner"] == rank)
        for part, mask in zip(whole, own.put(exchanged.own(removed, rank), batch_shape(here, batch)), strict=True):
            part[here] = mask
    audio, visual = by_definition(batch["audio_loss"], batch["visual_loss"], batch["labels"], batch["ratios"], "joint")
    np.testing.assert_array_equal(whole.audio, audio)
    np.testing.assert_array_equal(whole.visual, visual)
    assert int(exchanged.videos) == len(batch["labels"])
    alone = remove_rows(exchanged.rows, ratios[0], ratios[1], "intra")
    extremes = find_extremes(exchanged.rows, ratios[0], ratios[1])
    count = count_candidates(exchanged.rows, extremes, batch["labels"].shape[1])
    for modality, mask in enumerate(alone):  # without the other modality's say, all candidates are removed
        found = np.bincount(exchanged.rows.category[mask], minlength=batch["labels"].shape[1])
        np.testing.assert_array_equal(count[modality], found)


def batch_shape(here: torch.Tensor, batch: dict[str, np.ndarray]) -> torch.Size:
    return torch.Size((int(here.sum()), batch["labels"].shape[1]))


def test_own_rows_are_the_positives_in_the_order_of_the_videos() -> None:
    labels = torch.tensor([[0, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=torch.bool)
    own = own_rows(labels, torch.tensor([2, 5, 9]), 6)
    assert own.valid.tolist() == [True] * 4 + [False] * 2
    assert own.category[:4].tolist() == [1, 2, 0, 2]
    assert own.position[:4].tolist() == [2, 2, 9, 9]
    values = torch.arange(9.0).view(3, 3)
    assert own.take(values).tolist() == [1, 2, 6, 8, 0, 0]
    masks = torch.tensor([[True, False, False, True, True, True]])
    assert own.put(masks, labels.shape).nonzero().tolist() == [[0, 0, 1], [0, 2, 2]]
    nothing = own_rows(labels[:0], torch.arange(0), 2)
    assert not nothing.valid.any()
    assert nothing.take(values[:0]).tolist() == [0, 0]
    assert nothing.put(masks[:, :2], labels[:0].shape).shape == (1, 0, 3)


def small_batch(owner: list[int]) -> dict[str, np.ndarray]:
    loss = np.arange(8, dtype=np.float32).reshape(4, 2)
    labels = np.array([[1, 0], [1, 1], [0, 0], [1, 1]], dtype=bool)
    return {"audio_loss": loss, "visual_loss": 9 - loss, "labels": labels, "owner": np.array(owner)}


def flags(exchanged: Exchanged) -> tuple[int, int, bool]:
    return int(exchanged.ask), int(exchanged.bad_position), bool(exchanged.repeated)


def test_the_exchange_carries_what_all_ranks_must_agree_on() -> None:
    assert flags(exchange_in_process(small_batch([0, 1, 2, 0]), 4)[0]) == (0, -1, False)
    assert flags(exchange_in_process(small_batch([0, 1, 2, 0]), 4, asks={1: Ask.SAVE, 3: Ask.STOP}, bad=2)[0]) == (
        2,
        2,
        False,
    )


def test_a_video_served_to_two_ranks_is_noticed() -> None:
    sent = []
    for _ in range(2):
        own = own_rows(torch.tensor([[False, True]]), torch.tensor([5]), 2)
        sound, at = torch.tensor([True]), torch.tensor([5])
        sent.append(pack_rows(own, torch.rand(2, 2), sound, at, NO_SUMS, ask=Ask.NOTHING))
    assert bool(unpack_rows(torch.stack(sent), 2, 2, 0).repeated)


def test_losses_survive_the_exchange_bit_for_bit() -> None:
    values = torch.tensor([0.0, 1e-45, 1.1920929e-07, 16.118095, 3.4e38])
    labels = torch.ones(5, 1, dtype=torch.bool)
    own = own_rows(labels, torch.arange(5), 9)
    for count in (1, 2, 3, 6):
        columns = torch.stack([torch.cat([values.roll(n), torch.zeros(4)]) for n in range(count)], dim=1)
        for sums in (NO_SUMS, torch.tensor([0.1, float("inf"), 1e300])):
            message = pack_rows(own, columns, labels[:, 0], torch.arange(5), sums.double(), ask=Ask.NOTHING)
            found = unpack_rows(message.unsqueeze(0), count, 1, len(sums))
            assert torch.equal(found.rows.columns[:5], columns[:5])
            assert found.rows.valid.tolist() == [True] * 5 + [False] * 4
            assert torch.equal(found.sums, sums.double())


@pytest.mark.parametrize("columns", [None, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_sums_over_ranks_travel_in_the_header(columns: int | None, count: int) -> None:
    random = np.random.default_rng(count)
    sums = torch.from_numpy(random.standard_normal((3, count)) * 10.0 ** random.integers(-30, 30, (3, count)))
    nothing = torch.zeros(0, dtype=torch.int64)
    own = own_rows(torch.zeros(0, 4, dtype=torch.bool), nothing, 6)
    values = None if columns is None else torch.zeros(6, columns)
    sent = [pack_rows(own, values, nothing.bool(), nothing, each, ask=Ask.SAVE) for each in sums]
    found = unpack_rows(torch.stack(sent), columns or 0, 4, count)
    assert torch.equal(found.sums, sums.sum(0))
    assert flags(found) == (Ask.SAVE, -1, False)
    assert not found.rows.valid.any()


def test_saturated_probabilities_tie_and_ties_go_by_position() -> None:
    labels = torch.ones(6, 1, dtype=torch.bool)
    audio = binary_cross_entropy(torch.tensor([[0.0], [1e-9], [1e-8], [0.5], [1e-7], [0.0]]), labels.float())
    visual = binary_cross_entropy(torch.ones(6, 1), labels.float())
    removed = select_noisy_labels(audio, visual, labels, torch.tensor([0.5]), torch.tensor([0.0]))
    # five audio losses are equal: the order is 3, 0, 1, 2, 4, 5, the highest three are 2, 4, 5; the visual losses are
    # all equal, so that the lowest three are 0, 1, 2
    assert removed.audio.flatten().tolist() == [False, False, True, False, False, False]


def test_negative_zero_is_zero() -> None:
    labels = torch.ones(2, 1, dtype=torch.bool)
    loss = torch.tensor([[0.0], [-0.0]])
    removed = select_noisy_labels(loss, loss, labels, torch.tensor([0.5]), torch.tensor([0.0]), rule="intra")
    assert removed.audio.flatten().tolist() == [False, True]


@pytest.mark.parametrize(("ratio", "count", "k"), [(0.29, 100, 28), (0.57, 100, 56), (1.0, 7, 7), (0.999, 7, 6)])
def test_the_number_of_candidates_is_truncated_in_float64(ratio: float, count: int, k: int) -> None:
    valid = torch.ones(count, dtype=torch.bool)
    rows = Rows(torch.arange(count), torch.zeros(count, dtype=torch.int64), torch.rand(count, 2), valid)
    ratios = torch.tensor([ratio], dtype=torch.float64)
    assert int(remove_rows(rows, ratios, ratios, "intra").audio.sum()) == k


def test_shapes_and_ratios_that_do_not_fit_are_refused() -> None:
    loss, labels = torch.rand(3, 2), torch.ones(3, 2, dtype=torch.bool)
    fine = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match="must have one shape"):
        select_noisy_labels(loss, loss[:2], labels, fine, fine)
    with pytest.raises(ValueError, match="visual_ratio has shape"):
        select_noisy_labels(loss, loss, labels, fine, fine[:1])
    with pytest.raises(ValueError, match=r"audio_ratio must lie in \[0, 1\]"):
        select_noisy_labels(loss, loss, labels, torch.tensor([0.5, float("nan")]), fine)
    with pytest.raises(ValueError, match="rule"):
        select_noisy_labels(loss, loss, labels, fine, fine, rule="both")  # type: ignore[arg-type]
