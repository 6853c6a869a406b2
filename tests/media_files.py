"""Tiny media files, made with PyAV: pictures that tell their number and which side is up, and sounds of known samples.

`write_clip(path)` is a good file. What else a test needs is said by `Pictures` and `Track`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8  # of a picture's number
TICKS = 1000  # a second, of pictures' times; some containers count pictures instead
CHUNK = 1024  # samples of a frame of sound
RED, BLUE = (200, 30, 30), (30, 30, 200)


def times_of(seconds: float, rate: float, start: float = 0.0) -> tuple[float, ...]:
    """When each of `rate` pictures a second begins."""
    return tuple(start + number / rate for number in range(round(seconds * rate)))


@dataclass(frozen=True)
class Pictures:
    """A stream of pictures with the numbers 0, 1, 2, … modulo 256, each shown from its time on."""

    times: Sequence[float] = times_of(2.0, 10)
    size: tuple[int, int] = (64, 48)  # width, height, as displayed but for `aspect`
    codec: str = "libx264"
    format: str = "yuv420p"
    rotation: int = 0  # degrees counter-clockwise by which a player turns the stored picture, which lies accordingly
    aspect: Fraction = Fraction(1)  # width to height of a pixel
    options: dict[str, str] = field(default_factory=lambda: {"preset": "veryfast", "crf": "10"})


@dataclass(frozen=True)
class Track:
    """A stream of sound: samples (channels, n) from `start` seconds on, with silent holes in time before some."""

    samples: np.ndarray
    rate: int = 16_000
    layout: str = "mono"
    codec: str = "aac"
    start: float = 0.0
    gaps: dict[int, float] = field(default_factory=dict)  # from the n-th frame of CHUNK on, so much later


def tone(seconds: float, rate: int = 16_000, channels: int = 1, pitch: float = 440.0, level: float = 0.5) -> np.ndarray:
    """A sine, the same in each channel: float32 (channels, seconds · rate)."""
    wave = level * np.sin(2 * math.pi * pitch * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def draw(number: int, width: int, height: int) -> np.ndarray:
    """A picture (height, width, 3): above, the number's bits from left to right; below, red left and blue right."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    edges = np.linspace(0, width, BITS + 1).round().astype(int)
    for bit in range(BITS):
        image[: height // 2, edges[bit] : edges[bit + 1]] = 235 if number >> bit & 1 else 20
    image[height // 2 :, : width // 2] = RED
    image[height // 2 :, width // 2 :] = BLUE
    return image


def number_in(image: np.ndarray) -> int:
    """The number of a picture that is upright, whatever its size is now. AssertionError if it is not upright."""
    height, width = image.shape[:2]
    below = image[height * 3 // 4].astype(int)
    assert below[width // 4, 0] > below[width // 4, 2], "red is not at the lower left"
    assert below[width * 3 // 4, 2] > below[width * 3 // 4, 0], "blue is not at the lower right"
    row = image[height // 4].mean(axis=1)
    return sum(1 << bit for bit in range(BITS) if row[int((bit + 0.5) * width / BITS)] > 127)


def write_media(path: Path, pictures: Pictures | None, *tracks: Track) -> Path:
    """A file of pictures (None for none) and sounds, in the container that its name says. Gives back its path."""
    with av.open(str(path), "w") as out:
        ticks = {"avi": 10, "mpeg": 25}.get(out.format.name, TICKS)
        video = None if pictures is None else _add_pictures(out, pictures, ticks)
        sounds = [out.add_stream(track.codec, rate=track.rate, layout=track.layout) for track in tracks]
        packets = [] if video is None or pictures is None else [*_encode_pictures(video, pictures, ticks)]
        for stream, track in zip(sounds, tracks, strict=True):
            packets += _encode_sound(stream, track)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)
    return path


def write_clip(path: Path, seconds: float = 2.0, rate: float = 10, size: tuple[int, int] = (64, 48)) -> Path:
    """A good file of `rate` pictures a second and a tone. Gives back its path."""
    return write_media(path, Pictures(times_of(seconds, rate), size), Track(tone(seconds)))


def _add_pictures(out: av.container.OutputContainer, pictures: Pictures, ticks: int) -> av.VideoStream:
    stream = out.add_stream(pictures.codec, rate=10, options=dict(pictures.options))
    stream.width, stream.height = pictures.size[:: -1 if pictures.rotation % 180 else 1]
    stream.pix_fmt = pictures.format
    stream.codec_context.time_base = stream.time_base = Fraction(1, ticks)
    stream.codec_context.sample_aspect_ratio = pictures.aspect
    stream.codec_context.thread_count = 1
    if pictures.rotation:
        stream.set_display_rotation(pictures.rotation)
    return stream


def _encode_pictures(stream: av.VideoStream, pictures: Pictures, ticks: int) -> Iterator[av.Packet]:
    for number, begin in enumerate(pictures.times):
        stored = np.ascontiguousarray(np.rot90(draw(number, *pictures.size), -pictures.rotation // 90))
        frame = av.VideoFrame.from_ndarray(stored).reformat(format=pictures.format)
        frame.pts, frame.time_base = round(begin * ticks), Fraction(1, ticks)
        yield from stream.encode(frame)
    yield from stream.encode()


def _encode_sound(stream: av.AudioStream, track: Track) -> Iterator[av.Packet]:
    delay = track.start
    name = stream.format.name if stream.format is not None else "fltp"
    for number, first in enumerate(range(0, track.samples.shape[1], CHUNK)):
        delay += track.gaps.get(number, 0.0)
        chunk = track.samples[:, first : first + CHUNK].T.astype(np.float32).reshape(1, -1)  # channels in turn
        frame = av.AudioFrame.from_ndarray(chunk, format="flt", layout=track.layout)
        frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
        frame.pts = first + round(delay * track.rate)
        for made in av.AudioResampler(name, track.layout, track.rate).resample(frame):
            made.pts, made.time_base = frame.pts, frame.time_base
            yield from stream.encode(made)
    yield from stream.encode()
