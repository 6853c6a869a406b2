"""Small pictures of a video's moments, for pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from jomold_dist.extraction.media.drawing import Size
from jomold_dist.extraction.media.frames import frames_at

QUALITY = 80  # of a JPEG, of 100


def thumbnails(path: Path, seconds: Sequence[float], height: int = 72) -> list[bytes]:
    """A JPEG of `height` pixels for each moment, in seconds from the start, in the order asked for. Errors as of
    `frames.read_frames`."""
    if not seconds:
        return []
    from PIL import Image

    moments = [Fraction(str(second)) for second in seconds]
    order = sorted(range(len(moments)), key=lambda index: moments[index])
    images = frames_at(path, [moments[index] for index in order], lambda size: _of_height(size, height)).images
    made = {}
    for index, image in zip(order, images, strict=True):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=QUALITY, optimize=True)
        made[index] = content.getvalue()
    return [made[index] for index in range(len(moments))]


def _of_height(size: Size, height: int) -> Size:
    return max(1, round(size[0] * height / size[1])), height
