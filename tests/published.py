"""A small data set in the published layout: label files, and a file a video and feature."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jomold_dist.data.packing.llp_features import feature_path
from jomold_dist.labels import LLP_CATEGORIES

WIDTHS = {"audio": 6, "frames": 5, "motion": 4}
LLP_WIDTHS = {"audio": 128, "frames": 2048, "motion": 512}
VIDEOS = {"train": 13, "val": 3, "test": 4}
WEAK_FILES = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}


def filename(split: str, number: int) -> str:
    return f"{split:_>5}-{number:05d}_10_20"


def all_keys() -> list[str]:
    return [filename(split, i)[:11] for split, count in VIDEOS.items() for i in range(count)]


def publish(folder: Path, widths: Mapping[str, int] = MappingProxyType(WIDTHS)) -> Path:
    """Writes annotations/ and features/ of twenty videos, the features with these widths."""
    (folder / "annotations").mkdir()
    draw = np.random.default_rng(5)
    events: dict[str, list[str]] = {"audio": [], "visual": []}
    for split, count in VIDEOS.items():
        lines = ["filename\tevent_labels"]
        for i in range(count):
            names = [LLP_CATEGORIES.names[c] for c in draw.choice(25, size=1 + i % 3, replace=False)]
            lines.append(f"{filename(split, i)}\t{','.join(names)}")
            for modality in events if split != "train" else ():
                events[modality].append(f"{filename(split, i)}\t{i}\t{i + 4}\t{names[0]}")
        (folder / "annotations" / WEAK_FILES[split]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for modality, rows in events.items():
        text = "\n".join(["filename\tonset\toffset\tevent_labels", *rows, rows[0]])  # the last repeats the first
        (folder / "annotations" / f"AVVP_eval_{modality}.csv").write_text(text + "\n", encoding="utf-8")
    for key in all_keys():
        for name, width in widths.items():
            path = feature_path(folder / "features", name, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, draw.standard_normal((80 if name == "frames" else 10, width), dtype=np.float32))
    return folder
