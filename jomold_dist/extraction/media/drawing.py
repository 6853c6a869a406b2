"""Decoded frames to arrays: upright, with square pixels, of the size that is asked for, the same bits everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.extraction.media.media_file import MediaError

Size = tuple[int, int]  # width, height
MOST_SLENDER = 20  # times as long as wide, of a picture
MOST_STRETCHED = 10  # times as long as wide, of a pixel; what says more is wrong


def smaller(size: Size, shortest_side: int) -> Size:
    """The size of a picture whose shorter side is `shortest_side`, or its own if that is no smaller."""
    shortest = min(size)
    if shortest <= shortest_side:
        return size
    width, height = (_nearest(Fraction(side * shortest_side, shortest)) for side in size)
    return width, height


class Drawing:
    """Draws the frames of one video. The first one decides the size of all."""

    def __init__(self, path: Path, pixel_aspect: Fraction, size_of: Callable[[Size], Size]) -> None:
        """`pixel_aspect` is width to height of a stored pixel; `size_of` makes the wanted size of the upright one."""
        from av.video.reformatter import VideoReformatter

        trusted = Fraction(1, MOST_STRETCHED) <= pixel_aspect <= MOST_STRETCHED
        self.pixel_aspect = pixel_aspect if trusted else Fraction(1)
        self.path, self.size_of = path, size_of
        self.size: Size | None = None
        self._reformatter = VideoReformatter()

    def draw(self, frame: Any) -> np.ndarray:
        """uint8 (H, W, 3) of an `av.VideoFrame`. MediaError for a picture that is far longer than wide."""
        from av.video.reformatter import Interpolation

        matrix = _display_matrix(frame)
        turned = abs(matrix[0, 0]) < abs(matrix[0, 1])
        if self.size is None:
            width, height = max(1, _nearest(frame.width * self.pixel_aspect)), frame.height
            if max(width, height) > MOST_SLENDER * min(width, height):
                raise MediaError(f"{self.path}: its pictures are {width} × {height} pixels; leave it out")
            self.size = self.size_of((height, width) if turned else (width, height))
        width, height = self.size[::-1] if turned else self.size
        flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        made = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=flags | Interpolation.FULL_CHR_H_INT, threads=1
        )
        return np.ascontiguousarray(_upright(made.to_ndarray(), matrix, turned))


def _display_matrix(frame: Any) -> np.ndarray:
    """(2, 2) of how a stored picture's right and down lie when it is shown: row 0 says what becomes of x."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return np.eye(2, dtype=np.int64)
    # x' = a x + c y, y' = b x + d y, where the nine numbers are a b u c d v x y w
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].astype(np.int64)
    return np.array([[a, c], [b, d]])


def _upright(image: np.ndarray, matrix: np.ndarray, turned: bool) -> np.ndarray:
    """Turns by quarters and mirrors, as the matrix says but for less than that."""
    (a, c), (b, d) = matrix
    if turned:
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
