from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import figures

from jomold_dist.denoising.noise_ratio import estimate_noise_ratios, read_noise_ratios
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.errors import DataError

PUBLISHED = Path(__file__).resolve().parents[2].parent / "shared" / "llp" / "noise_ratios_published.npz"


@pytest.mark.parametrize("thresholds", [(0.6, 1.8), (0.5, 1.0), (1.0, 2.0), (0.8, 1.6)])
@pytest.mark.parametrize(("tag", "mean_batch_size"), [("b500", None), ("b500", 500), ("b128", 128)])
def test_ratios_match_the_released_code(thresholds: tuple[float, float], tag: str, mean_batch_size: int | None) -> None:
    data = figures("noise_ratio")
    probs = [torch.from_numpy(data[k]) for k in ("audio_prob", "visual_prob", "labels")]
    ratios = estimate_noise_ratios(*probs, *thresholds, visual_scale=0.95, mean_batch_size=mean_batch_size)
    for name, ratio in ratios._asdict().items():
        expected = data[f"{name}_ratio_a{thresholds[0]}_v{thresholds[1]}_{tag}"]
        np.testing.assert_allclose(ratio, expected, atol=1e-6)


def test_ratios_by_hand() -> None:
    audio = torch.tensor([[0.1, 0.2], [0.5, 0.2], [0.9, 0.2]])  # means 0.5 and 0.2
    visual = torch.tensor([[0.9, 0.2], [0.6, 0.2], [0.3, 0.2]])  # means 0.6 and 0.2
    labels = torch.tensor([[1, 0], [1, 0], [0, 0]])
    ratios = estimate_noise_ratios(audio, visual, labels, 0.6, 1.4)
    assert ratios.audio.tolist() == [0.5, 0.0]  # 0.2 < 0.6 <= 1.0; a category without labels has 0
    assert ratios.visual.tolist() == [0.5, 0.0]  # 1.0 < 1.4 <= 1.5
    assert ratios.audio.dtype == torch.float64
    scaled = estimate_noise_ratios(audio, visual, labels, 0.6, 1.4, visual_scale=0.9)
    assert scaled.visual.tolist() == [1.0, 0.0]  # 1.35 and 0.9


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs ../shared with the published ratios of LLP")
def test_the_published_ratios_of_llp_load() -> None:
    ratios = read_noise_ratios(PUBLISHED, 25)
    assert float(ratios.visual[0]) == pytest.approx(0.994, abs=5e-4)


def test_ratio_files_of_both_kinds(tmp_path: Path) -> None:
    values = {"audio": [0.0, 0.25], "visual": [1.0, 0.5]}
    np.savez(tmp_path / "r.npz", **{k: np.array(v) for k, v in values.items()})
    (tmp_path / "r.json").write_text(json.dumps(values))
    for name in ("r.npz", "r.json"):
        ratios = read_noise_ratios(tmp_path / name, 2)
        assert {k: v.tolist() for k, v in ratios._asdict().items()} == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"audio": [0.1], "visual": [0.1, 0.2]}, r"audio has shape \(1,\), expected \(2,\)"),
        ({"audio": [0.1, 1.2], "visual": [0.1, 0.2]}, r"audio must lie in \[0, 1\], but category 1 has 1.2"),
        ({"audio": [0.1, 0.2], "visual": [0.1, float("nan")]}, r"visual must lie in \[0, 1\], but category 1 has nan"),
        ({"audio": [0.1, 0.2]}, "'visual' is missing"),
        ({"audio": ["a", "b"], "visual": [0, 0]}, "cannot be read"),
    ],
)
def test_bad_ratio_files_are_named(tmp_path: Path, values: dict[str, list[float]], message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=message) as error:
        read_noise_ratios(path, 2)
    assert str(path) in str(error.value)


def test_missing_and_damaged_ratio_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_noise_ratios(tmp_path / "none.npz", 2)
    (tmp_path / "r.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="cannot be read"):
        read_noise_ratios(tmp_path / "r.npz", 2)


@pytest.mark.parametrize("warmup", [None, 0.7, 0.9, 1.0, 2.0])
def test_released_warmup_matches_the_released_code(warmup: float | None) -> None:
    data = figures("warmup_released")
    for epoch in range(3):
        factors = [warmup_factor(10 * epoch + k, 10, warmup, "released") for k in range(10)]
        removed = [25 * int(0.4 * f * 64) for f in factors]
        assert removed == data[f"removed_visual_warm{warmup}_epoch{epoch + 1}"].tolist()


def test_linear_warmup_is_a_ramp() -> None:
    factors = [warmup_factor(k, 10, 2.0) for k in range(25)]
    assert factors[0] == 0
    assert factors[10] == 0.5
    assert factors == sorted(factors)
    assert set(factors[20:]) == {1.0}
    assert warmup_factor(0, 10, None) == 1.0
    with pytest.raises(ValueError, match="schedule"):
        warmup_factor(0, 10, 1.0, "step")  # type: ignore[arg-type]
