"""Features as LLP publishes them: one `.npy` a video and a feature, `<folder>/<feature's folder>/<key>.npy`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jomold_dist.data.format.extraction_file import read_extraction
from jomold_dist.data.format.manifest import FEATURE_NAMES
from jomold_dist.data.packing.feature_sources import FilePattern, extracted_patterns
from jomold_dist.errors import DataError
from jomold_dist.reading import folder_problem

FEATURE_FOLDERS = {"audio": "vggish", "frames": "res152", "motion": "r2plus1d_18"}
LLP_WIDTHS = {"audio": 128, "frames": 2048, "motion": 512}


def feature_path(folder: Path, name: str, key: str) -> Path:
    """Where the feature `name` of the video `key` is published."""
    return Path(folder) / FEATURE_FOLDERS[name] / f"{key}.npy"


def llp_sources(folder: Path) -> dict[str, FilePattern]:
    """The three features below `folder`, as they are published or as `jomold extract` has made them. DataError if one
    of them is not there."""
    if problem := folder_problem(folder):
        raise DataError(f"the features' folder {folder} {problem}")
    if extracted := read_extraction(folder):
        if lacking := [name for name in FEATURE_NAMES if name not in extracted.features]:
            raise DataError(
                f"{folder} holds {', '.join(extracted.features)} of jomold extract and no {' and no '.join(lacking)}; "
                f"extract the rest, or pack what is there with jomold pack --extracted {folder}"
            )
        return {name: FilePattern(name, pattern) for name, pattern in extracted_patterns(folder, extracted).items()}
    missing = [sub for sub in FEATURE_FOLDERS.values() if folder_problem(folder / sub) == "does not exist"]
    if missing:
        raise DataError(
            f"{folder} has no folder {' and no '.join(missing)}; it must hold {', '.join(FEATURE_FOLDERS.values())} "
            "(jomold pack takes features from other places, and does without motion)"
        )
    return {name: FilePattern(name, str(feature_path(folder, name, "{key}"))) for name in FEATURE_NAMES}


def swapped_widths(widths: Mapping[str, int]) -> str:
    """A warning where features of LLP's published widths lie in each other's folders; "" where none do.

    The files do not tell what they are: VGGish in the folder of R(2+1)D is as good an array as any.
    """
    odd = [name for name in widths if widths[name] != LLP_WIDTHS[name]]
    if not odd or sorted(widths[name] for name in odd) != sorted(LLP_WIDTHS[name] for name in odd):
        return ""
    found, published = (
        ", ".join(f"{FEATURE_FOLDERS[name]} {width[name]}" for name in odd) for width in (widths, LLP_WIDTHS)
    )
    return f"the features are {found} wide; LLP's published ones are {published}: do they lie in each other's folders?"
