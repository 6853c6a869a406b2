from __future__ import annotations

from typing import Any

import torch

from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.training.removal_table import removal_table

NAMES = ("Speech", "Dog", "Cat")


def removals(**removed: int) -> dict[str, Any]:
    """Of three categories with 100 labels over 4 epochs, by `category_modality`."""

    def entry(modality: str, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "modality": modality,
            "labels": 100,
            "candidates": 2 * count,
            "removed": count,
            "noise": 50,
        }
        return found | {"precision": 0.75 if count else None, "recall": count / 200}

    categories = {c: {m: entry(m, removed.get(f"{c}_{m}", 0)) for m in ("audio", "visual")} for c in NAMES}
    return {"epochs": 4, "categories": categories}


def cells(table: str | None) -> list[list[str]]:
    assert table is not None
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]


def test_what_was_to_be_removed_is_told_whether_it_was_or_not() -> None:
    ratios = NoiseRatios(torch.tensor([0.0, 0.02, 0.009]), torch.tensor([0.9, 0.2, 0.0]))
    table = removal_table(removals(Speech_visual=200, Dog_visual=2), ratios, NAMES)
    assert cells(table)[2:] == [
        ["Speech, visual", "100", "0.90", "90.0", "100.0", "50.0", "75.0"],
        ["Dog, visual", "100", "0.20", "20.0", "1.0", "0.5", "75.0"],
        ["Dog, audio", "100", "0.02", "2.0", "0.0", "0.0", "-"],
    ]


def test_many_categories_with_little_are_told_together() -> None:
    names = tuple(f"c{n:02d}" for n in range(20))
    entry = {
        "modality": "visual",
        "labels": 50,
        "candidates": 8,
        "removed": 4,
        "noise": 9,
        "precision": 0.5,
        "recall": 0.1,
    }
    none = {
        "modality": "audio",
        "labels": 50,
        "candidates": 0,
        "removed": 0,
        "noise": 0,
        "precision": None,
        "recall": None,
    }
    found = {"epochs": 4, "categories": {name: {"audio": none, "visual": entry} for name in names}}
    ratio = torch.full((20,), 0.1)
    *rows, others = cells(removal_table(found, NoiseRatios(ratio, ratio), names))[2:]
    assert [row[0] for row in rows] == [f"c{n:02d}, visual" for n in range(11)]
    assert others == ["29 others", "1450", "0.10", "145.0", "18.0", "9.0", "50.0"]


def test_a_method_without_ratios_has_only_what_it_removed() -> None:
    table = removal_table(removals(Speech_visual=400), None, NAMES)
    assert cells(table)[2:] == [["Speech, visual", "100", "-", "-", "-", "100.0", "75.0"]]
    assert removal_table(removals(), None, NAMES) is None


def test_masks_go_by_their_own_names_and_their_modality_s_ratio() -> None:
    found = removals(Dog_visual=40)
    for entries in found["categories"].values():
        entries["frames"] = entries.pop("visual") | {"candidates": None}
    ratios = NoiseRatios(torch.zeros(3), torch.tensor([0.0, 0.2, 0.1]))
    assert cells(removal_table(found, ratios, NAMES))[2:] == [
        ["Dog, frames", "100", "0.20", "20.0", "-", "10.0", "75.0"],
        ["Cat, frames", "100", "0.10", "10.0", "-", "0.0", "-"],
    ]


def test_without_a_known_truth_there_is_no_precision() -> None:
    found = removals(Speech_visual=4)
    for entries in found["categories"].values():
        for entry in entries.values():
            del entry["noise"], entry["precision"], entry["recall"]
    rows = cells(removal_table(found, None, NAMES))
    assert rows[0][-1] == "removed"
    assert {len(row) for row in rows} == {6}
