"""The measures of shuffle quality on orders whose quality is known."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / "measure_shuffle.py"))


def test_an_order_that_is_none() -> None:
    order = np.arange(100)
    assert TOOL["moved_share"](order) == 0
    assert TOOL["categories_per_batch"](order, np.repeat(np.arange(10), 10), 20).tolist() == [2] * 5
    assert TOOL["neighbour_share"](order, 10) == pytest.approx(90 / 99)


def test_a_reversed_and_a_perfect_order() -> None:
    assert TOOL["moved_share"](np.arange(100)[::-1]) == pytest.approx(0.5)
    shuffled = np.random.default_rng(0).permutation(20_000)
    assert TOOL["moved_share"](shuffled) == pytest.approx(1 / 3, rel=0.02)
    assert TOOL["neighbour_share"](shuffled, 100) == pytest.approx(100 / 20_000, rel=0.3)


def test_the_canonical_order_is_near_a_perfect_one_on_a_shuffled_set() -> None:
    sizes = np.full(40, 100)
    category = np.random.default_rng(0).integers(0, 25, sizes.sum())
    order = TOOL["epoch_order"](sizes, 48, 32, 0)
    assert sorted(order.tolist()) == list(range(4000))
    assert TOOL["moved_share"](order) == pytest.approx(1 / 3, rel=0.1)
    perfect = TOOL["categories_per_batch"](np.random.default_rng(1).permutation(4000), category, 128).mean()
    assert TOOL["categories_per_batch"](order, category, 128).mean() == pytest.approx(perfect, rel=0.02)
