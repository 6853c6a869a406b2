"""VGGish beside the published recipe, written plainly: what it hears, its layers, and which seconds a row is of."""

from __future__ import annotations

import math
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.encoders import open_encoder
from jomold_dist.extraction.encoding.log_mel import patches_of
from jomold_dist.extraction.encoding.vggish import Vggish, quantise
from jomold_dist.extraction.media.sampling import Sampling
from tests.tiny_models import tiny_vggish

pytest.importorskip("threadpoolctl", reason="the extra `extract` is not installed")
pytestmark = pytest.mark.lengthy

SECONDS = Sampling(segments=3, segment_seconds=1.0)
PUBLISHED = {  # of the file that circulates
    "features.0": (64, 1, 3, 3),
    "features.3": (128, 64, 3, 3),
    "features.6": (256, 128, 3, 3),
    "features.8": (256, 256, 3, 3),
    "features.11": (512, 256, 3, 3),
    "features.13": (512, 512, 3, 3),
    "embeddings.0": (4096, 12288),
    "embeddings.2": (4096, 4096),
    "embeddings.4": (128, 4096),
}


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    count = round(16_000 * seconds)
    tone = np.sin(2 * np.pi * 440 * np.arange(count) / 16_000)
    return (0.3 * tone + 0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def plain_patch(samples: np.ndarray) -> np.ndarray:
    """The first 96 windows of a second, one after the other."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)  # of a period, not symmetric
    waves = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)  # zeros fill up the 512 points
    bands = triangles()
    patch = np.empty((96, 64))
    for window in range(96):
        amplitudes = np.abs(waves @ (samples[window * 160 : window * 160 + 400] * hann))
        patch[window] = np.log(amplitudes @ bands + 0.01)
    return patch


@cache
def triangles() -> np.ndarray:
    """Of 64 bands over 257 points."""
    edges = np.linspace(mel(125.0), mel(7500.0), 66)
    bands = np.zeros((257, 64))
    for band in range(64):
        left, centre, right = edges[band : band + 3]
        for point in range(1, 257):
            place = mel(point * 8000 / 256)
            bands[point, band] = max(0.0, min((place - left) / (centre - left), (right - place) / (right - centre)))
    return bands


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def plain_network(state: dict[str, torch.Tensor], patch: np.ndarray) -> np.ndarray:
    """Layer by layer, in float64."""
    weights = {name: tensor.double().numpy() for name, tensor in state.items()}
    maps = patch[None]  # (channels, time, bands)
    for layer in (0, 3, 6, 8, 11, 13):
        kernel, bias = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
        views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        maps = np.maximum(np.einsum("oikl,ihwkl->ohw", kernel, views) + bias[:, None, None], 0)
        if layer not in (6, 11):
            maps = maps.reshape(len(maps), maps.shape[1] // 2, 2, maps.shape[2] // 2, 2).max(axis=(2, 4))
    row = maps.transpose(1, 2, 0).ravel()  # time, bands, channels
    for layer in (0, 2, 4):
        row = np.maximum(weights[f"embeddings.{layer}.weight"] @ row + weights[f"embeddings.{layer}.bias"], 0)
    return row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vggish")
    tiny_vggish(folder / "vggish.pth", components=folder / "components.pth")
    return folder


def test_it_hears_what_the_published_one_hears() -> None:
    made = patches_of(sound(1.0))
    assert made.shape == (1, 96, 64)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[0], plain_patch(sound(1.0)), rtol=1e-5, atol=1e-5)


def test_patches_follow_each_other_and_are_whole() -> None:
    assert [len(patches_of(sound(seconds))) for seconds in (0.1, 0.975, 1.0, 1.934, 1.935, 3.0, 10.0)] == [
        1, 1, 1, 1, 2, 3, 10
    ]  # fmt: skip
    np.testing.assert_array_equal(patches_of(sound(2.0))[1], patches_of(sound(2.0)[15_360:])[0])
    np.testing.assert_array_equal(patches_of(sound(0.5)), patches_of(np.pad(sound(0.5), (0, 8_000))))


def test_its_layers_are_those_of_the_file_that_circulates() -> None:
    with torch.device("meta"):
        network = Vggish([64, 128, 256, 256, 512, 512], [4096, 4096, 128]).state_dict()
    weights = {
        name.removesuffix(".weight"): tuple(tensor.shape) for name, tensor in network.items() if "weight" in name
    }
    assert weights == PUBLISHED
    assert {name for name in network if "weight" not in name} == {f"{name}.bias" for name in PUBLISHED}


def test_a_row_is_the_patch_at_the_beginning_of_its_second(folder: Path) -> None:
    """As AVE's and LLP's: each second by itself, after the last ReLU, neither whitened nor in steps."""
    encoder = open_encoder(f"vggish:{folder / 'vggish.pth'}")
    heard = sound(3.0)
    rows = encoder.encode(heard, SECONDS)
    state = torch.load(folder / "vggish.pth", weights_only=True)
    expected = [plain_network(state, plain_patch(second)) for second in heard.reshape(3, 16_000)]
    assert rows.shape == (3, 128)
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)


def test_longer_segments_have_the_mean_of_their_patches(folder: Path) -> None:
    encoder = open_encoder(f"vggish:{folder}")
    heard = sound(6.0)
    rows = encoder.encode(heard, Sampling(segments=3, segment_seconds=2.0))
    alone = encoder.encode(np.concatenate([heard[:15_600], heard[15_360:30_960]]), Sampling(2, 0.975))
    np.testing.assert_allclose(rows[0], alone.mean(axis=0), rtol=1e-5)
    assert "mean" in encoder.describe()["rows"]


def test_whitened_rows_and_steps(folder: Path) -> None:
    """AudioSet's: components times what differs from the means, cut at -2 and 2, in 255 steps."""
    raw, pca = open_encoder(f"vggish:{folder}"), open_encoder(f"vggish+pca:{folder}")
    steps = open_encoder(f"vggish+pca+quantised:{folder}")
    components = torch.load(folder / "components.pth", weights_only=True)
    vectors, means = (components[name].double().numpy() for name in ("pca_eigen_vectors", "pca_means"))
    heard = sound(3.0)
    expected = (vectors @ (raw.encode(heard, SECONDS).T - means)).T
    np.testing.assert_allclose(pca.encode(heard, SECONDS), expected, rtol=1e-4, atol=1e-5)
    made = steps.encode(heard, SECONDS)
    assert set(np.unique(made)) <= set(range(256))
    np.testing.assert_allclose(made, np.rint((np.clip(expected, -2, 2) + 2) * 63.75), atol=1)
    np.testing.assert_array_equal(quantise(np.array([[-9, -2, 0, 2, 9]], dtype=np.float32)), [[0, 0, 128, 255, 255]])
    said = [encoder.describe() for encoder in (raw, pca, steps)]
    assert ["whitened" in one for one in said] == [False, True, True]
    assert [one["quantised"] for one in said] == [False, False, True]


def test_components_change_no_digest_where_they_are_not_used(folder: Path) -> None:
    one, other = open_encoder(f"vggish:{folder}"), open_encoder(f"vggish:{folder / 'vggish.pth'}")
    assert one.describe() == {**other.describe(), "name": one.describe()["name"]}


def test_components_come_in_several_forms(folder: Path, tmp_path: Path) -> None:
    components = torch.load(folder / "components.pth", weights_only=True)
    together = torch.load(folder / "vggish.pth", weights_only=True)
    together |= {f"pproc.{name}": tensor for name, tensor in components.items()}
    torch.save(together, tmp_path / "together.pth")
    apart = tmp_path / "apart"
    apart.mkdir()
    (apart / "vggish.pth").write_bytes((folder / "vggish.pth").read_bytes())
    arrays = {
        "pca_eigen_vectors": components["pca_eigen_vectors"].numpy(),
        "pca_means": components["pca_means"].numpy()[:, 0],
    }
    np.savez(apart / "vggish_pca_params.npz", **arrays)
    old = shutil.copytree(apart, tmp_path / "old", ignore=shutil.ignore_patterns("*.npz"))
    torch.save(arrays, old / "vggish_pca_params.pth", _use_new_zipfile_serialization=False)
    written = (old / "vggish_pca_params.pth").read_bytes()  # as numpy called itself when the published file was written
    (old / "vggish_pca_params.pth").write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    heard = sound(3.0)
    expected = open_encoder(f"vggish+pca:{folder}")
    for place in (tmp_path / "together.pth", apart, old):
        other = open_encoder(f"vggish+pca:{place}")
        np.testing.assert_array_equal(other.encode(heard, SECONDS), expected.encode(heard, SECONDS))
        assert other.describe()["whitened"] == expected.describe()["whitened"]


def test_files_that_are_none_of_it_are_told(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "vggish.pth", weights_only=True)
    broken = tmp_path / "broken.pth"
    for content, message in (
        ({"conv1.weight": torch.zeros(3)}, "no file of VGGish's weights: it lacks features.0.weight"),
        ({name: tensor for name, tensor in state.items() if name != "features.8.bias"}, "it lacks features.8.bias"),
        (state | {"features.8.bias": torch.zeros(99)}, "no file of VGGish's weights: .*features.8.bias"),
        (state | {"features.0.weight": torch.tensor(1.0)}, "it lacks features.0.weight"),
        ([1, 2], "holds more than tensors by name"),
    ):
        torch.save(content, broken)
        with pytest.raises(UserError, match=message):
            open_encoder(f"vggish:{broken}")
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(UserError, match="no file of weights, or damaged"):
        open_encoder(f"vggish:{broken}")
    with pytest.raises(UserError, match="are not there: No such file"):
        open_encoder(f"vggish:{tmp_path / 'nothing.pth'}")
    with pytest.raises(UserError, match=r"lacks the principal components .*into one folder"):
        open_encoder(f"vggish+pca:{folder / 'vggish.pth'}")
