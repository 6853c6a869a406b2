"""Which features a data set may have, and of how many rows a video."""

from __future__ import annotations

from collections.abc import Mapping

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
