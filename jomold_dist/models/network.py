"""What every network is: features in, outputs that a loss takes, and a parsing.

Shapes: B videos, T segments, C categories.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from jomold_dist.config import LossConfig, ModelConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.errors import ConfigError, nearest


@dataclass(frozen=True)
class FeatureSizes:
    """Length of one segment's feature vector per kind; None for a kind that is absent."""

    audio: int | None = 128
    frames: int | None = 2048
    motion: int | None = 512

    def __str__(self) -> str:
        """For messages: `audio of 128, frames of 2048`."""
        return ", ".join(f"{kind} of {size}" for kind, size in vars(self).items() if size is not None)

    def of(self, kind: str) -> int:
        """The length of a kind that a network cannot do without. ValueError if it is absent."""
        size: int | None = getattr(self, kind)
        if size is None:
            raise ValueError(f"this network takes {kind}, and there is none")
        return size


def feature_sizes(manifest: Manifest) -> FeatureSizes:
    """Lengths of the feature vectors of a data set."""
    sizes = {name: spec.shape[1] for name, spec in manifest.features.items()}
    return FeatureSizes(audio=sizes.get("audio"), frames=sizes.get("frames"), motion=sizes.get("motion"))


class Parsing(NamedTuple):
    """What a network says of a batch: probabilities in at least float32, and audio-visual similarities.

    Of a modality that a network lacks, the probability is None and the segments' are 0.
    """

    video_prob: Tensor  # (B, C); may exceed 1
    audio_prob: Tensor | None  # (B, C)
    visual_prob: Tensor | None  # (B, C)
    segment_prob: Tensor  # (B, T, 2, C)
    similarity: Tensor | None = None  # (B, T, T); audio segment against visual segment


class Network(nn.Module, ABC):
    """The base of all networks. A subclass has a constructor, `finish` and `parsing`, and names itself in `form`.

    `compute_dtype` None computes in the parameters' dtype; bfloat16 and float16 are the encoder's, with probabilities
    and everything after them in float32.
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio", "visual")
    """Those that it parses."""
    needs: ClassVar[tuple[str, ...]] = ("audio", "frames")
    """The features without which it cannot be built."""
    own_terms: ClassVar[tuple[str, ...]] = ()
    """Its own terms of the loss, beside those of its modalities and of the whole video."""
    configured_terms: ClassVar[tuple[str, ...]] = ()
    """Those of its own terms whose weights are settings, `loss.NAME`. The others weigh 1."""
    reads: ClassVar[tuple[str, ...]]
    """Of the settings that are for some networks only (methods/essential.py), those that it looks at. Each class says
    so for itself, and is taken to look at all unless it does."""
    zero3_problem: ClassVar[str | None] = None
    """Why ZeRO's stage 3 cannot hold its parameters."""

    gate: str = "own"
    """Whose probability a segment's event needs beside its own: its modality's (`own`), or the whole `video`'s."""
    segment_threshold: float = 0.5
    """From which probability on a segment counts."""
    video_threshold: float = 0.5
    """From which one on the probability of its modality, or of the video, lets it."""
    compute_dtype: torch.dtype | None = None

    @classmethod
    def build(cls, model: ModelConfig, manifest: Manifest, cross_modal: bool = True) -> Network:
        """The network that a config asks for, for a data set's categories and features, with fresh parameters.
        `model.options` become arguments of the constructor; ConfigError names those that it does not have."""
        given = {"num_classes": len(manifest.categories), "feature_sizes": feature_sizes(manifest)}
        return cls.with_options(model.options, **given, **cls.data_form(manifest))

    @classmethod
    def data_form(cls, manifest: Manifest) -> dict[str, Any]:
        """Further arguments of the constructor that follow from the data set."""
        return {}

    @classmethod
    def with_options(cls, options: Mapping[str, Any], **given: Any) -> Network:
        """The network of a constructor's arguments, of which `options` are a user's."""
        known = [name for name in inspect.signature(cls).parameters if name not in given]
        for name in options:
            if name not in known:
                raise ConfigError(f"model.options.{name}: {cls.__name__} has no such option{nearest(name, known)}")
        try:
            return cls(**given, **options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model.options = {dict(options)} cannot be used by {cls.__name__}: {error}") from None

    @abstractmethod
    def form(self) -> dict[str, Any]:
        """The constructor's arguments as JSON: with the weights, all that is needed to build the network again."""

    @classmethod
    def from_form(cls, form: Mapping[str, Any]) -> Network:
        """The inverse of `form`. ValueError or TypeError for what is no form of this network."""
        arguments = dict(form)
        if "feature_sizes" in arguments:
            arguments["feature_sizes"] = FeatureSizes(**arguments["feature_sizes"])
        return cls(**arguments)

    def begin(self, **features: Tensor) -> Any:
        """The part in which the gradient pass and the ranking pass do not differ."""
        return features

    @abstractmethod
    def finish(self, begun: Any) -> Any:
        """The rest of the gradient pass: outputs, as (nested) tuples of tensors."""

    def rank(self, begun: Any, with_dropout: bool) -> tuple[Tensor, Tensor]:
        """The rest of the ranking pass: audio and visual probabilities (B, C), without gradient. Here the pass is the
        gradient pass, without dropout unless asked for."""
        training = self.training
        with torch.no_grad():
            self.train(training and with_dropout)
            try:
                parsing = self.parsing(self.finish(begun))
            finally:
                self.train(training)
        if parsing.audio_prob is None or parsing.visual_prob is None:
            raise ValueError("labels can be ranked by a network of both modalities only")
        return parsing.audio_prob, parsing.visual_prob

    def forward(self, audio: Tensor | None = None, frames: Tensor | None = None, motion: Tensor | None = None) -> Any:
        """Features of B videos -> outputs. audio (B, T, ·); frames (B, T, ·) or (B, kT, ·), k frames a segment; motion
        (B, T, ·); None where its size is None."""
        features = {"audio": audio, "frames": frames, "motion": motion}
        return self.finish(self.begin(**{name: given for name, given in features.items() if given is not None}))

    @abstractmethod
    def parsing(self, outputs: Any) -> Parsing:
        """The parsing in the outputs."""

    def parse(self, **features: Tensor) -> Parsing:
        """Features of B videos, named as in `forward` -> Parsing."""
        return self.parsing(self(**features))

    def terms(self, outputs: Any, loss: LossConfig) -> dict[str, Tensor]:
        """The network's own terms that weigh more than 0, each (B,) and without its weight."""
        return {}


def plain_form(**arguments: Any) -> dict[str, Any]:
    """A constructor's arguments as JSON."""
    return {name: asdict(value) if is_dataclass(value) else value for name, value in arguments.items()}  # type: ignore[arg-type]
