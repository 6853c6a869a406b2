"""The list of all judged labels as a file: a row a label, CSV or parquet by the file's ending.

Legend: n labels; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jomold_dist.cleaning.judged import JudgedLabels, Rule
from jomold_dist.files import writing
from jomold_dist.labels import MODALITIES

VERDICTS = ("keep", *(f"noise in {modality}" for modality in MODALITIES))
DIGITS = 4


def write_list(path: Path, judged: JudgedLabels, rule: Rule) -> None:
    """All labels with their confidence of being noise in each modality, the evidence, in how many epochs a training
    removed them, the truth where it is known, and the verdict by the rule."""
    columns = list_of(judged, rule)
    with writing(path) as aside:
        if path.suffix == ".parquet":
            pq.write_table(pa.table(columns), aside)
            return
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*(_texts(column) for column in columns.values()), strict=True))


def list_of(judged: JudgedLabels, rule: Rule) -> dict[str, np.ndarray]:
    """The columns (n,) by name."""
    told = rule.told(judged)
    columns: dict[str, Any] = {
        "filename": judged.keys,
        "category": np.array(judged.categories.names)[judged.category],
        "verdict": np.array(VERDICTS)[told[0] + 2 * told[1]],
    }
    pairs: dict[str, np.ndarray] = {"noise_confidence": judged.confidence, **judged.evidence}
    if judged.epochs_removed is not None:
        pairs["epochs_removed"] = judged.epochs_removed
    if judged.there is not None:
        pairs["really_there"] = judged.there
    for name, pair in pairs.items():
        columns |= {f"{modality}_{name}": column for modality, column in zip(MODALITIES, pair, strict=True)}
    return columns


def _texts(column: np.ndarray) -> list[object]:
    values: list[object] = column.tolist()
    return [f"{value:.{DIGITS}f}" for value in values] if column.dtype.kind == "f" else values
