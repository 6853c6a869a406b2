"""extraction.json: what lies beside features that `jomold extract` has made, and says how they were made.

Features lie in folders beside it, `<folder>/<key>.npy`, a folder a feature, and all are of the same seconds of a video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jomold_dist.data.format.checked_values import (
    MOST_SEGMENTS,
    a_list,
    an_object,
    note,
    plain_text,
    segment_length,
    whole_number,
)
from jomold_dist.data.format.manifest import FEATURE_NAMES
from jomold_dist.errors import DataError
from jomold_dist.files import write_json
from jomold_dist.reading import ABSENT, read_json

EXTRACTION_NAME = "extraction.json"
WRITTEN_BY = "jomold extract"
SCHEMA = 1
MOST_WIDTH = 1 << 20


@dataclass(frozen=True)
class ExtractedFeature:
    """A feature's folder below that of extraction.json, the (rows, width) of each of its arrays, and how it was made
    (`extraction.fingerprint_of`)."""

    folder: str
    shape: tuple[int, int]
    extraction: Mapping[str, Any]


@dataclass(frozen=True)
class ExtractionFile:
    """What extraction.json says: features by their names, of videos of so many `segments` of `segment_seconds` each.
    `made_by` tells versions and the device, which no fingerprint depends on."""

    segments: int
    segment_seconds: float
    features: dict[str, ExtractedFeature]
    made_by: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def seconds(self) -> float:
        """Of a video."""
        return self.segments * self.segment_seconds


def read_extraction(folder: Path) -> ExtractionFile | None:
    """What lies in this folder was made so; None where no extraction.json of ours is there.

    DataError if it is damaged or of another schema; UnreadableError.
    """
    path = folder / EXTRACTION_NAME
    try:
        data = read_json(path)
        if not isinstance(data, dict) or data.get("written_by") != WRITTEN_BY:
            return None  # somebody else's, who may call files as they like
        if data["schema"] != SCHEMA:
            raise ValueError(f"it has schema {data['schema']!r}, this version reads schema {SCHEMA}")
        return ExtractionFile(
            whole_number(data["segments"], "segments", 1, MOST_SEGMENTS),
            segment_length(data["segment_seconds"]),
            {name: _feature(name, value) for name, value in an_object(data["features"], "features").items()},
            note(data["made_by"], "made_by"),
        )
    except ABSENT:
        return None
    except KeyError as error:
        problem = f"it lacks {error}"
    except ValueError as error:
        problem = str(error)
    raise DataError(f"{path} cannot be used: {problem}; extract the features again, or move it away to pack them as "
                    "files of which nothing is known")  # fmt: skip


def write_extraction(folder: Path, file: ExtractionFile) -> None:
    """Write extraction.json, whole or not at all. OSError."""
    features = {
        name: {"folder": own.folder, "shape": list(own.shape), "extraction": own.extraction}
        for name, own in file.features.items()
    }
    write_json(
        folder / EXTRACTION_NAME,
        {
            "written_by": WRITTEN_BY,
            "schema": SCHEMA,
            "segments": file.segments,
            "segment_seconds": file.segment_seconds,
            "features": features,
            "made_by": file.made_by,
        },
    )


def _feature(name: str, value: Any) -> ExtractedFeature:
    data = an_object(value, "a feature")
    shape = a_list(data["shape"], f"the shape of {name}")
    folder = plain_text(data["folder"], f"the folder of {name}")
    if name not in FEATURE_NAMES or len(shape) != 2 or not folder.isidentifier():
        raise ValueError(f"there is no feature {name!r} of shape {shape} in a folder {folder!r}")
    rows, width = (whole_number(size, f"the shape of {name}", 1, MOST_WIDTH) for size in shape)
    extraction = note(data["extraction"], f"how {name} was extracted")
    if not extraction:
        raise ValueError(f"it does not say how {name} was extracted")
    return ExtractedFeature(folder, (rows, width), extraction)
