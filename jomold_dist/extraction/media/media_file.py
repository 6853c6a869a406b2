"""A media file that may be anybody's: opened so that nothing but itself is read, and decoded in the order of time.

What a file lacks is made up with a note (`media_notes.py`); what is wrong with it is a MediaError, and whoever reads
many files goes on with the next:

===================================================  ==================================================================
what is wrong                                        how it shows
===================================================  ==================================================================
it is empty, is no media file, or is a playlist      it cannot be opened; what a playlist names is not opened either
it has neither frames nor sound; no frames (where    it has no such stream, or one of a codec that is not known. Cover
frames are wanted)                                   pictures of songs are no frames
it is cut off                                        it ends half a second or more before what its header says
it is damaged                                        something between two good frames is not to be decoded, or only
                                                     by guessing
nothing is in the seconds that are wanted            its first frame comes later
===================================================  ==================================================================

Damage that decodes to other pictures without a complaint of the decoder cannot be known.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn

from jomold_dist.errors import DataError, UserError
from jomold_dist.reading import reading, regular_file

if TYPE_CHECKING:
    from av import AudioStream, VideoStream
    from av.container import InputContainer

CONTAINERS = (
    *("mov", "matroska", "avi", "flv", "asf", "mpeg", "mpegts", "ogg", "mxf", "nut", "rm", "ivf", "dv", "wtv", "gif"),
    *("wav", "w64", "mp3", "aac", "flac", "aiff", "caf", "au", "amr", "ac3", "eac3", "dts", "ape", "tta", "wv"),
)
"""FFmpeg's names of what is opened: files that hold their streams. No playlists, devices, pictures or scripts."""

BUFFER = 1 << 18  # bytes that are read at once


class MediaError(DataError):
    """A media file cannot be used: what is wrong with it, and what to do."""


def require_av() -> None:
    """UserError, with what to install, where PyAV is not there."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise UserError(
            "video files are decoded by PyAV, which is not installed; pip install 'jomold_dist[extract]'"
        ) from None


def decoder_versions() -> dict[str, str]:
    """Which PyAV and FFmpeg decode here. They belong beside features, not into their fingerprint."""
    require_av()
    import av

    return {"PyAV": av.__version__, "FFmpeg": str(av.ffmpeg_version_info)}


@dataclass(frozen=True)
class MediaFile:
    """An opened file. Its time begins where the earliest of its two streams does."""

    path: Path
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    start: Fraction  # in the seconds that the file counts

    @property
    def kind(self) -> str:
        """FFmpeg's name of the container, the first of several."""
        return self.container.format.name.partition(",")[0]


@contextmanager
def opened(path: Path) -> Iterator[MediaFile]:
    """Opens a file of pictures or sound or both. MediaError; UnreadableError and ABSENT as in `reading.reading`.

    FFmpeg gets an open file instead of a name, and a container that may be a playlist is not opened, so no other file
    and no address is ever read.
    """
    require_av()
    with reading(path):
        file = regular_file(path).open("rb")
    with file, reading(path), _told(path):
        if not file.read(1):
            raise MediaError(f"{path}: it is empty; fetch or make it again")
        file.seek(0)
        with _container(path, file) as container:
            video, audio = _best(container, "video"), _best(container, "audio")
            if video is None and audio is None:
                raise MediaError(f"{path}: it has neither video nor sound; leave it out")
            begins = [
                stream.start_time * stream.time_base
                for stream in (video, audio)
                if stream is not None and stream.start_time is not None
            ]
            yield MediaFile(path, container, video, audio, min(begins, default=Fraction(0)))


def _container(path: Path, file: BinaryIO) -> InputContainer:
    import av

    allowed = {"format_whitelist": ",".join(CONTAINERS)}
    try:
        return av.open(
            _File(file),
            "r",
            container_options=allowed,
            metadata_errors="replace",
            buffer_size=BUFFER,
            io_open=partial(_refuse, path),
        )
    except av.ArgumentError:
        raise MediaError(
            f"{path}: it is a playlist, or of a container that is not read; make an .mp4 or .mkv of it"
        ) from None


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tells of what FFmpeg says of a file as a MediaError. An OSError of reading it stays one; MemoryError."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from None
        said = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: it is no media file, or damaged ({said}); fetch or make it again") from None


class _File:
    """A file as PyAV asks for it, without a name, so that only what it holds says what it is. Where a damaged header
    sends PyAV before its beginning, there is nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return -error.errno  # as FFmpeg tells of it


def _best(container: InputContainer, kind: Literal["video", "audio"]) -> Any:
    """The stream that players take, or None. A song's cover is no video."""
    from av.stream import Disposition

    stream = container.streams.best(kind)
    return None if stream is None or stream.disposition & Disposition.attached_pic else stream


def _refuse(path: Path, url: str, *_: Any) -> NoReturn:
    raise MediaError(f"{path}: it refers to {url}, which is not opened; make an .mp4 or .mkv of both")
