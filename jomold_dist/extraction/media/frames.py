"""The frames of a video at chosen moments, as a player shows them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.extraction.media.decoding import Decoding
from jomold_dist.extraction.media.drawing import Drawing, Size, smaller
from jomold_dist.extraction.media.media_file import MediaError, opened
from jomold_dist.extraction.media.media_notes import MediaNote, frame_notes
from jomold_dist.extraction.media.sampling import Sampling


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Frames of one video, and what of them was made up."""

    images: np.ndarray  # uint8 (k·T, H, W, 3), RGB, upright, pixels square
    notes: tuple[MediaNote, ...]


def read_frames(path: Path, sampling: Sampling, shortest_side: int) -> FrameSet:
    """The frames that are shown at `sampling.frame_times()`.

    Pictures whose shorter side is longer than `shortest_side` are made smaller, to it; none is made larger. A file is
    decoded up to the last of the moments, and no more than two frames are held at their full size. MediaError;
    UnreadableError and ABSENT as in `reading.reading`.
    """
    shown = frames_at(path, sampling.frame_times(), lambda size: smaller(size, shortest_side))
    wanted = sampling.duration
    return FrameSet(shown.images, frame_notes(shown.first, wanted if shown.end is None else shown.end, wanted))


def describe_frames(shortest_side: int) -> dict[str, Any]:
    """What a fingerprint says of how frames are decoded, whichever version of the decoder does it."""
    return {
        "decoder": "FFmpeg",
        "frame": "shown at the moment, upright, square pixels",
        "colours": "8 bit RGB, by the matrix that the file names, else by BT.601",
        "shortest_side": shortest_side,
        "scaling": "libswscale, bicubic, to smaller sizes only",
    }


@dataclass(frozen=True, eq=False)
class Shown:
    """Frames at chosen moments, when the first of all frames begins, and when the last ends: None if there are frames
    behind the last moment."""

    images: np.ndarray  # uint8 (moments, H, W, 3)
    first: Fraction
    end: Fraction | None


def frames_at(path: Path, times: Sequence[Fraction], size_of: Callable[[Size], Size]) -> Shown:
    """The frames shown at `times`: seconds from the start, ascending, at least one.

    `size_of` says to which size the first frame, upright, is brought; all get the same. Before the first frame it is
    shown, and behind the last one that. Errors as of `read_frames`.
    """
    with opened(path) as media:
        if media.video is None:
            raise MediaError(f"{path}: it has no frames, only sound; leave it out, or make features of sound alone")
        decoding = Decoding(media, media.video, times[-1])
        drawing = Drawing(path, media.video.sample_aspect_ratio or Fraction(1), size_of)
        images = _Images(len(times))
        first, shown = Fraction(0), None
        for timed in decoding.frames():
            if shown is None:
                first, shown = timed.begin, timed
            due = bisect_left(times, timed.begin) - images.filled  # moments at which what went before is shown
            if due > 0:
                images.add(drawing.draw(shown.frame), due)
            if images.filled == len(times):
                return Shown(images.all, first, None)
            if timed.begin >= shown.begin:  # else the file's time jumps back
                shown = timed
        assert shown is not None
        images.add(drawing.draw(shown.frame), len(times) - images.filled)
        return Shown(images.all, first, decoding.last_end)


class _Images:
    """So many pictures of one size, filled one after the other: of a long video they are most of the memory, and lie
    there once."""

    def __init__(self, count: int) -> None:
        self._count, self.filled = count, 0
        self.all = np.zeros((0, 0, 0, 3), dtype=np.uint8)  # until there is a first one

    def add(self, image: np.ndarray, times: int) -> None:
        """The same picture for so many moments."""
        if not self.filled:
            self.all = np.empty((self._count, *image.shape), dtype=np.uint8)
        self.all[self.filled : self.filled + times] = image
        self.filled += times
