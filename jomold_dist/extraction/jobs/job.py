"""One video file to features: what its encoders take of it is read once each, and each makes its feature of that.

An outcome is what travels between processes and nodes: the bytes of .npy files as they are to lie on the disk, or why
there are none.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.data.format.extraction import fingerprint_of
from jomold_dist.data.format.extraction_file import ExtractedFeature
from jomold_dist.errors import ConfigError, UserError
from jomold_dist.extraction.encoding.encoders import Encoder, open_encoder, parse_encoder
from jomold_dist.extraction.media.frames import describe_frames, read_frames
from jomold_dist.extraction.media.media_notes import MediaNote
from jomold_dist.extraction.media.sampling import Sampling
from jomold_dist.extraction.media.sound import describe_sound, read_sound

FOLDERS = {"vggish": "vggish", "resnet152": "res152", "r2plus1d": "r2plus1d_18"}
"""Of features that LLP publishes, by the encoder's kind: as they are called there. Others are called as the feature."""

ENDED = "the process that took it ended (killed for want of memory, or a decoder's crash); try it with --jobs 1"
NO_MEMORY = "there is not enough memory for it; take fewer --jobs, or fewer --frames-per-segment"
OF_FRAMES_ALONE = ("frames_per_segment", "frames_at")  # of a sampling's description: sound does not hang on them


@dataclass(frozen=True)
class Need:
    """What an encoder takes of a file: sound at `rate` samples a second, or, where that is 0, the frames of a sampling,
    whose shorter side has at most `shortest_side` pixels."""

    sampling: Sampling
    rate: int
    shortest_side: int

    def describe(self) -> dict[str, Any]:
        """What a fingerprint says of it."""
        sampling = self.sampling.describe()
        if not self.rate:
            return {"media": describe_frames(self.shortest_side), "sampling": sampling}
        own = {name: value for name, value in sampling.items() if name not in OF_FRAMES_ALONE}
        return {"media": describe_sound(self.rate), "sampling": own}


Media = dict[Need, np.ndarray]


@dataclass(frozen=True)
class Extracted:
    """The features of a video by name, float32 (rows, width), and what of it was made up."""

    features: dict[str, np.ndarray]
    notes: tuple[MediaNote, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a file: a .npy a feature, and what was made up, each a kind and a text; or the problem."""

    key: str
    arrays: dict[str, bytes] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Opening:
    """All that a process needs to open the same encoders as another: their names by feature, and what they are found to
    be there."""

    names: tuple[tuple[str, str], ...]
    sampling: Sampling
    device: str
    dtype: str
    fingerprints: tuple[str, ...] = ()

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def known_by(self, features: Mapping[str, ExtractedFeature]) -> Opening:
        """The same, where it is known what is to be found."""
        found = tuple(fingerprint_of(features[feature].extraction) for feature, _ in self.names)
        return replace(self, fingerprints=found)

    def open(self) -> dict[str, Encoder]:
        """The encoders by feature. UserError, also where they are others than in the process that found them first."""
        encoders = {feature: open_encoder(name, self.device, self.dtype) for feature, name in self.names}
        for encoder in encoders.values():
            encoder.check(self.sampling)
        for (feature, name), known in zip(self.names, self.fingerprints, strict=False):
            if fingerprint_of(describe(encoders[feature], self.sampling)) != known:
                raise ConfigError(
                    f"the model of {feature}={name} is another here than where the extraction was started; let every "
                    "process and node find the same files"
                )
        return encoders


def need_of(encoder: Encoder, sampling: Sampling) -> Need:
    """What an encoder takes of a file."""
    if encoder.takes == "sound":
        return Need(sampling, encoder.rate, 0)
    own = replace(sampling, frames_per_segment=encoder.frames_per_clip) if encoder.takes == "clips" else sampling
    return Need(own, 0, encoder.shortest_side)


def shape_of(encoder: Encoder, sampling: Sampling) -> tuple[int, int]:
    """(rows, width) of what an encoder makes of a video."""
    rows = sampling.segments * (sampling.frames_per_segment if encoder.takes == "frames" else 1)
    return rows, encoder.width


def features_of(opening: Opening, encoders: Mapping[str, Encoder]) -> dict[str, ExtractedFeature]:
    """Where each feature will lie, of which shape, and what was chosen for it."""
    return {
        feature: ExtractedFeature(
            FOLDERS.get(parse_encoder(name).kind, feature),
            shape_of(encoders[feature], opening.sampling),
            describe(encoders[feature], opening.sampling),
        )
        for feature, name in opening.names
    }


def describe(encoder: Encoder, sampling: Sampling) -> dict[str, Any]:
    """Every choice that decides a feature, as JSON: what its fingerprint is of."""
    return {"encoder": encoder.describe(), **need_of(encoder, sampling).describe()}


def extract_file(path: Path, encoders: Mapping[str, Encoder], sampling: Sampling) -> Extracted:
    """The features of a video file. MediaError (a DataError) if it cannot be used, DataError if what a model makes of
    it is not finite; UnreadableError and `reading.ABSENT`."""
    media, notes = read_media(path, [need_of(encoder, sampling) for encoder in encoders.values()])
    return Extracted(encode_media(media, encoders, sampling), notes)


def read_media(path: Path, needs: Iterable[Need]) -> tuple[Media, tuple[MediaNote, ...]]:
    """What is needed of a file, and what of it was made up. Errors as `extract_file`."""
    media: Media = {}
    notes: list[MediaNote] = []
    for need in dict.fromkeys(needs):
        if need.rate:
            sound = read_sound(path, need.sampling, need.rate)
            media[need] = sound.samples
            notes += sound.notes
        else:
            frames = read_frames(path, need.sampling, need.shortest_side)
            media[need] = frames.images
            notes += frames.notes
    return media, tuple(dict.fromkeys(notes))


def encode_media(media: Media, encoders: Mapping[str, Encoder], sampling: Sampling) -> dict[str, np.ndarray]:
    """The features of what was read of a video. DataError if one is not finite."""
    features = {}
    for name, encoder in encoders.items():
        made = encoder.encode(media[need_of(encoder, sampling)], sampling)
        if made.shape != shape_of(encoder, sampling):
            raise AssertionError(f"{name} is {made.shape}, and not {shape_of(encoder, sampling)}")
        features[name] = made
    return features


def outcome_of(key: str, path: Path, extract: Callable[[], Extracted]) -> Outcome:
    """What came of extracting a file. An error of any kind is a problem of that file, and the next goes on: nobody
    knows what decoders and models make of a file that may be anybody's."""
    try:
        extracted = extract()
    except Exception as error:
        return Outcome(key, problem=problem_text(path, error))
    arrays = {name: npy_bytes(array) for name, array in extracted.features.items()}
    return Outcome(key, arrays, tuple((note.kind, note.text) for note in extracted.notes))


def problem_text(path: Path, error: Exception) -> str:
    """What went wrong, in a line, without the file's name before it."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, OSError):
        text = error.strerror or text
    elif not isinstance(error, UserError):
        text = f"{type(error).__name__}: {text}"
    return text.removeprefix(f"{path}: ")


def npy_bytes(array: np.ndarray) -> bytes:
    """The .npy file of an array, float32."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array, dtype=np.float32), allow_pickle=False)
    return file.getvalue()
