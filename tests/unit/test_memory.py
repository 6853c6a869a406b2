"""Rankings beyond the batch, against a plain loop over categories."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising.memory import LabelLosses, Window, are_among
from jomold_dist.denoising.removal import Rows, count_candidates, find_extremes, remove_rows

CPU = torch.device("cpu")


class Label(NamedTuple):
    """One label in the order of (step, position)."""

    step: int
    position: int
    category: int
    losses: tuple[float, float]


def removed_by_definition(labels: list[Label], ratios: np.ndarray, rule: str) -> tuple[set[Label], set[Label]]:
    """Algorithm 1 category by category over these labels, equal losses in their order."""
    removed: tuple[set[Label], set[Label]] = (set(), set())
    for category in range(ratios.shape[1]):
        own = [label for label in labels if label.category == category]
        by_loss = [sorted(own, key=lambda label: label.losses[m]) for m in range(2)]
        for modality in range(2):
            k = int(float(ratios[modality, category]) * len(own))
            high, low = set(by_loss[modality][len(own) - k :]), set(by_loss[1 - modality][:k])
            removed[modality].update(high & low if rule == "joint" else high)
    return removed


@st.composite
def trainings(draw: st.DrawFn) -> tuple[list[list[Label]], np.ndarray]:
    """A few steps' labels, and noise ratios (2, C)."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([1, 2, 5, 10**6]))  # few levels: many ties
    categories, steps = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    taken = []
    for step in range(steps):
        has = random.random((draw(st.integers(0, 12)), categories)) < 0.5
        losses = (random.integers(0, levels, (*has.shape, 2)) / levels).astype(np.float32)
        taken.append([Label(step, p, c, tuple(losses[p, c].tolist())) for c, p in np.argwhere(has.T).tolist()])
    return taken, random.choice([0.0, 1.0, 0.3, 0.5, 0.77], (2, categories))


def rows_of(labels: list[Label], padding: int) -> Rows:
    """By category and position, as the exchange gives them, with padding last."""
    rows = sorted(labels, key=lambda label: (label.category, label.position))
    columns = torch.tensor([label.losses for label in rows], dtype=torch.float32).view(-1, 2)
    filler = torch.zeros(padding, dtype=torch.int64)
    return Rows(
        torch.cat([torch.tensor([label.position for label in rows], dtype=torch.int64), filler]),
        torch.cat([torch.tensor([label.category for label in rows], dtype=torch.int64), filler]),
        torch.cat([columns, torch.full((padding, 2), 99.0)]),
        torch.arange(len(rows) + padding) < len(rows),
    )


@settings(max_examples=200, deadline=None)
@given(training=trainings(), size=st.integers(1, 4), rule=st.sampled_from(["joint", "intra"]), stop=st.integers(0, 7))
def test_a_batch_is_ranked_among_the_labels_of_the_last_steps(
    training: tuple[list[list[Label]], np.ndarray], size: int, rule: str, stop: int
) -> None:
    """Also if training was stopped after some step, and went on with another number of ranks, and so other padding."""
    steps, ratios = training
    audio_ratio, visual_ratio = torch.from_numpy(ratios)
    window = Window(size)
    for step, batch in enumerate(steps):
        if step == stop:
            written = window.state()
            window = Window(size)
            window.load_state(written, CPU)
        rows = rows_of(batch, padding=5 if step < stop else 2)
        extremes = window.find_extremes(rows, audio_ratio, visual_ratio)
        window.add(rows)
        ranked = [label for earlier in steps[max(0, step - size + 1) : step + 1] for label in earlier]
        ordered = sorted(batch, key=lambda label: (label.category, label.position))
        for mask, expected in zip(
            extremes.removal(rule),  # type: ignore[arg-type]
            removed_by_definition(ranked, ratios, rule),
            strict=True,
        ):
            assert not mask[len(batch) :].any()
            assert {label for label, out in zip(ordered, mask.tolist(), strict=False) if out} == expected & set(batch)
        looked_at = removed_by_definition(ranked, ratios, "intra")
        counts = count_candidates(rows, extremes, ratios.shape[1])
        for count, candidates in zip(counts, looked_at, strict=True):
            own = [label.category for label in candidates & set(batch)]
            assert count.tolist() == np.bincount(own, minlength=ratios.shape[1]).tolist()


def test_a_window_of_one_step_is_the_batch() -> None:
    random = np.random.default_rng(3)
    ratio = torch.tensor([0.5, 0.2], dtype=torch.float64)
    window = Window(1)
    for _ in range(3):
        labels = [Label(0, p, c, tuple(random.random(2))) for p in range(9) for c in range(2)]
        rows = rows_of(labels, padding=1)
        for mine, expected in zip(
            window.find_extremes(rows, ratio, ratio), find_extremes(rows, ratio, ratio), strict=True
        ):
            assert torch.equal(mine, expected)
        window.add(rows)
    assert window.state()["sizes"].tolist() == []


def test_what_a_window_holds_is_bounded() -> None:
    window = Window(4)
    for _ in range(50):
        window.add(rows_of([Label(0, 1, 0, (0.5, 0.5))], padding=2))
    assert window.state()["sizes"].tolist() == [1, 1, 1]
    assert window.state()["columns"].shape == (3, 2)


def test_a_window_stays_on_its_device_and_asks_it_for_nothing() -> None:
    """torch's meta device has no data: to mix it with the CPU's, or to ask for a value, is an error."""
    ratio = torch.zeros(3, dtype=torch.float64, device="meta")
    window = Window(3)
    for _ in range(4):
        number = torch.zeros(7, dtype=torch.int64, device="meta")
        rows = Rows(number, number, torch.zeros(7, 2, device="meta"), number > 0)
        extremes = window.find_extremes(rows, ratio, ratio)
        assert extremes.highest.shape == extremes.lowest.shape == (2, 7)
        assert extremes.highest.device.type == "meta"
        window.add(rows)


VIDEOS = 30


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32), levels=st.sampled_from([1, 2, 10**6]), rule=st.sampled_from(["joint", "intra"]),
    parts=st.integers(1, 5), stop=st.integers(0, 3),
)  # fmt: skip
def test_all_labels_of_the_split_are_ranked_by_their_mean_losses(
    seed: int, levels: int, rule: str, parts: int, stop: int
) -> None:
    """Whoever had the losses, whenever they were brought together, and though some labels have fewer than others."""
    random = np.random.default_rng(seed)
    ratios = random.choice([0.0, 1.0, 0.3, 0.5], (2, 3))
    has = random.random((VIDEOS, 3)) < 0.5
    losses = (random.integers(0, levels, (3, VIDEOS, 3, 2)) / levels).astype(np.float32)  # three epochs
    seen = (random.random((3, VIDEOS)) < 0.8)[:, :, None] & has  # the others were in skipped steps
    table = LabelLosses()
    for epoch in range(3):
        if epoch == stop:
            written = table.state()
            table = LabelLosses()
            table.load_state(written)
        owner = random.integers(0, parts, VIDEOS)
        for part in random.permutation(parts):
            video, category = (seen[epoch] & (owner == part)[:, None]).nonzero()
            shuffled = random.permutation(len(video))
            video, category = video[shuffled], category[shuffled]
            table.add(category * VIDEOS + video, losses[epoch, video, category])
    count = seen.sum(0)
    total = np.zeros((VIDEOS, 3, 2), dtype=np.float32)
    for epoch in range(3):
        total += losses[epoch] * seen[epoch, :, :, None]
    mean = total / np.maximum(count, 1).astype(np.float32)[:, :, None]
    labels = [Label(0, v, c, tuple(mean[v, c].tolist())) for v, c in np.argwhere(count).tolist()]
    removed = table.remove(VIDEOS, *torch.from_numpy(ratios), rule)  # type: ignore[arg-type]
    for numbers, expected in zip(removed, removed_by_definition(labels, ratios, rule), strict=True):
        assert numbers.tolist() == sorted(label.category * VIDEOS + label.position for label in expected)


def test_the_ranking_over_a_split_in_one_batch_is_the_batch_s() -> None:
    random = np.random.default_rng(1)
    labels = [Label(0, p, c, tuple(random.random(2).astype(np.float32).tolist())) for p in range(20) for c in range(3)]
    ratio = torch.tensor([0.5, 0.2, 0.9], dtype=torch.float64)
    table = LabelLosses()
    table.add(
        np.array([label.category * VIDEOS + label.position for label in labels]),
        np.array([label.losses for label in labels], dtype=np.float32),
    )
    rows = rows_of(labels, padding=0)
    numbers = rows.category * VIDEOS + rows.position
    for found, mask in zip(table.remove(VIDEOS, ratio, ratio, "joint"), remove_rows(rows, ratio, ratio), strict=True):
        assert found.tolist() == numbers[mask].tolist()
        assert len(found)


@pytest.mark.parametrize("ascending", [[], [4], [1, 4, 9]])
def test_numbers_among_others(ascending: list[int]) -> None:
    asked = [9, 0, 4, 12, 4]
    assert are_among(np.array(asked), np.array(ascending, dtype=np.int64)).tolist() == [n in ascending for n in asked]
