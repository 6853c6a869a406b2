"""Features of sound by VGGish, 128 values a segment, as those of LLP and AVE are.

The network is that of Hershey et al. (2017) as it was published with AudioSet: six convolutions of 3 × 3 with four
poolings over patches of 96 × 64, and three dense layers, all followed by a ReLU. Its weights come from a file in the
layout that circulates for torch (`features.0.weight`, …, `embeddings.4.bias`). AVE's features, and LLP's, are what
the last ReLU gives for the patch at the beginning of each second: floats, most of them 0, neither whitened nor in
steps. AudioSet's own are whitened by principal components and in steps of 0 to 255: options here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.computing import Computing, reproducible, rows_of
from jomold_dist.extraction.encoding.encoders import EncoderName, require_sound
from jomold_dist.extraction.encoding.log_mel import BANDS, RATE, WINDOWS, describe_log_mel, patches_of
from jomold_dist.extraction.encoding.model_files import digest_of
from jomold_dist.extraction.encoding.weight_files import load_weights, read_weights, weight_files

if TYPE_CHECKING:
    from jomold_dist.extraction.media.sampling import Sampling

CONVOLUTIONS = (0, 3, 6, 8, 11, 13)  # their places in `features`; a pooling of 2 × 2 follows those below
POOLED = {0, 3, 8, 13}
DENSE = (0, 2, 4)  # their places in `embeddings`
VECTORS, MEANS = ("pca_eigen_vectors", "pca_matrix"), ("pca_means",)  # names that circulate
QUANTISED_TO = 2.0  # whitened values from -2 to 2 become steps from 0 to 255


class Vggish(nn.Module):
    """Rows (n, width) for patches (n, 96, 64). The widths of its layers are those of the weights that it is to get."""

    def __init__(self, channels: list[int], widths: list[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, before, size in zip(CONVOLUTIONS, [1, *channels], channels, strict=False):
            layers += [nn.Conv2d(before, size, kernel_size=3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if place in POOLED else []
        self.features = nn.Sequential(*layers)
        dense: list[nn.Module] = []
        for before, size in zip([channels[-1] * (WINDOWS // 16) * (BANDS // 16), *widths], widths, strict=False):
            dense += [nn.Linear(before, size), nn.ReLU()]
        self.embeddings = nn.Sequential(*dense)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        maps = self.features(patches[:, None])  # (n, channels, 6, 4)
        rows: torch.Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # channels last, as published
        return rows


@dataclass(frozen=True)
class Whitening:
    """Principal components, (width, width), and means, (width,), of the published features."""

    vectors: torch.Tensor
    means: torch.Tensor

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers: they come in files of several forms."""
        both = torch.cat([self.vectors.flatten(), self.means])
        return hashlib.sha256(both.cpu().numpy().astype("<f4").tobytes()).hexdigest()

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows.float() - self.means) @ self.vectors.T


@dataclass(frozen=True)
class VggishEncoder:
    """An encoder of sound. A segment's row is the mean over the patches that fit into it; into a second fits one."""

    network: Vggish
    whitening: Whitening | None
    quantised: bool
    computing: Computing
    description: Mapping[str, Any]
    width: int

    feature = "audio"
    takes = "sound"
    rate = RATE
    shortest_side = 0
    frames_per_clip = 0

    def check(self, sampling: Sampling) -> None:
        """Any sampling will do."""

    def describe(self) -> dict[str, Any]:
        return dict(self.description)

    def encode(self, media: np.ndarray, sampling: Sampling) -> np.ndarray:
        require_sound(media, sampling.samples(RATE))
        with reproducible():
            patches = [patches_of(media[part]) for part in sampling.segment_samples(RATE)]
        together, counts = np.concatenate(patches), [len(some) for some in patches]
        made = rows_of(len(together), lambda part: together[part], self.compute, self.computing)
        rows = np.stack([some.mean(axis=0) for some in np.split(made, np.cumsum(counts)[:-1])])
        return quantise(rows) if self.quantised else rows

    def compute(self, patches: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.network(patches)
        return rows if self.whitening is None else self.whitening(rows)


def quantise(rows: np.ndarray) -> np.ndarray:
    """Whitened rows in steps of 0 to 255, as whole numbers in float32."""
    steps = (np.clip(rows, -QUANTISED_TO, QUANTISED_TO) + QUANTISED_TO) * np.float32(255.0 / (2 * QUANTISED_TO))
    return np.asarray(np.rint(steps), dtype=np.float32)


def open_vggish(name: EncoderName, computing: Computing) -> VggishEncoder:
    """UserError. The components lie in the same file as the weights, or in another file of the same folder."""
    files = {path: read_weights(path) for path in weight_files(name.model)}
    state = {key: tensor for held in files.values() for key, tensor in held.items()}
    network = _network(state, name.model)
    load_weights(network, state, "VGGish", name.model)
    network = network.eval().to(computing.device, computing.torch_dtype)
    quantised = "quantised" in name.options
    whitening = _whitening(state, name.model, computing) if quantised or "pca" in name.options else None
    width = len(state["embeddings.4.weight"])
    description = {
        "kind": "vggish",
        "name": Path(name.model).expanduser().resolve().name,
        "weights": digest_of(path for path, held in files.items() if held.keys() & network.state_dict().keys()),
        "output": "after the last ReLU",
        **({} if whitening is None else {"whitened": whitening.digest}),
        "quantised": quantised,
        "rows": "mean of a segment's patches",
        "dtype": computing.dtype,
        "preprocessing": describe_log_mel(),
        "width": width,
    }
    return VggishEncoder(network, whitening, quantised, computing, description, width)


def _network(state: Mapping[str, torch.Tensor], named: str) -> Vggish:
    """A network as wide as its weights. UserError if they are none of VGGish's."""
    names = [f"features.{place}.weight" for place in CONVOLUTIONS] + [f"embeddings.{place}.weight" for place in DENSE]
    if lacking := [name for name in names if name not in state or state[name].ndim == 0]:
        raise UserError(f"{named} is no file of VGGish's weights: it lacks {', '.join(lacking[:3])}")
    sizes = [int(state[name].shape[0]) for name in names]
    return Vggish(sizes[: len(CONVOLUTIONS)], sizes[len(CONVOLUTIONS) :])


def _whitening(state: Mapping[str, torch.Tensor], named: str, computing: Computing) -> Whitening:
    vectors, means = (
        next(
            (state[f"{prefix}{name}"] for name in names for prefix in ("", "pproc.") if f"{prefix}{name}" in state),
            None,
        )
        for names in (VECTORS, MEANS)
    )
    width = len(state["embeddings.4.weight"])
    if vectors is None or means is None or vectors.shape != (width, width) or means.numel() != width:
        raise UserError(
            f"{named} lacks the principal components ({VECTORS[0]} and {MEANS[0]}) for rows of {width}; lay their file "
            "and that of the weights into one folder, and name the folder"
        )
    return Whitening(vectors.float().to(computing.device), means.float().reshape(width).to(computing.device))
