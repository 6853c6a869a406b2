"""Features of sound by a CLAP of transformers: for each segment an embedding in the space of its texts.

A segment is shorter than the window that a CLAP takes (10 s), and is repeated to fill it, as the model's folder says.
Of several sounds none of which is longer than the window, transformers picks one at random to be called longer, which
a fused model then treats otherwise. Here none is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jomold_dist.errors import ConfigError, UserError
from jomold_dist.extraction.encoding.computing import Computing, rows_of, unit_rows
from jomold_dist.extraction.encoding.encoders import EncoderName, require_sound
from jomold_dist.extraction.encoding.model_files import ModelFolder, find_model, first_line
from jomold_dist.extraction.encoding.pretrained import (
    describe_model,
    describe_preprocessor,
    load_model,
    load_preprocessor,
    require_transformers,
    require_type,
)

if TYPE_CHECKING:
    from jomold_dist.extraction.media.sampling import Sampling

TYPES = {"clap", "clap_audio_model"}


@dataclass(frozen=True)
class ClapEncoder:
    """An encoder of sound. `network` gives rows (n, width) for spectrograms (n, channels, frames, bands)."""

    network: Callable[[torch.Tensor], torch.Tensor]
    extractor: Any
    computing: Computing
    description: Mapping[str, Any]
    width: int

    feature = "audio"
    takes = "sound"
    shortest_side = 0
    frames_per_clip = 0

    @property
    def rate(self) -> int:
        return int(self.extractor.sampling_rate)

    def check(self, sampling: Sampling) -> None:
        window = self.extractor.nb_max_samples / self.rate
        if sampling.segment_seconds > window:
            raise ConfigError(
                f"segments of {sampling.segment_seconds:g} s are longer than the {window:g} s that "
                f"{self.description['name']} takes, which would cut a part out at random; take shorter ones"
            )

    def describe(self) -> dict[str, Any]:
        return dict(self.description)

    def encode(self, media: np.ndarray, sampling: Sampling) -> np.ndarray:
        self.check(sampling)
        require_sound(media, sampling.samples(self.rate))
        parts = [media[part] for part in sampling.segment_samples(self.rate)]
        return rows_of(len(parts), lambda some: self.prepare(parts[some]), self.network, self.computing)

    def prepare(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Spectrograms of segments, float32 (n, channels, frames, bands)."""
        made = self.extractor(sounds, sampling_rate=self.rate, return_tensors="np")
        return np.asarray(made["input_features"], dtype=np.float32)


def open_clap(name: EncoderName, computing: Computing) -> ClapEncoder:
    """UserError."""
    require_transformers(name.kind)
    folder = find_model(name.model)
    require_type(folder, TYPES, "a CLAP")
    model, _ = load_model(folder, "ClapAudioModelWithProjection", "a CLAP's part for sound", computing)
    extractor = load_preprocessor(folder, "ClapFeatureExtractor")
    unit = "raw" not in name.options

    def embeddings(spectrograms: torch.Tensor) -> torch.Tensor:
        longer = torch.zeros(len(spectrograms), 1, dtype=torch.bool, device=spectrograms.device)
        return unit_rows(model(input_features=spectrograms, is_longer=longer).audio_embeds, unit)

    width = int(model.config.projection_dim)
    description = {
        "kind": name.kind,
        **describe_model(folder),
        "output": "embeddings in the space of texts",
        "unit_norm": unit,
        "dtype": computing.dtype,
        "preprocessing": describe_preprocessor(extractor),
        "width": width,
    }
    encoder = ClapEncoder(embeddings, extractor, computing, description, width)
    _probe(encoder, folder)
    return encoder


def _probe(encoder: ClapEncoder, folder: ModelFolder) -> None:
    """UserError if a model does not fit its preprocessing."""
    silence = np.zeros(encoder.rate, dtype=np.float32)
    try:
        rows_of(1, lambda _: encoder.prepare([silence]), encoder.network, encoder.computing)
    except Exception as error:
        raise UserError(f"{folder.path}: the model does not take a prepared sound: {first_line(error)}") from None
