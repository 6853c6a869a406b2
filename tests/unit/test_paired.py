"""Differences between rows, paired by seed, and what may be said of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jomold_dist.comparing.cautions import few_seeds, han_in_effect, noise_floor
from jomold_dist.comparing.paired import PairedMean, difference, gap_closed, mask_names, removed_shares, values
from jomold_dist.comparing.score_table import Compared, by_seed, cautions, score_table
from jomold_dist.methods.registry import method_class

SCORE = "segment_type"


@dataclass
class Made:
    """A row as it might be read from runs."""

    name: str
    scores: Mapping[int, Mapping[str, float]]
    removals: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def made(name: str, *scores: float, score: str = SCORE, removed: Sequence[int] = (0, 0)) -> Made:
    """A score a seed; so many labels of 100 removed in each of two epochs, of audio and of visual ones."""
    total = {m: {"labels": 100, "removed": 2 * n} for m, n in zip(("audio", "visual"), removed, strict=True)}
    seeds = range(len(scores))
    return Made(name, {n: {score: scores[n]} for n in seeds}, {n: {"epochs": 2, "total": total} for n in seeds})


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=8))
def test_the_interval_is_that_of_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    one, other = (made("", *column) for column in zip(*pairs, strict=True))
    found = difference(one, other, SCORE)
    differences = [a - b for a, b in pairs]
    assert found is not None
    assert found.half is not None
    assert found.seeds == len(pairs)
    assert found.mean == pytest.approx(np.mean(differences), abs=1e-9)
    if np.std(differences) > 1e-6:
        low, high = stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
        assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), abs=1e-6)


def test_rows_without_a_common_seed_or_score_have_no_difference() -> None:
    one, other = made("one", 1.0), Made("other", {1: {SCORE: 1.0}})
    assert difference(one, other, SCORE) is None
    assert difference(one, made("talnet", 1.0, score="segment_audio"), SCORE) is None
    assert values(made("talnet", 1.0, score="segment_audio"), SCORE) == []


def test_only_shared_seeds_are_paired() -> None:
    one, other = Made("one", {0: {SCORE: 5.0}, 1: {SCORE: 9.0}}), Made("other", {1: {SCORE: 8.0}, 2: {SCORE: 1.0}})
    assert difference(one, other, SCORE) == PairedMean(1.0, None, 1)


def test_a_difference_as_text() -> None:
    found = [PairedMean(-1.25, None, 1), PairedMean(0.5, 0.26, 5)]
    assert [str(one) for one in found] == ["−1.2", "+0.5 ± 0.3"]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (PairedMean(1.0, 0.9, 5), "above"),
        (PairedMean(-1.0, 0.9, 7), "below"),
        (PairedMean(1.0, 1.1, 5), "open"),
        (PairedMean(1.0, 1.0, 5), "open"),
        (PairedMean(9.0, 0.9, 4), "above, 4 seeds"),
        (PairedMean(9.0, None, 1), "open, 1 seed"),
    ],
)
def test_a_row_is_better_only_if_its_interval_leaves_0_out_and_too_few_seeds_are_told(
    found: PairedMean, verdict: str
) -> None:
    assert found.verdict == verdict


def test_the_gap_is_closed_by_seed() -> None:
    han, true = made("han", 60.0, 62.0), made("true", 70.0, 82.0)
    found = gap_closed(made("row", 65.0, 77.0), han, true, SCORE)  # 5 of 10 and 15 of 20
    assert found is not None
    assert found.mean == pytest.approx(62.5)
    assert gap_closed(true, han, true, SCORE) == PairedMean(100.0, 0.0, 2)
    assert gap_closed(han, han, made("true", 70.0, 62.0), SCORE) is None  # a seed without a gap
    assert gap_closed(han, made("han", 60.0, score="segment_audio"), true, SCORE) is None


def test_too_few_seeds_are_told() -> None:
    five, three = made("five", *range(5)), made("three", *range(3))
    assert few_seeds([five]) is None
    assert few_seeds([three]) == "Fewer than 5 seeds carry no claim, and every row has 3."
    assert few_seeds([five, three]) == "Fewer than 5 seeds carry no claim: three has 3."


def test_the_noise_floor_is_the_width_of_the_intervals() -> None:
    assert noise_floor([None, PairedMean(1.0, None, 1)], "han") is None
    text = noise_floor([PairedMean(1.0, 2.25, 3), None, PairedMean(1.0, 0.55, 3)], "han")
    assert text is not None
    assert "differences from han reach ± 0.6 to ± 2.2." in text


@pytest.mark.parametrize(("removed", "told"), [((0, 0), True), ((0, 1), False), ((1, 0), False)])
def test_a_row_that_removes_next_to_nothing_is_called_han(removed: tuple[int, int], told: bool) -> None:
    row = made("audio only", 1.0, 2.0, removed=removed)
    found = han_in_effect(row, "jomold")
    assert (found is not None) == told
    if found is not None:
        assert found.startswith(
            "audio only is han in effect: it took out less than 0.5 % of the labels of every modality"
        )
    assert han_in_effect(row, "han") is None


def test_masks_of_another_name_have_columns_of_their_own() -> None:
    han, row = made("han", 60.0), made("row", 65.0)
    row.removals[0]["total"] = {"frames": {"labels": 100, "removed": 30, "precision": 0.5, "recall": None}}  # type: ignore[index]
    assert mask_names([han, row]) == ["audio", "visual", "frames"]
    assert (removed_shares(row, "frames"), removed_shares(row, "audio")) == ([0.15], [])
    lines = [dict(line) for line in csv.DictReader(by_seed([({"row": r.name}, r) for r in (han, row)]).splitlines())]
    found = [(line["removed_audio"], line["removed_frames"], line["precision_frames"]) for line in lines]
    assert found == [("0", "", ""), ("", "30", "0.5")]
    assert han_in_effect(row, "jomold") is None


class Shifted(method_class("jomold")):  # type: ignore[misc]
    """A user's: it may do more than jomold."""


@pytest.mark.parametrize("method", ["jocor", "coteaching-plus", "ma", f"{__name__}:Shifted"])
def test_a_row_whose_method_does_more_than_remove_is_not_called_han(method: str) -> None:
    found = han_in_effect(made("row", 1.0, 2.0, removed=(0, 0)), method)
    assert found is not None
    assert found.startswith("row took out less than 0.5 %")
    assert "in effect" not in found


def test_the_table_has_a_dash_for_what_a_network_lacks() -> None:
    han, talnet = made("han", 60.0, 61.0), made("talnet", 40.0, 41.0, score="segment_audio")
    row, true = made("row", 65.0, 66.5, removed=(5, 5)), made("true", 70.0, 71.0, removed=(5, 5))
    against = {"han": han, "true": true}
    rows = [
        Compared(han, "han", {"true": true}),
        Compared(talnet, "han", against),
        Compared(row, "jomold", against),
        Compared(true, "true", {"han": han}),
    ]
    table = score_table(rows, ["han", "true"], SCORE, "scores")
    cells = [dict(zip(table.header, line, strict=True)) for line in table.rows]
    assert [line["seg Type"] for line in cells] == ["60.5 ± 0.7", "-", "65.8 ± 1.1", "70.5 ± 0.7"]
    assert [line["seg A"] for line in cells] == ["-", "40.5 ± 0.7", "-", "-"]
    assert [line["Δ han"] for line in cells] == ["-", "-", "+5.2 ± 3.2", "+10.0 ± 0.0"]
    assert [line["than han"] for line in cells] == ["-", "-", "above, 2 seeds", "above, 2 seeds"]
    assert [line["Δ true"] for line in cells] == ["−10.0 ± 0.0", "-", "−4.8 ± 3.2", "-"]
    assert [line["gap closed %"] for line in cells] == ["-", "-", "52.5 ± 31.8", "-"]
    told = cautions(rows, ["han", "true"], SCORE)
    assert [text.split(":")[0].split(",")[0] for text in told] == ["Fewer than 5 seeds carry no claim", "Noise floor"]
    lines = by_seed([({"row": one.row.name}, one.row) for one in rows]).splitlines()
    assert lines[3].startswith("talnet,0,40.0,,,")
    assert r"row & 2 & - & - & - & 65.8 $\pm$ 1.1" in table.latex()
