"""The sound of a video as one row of samples, which begins and ends with the segments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.extraction.media.decoding import Decoding
from jomold_dist.extraction.media.media_file import MediaError, opened
from jomold_dist.extraction.media.media_notes import NO_SOUND, MediaNote, sound_notes
from jomold_dist.extraction.media.sampling import Sampling

JITTER = Fraction(1, 20)  # seconds by which times may be wrong; what follows is joined without a gap
MARGIN = Fraction(1, 10)  # seconds behind the end, which the resampler's filter looks into
RATES = range(1000, 768_001)  # Hz

SHARES = {"FL": math.sqrt(0.5), "FR": math.sqrt(0.5), "LFE": 0.0, "LFE2": 0.0, "FC": 1.0}
"""How loud a channel is in the mix, before all are divided by their sum; those that are not named, at the sides and
behind, are 0.5. As FFmpeg mixes to one channel (ITU-R BS.775, and no low-frequency effects)."""


@dataclass(frozen=True, eq=False)
class Sound:
    """The sound of one video, and what of it was made up."""

    samples: np.ndarray  # float32 (sampling.samples(rate),), one channel, full scale is 1
    rate: int  # Hz
    notes: tuple[MediaNote, ...]


def read_sound(path: Path, sampling: Sampling, rate: int) -> Sound:
    """The sound of all segments at `rate` Hz, all channels mixed to one.

    Samples stand where their times say: what a file leaves out is silence, and what overlaps is cut. A file without
    sound gives silence, with a note. MediaError; UnreadableError and ABSENT as in `reading.reading`.
    """
    wanted = sampling.samples(rate)
    with opened(path) as media:
        if media.audio is None:
            return Sound(np.zeros(wanted, dtype=np.float32), rate, (NO_SOUND,))
        line = _Line(path, sampling.duration)
        decoding = Decoding(media, media.audio, sampling.duration)
        for timed in decoding.frames():
            line.add(timed.begin, timed.frame)
            if line.full:
                break
        if not line.rate:
            return Sound(np.zeros(wanted, dtype=np.float32), rate, (NO_SOUND,))
        samples = line.resampled(rate)[:wanted]
    samples = np.pad(samples, (0, wanted - len(samples)))
    loudest = float(np.abs(samples).max(initial=0.0))
    if not math.isfinite(loudest):
        raise MediaError(f"{path}: its sound holds values that are not finite; make it again")
    end = sampling.duration if line.full else Fraction(line.done, line.rate)
    return Sound(samples, rate, tuple(sound_notes(line.first, end, sampling.duration, line.gaps, loudest)))


def describe_sound(rate: int) -> dict[str, Any]:
    """What a fingerprint says of how sound is decoded, whichever version of the decoder does it."""
    return {
        "decoder": "FFmpeg",
        "channels": "mixed to one as FFmpeg does, shares of 1 in all",
        "rate": rate,
        "resampling": "libswresample",
    }


class _Line:
    """The samples of a stream at its own rate, each where its time says."""

    def __init__(self, path: Path, seconds: Fraction) -> None:
        self.path, self.seconds = path, seconds
        self.rate = 0  # until there is a first frame
        self.samples = np.zeros(0, dtype=np.float32)
        self.done = 0  # up to where there are samples
        self.first, self.gaps = Fraction(0), Fraction(0)
        self._floats = _Floats()

    @property
    def full(self) -> bool:
        """Whether more samples would lie behind the end."""
        return self.rate > 0 and self.done >= len(self.samples)

    def add(self, begin: Fraction, frame: Any) -> None:
        """Puts a frame where it belongs. MediaError for a rate that cannot be, or another than the frames before."""
        begins = not self.rate
        if begins:
            self._begin(frame.sample_rate, begin)
        if frame.sample_rate != self.rate:
            raise self._error(f"its sound changes from {self.rate} to {frame.sample_rate} Hz; make it again")
        mixed = mix(self._floats.of(frame), [channel.name for channel in frame.layout.channels])
        at = math.floor(begin * self.rate + Fraction(1, 2))
        if not begins and abs(at - self.done) <= JITTER * self.rate:
            at = self.done
        if at > self.done and not begins:
            self.gaps += Fraction(min(at, len(self.samples)) - self.done, self.rate)
        mixed = mixed[max(0, self.done - at) :]
        at = max(at, self.done)
        part = self.samples[at : at + len(mixed)]
        part[:] = mixed[: len(part)]
        self.done = max(self.done, at + len(mixed))

    def _begin(self, rate: int, begin: Fraction) -> None:
        if rate not in RATES:
            raise self._error(f"its sound has {rate} samples a second; make it again")
        self.rate, self.first = rate, begin
        self.samples = np.zeros(math.ceil((self.seconds + MARGIN) * rate), dtype=np.float32)

    def _error(self, what: str) -> MediaError:
        return MediaError(f"{self.path}: {what}")

    def resampled(self, rate: int) -> np.ndarray:
        """All samples at another rate: float32, the first at the same moment."""
        import av

        frame = av.AudioFrame.from_ndarray(self.samples[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = self.rate, Fraction(1, self.rate), 0
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        parts = [*resampler.resample(frame), *resampler.resample(None)]
        return np.concatenate([part.to_ndarray()[0] for part in parts if part is not None])


def mix(channels: np.ndarray, names: list[str]) -> np.ndarray:
    """One channel of several: float32 (C, samples) -> (samples,). The shares of the channels are 1 together."""
    shares = [SHARES.get(name, 0.5) for name in names]
    if len(shares) == 1 or not any(shares):
        shares = [1.0] * len(shares)
    mixed = np.zeros(channels.shape[1], dtype=np.float32)
    for channel, share in zip(channels, shares, strict=True):
        mixed += channel * np.float32(share / sum(shares))
    return mixed


class _Floats:
    """Brings frames of any format to float32 (C, samples), full scale 1."""

    def __init__(self) -> None:
        self._form: tuple[str, str, int] | None = None
        self._resampler: Any = None

    def of(self, frame: Any) -> np.ndarray:
        """By FFmpeg, to interleaved samples: PyAV reads beyond the end of a frame of eight planes or more."""
        import av

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            self._form = form
            self._resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate(parts).reshape(-1, frame.layout.nb_channels).T
