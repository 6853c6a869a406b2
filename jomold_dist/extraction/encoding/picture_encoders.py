"""Features of single frames by models of transformers: CLIP's embeddings, which lie in the space of its texts, and
what a DINO, a ViT or another model of pictures alone gives for a whole picture.

Frames are prepared as the model's folder says, by PIL: the same code prepares them where torchvision is installed too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.computing import Computing, rows_of, unit_rows
from jomold_dist.extraction.encoding.encoders import EncoderName, require_frames
from jomold_dist.extraction.encoding.model_files import ModelFolder, find_model, first_line
from jomold_dist.extraction.encoding.pretrained import (
    describe_model,
    describe_preprocessor,
    load_model,
    load_preprocessor,
    model_class,
    require_transformers,
    require_type,
)

if TYPE_CHECKING:
    from jomold_dist.extraction.media.sampling import Sampling

Network = Callable[[torch.Tensor], torch.Tensor]

CLIP_TYPES = {"clip", "clip_vision_model"}
USUAL_SIDE = 224  # of pictures, where the preprocessing does not say


@dataclass(frozen=True)
class PictureEncoder:
    """An encoder of frames. `network` gives rows (n, width) for pixels (n, 3, h, w)."""

    network: Network
    preprocessor: Any
    computing: Computing
    description: Mapping[str, Any]
    width: int

    feature = "frames"
    takes = "frames"
    rate = 0
    frames_per_clip = 0

    @property
    def shortest_side(self) -> int:
        size = self.preprocessor.to_dict().get("size") or {}
        sides = [value for value in dict(size).values() if isinstance(value, int)]
        return max(sides, default=USUAL_SIDE)

    def check(self, sampling: Sampling) -> None:
        """Any sampling will do."""

    def describe(self) -> dict[str, Any]:
        return dict(self.description)

    def encode(self, media: np.ndarray, sampling: Sampling) -> np.ndarray:
        rows = sampling.segments * sampling.frames_per_segment
        require_frames(media, rows)
        return rows_of(rows, lambda part: self.prepare(media[part]), self.network, self.computing)

    def prepare(self, frames: np.ndarray) -> np.ndarray:
        """Pixels of frames, float32 (n, 3, h, w)."""
        made = self.preprocessor(list(frames), return_tensors="np", input_data_format="channels_last")
        return np.asarray(made["pixel_values"], dtype=np.float32)


def open_picture_encoder(name: EncoderName, computing: Computing) -> PictureEncoder:
    """CLIP's or another model's. UserError."""
    require_transformers(name.kind)
    folder = find_model(name.model)
    opened = _clip if name.kind == "clip" else _vision_model
    network, said = opened(folder, name, computing)
    preprocessor = load_preprocessor(folder, "AutoImageProcessor", backend="pil")
    if "squeezed" in name.options:
        preprocessor = _squeezing(preprocessor, folder)
    description = {
        "kind": name.kind,
        **describe_model(folder),
        **said,
        "dtype": computing.dtype,
        "preprocessing": describe_preprocessor(preprocessor),
    }
    width = _probe(PictureEncoder(network, preprocessor, computing, description, 0), folder)
    return PictureEncoder(network, preprocessor, computing, {**description, "width": width}, width)


def _squeezing(preprocessor: Any, folder: ModelFolder) -> Any:
    """The same preprocessing, but that it makes the whole picture as large as the part that it would cut out."""
    said = preprocessor.to_dict()
    cut = said.get("crop_size")
    if not said.get("do_center_crop") or cut is None:
        raise UserError(f"{folder.path}: its preprocessing cuts nothing out of a picture, so leave +squeezed out")
    size = {side: cut[side] for side in ("height", "width")}
    return load_preprocessor(folder, "AutoImageProcessor", backend="pil", size=size, do_center_crop=False)


def _clip(folder: ModelFolder, name: EncoderName, computing: Computing) -> tuple[Network, dict[str, Any]]:
    require_type(folder, CLIP_TYPES, "a CLIP")
    model, _ = load_model(folder, "CLIPVisionModelWithProjection", "a CLIP's part for pictures", computing)
    unit = "raw" not in name.options

    def embeddings(pixels: torch.Tensor) -> torch.Tensor:
        return unit_rows(model(pixel_values=pixels).image_embeds, unit)

    return embeddings, {"output": "embeddings in the space of texts", "unit_norm": unit}


def _vision_model(folder: ModelFolder, name: EncoderName, computing: Computing) -> tuple[Network, dict[str, Any]]:
    """What a model gives for a whole picture: its own pooling where its weights are there, else its first token."""
    _require_pictures(folder)
    model, pooler_missing = load_model(folder, "AutoModel", "a vision model", computing, spared="pooler.")

    def pooled(pixels: torch.Tensor) -> torch.Tensor:
        made = model(pixel_values=pixels)
        if not pooler_missing and (pool := getattr(made, "pooler_output", None)) is not None:
            return pool.flatten(1)
        if made.last_hidden_state.ndim != 3:
            raise ValueError("it gives neither a pooled output nor tokens")
        return made.last_hidden_state[:, 0]

    return pooled, {"output": "first token" if pooler_missing else "pooled, else first token", "unit_norm": False}


def _require_pictures(folder: ModelFolder) -> None:
    """UserError if a folder's model is not one that takes pictures alone. Its weights are not looked at."""
    model, kind = model_class(folder), folder.config.get("model_type")
    taken = getattr(model, "input_modalities", "image")
    said = taken in ("image", ("image",), "text")  # text is said of all that do not say otherwise
    if model is None or model.main_input_name != "pixel_values" or not said:
        raise UserError(
            f"{folder.path} holds a model of type '{kind}', and not a vision model that takes pictures alone (such as "
            "dinov2, vit, swin); of a CLIP, clip:MODEL takes the part for pictures"
        )


def _probe(encoder: PictureEncoder, folder: ModelFolder) -> int:
    """The width of what a model makes. UserError if it does not fit its preprocessing, or draws at random."""
    frame = np.random.default_rng(0).integers(0, 256, (1, USUAL_SIDE, USUAL_SIDE * 4 // 3, 3), dtype=np.uint8)
    try:
        once, again = (
            rows_of(1, lambda _: encoder.prepare(frame), encoder.network, encoder.computing) for _ in range(2)
        )
    except Exception as error:
        raise UserError(f"{folder.path}: the model does not take a prepared picture: {first_line(error)}") from None
    if once.ndim != 2 or not np.array_equal(once, again):
        raise UserError(f"{folder.path}: the model gives no row of numbers for a picture, or other numbers each time")
    return int(once.shape[1])
