"""Labels by category: how many are told as noise in each modality, with what confidence, and how rightly.

Legend: n labels, C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jomold_dist.cleaning.judged import FEWEST, JudgedLabels, Rule
from jomold_dist.cleaning.quality import AtConfidence, Band, against_confidence, calibration, calibration_error
from jomold_dist.labels import MODALITIES
from jomold_dist.tables import markdown_table

MOST_ROWS, SHOWN = 30, 12


@dataclass(frozen=True)
class Cell:
    """A category in one modality, or all categories."""

    labels: int
    share: float
    """Of them that is noise, by the mean of the confidences; 0 without labels."""
    told: int
    """How many are told as noise by the rule."""
    confidence: float | None
    """The mean confidence of these: how many of them are expected to be noise; None where there are none."""
    right: int | None
    """How many of these are noise; None where the truth is not known."""
    noise: int | None
    """How many of all labels are."""

    @property
    def precision(self) -> float | None:
        """The share of what is told as noise that is noise."""
        return None if self.right is None or not self.told else self.right / self.told


@dataclass(frozen=True)
class Row:
    """A category, or all together, by modality."""

    name: str
    labels: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Quality:
    """How right the confidences of one modality are."""

    modality: str
    at: list[AtConfidence]
    bands: list[Band]

    @property
    def error(self) -> float:
        return calibration_error(self.bands)


def by_category(judged: JudgedLabels, rule: Rule) -> list[Row]:
    """All labels together, then a row a category that has labels, those with most noise first."""
    told, values = rule.told(judged), judged.confidence
    everything = np.ones(len(judged), dtype=bool)
    rows = []
    for number in np.unique(judged.category).tolist():
        rows.append(_row(judged.categories.names[number], judged, judged.category == number, told, values))
    rows.sort(key=lambda row: (-sum(cell.told for cell in row.cells), -row.labels, row.name))
    return [_row("all", judged, everything, told, values), *rows]


def _row(name: str, judged: JudgedLabels, own: np.ndarray, told: np.ndarray, values: np.ndarray) -> Row:
    labels, cells = int(own.sum()), []
    for modality in range(len(MODALITIES)):
        chosen = own & told[modality]
        count = int(chosen.sum())
        noise = right = None
        if judged.there is not None:
            noise, right = (int((some & ~judged.there[modality]).sum()) for some in (own, chosen))
        share = float(values[modality][own].mean(dtype=np.float64)) if labels else 0.0
        mean = float(values[modality][chosen].mean(dtype=np.float64)) if count else None
        cells.append(Cell(labels, share, count, mean, right, noise))
    return Row(name, labels, tuple(cells))


def cautions(judged: JudgedLabels, rule: Rule) -> list[str]:
    """What has to be told beside the figures."""
    if rule.by_removals or not len(judged.rare):
        return []
    names = [judged.categories.names[number] for number in judged.rare.tolist()]
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return [f"with fewer than {FEWEST} labels, too few to be sure of, none is told as noise: {shown}"]


def quality_of(judged: JudgedLabels, by_removals: bool = False) -> list[Quality]:
    """How right the confidences are, or the removals, by modality; nothing where the truth is not known. Labels of rare
    categories, of which none is told by its confidence, count in no band, and their noise is not found."""
    if judged.there is None:
        return []
    if by_removals:
        shares = tuple((epoch + 1) / judged.epochs for epoch in range(judged.epochs))
        found = zip(MODALITIES, judged.share_removed, judged.there, strict=True)
        return [Quality(name, against_confidence(values, ~there, shares), []) for name, values, there in found]
    judgeable = ~np.isin(judged.category, judged.rare)
    return [
        Quality(
            name,
            against_confidence(np.where(judgeable, values, 0), ~there),
            calibration(values[judgeable], ~there[judgeable]),
        )
        for name, values, there in zip(MODALITIES, judged.confidence, judged.there, strict=True)
    ]


def category_text(rows: list[Row], rule: Rule) -> str:
    """The rows as a table; those beyond MOST_ROWS are only counted."""
    known = rows[0].cells[0].noise is not None
    header = ["category", "labels"]
    for modality in MODALITIES:
        header += [f"{modality} noise %", f"told {modality}", "confidence %"] + (["right %"] if known else [])
    cells = []
    for row in rows[: MOST_ROWS + 1]:
        line = [row.name, str(row.labels)]
        for cell in row.cells:
            line += [_percent(cell.share), str(cell.told), _percent(cell.confidence)]
            line += [_percent(cell.precision)] if known else []
        cells.append(line)
    more = len(rows) - len(cells)
    text = markdown_table(header, cells)
    said = f"Labels told as noise ({rule.text}), by category\n\n{text}"
    return f"{said}\n\nand {more} more categories, on the page" if more else said


def quality_text(found: list[Quality], by_removals: bool = False) -> str:
    """Precision and recall against confidence, or against the share of epochs, as a table."""
    what, expected = ("share of epochs", []) if by_removals else ("confidence", ["expected %"])
    header = [f"modality, {what}", "told", *expected, "precision %", "95 % interval", "recall %"]
    rows = [
        [
            f"{quality.modality} ≥ {100 * at.confidence:g} %",
            str(at.told),
            *([] if by_removals else [_percent(at.expected)]),
            _percent(at.precision),
            "-" if not at.told else " to ".join(_percent(end) for end in at.interval),
            _percent(at.recall),
        ]
        for quality in found
        for at in quality.at
    ]
    return f"How right that is, by the truth, which is known of these labels\n\n{markdown_table(header, rows)}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
