"""Models that take videos and sounds, so small that a test makes one in a fraction of a second: random weights from a
seed, in folders laid out as published ones are. What they make means nothing; that it is made in the same way is what
tests look at."""

from __future__ import annotations

from pathlib import Path

PIXELS = 32
CLIP_WIDTH, DINO_WIDTH, CLAP_WIDTH = 16, 24, 16


def tiny_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP of images alone, of width 16, with the preprocessing of the published ones but at 32 × 32 pixels."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=PIXELS,
        patch_size=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": PIXELS}, crop_size=_square(PIXELS)).save_pretrained(folder)
    return folder


def tiny_dino(folder: Path, seed: int = 0) -> Path:
    """A DINOv2 of width 24, as published ones are preprocessed (resized a little larger, then cropped)."""
    import torch
    from transformers import Dinov2Config, Dinov2Model
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    config = Dinov2Config(
        hidden_size=DINO_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=PIXELS,
        patch_size=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Dinov2Model(config).save_pretrained(folder)
    BitImageProcessorPil(
        size={"shortest_edge": PIXELS + 8},
        crop_size=_square(PIXELS),
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return folder


def tiny_clap(folder: Path, seed: int = 0, fused: bool = False) -> Path:
    """A CLAP of sounds alone, of width 16: 48 kHz, 16 mel bands, a window of 2 seconds in place of 10."""
    import torch
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

    config = ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        hidden_size=16,
        projection_dim=CLAP_WIDTH,
        depths=[1, 1],
        num_attention_heads=[1, 2],
        patch_embeds_hidden_size=8,
        num_hidden_layers=2,
        num_classes=4,
        enable_fusion=fused,
        fusion_type="aff_2d" if fused else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ClapAudioModelWithProjection(config).save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=16, max_length_s=2, truncation="fusion" if fused else "rand_trunc", frequency_min=50
    )
    extractor.save_pretrained(folder)
    return folder


def tiny_vggish(file: Path, seed: int = 0, components: Path | None = None) -> Path:
    """A VGGish of published form, but of 4 to 8 channels and 6 wide, 128 at its end, in the layout that circulates for
    torch; and, if a file for them is given, components as they are published beside it."""
    import torch

    from jomold_dist.extraction.encoding.vggish import Vggish

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(Vggish([4, 4, 8, 8, 8, 8], [6, 6, 128]).state_dict(), file)
        if components:
            vectors, _ = torch.linalg.qr(torch.randn(128, 128))
            torch.save({"pca_eigen_vectors": vectors, "pca_means": torch.rand(128, 1)}, components)
    return file


def _square(size: int) -> dict[str, int]:
    return {"height": size, "width": size}
