"""What makes features of frames and sounds: the same as the models give by themselves, whatever else goes through."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jomold_dist.errors import ConfigError, DataError, UserError
from jomold_dist.extraction.encoding.encoders import DEFAULT_ENCODERS, Encoder, open_encoder, parse_encoder
from jomold_dist.extraction.media.sampling import Sampling
from tests.tiny_models import CLAP_WIDTH, CLIP_WIDTH, DINO_WIDTH, tiny_clap, tiny_clip, tiny_dino, tiny_vggish

pytest.importorskip("transformers", reason="the extra `extract` is not installed")
pytestmark = pytest.mark.lengthy

SAMPLING = Sampling(segments=3, segment_seconds=1.0, frames_per_segment=2)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models; nothing in it is changed."""
    folder = tmp_path_factory.mktemp("models")
    tiny_clip(folder / "clip")
    tiny_dino(folder / "dino")
    tiny_clap(folder / "clap")
    tiny_clap(folder / "fused", fused=True)
    tiny_vggish(folder / "vggish.pth")
    return folder


@pytest.fixture(params=["clip", "dino", "clap", "fused", "vggish.pth"])
def encoder(request: pytest.FixtureRequest, models: Path) -> Encoder:
    kind = {"fused": "clap", "vggish.pth": "vggish"}.get(request.param, request.param)
    return open_encoder(f"{kind}:{models / request.param}")


def media_for(encoder: Encoder, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if encoder.takes == "sound":
        return (0.3 * random.standard_normal(SAMPLING.samples(encoder.rate))).astype(np.float32)
    return random.integers(0, 256, (SAMPLING.segments * SAMPLING.frames_per_segment, 45, 60, 3), dtype=np.uint8)


def test_clip_gives_what_transformers_gives_for_each_picture(models: Path) -> None:
    import torch
    from transformers import AutoImageProcessor, CLIPVisionModelWithProjection

    encoder, raw = open_encoder(f"clip:{models / 'clip'}"), open_encoder(f"clip+raw:{models / 'clip'}")
    frames = media_for(encoder)
    model = CLIPVisionModelWithProjection.from_pretrained(models / "clip").eval()
    processor = AutoImageProcessor.from_pretrained(models / "clip", backend="pil")
    with torch.no_grad():
        alone = [model(**processor(frame, return_tensors="pt")).image_embeds[0].numpy() for frame in frames]
    np.testing.assert_allclose(raw.encode(frames, SAMPLING), alone, rtol=1e-4, atol=1e-6)
    unit = encoder.encode(frames, SAMPLING)
    assert unit.shape == (6, CLIP_WIDTH) == (6, encoder.width)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, alone / np.linalg.norm(alone, axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
    assert (encoder.describe()["unit_norm"], raw.describe()["unit_norm"]) == (True, False)
    assert encoder.shortest_side == 32


def test_a_picture_is_cut_unless_it_is_to_be_squeezed(models: Path) -> None:
    """As VALOR's features are, for which nothing at the sides is lost."""
    from PIL import Image

    cut, squeezed = open_encoder(f"clip:{models / 'clip'}"), open_encoder(f"clip+squeezed:{models / 'clip'}")
    frames = media_for(cut)
    sides = frames.copy()
    sides[:, :, :5] = sides[:, :, -5:] = 0
    assert np.array_equal(cut.encode(frames, SAMPLING), cut.encode(sides, SAMPLING))
    assert not np.array_equal(squeezed.encode(frames, SAMPLING), squeezed.encode(sides, SAMPLING))
    small = np.stack(
        [np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BICUBIC)) for frame in frames]
    )
    np.testing.assert_array_equal(squeezed.encode(frames, SAMPLING), cut.encode(small, SAMPLING))
    said = squeezed.describe()["preprocessing"]
    assert "do_center_crop" not in said
    assert (said["size"], said["resample"]) == ({"height": 32, "width": 32}, "bicubic")
    assert squeezed.shortest_side == 32


def test_dino_gives_the_pooled_output_of_each_picture(models: Path) -> None:
    import torch
    from transformers import AutoImageProcessor, Dinov2Model

    encoder = open_encoder(f"dino:{models / 'dino'}")
    frames = media_for(encoder)
    model = Dinov2Model.from_pretrained(models / "dino").eval()
    processor = AutoImageProcessor.from_pretrained(models / "dino", backend="pil")
    with torch.no_grad():
        alone = [model(**processor(frame, return_tensors="pt")).pooler_output[0].numpy() for frame in frames]
    made = encoder.encode(frames, SAMPLING)
    assert made.shape == (6, DINO_WIDTH) == (6, encoder.width)
    np.testing.assert_allclose(made, alone, rtol=1e-4, atol=1e-6)
    assert encoder.shortest_side == 40


def test_a_pooling_without_weights_is_not_drawn_at_random(tmp_path: Path) -> None:
    """A ViT that was trained to classify has none; transformers makes some up, anew in each process."""
    import torch
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    small = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    model = ViTModel(small, add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = open_encoder(f"dino:{tmp_path}")
    frames = media_for(encoder)
    assert encoder.describe()["output"] == "first token"
    with torch.no_grad():
        tokens = model(pixel_values=torch.from_numpy(encoder.prepare(frames))).last_hidden_state  # type: ignore[attr-defined]
    np.testing.assert_allclose(encoder.encode(frames, SAMPLING), tokens[:, 0], rtol=1e-4, atol=1e-6)


def test_a_model_that_masks_at_random_is_refused(tmp_path: Path) -> None:
    from transformers import ViTMAEConfig, ViTMAEModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    small = ViTMAEConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    ViTMAEModel(small).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="or other numbers each time"):
        open_encoder(f"dino:{tmp_path}")


@pytest.mark.parametrize("name", ["clap", "fused"])
def test_clap_gives_what_transformers_gives_for_each_segment(models: Path, name: str) -> None:
    import torch
    from transformers import ClapAudioModelWithProjection, ClapFeatureExtractor

    encoder = open_encoder(f"clap:{models / name}")
    sound = media_for(encoder)
    model = ClapAudioModelWithProjection.from_pretrained(models / name).eval()
    extractor = ClapFeatureExtractor.from_pretrained(models / name)
    alone = []
    for second in sound.reshape(3, 48_000):
        inputs = extractor(second, sampling_rate=48_000, return_tensors="pt")
        inputs["is_longer"] = torch.tensor([[False]])  # as it is: transformers would say True of one at random
        with torch.no_grad():
            alone.append(model(**inputs).audio_embeds[0].numpy())
    made = encoder.encode(sound, SAMPLING)
    assert made.shape == (3, CLAP_WIDTH) == (3, encoder.width)
    np.testing.assert_allclose(made, alone / np.linalg.norm(alone, axis=1, keepdims=True), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)


def test_clap_refuses_segments_that_would_be_cropped_at_random(models: Path) -> None:
    encoder = open_encoder(f"clap:{models / 'clap'}")  # its window is of 2 seconds
    encoder.check(Sampling(segments=2, segment_seconds=2.0))
    with pytest.raises(ConfigError, match=r"segments of 2.5 s are longer than the 2 s that clap takes"):
        encoder.check(Sampling(segments=2, segment_seconds=2.5))


def test_a_video_gives_the_same_bits_whatever_went_before(encoder: Encoder) -> None:
    import torch

    first, other = media_for(encoder), media_for(encoder, seed=1)
    np.random.seed(0)
    once = encoder.encode(first, SAMPLING)
    changed = encoder.encode(other, SAMPLING)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = encoder.encode(first, SAMPLING)
        assert torch.get_num_threads() == 2  # as it was
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, changed)


def product_bits() -> str:
    """Of a product such as CLAP's spectrograms take; BLAS gives other bits with one thread than with two."""
    from jomold_dist.extraction.encoding.computing import reproducible

    random = np.random.default_rng(0)
    bands, points = random.standard_normal((513, 64)), random.standard_normal((513, 1001))
    with reproducible():
        return hashlib.sha256(np.dot(bands.T, points).tobytes()).hexdigest()


def feature_bits(text: str) -> str:
    encoder = open_encoder(text)
    return hashlib.sha256(encoder.encode(media_for(encoder), SAMPLING).tobytes()).hexdigest()


OTHER_PROCESS = """
import sys
from tests.unit.test_encoders import feature_bits, product_bits
print(product_bits(), *map(feature_bits, sys.argv[1:]))
"""


def test_another_process_with_other_threads_gives_the_same_bits(models: Path) -> None:
    texts = [f"clip:{models / 'clip'}", f"dino:{models / 'dino'}", f"clap:{models / 'clap'}"]
    texts += [f"clap:{models / 'fused'}", f"vggish:{models / 'vggish.pth'}"]
    threads = {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "TEST_THREADS": "3"}
    process = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, *texts],
        cwd=ROOT, env={**os.environ, **threads, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == [product_bits(), *map(feature_bits, texts)]


def test_rows_of_many_chunks_are_those_of_one(models: Path) -> None:
    """A row hangs on its own frame, also where a chunk is filled up."""
    encoder = open_encoder(f"clip:{models / 'clip'}")
    frames = np.random.default_rng(0).integers(0, 256, (67, 40, 40, 3), dtype=np.uint8)
    long = Sampling(segments=67, segment_seconds=1.0, frames_per_segment=1)
    few = Sampling(segments=5, segment_seconds=1.0, frames_per_segment=1)
    np.testing.assert_allclose(
        encoder.encode(frames, long)[60:65], encoder.encode(frames[60:65], few), rtol=1e-4, atol=1e-6
    )


def test_silence_and_black_have_finite_features(encoder: Encoder) -> None:
    assert np.isfinite(encoder.encode(np.zeros_like(media_for(encoder)), SAMPLING)).all()


def test_media_of_another_form_are_not_encoded(encoder: Encoder) -> None:
    media = media_for(encoder)
    for wrong in (media[:-1], media.astype(np.float64), media[..., None]):
        with pytest.raises(ValueError, match="and not"):
            encoder.encode(wrong, SAMPLING)


def test_what_is_not_finite_is_told(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models / "clip", tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    encoder = open_encoder(f"clip+raw:{folder}")
    state["visual_projection.weight"][3] = float("inf")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="numbers that are not finite"):
        open_encoder(f"clip+raw:{folder}")
    broken = encoder.__class__(lambda pixels: pixels.flatten(1) * float("nan"), *list(vars(encoder).values())[1:])  # type: ignore[call-arg]
    with pytest.raises(DataError, match="numbers that are not finite"):
        broken.encode(media_for(encoder), SAMPLING)


def test_a_description_is_json_without_paths(encoder: Encoder, models: Path) -> None:
    said = encoder.describe()
    text = json.dumps(said)
    assert json.loads(text) == said
    assert str(models) not in text
    assert "/" not in text
    assert re.fullmatch("[0-9a-f]{64}", said["weights"])
    assert said["width"] == encoder.width
    assert said["dtype"] == "float32"
    assert said["preprocessing"]


def test_a_description_tells_other_weights_and_another_preprocessing(models: Path, tmp_path: Path) -> None:
    def described(folder: Path) -> dict[str, Any]:
        return open_encoder(f"clip:{folder}").describe()

    base = described(models / "clip")
    assert base["weights"] == hashlib.sha256((models / "clip" / "model.safetensors").read_bytes()).hexdigest()
    copied = described(shutil.copytree(models / "clip", tmp_path / "copied"))
    assert copied == {**base, "name": "copied"}
    other = described(tiny_clip(tmp_path / "other", seed=1))
    assert {key for key in base if base[key] != other[key]} == {"name", "weights"}
    squeezed = shutil.copytree(models / "clip", tmp_path / "squeezed")
    path = squeezed / "preprocessor_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"do_center_crop": False, "size": {"height": 32, "width": 32}})
    )
    changed = described(squeezed)
    assert {key for key in base if base[key] != changed[key]} == {"name", "preprocessing"}


def test_weights_in_torchs_own_file_give_the_same_features(models: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(models / "clip", tmp_path / "clip")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    one, other = open_encoder(f"clip:{folder}"), open_encoder(f"clip:{models / 'clip'}")
    frames = media_for(one)
    np.testing.assert_array_equal(one.encode(frames, SAMPLING), other.encode(frames, SAMPLING))


def test_of_models_that_know_texts_too_the_other_part_is_taken(models: Path, tmp_path: Path) -> None:
    """As CLIP and CLAP are published."""
    from transformers import (
        ClapAudioModelWithProjection,
        ClapConfig,
        ClapModel,
        CLIPConfig,
        CLIPModel,
        CLIPVisionModelWithProjection,
    )

    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    for kind, part, whole, config, own, settings in (
        ("clip", CLIPVisionModelWithProjection, CLIPModel, CLIPConfig, "vision_config", {}),
        (
            "clap",
            ClapAudioModelWithProjection,
            ClapModel,
            ClapConfig,
            "audio_config",
            {"projection_hidden_act": "relu"},
        ),
    ):
        alone = part.from_pretrained(models / kind)
        both = config(**{own: alone.config.to_dict()}, text_config=text, projection_dim=16, **settings)
        model = whole(both)
        assert not model.load_state_dict(alone.state_dict(), strict=False).unexpected_keys
        folder = tmp_path / kind
        model.save_pretrained(folder)
        shutil.copy(models / kind / "preprocessor_config.json", folder)
        one, other = open_encoder(f"{kind}:{models / kind}"), open_encoder(f"{kind}:{folder}")
        media = media_for(one)
        np.testing.assert_array_equal(one.encode(media, SAMPLING), other.encode(media, SAMPLING))


def test_names_are_parsed() -> None:
    name = parse_encoder("clip+raw:org/model:1")
    assert (name.kind, name.options, name.model, name.feature) == ("clip", {"raw"}, "org/model:1", "frames")
    assert {parse_encoder(text).feature for text in DEFAULT_ENCODERS.values()} == set(DEFAULT_ENCODERS)
    assert all(parse_encoder(text.partition(":")[0]) == parse_encoder(text) for text in DEFAULT_ENCODERS.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("klip:x", r"'klip' is none of clip, dino, .*did you mean 'clip'"),
        ("clip+pca:x", r"clip has no option 'pca'; it has \+raw"),
        ("dino", "lacks its model: give dino:MODEL"),
        ("vggish:", "lacks its model: give vggish:MODEL, the file of its weights"),
    ],
)
def test_names_that_are_none_are_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_encoder(text)


def test_devices_and_numbers_that_are_not_there_are_told(models: Path) -> None:
    for device, dtype, message in (
        ("cuda:99", "float32", "torch sees [0-9]+ GPUs"),
        ("gpu", "float32", "take cpu, cuda or cuda:N"),
        ("cpu", "float16", "dtype float16 is for GPUs"),
        ("cpu", "float31", "did you mean 'float32'"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_encoder(f"clip:{models / 'clip'}", device, dtype)
