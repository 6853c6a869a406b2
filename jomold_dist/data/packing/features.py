"""Features as LLP publishes them: one `.npy` a video and a feature, `<folder>/<feature's folder>/<key>.npy`.

Only the number of rows is fixed: T for audio and motion, 8 T for frames (eight frames a second). How wide a feature is
comes from the files, and every video must agree. Files are never unpickled.

Legend: T segments, F a feature's width.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jomold_dist.data.format.manifest import FEATURE_NAMES, FeatureSpec
from jomold_dist.data.packing.label_files import is_key
from jomold_dist.errors import DataError, raise_together
from jomold_dist.reading import folder_problem, regular_file

FEATURE_FOLDERS = {"audio": "vggish", "frames": "res152", "motion": "r2plus1d_18"}
LLP_WIDTHS = {"audio": 128, "frames": 2048, "motion": 512}
FRAMES_PER_SEGMENT = 8


def feature_path(folder: Path, name: str, key: str) -> Path:
    """Where the feature `name` of the video `key` is published."""
    return Path(folder) / FEATURE_FOLDERS[name] / f"{key}.npy"


def find_videos(folder: Path) -> list[str]:
    """The keys of all videos that have a feature under `folder`, sorted.

    DataError if there are none, or if a file's name cannot be a key.
    """
    _check_folders(folder)
    try:
        names = [name for sub in FEATURE_FOLDERS.values() for name in os.listdir(Path(folder) / sub)]
    except OSError as error:
        raise DataError(f"the features' folder {error.filename} cannot be read ({error.strerror})") from None
    keys = {name.removesuffix(".npy") for name in names if name.endswith(".npy") and not name.startswith(".")}
    if not keys:
        raise DataError(f"{folder} holds no features: no .npy file in {', '.join(FEATURE_FOLDERS.values())}")
    raise_together(
        [
            f"{folder}: {key}.npy cannot be packed: a video's key is letters, digits, _ and -"
            for key in sorted(keys)
            if not is_key(key)
        ]
    )
    return sorted(keys)


def check_features(folder: Path, keys: Sequence[str], segments: int = 10) -> dict[str, int]:
    """The width of every feature, after a look at the header of every file of the videos `keys`.

    A width is that of most videos, so that one odd file is named as the odd one. Raises DataError naming every file
    that is missing, unreadable, truncated, of another type or of a wrong shape. Contents are checked by
    `read_features`.
    """
    _check_folders(folder)
    found: dict[str, dict[int, list[str]]] = {name: {} for name in FEATURE_NAMES}  # the keys of each width
    problems: list[str] = []
    for key in keys:
        for name in FEATURE_NAMES:
            try:
                width = _open(feature_path(folder, name, key), name, segments).shape[1]
                found[name].setdefault(width, []).append(key)
            except DataError as error:
                problems += error.problems
    widths = {name: max(by_width, key=lambda w: len(by_width[w]), default=0) for name, by_width in found.items()}
    problems += [
        f"{feature_path(folder, name, key)}: is {width} wide, but most videos are {widths[name]} wide"
        for name, by_width in found.items()
        for width, odd in by_width.items()
        if width != widths[name]
        for key in odd
    ]
    raise_together(problems)
    return widths


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


def feature_specs(widths: dict[str, int], keep_frames: bool, dtype: str, segments: int = 10) -> dict[str, FeatureSpec]:
    """The stored shape and dtype of features of these widths: frames are (T, F), or (8T, F) with `keep_frames`."""
    rows = dict.fromkeys(FEATURE_NAMES, segments)
    if keep_frames:
        rows["frames"] *= FRAMES_PER_SEGMENT
    return {name: FeatureSpec((rows[name], widths[name]), dtype) for name in FEATURE_NAMES}


def read_features(folder: Path, key: str, keep_frames: bool, dtype: str, segments: int = 10) -> dict[str, np.ndarray]:
    """One video's features as they are stored: audio (T, F), frames (T, F) or (8T, F), motion (T, F), of `dtype`.

    Raises DataError with every file of the video that is missing, unreadable, of a wrong shape, holds NaN or infinity,
    or holds a value that `dtype` cannot.
    """
    features = {}
    problems: list[str] = []
    for name in FEATURE_NAMES:
        path = feature_path(folder, name, key)
        try:
            features[name] = _read(path, name, keep_frames, dtype, segments)
        except DataError as error:
            problems += error.problems
    raise_together(problems)
    return features


def pool_frames(frames: np.ndarray) -> np.ndarray:
    """The mean of the 8 frames of every second, (8T, F) -> float32 (T, F).

    The network averages a second's frames after its first linear layer; both are linear, so averaging here is exact up
    to rounding. It is done in float32 and rounded to the stored dtype only afterwards.
    """
    seconds = frames.reshape(-1, FRAMES_PER_SEGMENT, frames.shape[1])
    return seconds.mean(axis=1, dtype=np.float32)


def _check_folders(folder: Path) -> None:
    folder = Path(folder)
    if problem := folder_problem(folder):
        raise DataError(f"the features' folder {folder} {problem}")
    problems = {sub: folder_problem(folder / sub) for sub in FEATURE_FOLDERS.values()}
    missing = [sub for sub, problem in problems.items() if problem == "does not exist"]
    if missing:
        raise DataError(
            f"{folder} has no folder {' and no '.join(missing)}; it must hold {', '.join(FEATURE_FOLDERS.values())}"
        )
    raise_together([f"the features' folder {folder / sub} {problem}" for sub, problem in problems.items() if problem])


def _open(path: Path, name: str, segments: int) -> np.memmap[Any, Any]:
    """The file's array, mapped and not yet read: the header is parsed and the file's size compared with it."""
    try:
        with np.errstate(over="ignore"):  # of a size that no array can have
            array = np.lib.format.open_memmap(regular_file(path), mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: the feature file is missing") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # numpy parses the header as Python text and makes a type of what it says
        raise DataError(f"{path}: not a readable .npy file ({type(error).__name__}: {error})") from None
    if array.dtype.kind != "f":
        raise DataError(f"{path}: holds {array.dtype}, expected floating-point numbers")
    rows = segments * FRAMES_PER_SEGMENT if name == "frames" else segments
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0:
        raise DataError(f"{path}: shape {array.shape}, expected ({rows}, width)")
    return array


def _read(path: Path, name: str, keep_frames: bool, dtype: str, segments: int) -> np.ndarray:
    mapped = _open(path, name, segments)
    order: Literal["C", "F"] = "C" if mapped.flags.c_contiguous else "F"
    try:
        content = path.read_bytes()  # a map whose file ends or fails in the meantime would be a signal, not an error
        array = np.frombuffer(content, mapped.dtype, mapped.size, mapped.offset).reshape(mapped.shape, order=order)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise DataError(f"{path}: the file was cut while it was read; start again when it is whole") from None
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{path}: NaN or infinite in {bad.sum()} of {bad.size} values, the first at [{row}, {column}] "
            f"({array[row, column]}); extract it again or leave the video out"
        )
    with np.errstate(over="ignore"):
        pooled = pool_frames(array) if name == "frames" and not keep_frames else array
        stored = np.ascontiguousarray(pooled, dtype=dtype)
    if not np.isfinite(stored).all():
        advice = "; pack with --dtype float32" if dtype == "float16" else ""
        raise DataError(
            f"{path}: values up to {np.abs(array).max():g} do not fit {dtype} (largest {np.finfo(dtype).max:g}){advice}"
        )
    return stored
