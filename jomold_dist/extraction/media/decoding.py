"""The frames of one stream of a file in the order of time, each with when it begins, and what of it is damaged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from jomold_dist.extraction.media.media_file import MediaError, MediaFile

STATES_STREAMS = {"mov": {"video", "audio"}, "avi": {"video"}, "wav": {"audio"}, "w64": {"audio"}, "aiff": {"audio"}}
"""Containers whose headers say truly how long a stream is, and of which kinds."""
STATES_WHOLE = {"matroska", "flv", "asf"}  # those that say how long the longest stream is
SLACK = Fraction(1, 2)  # seconds by which good files miss what their headers say
MOST_RATE = 2000  # frames a second, of pictures or of sound
MOST_PIXELS = 8192 * 8192  # of a picture
MARKS_DAMAGE = {"h264", "aac"}  # decoders that tell what they repair, and told not to would refuse more than damage


@dataclass(frozen=True)
class Timed:
    """A decoded frame of pictures or of sound, when it begins, in seconds of `MediaFile`, and how long it lasts."""

    begin: Fraction
    seconds: Fraction
    frame: Any

    @property
    def end(self) -> Fraction:
        return self.begin + self.seconds


class Decoding:
    """Decodes one of a file's streams as far as it is asked for, on one thread.

    What is not to be decoded is damage. But a stream that was cut out of another may begin with frames that lean on
    what was cut away: pictures before the first that stands alone, and half a second of sound, are left out.
    """

    def __init__(self, media: MediaFile, stream: Any, until: Fraction) -> None:
        """Of the stream `stream` of a file nothing is wanted from `until` on. MediaError if its codec is not known."""
        self.media, self.stream, self.until = media, stream, until
        self.kind: str = stream.type
        self.what = "video" if self.kind == "video" else "sound"
        if stream.codec_context is None:
            raise self._error(f"its {self.what} is of a codec that this FFmpeg does not know; make an .mp4 of it")
        stream.codec_context.thread_count = 1
        strict = "crccheck" if stream.codec_context.name in MARKS_DAMAGE else "crccheck+explode"
        stream.codec_context.options = {"err_detect": strict, "max_pixels": str(MOST_PIXELS)}
        self.last_end: Fraction | None = None  # of the good frames
        self._broken = False  # whether something was not to be decoded since the last good frame
        self._ends: dict[int, Fraction] = {}  # of the packets of each stream
        self._packet_times: deque[int] = deque()  # of a container that knows no time of display
        self._alone: int | None = None  # when the first picture that stands alone is shown

    def frames(self) -> Iterator[Timed]:
        """Good frames, as decoded, until nobody asks for more; of sound perhaps none. MediaError for damage, for a
        file that is cut off, and for a video without a frame before `until`."""
        count, ended = 0, False
        for packet in self._packets():
            for frame in self._decoded(packet):
                count += 1
                if count > MOST_RATE * (self.until + 1):
                    raise self._error(f"its {self.what} has more than {MOST_RATE} frames a second; make it again")
                timed = self._timed(frame)
                if self._leans(frame.pts):
                    continue
                if frame.is_corrupt:
                    self._broken = True
                    continue
                if self._broken and (self.last_end is not None or self.kind == "video" or timed.begin > SLACK):
                    raise self._damaged(f"at {_seconds(self.last_end or Fraction(0))}")
                if self.last_end is None and timed.begin > self.until:
                    self._check_begin(timed.begin)
                    return
                self._broken = False
                self.last_end = timed.end if self.last_end is None else max(self.last_end, timed.end)
                yield timed
            ended = not packet.size
        if self.last_end is None and self._broken:
            raise self._damaged("at all")
        if ended:
            self._check_end()
        if self.last_end is None and self.kind == "video":
            raise self._error("its video is empty; leave it out")

    def _packets(self) -> Iterator[Any]:
        """Packets of the stream, at its end an empty one."""
        streams = [stream for stream in (self.media.video, self.media.audio) if stream is not None]
        for packet in self.media.container.demux(streams):
            moment = packet.dts if packet.pts is None else packet.pts
            if packet.size and moment is not None:
                end = (moment + (packet.duration or 0)) * packet.time_base - self.media.start
                self._ends[packet.stream.index] = max(end, self._ends.get(packet.stream.index, end))
            if packet.stream is self.stream:
                yield packet

    def _decoded(self, packet: Any) -> Iterator[Any]:
        import av

        if self.kind == "video" and packet.size:
            if self._alone is None and packet.is_keyframe:
                self._alone = packet.dts if packet.pts is None else packet.pts
            if self.media.kind == "avi":
                self._packet_times.append(packet.dts)
        try:
            yield from packet.decode()
        except av.FFmpegError:
            self._broken |= not self._leans(packet.pts)

    def _leans(self, moment: int | None) -> bool:
        """Whether a picture is shown before the first that stands alone, wherever it is stored."""
        if self.kind != "video":
            return False
        return self._alone is None or (moment is not None and moment < self._alone)

    def _timed(self, frame: Any) -> Timed:
        """AVI says only when packets are decoded; the n-th frame is shown at the time of the n-th packet."""
        base = frame.time_base or self.stream.time_base
        moment = self._packet_times.popleft() if self._packet_times else frame.pts
        begin = moment * base - self.media.start if moment is not None else self.last_end or Fraction(0)
        if self.kind == "audio":
            return Timed(begin, Fraction(frame.samples, frame.sample_rate), frame)
        usual = 1 / self.stream.average_rate if self.stream.average_rate else Fraction(0)
        return Timed(begin, frame.duration * base if frame.duration else usual, frame)

    def _check_begin(self, begin: Fraction) -> None:
        """For a file whose first frame comes after all that is wanted. Sound may do so."""
        if self.kind == "video":
            raise self._error(
                f"its video begins at {_seconds(begin)}, and only what is before {_seconds(self.until)} is looked at; "
                "leave it out"
            )

    def _check_end(self) -> None:
        """For a file whose last frame came before what is wanted. MediaError if it says that it has more."""
        stated, there = self._stated(), Fraction(0) if self.last_end is None else self.last_end
        if self.media.kind in STATES_WHOLE:
            there = max([there, *self._ends.values()])
        if stated is not None and there < min(stated, self.until) - SLACK:
            raise self._error(
                f"it is cut off: its header says {_seconds(stated)} of {self.what}, and there are {_seconds(there)}; "
                "fetch it again"
            )
        if self._broken and (stated is None or there < stated - SLACK):
            raise self._damaged(f"behind {_seconds(there)}")

    def _stated(self) -> Fraction | None:
        """When the file says that the stream ends, or all streams together; None if it says nothing to rely on."""
        if self.kind in STATES_STREAMS.get(self.media.kind, ()) and self.stream.duration is not None:
            begin = self.stream.start_time or 0
            return Fraction((begin + self.stream.duration) * self.stream.time_base - self.media.start)
        if self.media.kind in STATES_WHOLE and self.media.container.duration is not None:
            return Fraction(self.media.container.duration, 1_000_000) - self.media.start
        return None

    def _damaged(self, where: str) -> MediaError:
        return self._error(f"it is damaged: its {self.what} cannot be decoded {where}; fetch it again")

    def _error(self, what: str) -> MediaError:
        return MediaError(f"{self.media.path}: {what}")


def _seconds(value: Fraction) -> str:
    return f"{float(value):.2f} s"
