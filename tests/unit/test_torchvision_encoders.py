"""torchvision's networks as for LLP's features: the preparation of frames, and the networks where there are any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the extra `extract` is not installed")

import torch
from PIL import Image

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.encoders import open_encoder
from jomold_dist.extraction.encoding.torchvision_encoders import OF_IMAGENET, OF_KINETICS
from jomold_dist.extraction.media.sampling import Sampling

SAMPLING = Sampling(segments=2, segment_seconds=1.0, frames_per_segment=8)


def frames(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width", "box"), [(300, 401, (59, 16)), (512, 256, (16, 144)), (120, 90, (16, 58))])
def test_of_a_frame_the_middle_is_taken(height: int, width: int, box: tuple[int, int]) -> None:
    """The shorter side becomes 256, and 224 × 224 of its middle are looked at."""
    (frame,) = frames(1, height, width)
    least = min(height, width)
    picture = Image.fromarray(frame).resize((256 * width // least, 256 * height // least), Image.Resampling.BILINEAR)
    left, top = box
    cut = np.asarray(picture.crop((left, top, left + 224, top + 224)), dtype=np.float64) / 255
    expected = (cut - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    made = OF_IMAGENET(frame[None])
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[0].transpose(1, 2, 0), expected, atol=1e-5)


def test_a_frame_of_a_clip_is_squeezed() -> None:
    (frame,) = frames(1, 90, 160)
    squeezed = np.asarray(Image.fromarray(frame).resize((112, 112), Image.Resampling.BILINEAR), dtype=np.float64) / 255
    expected = (squeezed - [0.43216, 0.394666, 0.37645]) / [0.22803, 0.22145, 0.216989]
    np.testing.assert_allclose(OF_KINETICS(frame[None])[0].transpose(1, 2, 0), expected, atol=1e-5)


@pytest.mark.lengthy
def test_networks_give_what_torchvision_gives_before_the_classifier(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision", reason="torchvision is not installed").models
    resnet, r2plus1d = models.resnet152(weights=None).eval(), models.video.r2plus1d_18(weights=None).eval()
    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    torch.save(r2plus1d.state_dict(), tmp_path / "r2plus1d.pth")
    pictures = frames(16, 130, 170)
    encoder = open_encoder(f"resnet152:{tmp_path / 'resnet.pth'}")
    with torch.no_grad():
        before = torch.nn.Sequential(*list(resnet.children())[:-1])(torch.from_numpy(OF_IMAGENET(pictures))).flatten(1)
    made = encoder.encode(pictures, SAMPLING)
    assert made.shape == (16, 2048)
    np.testing.assert_allclose(made, before, rtol=1e-3)

    encoder = open_encoder(f"r2plus1d:{tmp_path / 'r2plus1d.pth'}")
    clips = torch.from_numpy(OF_KINETICS(pictures)).reshape(2, 8, 3, 112, 112).transpose(1, 2)
    with torch.no_grad():
        before = torch.nn.Sequential(*list(r2plus1d.children())[:-1])(clips).flatten(1)
    made = encoder.encode(pictures, SAMPLING)
    assert made.shape == (2, 512)
    np.testing.assert_allclose(made, before, rtol=1e-3, atol=1e-5)
    assert open_encoder(f"r2plus1d+16:{tmp_path / 'r2plus1d.pth'}").frames_per_clip == 16
    with pytest.raises(UserError, match="no file of r2plus1d's weights: it lacks stem"):
        open_encoder(f"r2plus1d:{tmp_path / 'resnet.pth'}")
    torch.hub.set_dir(str(tmp_path))
    with pytest.raises(UserError, match=r"weights of resnet152 are not there: download https://.*resnet152:FILE"):
        open_encoder("resnet152")
