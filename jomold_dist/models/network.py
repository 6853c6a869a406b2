"""What every network is to the trainer, the evaluation and a weights file.

Shapes: B videos, T segments, C categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from jomold_dist.config import LossConfig, ModelConfig
from jomold_dist.data.manifest import Manifest
from jomold_dist.models.han import FeatureSizes


class Parsing(NamedTuple):
    """What a network says of a batch: probabilities in at least float32."""

    video_prob: Tensor  # (B, C); may exceed 1 (HAN)
    audio_prob: Tensor | None  # (B, C); None: the network does not hear
    visual_prob: Tensor | None  # (B, C)
    segment_prob: Tensor  # (B, T, 2, C); 0 in a modality that the network lacks
    similarity: Tensor | None = None  # (B, T, T)


class Network(nn.Module):
    """Base of all networks."""

    modalities: ClassVar[tuple[str, ...]] = ("audio", "visual")
    own_terms: ClassVar[tuple[str, ...]] = ()
    zero3_problem: ClassVar[str | None] = None
    gate: str = "own"
    segment_threshold: float = 0.5
    compute_dtype: torch.dtype | None = None

    @classmethod
    def build(cls, model: ModelConfig, manifest: Manifest, cross_modal: bool = True) -> Network:
        """From the config and the data set."""
        sizes = {name: spec.shape[1] for name, spec in manifest.features.items()}
        return cls(
            num_classes=len(manifest.categories),
            feature_sizes=FeatureSizes(sizes["audio"], sizes["frames"], sizes.get("motion")),
            **cls.data_form(manifest),
            **getattr(model, "options", {}),
        )

    @classmethod
    def data_form(cls, manifest: Manifest) -> dict[str, Any]:
        """Constructor arguments that follow from the data set, beside categories and sizes of the features."""
        return {}

    def form(self) -> dict[str, Any]:
        """JSON: keyword arguments of the constructor."""
        raise NotImplementedError

    @classmethod
    def from_form(cls, form: Mapping[str, Any]) -> Network:
        """The network of a form."""
        return cls(**{**form, "feature_sizes": FeatureSizes(**form["feature_sizes"])})

    def begin(self, **features: Tensor) -> Any:
        """What the gradient pass and the ranking pass share."""
        return features

    def finish(self, begun: Any) -> Any:
        """The outputs of the gradient pass."""
        raise NotImplementedError

    @torch.no_grad()
    def rank(self, begun: Any, dropout: bool) -> tuple[Tensor | None, Tensor | None]:
        """Audio and visual probabilities (B, C) without gradient."""
        training = self.training
        try:
            parsing = self.train(dropout).parsing(self.finish(begun))
        finally:
            self.train(training)
        return parsing.audio_prob, parsing.visual_prob

    def forward(self, audio: Tensor, frames: Tensor, motion: Tensor | None = None) -> Any:
        """Features of B videos -> outputs."""
        features = {"audio": audio, "frames": frames} | ({} if motion is None else {"motion": motion})
        return self.finish(self.begin(**features))

    def parsing(self, outputs: Any) -> Parsing:
        """The Parsing of what finish() gave."""
        raise NotImplementedError

    def parse(self, **features: Tensor) -> Parsing:
        """Inference."""
        return self.parsing(self(**features))

    def terms(self, outputs: Any, loss: LossConfig) -> dict[str, Tensor]:
        """The own terms whose weight is above 0, each (B,)."""
        return {}
