"""Files of packed videos, found by their keys, and a few pictures of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jomold_dist.errors import DataError, UserError
from jomold_dist.reading import is_folder

MOST_THUMBNAILS = 10
BREAKS = "_-. "  # what may follow a key in a file's name, as in KEY_30_40.mp4


def media_files(folder: Path) -> dict[str, Path]:
    """The files of a folder by their names without ending, in order. DataError if there is no such folder."""
    if not is_folder(folder):
        raise DataError(f"--media {folder} is no folder of video files")
    return {path.stem: path for path in sorted(folder.iterdir()) if path.is_file()}


def file_of(key: str, files: Mapping[str, Path]) -> Path | None:
    """The file of a video: that of its key, or the first whose name goes on after it with what is no letter."""
    if key in files:
        return files[key]
    return next((path for stem, path in files.items() if stem.startswith(key) and stem[len(key)] in BREAKS), None)


def pictures(path: Path, segments: int, segment_seconds: float) -> tuple[list[bytes], list[str]]:
    """JPEG files from the middles of equal parts of a video, one a segment unless there are many; and what has to be
    said if there are none."""
    from jomold_dist.extraction.media.thumbnails import thumbnails

    count = min(segments, MOST_THUMBNAILS)
    part = segments * segment_seconds / count
    try:
        return thumbnails(path, [(number + 0.5) * part for number in range(count)]), []
    except UserError as error:
        return [], [f"There are no pictures: {error}"]
