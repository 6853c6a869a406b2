"""Media files with each defect that files have: what becomes of their frames and their sound."""

from __future__ import annotations

import errno
import io
import math
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.errors import UserError
from jomold_dist.extraction.jobs.job import Extracted, outcome_of
from jomold_dist.extraction.media.drawing import MOST_SLENDER, _upright
from jomold_dist.extraction.media.frames import FrameSet, read_frames
from jomold_dist.extraction.media.media_file import MediaError, _File
from jomold_dist.extraction.media.media_notes import KINDS
from jomold_dist.extraction.media.sampling import Sampling
from jomold_dist.extraction.media.sound import Sound, mix, read_sound
from jomold_dist.extraction.media.thumbnails import thumbnails

pytest.importorskip("av", reason="PyAV is not installed: pip install 'jomold_dist[extract]'")

from tests.media_files import Pictures, Track, number_in, times_of, tone, write_clip, write_media

TWO = Sampling(segments=2, segment_seconds=1.0, frames_per_segment=4)  # the length of a clip of `write_clip`
LONG = Sampling(segments=4, segment_seconds=1.0, frames_per_segment=4)  # twice as long
RATE = 16_000
VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file: twenty pictures in two seconds, and a tone."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def frames(path: Path, sampling: Sampling = TWO, side: int = 48) -> FrameSet:
    return read_frames(path, sampling, side)


def sound(path: Path, sampling: Sampling = TWO, rate: int = RATE) -> Sound:
    return read_sound(path, sampling, rate)


def numbers(shown: FrameSet) -> list[int]:
    return [number_in(image) for image in shown.images]


def kinds(read: FrameSet | Sound) -> list[str]:
    assert {note.kind for note in read.notes} <= set(KINDS)
    return [note.kind for note in read.notes]


def shown_at(times: Sequence[float], sampling: Sampling = TWO) -> list[int]:
    """The last picture that has begun at each moment, the first one before it has: plainly."""
    begun = [[number for number, begin in enumerate(times) if begin <= moment] for moment in sampling.frame_times()]
    return [max(numbers, default=0) for numbers in begun]


def volume(samples: np.ndarray) -> list[float]:
    """How loud each quarter of a second is."""
    return [round(float(np.sqrt(np.mean(part**2))), 2) for part in samples.reshape(-1, RATE // 4)]


LOUD = round(0.5 / math.sqrt(2), 2)  # of `tone`


# What is whole: containers, codecs, forms of pictures and of sound


@pytest.mark.parametrize(
    ("name", "pictures", "codec"),
    [
        ("a.mp4", Pictures(), "aac"),
        ("a.mov", Pictures(), "pcm_s16le"),
        ("a.mkv", Pictures(), "flac"),
        ("a.webm", Pictures(**VP9), "libopus"),
        ("a.avi", Pictures(), "pcm_s16le"),  # H.264 with frames that are stored before those they come after
        ("a.flv", Pictures(), "aac"),
        ("a.ts", Pictures(), "mp2"),
        ("a.wmv", Pictures(codec="wmv2", options={"b": "2000000"}), "libmp3lame"),
        ("a.mpg", Pictures(times_of(2.0, 25), codec="mpeg2video", options={"b": "2000000"}), "mp2"),
    ],
)
def test_any_container(tmp_path: Path, name: str, pictures: Pictures, codec: str) -> None:
    rate = 48_000 if codec in {"libopus", "mp2"} else 44_100
    path = write_media(tmp_path / name, pictures, Track(tone(2.0, rate), rate, codec=codec))
    expected = np.array(shown_at(pictures.times))
    found = np.array(numbers(frames(path)))
    assert np.abs(found - expected).max() <= (1 if name in {"a.ts", "a.mpg", "a.wmv", "a.flv"} else 0), found
    assert kinds(frames(path)) == kinds(sound(path)) == []
    assert volume(sound(path).samples)[1:-1] == [pytest.approx(LOUD, abs=0.02)] * 6


def test_frames_are_upright_whichever_way_they_are_stored(tmp_path: Path) -> None:
    for rotation in (0, 90, 180, 270):
        read = frames(write_media(tmp_path / f"{rotation}.mp4", Pictures(rotation=rotation)))
        assert read.images.shape == (8, 48, 64, 3)
        assert numbers(read) == shown_at(times_of(2.0, 10))


@pytest.mark.parametrize(
    "matrix", [(a, b, c, d) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) for d in (-1, 0, 1)]
)
def test_a_display_matrix_says_where_each_pixel_goes(matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    if sorted(map(abs, (a, b, c, d))) != [0, 0, 1, 1] or abs(a * d - b * c) != 1:
        return  # neither a quarter turn nor a mirror
    stored = np.arange(2 * 3 * 1).reshape(2, 3, 1)
    turned = bool(c)
    found = _upright(stored, 65536 * np.array([[a, c], [b, d]]), turned)
    places = {(a * x + c * y, b * x + d * y): stored[y, x, 0] for y in range(2) for x in range(3)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    assert all(found[y - top, x - left, 0] == value for (x, y), value in places.items())


def test_pictures_are_made_smaller_and_never_larger(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", Pictures(times_of(1.0, 10), (160, 120)))
    for side, size in ((30, (30, 40)), (119, (119, 159)), (120, (120, 160)), (500, (120, 160))):
        assert frames(path, side=side).images.shape[1:3] == size
    tall = write_media(tmp_path / "b.mp4", Pictures(times_of(1.0, 10), (120, 160), rotation=90))
    assert frames(tall, side=30).images.shape[1:3] == (40, 30)


@pytest.mark.parametrize(
    "pictures",
    [
        Pictures(codec="ffv1", options={}, format="yuv420p10le"),
        Pictures(codec="ffv1", options={}, format="yuv444p"),
        Pictures(codec="ffv1", options={}, format="bgra"),
        Pictures(codec="ffv1", options={}, size=(67, 43)),
        Pictures(size=(64, 48), aspect=Fraction(2)),
        Pictures(size=(64, 48), aspect=Fraction(16)),  # nothing looks like this; it is a mistake of the file
    ],
)
def test_pixels_of_any_form(tmp_path: Path, pictures: Pictures) -> None:
    read = frames(write_media(tmp_path / "a.mkv", pictures), side=100)
    width, height = pictures.size
    assert read.images.dtype == np.uint8
    assert read.images.shape[1:3] == (height, width * 2 if pictures.aspect == 2 else width)
    assert numbers(read) == shown_at(pictures.times)


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_sound_at_any_rate_stays_where_it_is(tmp_path: Path, rate: int) -> None:
    path = write_media(tmp_path / "a.wav", None, Track(tone(2.5, rate, pitch=300), rate, codec="pcm_s16le"))
    read = sound(path)
    assert read.samples.dtype == np.float32
    assert read.samples.shape == (2 * RATE,)
    wanted = 0.5 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE)
    assert np.abs(read.samples - wanted)[100:].max() < 1e-3  # the filter rings where the sound begins


@pytest.mark.parametrize(
    ("layout", "channels", "shares"),
    [
        ("mono", 1, [1.0]),
        ("stereo", 2, [0.5, 0.5]),
        ("5.1", 6, np.array([math.sqrt(0.5), math.sqrt(0.5), 1, 0, 0.5, 0.5]) / (2 + math.sqrt(2))),
        ("7.1", 8, np.array([math.sqrt(0.5), math.sqrt(0.5), 1, 0, 0.5, 0.5, 0.5, 0.5]) / (3 + math.sqrt(2))),
    ],
)
def test_channels_are_mixed(tmp_path: Path, layout: str, channels: int, shares: list[float]) -> None:
    """Planes of eight channels too, beyond whose end PyAV reads."""
    levels = np.linspace(0.2, 1.0, channels)[:, np.newaxis].astype(np.float32)
    track = Track(tone(2.5, 48_000, channels) * levels, 48_000, layout, codec="flac")
    mixed = float(np.abs(sound(write_media(tmp_path / "a.mkv", None, track)).samples[1000:]).max())
    assert mixed == pytest.approx(0.5 * float(np.dot(shares, levels[:, 0])), abs=2e-3)


def test_channels_are_mixed_as_ffmpeg_mixes_them() -> None:
    import av

    for layout in ("stereo", "2.1", "quad", "5.1", "5.1(side)", "7.1"):
        names = [channel.name for channel in av.AudioLayout(layout).channels]
        channels = np.random.default_rng(1).uniform(-0.5, 0.5, (len(names), 1000)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(channels.T.reshape(1, -1).copy(), format="flt", layout=layout)
        frame.sample_rate = RATE
        pieces = [av.AudioResampler(form, to, RATE) for form, to in (("s16", layout), ("s16", "mono"))]
        (coarse,) = pieces[0].resample(frame)
        (theirs,) = pieces[1].resample(coarse)
        assert np.abs(mix(channels, names) - theirs.to_ndarray()[0] / 32768).max() < 2 / 32768, layout


# What a file lacks is made up, with a note


def test_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.03, 0.1, 0.124, 0.126, 0.5, 0.88, 1.3, 1.31, 1.9]
    read = frames(write_media(tmp_path / "a.mp4", Pictures(times)))
    assert numbers(read) == shown_at(times) == [3, 4, 5, 5, 6, 8, 8, 8]
    assert kinds(read) == []


def test_no_sound_is_silence(tmp_path: Path) -> None:
    for tracks in ((), (Track(tone(1.0), codec="pcm_s16le", start=5.0),)):  # none at all, or behind all that is wanted
        read = sound(write_media(tmp_path / "a.mkv", Pictures(), *tracks))
        assert kinds(read) == ["no sound"]
        assert read.samples.shape == (2 * RATE,)
        assert not read.samples.any()


def test_silence_is_noted(tmp_path: Path) -> None:
    read = sound(write_media(tmp_path / "a.mp4", Pictures(), Track(tone(2.0, level=0.0))))
    assert kinds(read) == ["silent"]
    assert kinds(sound(write_media(tmp_path / "b.mp4", Pictures(), Track(tone(2.0, level=0.001))))) == []


def test_shorter_than_wanted(clip: Path) -> None:
    read, heard = frames(clip, LONG), sound(clip, LONG)
    assert numbers(read) == [*shown_at(times_of(2.0, 10)), *[19] * 8]
    assert kinds(read) == ["frames shorter"]
    assert "2.00 s of 4.00 s" in read.notes[0].text
    assert kinds(heard) == ["sound shorter"]
    assert heard.samples.shape == (4 * RATE,)
    assert volume(heard.samples)[:8] == [pytest.approx(LOUD, abs=0.02)] * 8
    assert not heard.samples[2 * RATE + 2000 :].any()


def test_longer_than_wanted_is_not_looked_at(tmp_path: Path) -> None:
    """What is behind may be damaged: nobody looks there, however long the file is."""
    path = write_media(tmp_path / "a.mkv", Pictures(times_of(20.0, 10)), Track(tone(20.0)))
    whole = frames(path), sound(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : -1000] = bytes(len(content) - 1000 - len(content) // 2)
    path.write_bytes(content)
    assert np.array_equal(frames(path).images, whole[0].images)
    assert np.array_equal(sound(path).samples, whole[1].samples)
    assert kinds(whole[0]) == kinds(whole[1]) == []


def test_a_file_whose_time_begins_late(tmp_path: Path) -> None:
    """Seconds are counted from its earliest stream."""
    track = Track(tone(2.0), codec="pcm_s16le", start=500.0)
    read = write_media(tmp_path / "a.mkv", Pictures(times_of(2.0, 10, start=500.0)), track)
    assert numbers(frames(read)) == shown_at(times_of(2.0, 10))
    assert kinds(frames(read)) == kinds(sound(read)) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_pictures_that_end_before_the_sound(tmp_path: Path, name: str) -> None:
    """A file that is shorter in one stream is not cut off, whatever its header says of the other."""
    path = write_media(tmp_path / name, Pictures(times_of(1.0, 10)), Track(tone(2.0)))
    assert kinds(frames(path)) == ["frames shorter"]
    assert kinds(sound(path)) == []
    path = write_media(tmp_path / name, Pictures(times_of(2.0, 10)), Track(tone(1.0)))
    assert kinds(frames(path)) == []
    assert kinds(sound(path)) == ["sound shorter"]


def test_pictures_that_begin_after_the_sound(tmp_path: Path) -> None:
    times = times_of(1.5, 10, start=0.5)
    read = frames(write_media(tmp_path / "a.mkv", Pictures(times), Track(tone(2.0))))
    assert numbers(read) == shown_at(times)
    assert kinds(read) == ["frames later"]


def test_sound_that_begins_after_the_pictures_and_leaves_something_out(tmp_path: Path) -> None:
    track = Track(tone(1.0), codec="pcm_s16le", start=0.25, gaps={8: 0.25})  # from 8 · 1024 samples on
    heard = sound(write_media(tmp_path / "a.mkv", Pictures(), track))
    assert kinds(heard) == ["sound later", "sound shorter", "sound gaps"]
    begin, gap = 4000, 4000 + 8 * 1024
    quiet = np.r_[0 : begin - 20, gap + 20 : gap + 3980, begin + 4000 + RATE + 20 : 2 * RATE]
    assert np.abs(heard.samples[quiet]).max() < 1e-3
    assert np.abs(heard.samples[gap + 4020 :][: RATE // 4]).max() > 0.4


def test_sound_that_overlaps_is_cut(tmp_path: Path) -> None:
    """The ninth frame begins 60 ms before the eighth has ended: what has been heard of it is left out."""
    samples = np.linspace(0, 0.5, 2 * RATE, dtype=np.float32)[np.newaxis]
    heard = sound(write_media(tmp_path / "a.mkv", None, Track(samples, codec="pcm_f32le", gaps={8: -0.06})))
    kept = np.r_[samples[0, : 8 * 1024], samples[0, 8 * 1024 + 960 :]]
    assert np.array_equal(heard.samples, np.pad(kept, (0, 960)))
    assert kinds(heard) == []


def test_times_in_milliseconds_leave_no_gaps(tmp_path: Path) -> None:
    """Matroska rounds them: 1024 samples at 44.1 kHz are 23.2 ms."""
    track = Track(tone(2.5, 44_100, pitch=300), 44_100, codec="flac")
    heard = sound(write_media(tmp_path / "a.mkv", None, track))
    wanted = 0.5 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE)
    assert np.abs(heard.samples - wanted)[100:].max() < 1e-3


# What is wrong with a file is told, with its name


def test_sound_alone_has_no_frames(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", None, Track(tone(2.0)))
    assert kinds(sound(path)) == []
    with pytest.raises(MediaError, match=r"a\.m4a: it has no frames, only sound"):
        frames(path)


def cut(path: Path, share: float) -> Path:
    """The beginning of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def with_header_first(path: Path) -> Path:
    """An .mp4 that opens where it is cut off."""
    import av

    write_clip(path.with_name("x.mp4"))
    with (
        av.open(str(path.with_name("x.mp4"))) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as out,
    ):
        streams = [out.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


LATE, SLENDER = Pictures(times_of(2.0, 10, start=50.0)), Pictures(times_of(1.0, 10), (64 * MOST_SLENDER, 16))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: cut(write_clip(folder / "a.mp4"), 0.5), "no media file, or damaged"),
        (lambda folder: cut(with_header_first(folder / "a.mp4"), 0.4), "cut off: its header says 2.00 s|damaged"),
        (lambda folder: cut(write_clip(folder / "a.mkv"), 0.4), "cut off: its header says 2.0. s"),
        (lambda folder: cut(write_clip(folder / "a.mp4"), 0.0), "it is empty"),
        (lambda folder: text_file(folder / "a.mp4", "This is not a video.\n" * 200), "no media file"),
        (lambda folder: text_file(folder / "a.mp4", "ffconcat version 1.0\nfile b.mp4\n"), "it is a playlist"),
        (lambda folder: text_file(folder / "a.m3u8", PLAYLIST.format(folder)), "it is no media file"),
        (lambda folder: picture_file(folder / "a.mp4"), "it is a playlist, or of a container that is not read"),
        (lambda folder: write_media(folder / "a.mkv", LATE, Track(tone(2.0))), "its video begins at 50.00 s"),
        (lambda folder: write_media(folder / "a.mp4", SLENDER), "its pictures are 1280 × 16 pixels"),
        (lambda folder: huge_gif(folder / "a.gif"), "damaged"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    write_clip(tmp_path / "b.mp4")  # what playlists name
    path = make(tmp_path)
    with pytest.raises(MediaError, match=message) as told:
        frames(path)
    assert str(told.value).startswith(f"{path}: ")
    assert "\n" not in str(told.value)


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2,\nfile://{}/b.mp4\n#EXT-X-ENDLIST\n"


def text_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def picture_file(path: Path) -> Path:
    """A PNG under a video's name."""
    from PIL import Image

    Image.new("RGB", (64, 48)).save(path, "PNG")
    return path


def huge_gif(path: Path) -> Path:
    """Two frames of 65535 by 65535 pixels, as its header says."""
    frame = b"\x2c" + bytes(4) + b"\xff\xff\xff\xff\x00\x02\x02\x4c\x01\x00"
    path.write_bytes(b"GIF89a\xff\xff\xff\xff\x80\x00\x00" + bytes(6) + frame + frame + b"\x3b")
    return path


def damage(path: Path, number: int, kind: str) -> Path:
    """A copy of a file, with the end of one packet changed."""
    import av

    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.best(kind)) if packet.size]
        end = packets[number].pos + packets[number].size
    content = bytearray(path.read_bytes())
    content[end - 16 : end] = random.Random(number).randbytes(16)
    copy = path.with_name(f"damaged-{path.name}")
    copy.write_bytes(content)
    return copy


@pytest.mark.parametrize("number", [0, 1, 2, 8])
@pytest.mark.parametrize("pictures", [Pictures(), Pictures(codec="mjpeg", format="yuvj420p", options={})])
def test_damaged_pictures_are_named_and_not_guessed(tmp_path: Path, pictures: Pictures, number: int) -> None:
    """The first, on which others lean, and others; a decoder would repair them in silence."""
    path = damage(write_media(tmp_path / "a.mov", pictures, Track(tone(2.0))), number, "video")
    assert kinds(sound(path)) == []
    with pytest.raises(MediaError, match=r"it is damaged: its video cannot be decoded at \d\.\d\d s"):
        frames(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "ac3")])
def test_damaged_sound_is_named(tmp_path: Path, name: str, codec: str) -> None:
    rate = 48_000
    path = damage(write_media(tmp_path / name, Pictures(), Track(tone(2.0, rate), rate, codec=codec)), 12, "audio")
    assert numbers(frames(path)) == shown_at(times_of(2.0, 10))
    with pytest.raises(MediaError, match="it is damaged: its sound cannot be decoded"):
        sound(path)


@pytest.mark.parametrize("lost", [22, 26])
def test_a_packet_that_a_broadcast_has_lost(tmp_path: Path, lost: int) -> None:
    path = write_media(tmp_path / "a.ts", None, Track(tone(2.0, 44_100), 44_100, codec="mp2"))
    content = path.read_bytes()
    path.write_bytes(content[: 188 * lost] + content[188 * (lost + 1) :])
    with pytest.raises(MediaError, match="it is damaged: its sound cannot be decoded"):
        sound(path)


def test_a_broadcast_that_is_cut_in_is_whole_from_where_a_picture_stands_alone(tmp_path: Path) -> None:
    options = {"preset": "veryfast", "x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"}
    path = write_media(tmp_path / "a.ts", Pictures(times_of(4.0, 10), options=options))
    content = path.read_bytes()
    path.write_bytes(content[: 188 * 2] + content[188 * 23 :])  # its tables, and what comes after the third picture
    read = frames(path)
    assert kinds(read) == ["frames later"]
    assert numbers(read)[0] == 12
    assert numbers(read) == sorted(numbers(read))


def test_a_time_that_jumps_back_is_not_followed(tmp_path: Path) -> None:
    """Two broadcasts one behind the other: what the clock shows for the second time is left out."""
    first, second = (write_media(tmp_path / f"{n}.ts", Pictures(times_of(n / 10, 10))) for n in (20, 10))
    content = bytearray(first.read_bytes() + second.read_bytes())
    counts: dict[int, int] = {}  # the packets of each stream are numbered modulo 16
    for at in range(0, len(content), 188):
        stream = int.from_bytes(content[at + 1 : at + 3], "big") & 0x1FFF
        if content[at + 3] & 0x10:
            counts[stream] = (counts.get(stream, -1) + 1) % 16
        content[at + 3] = content[at + 3] & 0xF0 | counts.get(stream, 0)
    first.write_bytes(content)
    assert numbers(frames(first, LONG))[8:] == [19] * 8


def test_frames_without_end_are_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jomold_dist.extraction.media.decoding.MOST_RATE", 5)
    with pytest.raises(MediaError, match="its video has more than 5 frames a second"):
        frames(clip)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    samples = tone(2.0)
    samples[0, 1000] = np.nan
    path = write_media(tmp_path / "a.mkv", None, Track(samples, codec="pcm_f32le"))
    with pytest.raises(MediaError, match="values that are not finite"):
        sound(path)


def test_a_song_with_a_cover_has_no_frames(tmp_path: Path) -> None:
    import av
    from av.stream import Disposition

    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as out:
        song = out.add_stream("libmp3lame", rate=44_100, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame(64, 48, "yuvj420p")
        frame.pts = 0
        out.mux(cover.encode(frame))
        out.mux(cover.encode())
        wave = av.AudioFrame.from_ndarray(tone(2.0, 44_100), format="fltp", layout="mono")
        wave.sample_rate, wave.pts = 44_100, 0
        out.mux(song.encode(wave))
        out.mux(song.encode())
    assert kinds(sound(path)) == []
    with pytest.raises(MediaError, match="no frames, only sound"):
        frames(path)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    with pytest.raises(UserError, match="a FIFO, not a regular file"):
        frames(tmp_path / "fifo.mp4")
    with pytest.raises(FileNotFoundError):
        frames(tmp_path / "nothing.mp4")


def test_a_header_that_points_before_the_file_is_damage(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An error of the system would say that the file cannot be read, and may be good."""
    import av

    with clip.open("rb") as file:
        assert _File(file).seek(-5, 0) == -errno.EINVAL
        with av.open(_File(file), "r") as container:
            assert len(container.streams) == 2
    assert capfd.readouterr().err == ""


def test_any_changed_bytes_are_told_or_borne(clip: Path, tmp_path: Path) -> None:
    """Nothing but a MediaError, and nothing that goes on for ever, comes of them."""
    rng = random.Random(7)
    whole, path = clip.read_bytes(), tmp_path / "a.mp4"
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 10, 100))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        for read in (frames, sound):
            with suppress(MediaError):
                read(path)


def test_want_of_memory_is_no_damage(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    def lacking(*_: object, **__: object) -> None:
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(av, "open", lacking)
    said = outcome_of("clip", clip, lambda: Extracted({}, read_frames(clip, Sampling(), 8).notes)).problem
    assert said == "there is not enough memory for it; take fewer --jobs, or fewer --frames-per-segment"


def test_without_pyav_it_is_said_what_to_install(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'jomold_dist\[extract\]'"):
        frames(clip)


def test_thumbnails(clip: Path) -> None:
    from PIL import Image

    made = thumbnails(clip, [1.95, 0.0, 0.55, 9.0], height=24)
    images = [Image.open(io.BytesIO(content)) for content in made]
    assert {(image.format, image.size) for image in images} == {("JPEG", (32, 24))}
    assert [number_in(np.asarray(image)) for image in images] == [19, 0, 5, 19]
    assert thumbnails(clip, []) == []


CLIPS = sorted(Path(__file__).resolve().parents[2].glob("../shared/*/*.mp4"))


@pytest.mark.lengthy
@pytest.mark.skipif(not CLIPS, reason="real clips are not there: ../shared")
def test_real_clips() -> None:
    for path in CLIPS:
        read, heard = read_frames(path, Sampling(), 32), read_sound(path, Sampling(), RATE)
        assert read.images.shape[0] == 80
        assert min(read.images.shape[1:3]) == 32
        assert heard.samples.shape == (10 * RATE,)
        assert not read.notes + heard.notes, path
