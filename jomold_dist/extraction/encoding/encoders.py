"""What makes features of a video, as one interface, and how people name it: KIND[+OPTION…][:MODEL].

An encoder has a feature that it makes, and a kind of media that it takes:

    frames  uint8 (k·T, H, W, 3), RGB, k frames for each of T segments; gives k·T rows
    sound   float32 (samples,), one channel at `rate` samples a second, as long as all segments; gives T rows
    clips   uint8 (c·T, H, W, 3), RGB, c = `frames_per_clip` frames for each segment; gives T rows

On a CPU the same media, sampling and model give the same bits in every process of one kind of processor, on one thread
(see `computing`); so several videos go through at once in as many processes, each with an encoder that it has opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jomold_dist.errors import ConfigError, UserError, nearest

if TYPE_CHECKING:
    import numpy as np

    from jomold_dist.extraction.media.sampling import Sampling

DEFAULT_ENCODERS = {"audio": "clap:laion/clap-htsat-unfused", "frames": "clip:openai/clip-vit-large-patch14"}


class Encoder(Protocol):
    """Makes one feature of one video after the other. Where it takes no pictures `shortest_side` is 0, where it takes
    no sound `rate` is 0, and where it takes no clips `frames_per_clip` is 0."""

    @property
    def feature(self) -> str:
        """The feature that it makes: audio, frames or motion."""

    @property
    def takes(self) -> str:
        """frames, sound or clips."""

    @property
    def width(self) -> int:
        """Values of a row."""

    @property
    def rate(self) -> int:
        """Samples of sound a second."""

    @property
    def shortest_side(self) -> int:
        """Pixels of a picture's shorter side, to which pictures are made smaller: more are of no use."""

    @property
    def frames_per_clip(self) -> int:
        """Frames of a segment that make a clip."""

    def check(self, sampling: Sampling) -> None:
        """ConfigError if it cannot encode what is sampled so."""

    def describe(self) -> dict[str, Any]:
        """Which model it is, and all that decides what it makes of a video, as JSON. `name` is for people alone."""

    def encode(self, media: np.ndarray, sampling: Sampling) -> np.ndarray:
        """The feature of one video, float32 (rows, width). DataError if it is not finite; ValueError for media of
        another form than sampled so."""


@dataclass(frozen=True)
class Kind:
    """A kind of encoder: the feature that it makes, its options with what they do, and the model that is taken where
    none is named. `required` is what has to be named, "" if nothing has to be."""

    feature: str
    options: Mapping[str, str]
    model: str = ""
    required: str = ""


RAW = {"raw": "embeddings as the model gives them, not of unit norm"}
SQUEEZED = {"squeezed": "the whole picture squeezed to a square, where the model's preprocessing cuts the middle out"}
KINDS: dict[str, Kind] = {
    "clip": Kind("frames", RAW | SQUEEZED, model="openai/clip-vit-large-patch14"),
    "dino": Kind("frames", SQUEEZED, required="the folder of a vision model, or its name in the hub"),
    "resnet152": Kind("frames", {}),
    "r2plus1d": Kind("motion", {"16": "clips of 16 frames, not of 8"}),
    "clap": Kind("audio", RAW, model="laion/clap-htsat-unfused"),
    "vggish": Kind(
        "audio",
        {
            "pca": "whitened by the published components",
            "quantised": "whitened, then in steps of 0 to 255, as AudioSet's are",
        },
        required="the file of its weights",
    ),
}


@dataclass(frozen=True)
class EncoderName:
    """What the name of an encoder says."""

    kind: str
    options: frozenset[str]
    model: str

    @property
    def feature(self) -> str:
        return KINDS[self.kind].feature


def parse_encoder(text: str) -> EncoderName:
    """What KIND[+OPTION…][:MODEL] says. ConfigError."""
    first, _, model = text.partition(":")
    name, *options = first.split("+")
    if name not in KINDS:
        known = ", ".join(KINDS)
        raise ConfigError(f"encoder '{text}': '{name}' is none of {known}{nearest(name, KINDS)}; name KIND[:MODEL]")
    kind = KINDS[name]
    for option in options:
        if option not in kind.options:
            known = ", ".join(f"+{known} ({what})" for known, what in kind.options.items()) or "none"
            raise ConfigError(f"encoder '{text}': {name} has no option '{option}'; it has {known}")
    if not (model or kind.model) and kind.required:
        raise ConfigError(f"encoder '{text}' lacks its model: give {name}:MODEL, {kind.required}")
    return EncoderName(name, frozenset(options), model or kind.model)


def open_encoder(text: str, device: str = "cpu", dtype: str = "float32") -> Encoder:
    """The encoder of a name, ready on a device, computing in float32, float16 or bfloat16. UserError, one message,
    where a package, a file or a GPU is missing, or a file is of something else."""
    name = parse_encoder(text)
    try:
        from jomold_dist.extraction.encoding.computing import computing_on
    except ModuleNotFoundError as error:
        raise UserError(f"encoders need the package {error.name}: pip install 'jomold_dist[extract]'") from None
    computing = computing_on(device, dtype)
    if name.kind in ("clip", "dino"):
        from jomold_dist.extraction.encoding.picture_encoders import open_picture_encoder

        return open_picture_encoder(name, computing)
    if name.kind == "clap":
        from jomold_dist.extraction.encoding.clap import open_clap

        return open_clap(name, computing)
    if name.kind == "vggish":
        from jomold_dist.extraction.encoding.vggish import open_vggish

        return open_vggish(name, computing)
    from jomold_dist.extraction.encoding.torchvision_encoders import open_torchvision_encoder

    return open_torchvision_encoder(name, computing)


def require_frames(media: np.ndarray, rows: int) -> None:
    """ValueError if these are not so many RGB pictures."""
    if media.dtype != "uint8" or media.ndim != 4 or media.shape[0] != rows or media.shape[-1] != 3:
        raise ValueError(f"frames are {media.dtype} {media.shape}, and not uint8 ({rows}, height, width, 3)")


def require_sound(media: np.ndarray, samples: int) -> None:
    """ValueError if this is not so much of one channel."""
    if media.dtype != "float32" or media.shape != (samples,):
        raise ValueError(f"sound is {media.dtype} {media.shape}, and not float32 ({samples},)")
