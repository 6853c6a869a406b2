"""Which features a data set may have, of how many rows a video, and how more rows become those of the segments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jomold_dist.data.format.manifest import FeatureSpec


def feature_problems(features: Mapping[str, FeatureSpec], segments: int) -> list[str]:
    """What in a set's features cannot be trained on; nothing where all is well.

    Audio and motion have a row a segment, frames as many as there are frames a segment. There is audio or frames or
    both, and motion only beside frames.
    """
    problems = []
    for name, spec in features.items():
        rows = spec.shape[0]
        if name == "frames":
            if rows % segments:
                problems.append(f"frames have {rows} rows a video, which is no multiple of its {segments} segments")
        elif rows != segments:
            problems.append(f"{name} has {rows} rows a video, and not one for each of its {segments} segments")
    if not {"audio", "frames"} & features.keys():
        problems.append(f"there is neither audio nor frames ({', '.join(features) or 'no feature at all'})")
    elif "motion" in features and "frames" not in features:
        problems.append("there is motion without frames, which no network takes")
    return problems


def pool_rows(array: np.ndarray, segments: int) -> np.ndarray:
    """The means of the rows of every segment, (R, F) -> float32 (T, F), R ≥ T."""
    rows, width = array.shape
    with np.errstate(over="ignore", invalid="ignore"):  # who stores the means looks for what is not finite
        if rows % segments == 0:
            return array.reshape(segments, -1, width).mean(axis=1, dtype=np.float32)
        pooled = np.empty((segments, width), np.float32)
        for t in range(segments):
            pooled[t] = array[t * rows // segments : -(-(t + 1) * rows // segments)].mean(axis=0, dtype=np.float32)
        return pooled
