"""How far labels are believed: what is told as noise, how right that is, and whom one is to look at first."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jomold_dist.cleaning.judged import JudgedLabels, Rule
from jomold_dist.cleaning.label_list import write_list
from jomold_dist.cleaning.quality import EDGES, against_confidence, calibration, calibration_error, wilson
from jomold_dist.cleaning.summary import by_category, category_text, quality_of, quality_text
from jomold_dist.cleaning.suspects import suspects_of
from jomold_dist.labels import CategorySet

NAMES = ("Speech", "Dog", "Cello")
RULE = Rule(0.9)


def judged(count: int = 300, seed: int = 0, categories: int = 3) -> JudgedLabels:
    """Labels whose confidences are right: each is noise as often as is told."""
    draws = np.random.default_rng(seed)
    confidence = np.zeros((2, count), dtype=np.float32)
    confidence[draws.integers(0, 2, count), np.arange(count)] = draws.beta(0.4, 0.4, count)
    category = np.sort(draws.integers(0, categories, count))
    return JudgedLabels(
        CategorySet(NAMES if categories == 3 else tuple(f"c{n}" for n in range(categories))),
        np.array([f"video_{n:05d}" for n in range(count)]),
        category,
        1 - confidence,
        {"probit": draws.normal(size=(2, count)).astype(np.float32)},
        draws.integers(0, 9, (2, count)),
        8,
        draws.random((2, count)) >= confidence,
    )


def test_no_label_is_noise_in_both_modalities() -> None:
    even = np.array([[0.5, 0.5, 0.4, 0.95], [0.5, 0.6, 0.6, 0.96]], dtype=np.float32)
    even = np.tile(even, 5)  # enough of them to be judged
    labels = JudgedLabels(CategorySet(NAMES), np.array(list("abcd" * 5)), np.zeros(20, dtype=np.int64), 1 - even)
    assert Rule(0.5).told(labels)[:, :4].tolist() == [[False, False, False, False], [True, True, True, True]]
    assert Rule(0.96).told(labels)[:, :4].tolist() == [[False] * 4, [False, False, False, True]]


def test_precision_and_recall_are_what_counting_says() -> None:
    labels = judged()
    assert labels.there is not None
    for found, confidence, there in zip(quality_of(labels), labels.confidence, labels.there, strict=True):
        for at in found.at:
            told = [n for n in range(len(labels)) if confidence[n] >= at.confidence]
            right = [n for n in told if not there[n]]
            assert (at.told, at.right) == (len(told), len(right))
            assert at.precision == (len(right) / len(told) if told else None)
            assert at.recall == len(right) / sum(not it for it in there)
            low, high = at.interval
            assert low <= (at.precision or 0) <= high
        for band in found.bands:
            highest = band.high == 1.0  # it has those of 1 as well
            inside = [n for n, c in enumerate(confidence) if band.low <= c and (c < band.high or highest)]
            assert band.labels == len(inside)
            assert band.found == sum(not there[n] for n in inside) / len(inside)
        assert sum(band.labels for band in found.bands) == len(labels)


def test_honest_confidences_are_near_the_diagonal_and_others_are_not() -> None:
    labels = judged(20_000)
    assert labels.there is not None
    noise, confidence = ~labels.there[1], labels.confidence[1]
    assert calibration_error(calibration(confidence, noise)) < 0.01
    assert calibration_error(calibration(np.sqrt(confidence), noise)) > 0.03
    (at,) = against_confidence(confidence, noise, (0.9,))
    assert at.expected == pytest.approx(at.precision, abs=0.02)


def test_the_interval_of_a_share() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson 1927, as in textbooks
    assert wilson(10, 10)[1] == 1.0
    assert calibration(np.array([1.0, 0.0]), np.array([True, False]))[-1].high == EDGES[-1] == 1.0


def test_a_row_a_category_with_what_is_expected_and_what_is_so() -> None:
    labels = judged()
    rows = by_category(labels, RULE)
    assert rows[0].name == "all"
    assert sorted(row.name for row in rows[1:]) == sorted(NAMES)
    for modality in range(2):
        assert rows[0].cells[modality].told == sum(row.cells[modality].told for row in rows[1:])
        assert rows[0].cells[modality].noise == sum(row.cells[modality].noise or 0 for row in rows[1:])
    dog = next(row for row in rows if row.name == "Dog").cells[1]
    own = labels.category == 1
    assert dog.share == pytest.approx(labels.confidence[1][own].mean())
    assert dog.told == (RULE.told(labels)[1] & own).sum()
    text = category_text(rows, RULE)
    assert "right %" in text
    assert "right %" not in category_text(by_category(replace(labels, there=None), RULE), RULE)
    assert quality_of(replace(labels, there=None)) == []
    assert "visual ≥ 90 %" in quality_text(quality_of(labels))


def test_every_category_is_among_the_suspects() -> None:
    labels = judged(4000, categories=200)
    found = suspects_of(labels, RULE, most=300)
    value = [suspect.confidence for suspect in found]
    assert value == sorted(value, reverse=True)
    assert len({(suspect.row, suspect.modality) for suspect in found}) == len(found)
    suspicious = {int(c) for c in labels.category[(labels.confidence >= 0.5).any(0)]}
    assert {labels.categories.index(suspect.category) for suspect in found} == suspicious
    likeliest = max(range(len(labels)), key=lambda n: labels.confidence[:, n].max())
    first = found[0]
    assert (first.row, first.key) == (likeliest, f"video_{likeliest:05d}")
    modality = ("audio", "visual").index(first.modality)
    assert first.confidence == pytest.approx(float(labels.confidence[modality, likeliest]))
    assert first.epochs_removed is not None
    assert labels.there is not None
    assert first.there == labels.there[modality, likeliest]
    assert suspects_of(replace(labels, presence=np.ones_like(labels.presence)), RULE) == []


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_list_has_all_labels(ending: str, tmp_path: Path) -> None:
    labels = judged(50)
    path = tmp_path / f"labels.{ending}"
    write_list(path, labels, RULE)
    if ending == "csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = pq.read_table(path).to_pylist()
    assert [row["filename"] for row in rows] == labels.keys.tolist()
    told = RULE.told(labels)
    for number, row in enumerate(rows):
        verdict = "noise in audio" if told[0, number] else "noise in visual" if told[1, number] else "keep"
        assert row["verdict"] == verdict
        assert float(row["visual_noise_confidence"]) == pytest.approx(labels.confidence[1, number], abs=1e-4)
        assert int(row["audio_epochs_removed"]) == labels.epochs_removed[0, number]  # type: ignore[index]
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_labels_that_a_training_removed_often_are_told_by_that() -> None:
    labels = judged(400)
    rule = Rule(0.5, by_removals=True)
    told = rule.told(labels)
    assert labels.epochs_removed is not None
    assert not told.all(0).any()
    for row in range(len(labels)):
        often = [int(n) for n in labels.epochs_removed[:, row]]
        assert told[:, row].any() == (max(often) >= 4)
        if max(often) >= 4 and often[0] != often[1]:
            assert told[:, row].tolist() == [often[0] > often[1], often[1] > often[0]]
    first, second = quality_of(labels, by_removals=True)
    assert [at.confidence for at in first.at] == [n / 8 for n in range(1, 9)]
    assert [at.told for at in second.at] == [int((labels.epochs_removed[1] >= n).sum()) for n in range(1, 9)]
    assert "expected" not in quality_text([first], by_removals=True)
    found = suspects_of(labels, rule)
    assert found[0].epochs_removed is not None
    assert max(found[0].epochs_removed) == 8
    assert not Rule(0.5, by_removals=True).told(replace(labels, epochs_removed=None)).any()


def test_what_is_told_is_what_is_measured() -> None:
    """Also where a category has too few labels to be told."""
    labels = judged(300)
    few = replace(labels, category=np.where(np.arange(300) < 7, 2, labels.category % 2))
    assert few.rare.tolist() == [2]
    for found, told in zip(quality_of(few), RULE.told(few), strict=True):
        at = next(at for at in found.at if at.confidence == RULE.least)
        assert at.told == told.sum()
        assert sum(band.labels for band in found.bands) == 293
    assert few.there is not None
    assert quality_of(few)[1].at[0].noise == (~few.there[1]).sum()
