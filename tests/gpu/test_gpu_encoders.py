"""What makes features of videos, on a GPU: as on a CPU but for rounding, the same bits each time, and in fewer bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jomold_dist.extraction.encoders import open_encoder
from jomold_dist.extraction.sampling import Sampling
from tests.tiny_models import tiny_clap, tiny_clip, tiny_dino, tiny_vggish

pytest.importorskip("transformers", reason="the extra `extract` is not installed")
pytestmark = pytest.mark.gpu

SAMPLING = Sampling(segments=3, segment_seconds=1.0, frames_per_segment=2)
MAKERS = {"clip": tiny_clip, "dino": tiny_dino, "clap": tiny_clap, "vggish": tiny_vggish}


@pytest.mark.parametrize("kind", MAKERS)
def test_features_on_a_gpu(kind: str, device: torch.device, tmp_path: Path) -> None:
    text = f"{kind}:{MAKERS[kind](tmp_path / kind)}"
    encoder, other = open_encoder(text), open_encoder(text, f"{device}")
    random = np.random.default_rng(0)
    media = (
        (0.3 * random.standard_normal(SAMPLING.samples(encoder.rate))).astype(np.float32)
        if encoder.rate
        else random.integers(0, 256, (6, 45, 60, 3), dtype=np.uint8)
    )
    expected, made = encoder.encode(media, SAMPLING), other.encode(media, SAMPLING)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(other.encode(media, SAMPLING), made)
    assert other.describe() == encoder.describe()
    for dtype in ("float16", "bfloat16"):
        narrow = open_encoder(text, f"{device}", dtype)
        rows = narrow.encode(media, SAMPLING)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected, atol=0.05 * float(np.abs(expected).max()))
        assert narrow.describe() == {**encoder.describe(), "dtype": dtype}
