"""Features of frames and of clips by networks of torchvision, as LLP publishes them.

ResNet-152: 2048 values before the classifier, for each of 8 frames a second, whose shorter side is brought to 256
pixels and of which the middle 224 × 224 are taken. R(2+1)D-18: 512 values for each second, for a clip of its 8 frames,
each squeezed to 112 × 112. Weights are a file that is named, or what torchvision has downloaded before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.computing import Computing, rows_of
from jomold_dist.extraction.encoding.encoders import EncoderName, require_frames
from jomold_dist.extraction.encoding.model_files import digest_of
from jomold_dist.extraction.encoding.weight_files import load_weights, read_weights
from jomold_dist.reading import is_there

if TYPE_CHECKING:
    from jomold_dist.extraction.media.sampling import Sampling

MOST_CLIPS = 8  # of a chunk; a clip has the activations of 8 or 16 pictures


@dataclass(frozen=True)
class Preparation:
    """How a frame becomes the network's input. `shorter` is the length of the shorter side before the middle is cut
    out; 0 where a frame is squeezed to the size as a whole."""

    size: int
    shorter: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Pixels, float32 (n, 3, size, size), of frames, uint8 (n, H, W, 3)."""
        sized = np.stack([self._sized(frame) for frame in frames])
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        pixels = (sized.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def _sized(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        if self.shorter:
            least = min(height, width)
            height, width = self.shorter * height // least, self.shorter * width // least
        else:
            height = width = self.size
        picture = Image.fromarray(frame)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        top, left = round((height - self.size) / 2), round((width - self.size) / 2)
        return np.asarray(picture)[top : top + self.size, left : left + self.size]

    def describe(self) -> dict[str, Any]:
        cut = {"shorter_side": self.shorter, "crop": self.size} if self.shorter else {"squeezed_to": self.size}
        return {**cut, "resample": "bilinear, by PIL", "mean": list(self.mean), "std": list(self.std)}


OF_IMAGENET = Preparation(224, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OF_KINETICS = Preparation(112, 0, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))


@dataclass(frozen=True)
class TorchvisionEncoder:
    """An encoder of frames, or of clips where `frames_per_clip` is not 0."""

    feature: str
    takes: str
    width: int
    shortest_side: int
    frames_per_clip: int
    network: Callable[[torch.Tensor], torch.Tensor]
    preparation: Preparation
    computing: Computing
    description: Mapping[str, Any]

    rate = 0

    def check(self, sampling: Sampling) -> None:
        """Any sampling will do."""

    def describe(self) -> dict[str, Any]:
        return dict(self.description)

    def encode(self, media: np.ndarray, sampling: Sampling) -> np.ndarray:
        if not self.frames_per_clip:
            require_frames(media, rows := sampling.segments * sampling.frames_per_segment)
            return rows_of(rows, lambda part: self.preparation(media[part]), self.network, self.computing)
        require_frames(media, sampling.segments * self.frames_per_clip)
        clips = media.reshape(sampling.segments, self.frames_per_clip, *media.shape[1:])
        return rows_of(len(clips), lambda part: self._clips(clips[part]), self.network, self.computing, MOST_CLIPS)

    def _clips(self, clips: np.ndarray) -> np.ndarray:
        """float32 (n, 3, frames, size, size)."""
        return np.stack([self.preparation(clip).transpose(1, 0, 2, 3) for clip in clips])


def open_torchvision_encoder(name: EncoderName, computing: Computing) -> TorchvisionEncoder:
    """ResNet-152 or R(2+1)D-18. UserError."""
    models = _torchvision_models(name.kind)
    if name.kind == "resnet152":
        network, published = models.resnet152(weights=None), models.ResNet152_Weights.IMAGENET1K_V1
        feature, takes, preparation, frames = "frames", "frames", OF_IMAGENET, 0
    else:
        network, published = models.video.r2plus1d_18(weights=None), models.video.R2Plus1D_18_Weights.KINETICS400_V1
        feature, takes, preparation, frames = "motion", "clips", OF_KINETICS, 16 if "16" in name.options else 8
    path = Path(name.model).expanduser() if name.model else _downloaded(name.kind, published.url)
    load_weights(network, read_weights(path), name.kind, path)
    width = network.fc.in_features
    network.fc = torch.nn.Identity()
    description = {
        "kind": name.kind,
        "name": path.name,
        "weights": digest_of([path]),
        "output": "before the classifier",
        "dtype": computing.dtype,
        "preprocessing": preparation.describe(),
        "width": width,
    } | ({"frames_per_clip": frames} if frames else {})
    network = network.eval().to(computing.device, computing.torch_dtype)
    side = preparation.shorter or preparation.size
    return TorchvisionEncoder(feature, takes, width, side, frames, network, preparation, computing, description)


def _torchvision_models(kind: str) -> Any:
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # RuntimeError: one that was built for another torch
        why = "is not installed" if isinstance(error, ImportError) else "is of another release than torch"
        raise UserError(
            f"the encoder {kind} needs the package torchvision, which {why}: pip install torchvision, of the release "
            f"that belongs to torch {torch.__version__}"
        ) from None
    return torchvision.models


def _downloaded(kind: str, url: str) -> Path:
    """Where torchvision lays the published weights. UserError if they are not there: nothing is downloaded here."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not is_there(path):
        raise UserError(f"the weights of {kind} are not there: download {url} and name the file, {kind}:FILE")
    return path
