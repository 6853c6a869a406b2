"""Published label files by the name of their data set: who reads them, and how long their videos last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jomold_dist.data.packing.annotations import Annotations, read_annotations
from jomold_dist.data.packing.lfav_labels import read_lfav
from jomold_dist.data.packing.vggsounder_labels import read_vggsounder
from jomold_dist.data.packing.video_labels import LabelSet, compact
from jomold_dist.labels import LLP_CATEGORIES


@dataclass(frozen=True)
class Preset:
    """`read` takes the folder and the segments; `seconds` is how long a video lasts, None where they differ."""

    read: Callable[[Path, int], Annotations]
    seconds: float | None


PRESETS = {
    "llp": Preset(lambda folder, segments: read_annotations(folder, LLP_CATEGORIES, segments, seconds=10), 10.0),
    "lfav": Preset(read_lfav, None),
    "vggsounder": Preset(lambda folder, segments: read_vggsounder(folder), 10.0),
}


def read_preset(name: str, folder: Path, segments: int) -> LabelSet:
    """The labels of a data set's published files. DataError with every harmful defect of all files.

    What is really heard and seen is kept where no dense labels tell it."""
    annotations = PRESETS[name].read(folder, segments)
    splits = {
        split: compact(replace(labels, present=None) if labels.dense is not None else labels)
        for split, labels in annotations.splits.items()
        if len(labels)
    }
    uneven = (
        f"videos of {name} differ in length, and each is cut into {segments} equal segments: the seconds of a segment"
    )
    notes = () if PRESETS[name].seconds else (f"{uneven} (--segment-seconds) are but a unit",)
    return LabelSet(annotations.categories, splits, annotations.findings, notes)
