"""The golden figures on a device of choice: what only a GPU can get wrong, such as its own sums and sorts.

Plain functions, so that they also run where pytest is not installed (tools/check_gpu.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from golden import SEED, figures, network, videos
from golden_table1 import SIZES, inputs, load

from jomold_dist import estimate_noise_ratios, fit_presence, parsing_scores, select_noisy_labels, threshold_parsing
from jomold_dist.denoising.evidence import AbsentCounts
from jomold_dist.models.losses import binary_cross_entropy, contrastive_loss, smooth_targets
from jomold_dist.models.stpn import Stpn
from jomold_dist.models.talnet import TalNet


def on(device: torch.device, arrays: Iterable[np.ndarray | Tensor]) -> list[Tensor]:
    return [torch.as_tensor(array).to(device) for array in arrays]


def near(value: Tensor, expected: np.ndarray, tolerance: float, what: str) -> None:
    np.testing.assert_allclose(value.detach().cpu().double(), expected, atol=tolerance, rtol=0, err_msg=what)


def check_forward(device: torch.device) -> None:
    features = {name: value.to(device) for name, value in videos(4, SEED)[0].items()}
    expected, net = figures("forward"), network().eval().to(device)
    for cross_modal, tag in ((True, "ca"), (False, "noca")):
        with torch.no_grad():
            parsing = net(**features, cross_modal=cross_modal)
        for name in ("video_prob", "audio_prob", "visual_prob", "segment_prob"):
            near(getattr(parsing, name), expected[f"{name}_{tag}"], 1e-5, name)
        loss = contrastive_loss(parsing.similarity)
        near(loss, expected[f"contrastive_loss_{tag}"], 2e-5, "contrastive loss")


def check_losses(device: torch.device) -> None:
    expected = figures("losses")
    loss = binary_cross_entropy(*on(device, [expected["probability"], expected["target"]]))
    near(loss, expected["loss"], 1e-5, "loss")


def check_removals(device: torch.device) -> None:
    found = figures("denoise")
    for case in range(10):
        data = {k.split("_", 1)[1]: v for k, v in found.items() if k.startswith(f"c{case}_")}
        names = ("audio_prob", "visual_prob", "audio_ratio", "visual_ratio", "labels")
        audio_prob, visual_prob, audio_ratio, visual_ratio, labels = on(device, [data[name] for name in names])
        targets = labels.float(), smooth_targets(labels.bool(), float(data["visual_smoothing"]))
        audio_loss, visual_loss = (
            binary_cross_entropy(p, t) for p, t in zip((audio_prob, visual_prob), targets, strict=True)
        )
        removed = select_noisy_labels(audio_loss, visual_loss, labels.bool(), audio_ratio, visual_ratio)
        for mask, name in zip(removed, ("remove_audio", "remove_visual"), strict=True):
            near(mask, data[name], 0, f"case {case}, {name}")


def check_removals_with_mixed_devices(device: torch.device) -> None:
    """Ratios come from a file, losses from the GPU."""
    random = torch.Generator().manual_seed(1)
    losses, labels = torch.rand((2, 40, 5), generator=random), torch.rand((40, 5), generator=random) < 0.5
    ratios = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    wanted = select_noisy_labels(losses[0], losses[1], labels, ratios, ratios)
    removed = select_noisy_labels(losses[0].to(device), losses[1].to(device), labels.to(device), ratios, ratios)
    assert all(torch.equal(mask.cpu(), other) for mask, other in zip(removed, wanted, strict=True))


def check_noise_ratios(device: torch.device) -> None:
    data = figures("noise_ratio")
    audio_prob, visual_prob, labels = on(device, [data[name] for name in ("audio_prob", "visual_prob", "labels")])
    for tag, size in (("b500", None), ("b500", 500), ("b128", 128)):
        ratios = estimate_noise_ratios(audio_prob, visual_prob, labels, 0.6, 1.8, 0.95, size)
        for name, ratio in ratios._asdict().items():
            near(ratio, data[f"{name}_ratio_a0.6_v1.8_{tag}"], 1e-6, f"{name} ratio, {tag}")


def check_metrics(device: torch.device) -> None:
    """Scores of the golden predictions against a truth made of them: the CPU's, bit for bit."""
    data = figures("metrics")
    segment, audio_video, visual_video = (
        torch.from_numpy(data[name]) for name in ("segment_prob", "audio_prob", "visual_prob")
    )
    audio, visual = threshold_parsing(segment, audio_video, visual_video)
    truth = audio.roll(1, dims=-1), visual.roll(1, dims=0)
    found = threshold_parsing(segment.to(device), audio_video.to(device), visual_video.to(device))
    assert torch.equal(found[0].cpu(), audio)
    assert torch.equal(found[1].cpu(), visual)
    on_device = parsing_scores(*found, truth[0].to(device), truth[1].to(device))
    assert on_device == parsing_scores(audio, visual, *truth)


def check_presence(device: torch.device) -> None:
    """Counts of absents, and posteriors: the CPU's, bit for bit."""
    random = torch.Generator().manual_seed(SEED)
    labels = torch.rand(300, 5, generator=random) < 0.3
    logits = torch.randn(2, 300, 5, generator=random) * 3 + 4 * labels
    counts = [AbsentCounts(5, place) for place in (torch.device("cpu"), device)]
    for count in counts:
        count.add(logits[0].to(count.counts.device), labels.to(count.counts.device))
    assert torch.equal(counts[0].counts, counts[1].counts.cpu())
    expected = fit_presence(logits[0], logits[1], labels)
    found = fit_presence(logits[0].to(device), logits[1].to(device), labels.to(device))
    assert found.audio.device.type == device.type
    assert torch.equal(found.patterns.cpu(), expected.patterns)


def check_single_modality_systems(device: torch.device) -> None:
    """One that is recurrent, and one of two streams."""
    expected = figures("table1_systems")
    features = {name: value.to(device) for name, value in inputs()[0].items()}
    for kind, name in ((TalNet, "talnet"), (Stpn, "stpn")):
        net = kind(num_classes=25, feature_sizes=SIZES).eval()
        load(net, name)
        with torch.no_grad():
            outputs = net.to(device)(**features)
        if isinstance(net, TalNet):
            near(outputs.segment_prob, expected["talnet_frame"], 1e-5, name)
        else:
            near(outputs.frames.logits, expected["stpn_frames_logits"], 1e-4, name)


CHECKS = (
    check_forward,
    check_losses,
    check_removals,
    check_removals_with_mixed_devices,
    check_noise_ratios,
    check_metrics,
    check_presence,
    check_single_modality_systems,
)
