from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import figures
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising.noise_ratio import (
    Predictions,
    ProbabilitySums,
    estimate_noise_ratios,
    ratios_of,
    read_noise_ratios,
)
from jomold_dist.denoising.warmup import warmup_factor
from jomold_dist.errors import DataError, UnreadableError
from tests.unreadable import unreadable

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


@settings(max_examples=60)
@given(st.data())
def test_shares_of_the_videos_in_any_order_give_the_same_bits(data: st.DataObject) -> None:
    """As the ranks of a run take them: sums and counts are added up, whoever had which videos."""
    videos, categories = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 4))
    size = data.draw(st.one_of(st.none(), st.integers(1, 70)))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    audio, visual = (torch.from_numpy(random.random((videos, categories), dtype=dtype)) for _ in range(2))
    labels = torch.from_numpy(random.random((videos, categories)) < 0.4)
    thresholds = (0.7, 1.2, 0.95)
    dense = estimate_noise_ratios(audio, visual, labels, *thresholds, mean_batch_size=size)
    owner = random.integers(0, data.draw(st.integers(1, 5)), videos)
    total, parts = ProbabilitySums(videos, categories, size, torch.device("cpu")), []
    for rank in range(owner.max() + 1):
        mine = torch.from_numpy(random.permutation(np.flatnonzero(owner == rank)))
        share = ProbabilitySums(videos, categories, size, torch.device("cpu"))
        for index in mine.split(7):
            share.add(index, audio[index], visual[index])
        total.sums += share.sums
        total.counts += share.counts
        parts.append(mine)
    whole = ProbabilitySums(videos, categories, size, torch.device("cpu"))
    whole.add(torch.arange(videos), audio, visual)
    for one, other in zip((*total.means(), total.counts), (*whole.means(), whole.counts), strict=True):
        assert torch.equal(one, other)
    counts = torch.zeros(3, categories, dtype=torch.int64)
    for mine in parts:
        video, category = labels[mine].nonzero(as_tuple=True)
        found = Predictions(category, audio[mine][video, category], visual[mine][video, category], *total.means())
        counts += found.noise_counts(*thresholds)
    for one, other in zip(ratios_of(counts), dense, strict=True):
        assert torch.equal(one, other)
    batches = [prob.double().split(size or videos) for prob in (audio, visual)]
    for mean, of in zip(total.means(), batches, strict=True):
        torch.testing.assert_close(mean, torch.stack([part.mean(0) for part in of]).mean(0), rtol=0, atol=1e-12)
    for ratio, prob, threshold, scale in zip(dense, (audio, visual), thresholds, (1.0, 0.95), strict=False):
        plain = plain_ratios(prob.tolist(), labels.tolist(), threshold, scale, size or videos)
        np.testing.assert_allclose(ratio, plain, atol=1e-9)


def plain_ratios(
    probs: list[list[float]], labels: list[list[bool]], threshold: float, scale: float, size: int
) -> list[float]:
    """Equation 1 for one modality, a category, a batch and a video at a time."""
    ratios = []
    for category in range(len(probs[0])):
        means = []
        for start in range(0, len(probs), size):
            part = [video[category] for video in probs[start : start + size]]
            means.append(sum(part) / len(part))
        mean = sum(means) / len(means)
        positive = [video[category] for video, there in zip(probs, labels, strict=True) if there[category]]
        noise = [prob for prob in positive if scale * prob / mean < threshold]
        ratios.append(len(noise) / len(positive) if positive else 0.0)
    return ratios


def test_means_of_a_split_from_which_videos_are_missing() -> None:
    sums = ProbabilitySums(10, 1, 4, torch.device("cpu"))  # batches of 4, 4 and 2
    sums.add(torch.tensor([0, 5]), torch.tensor([[0.2], [0.4]]), torch.tensor([[0.5], [0.5]]))
    assert sums.means()[0].item() == pytest.approx(0.3)  # nothing is known of the last batch
    sums.add(torch.tensor([9]), torch.tensor([[0.9]]), torch.tensor([[0.5]]))
    assert sums.means()[0].item() == pytest.approx((2 * 0.3 + 0.9) / 3)


def test_without_videos_no_label_is_noise() -> None:
    nothing = torch.zeros(0, 2)
    for ratio in estimate_noise_ratios(nothing, nothing, nothing, 0.6, 1.8):
        assert ratio.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_probability_is_named(wrong: float) -> None:
    audio, visual, labels = torch.full((5, 3), 0.5), torch.full((5, 3), 0.5), torch.ones(5, 3)
    visual[3, 1] = wrong
    with pytest.raises(ValueError, match=rf"visual probability of video 3 in category 1 is {wrong:g}; .* in \[0, 1\]"):
        estimate_noise_ratios(audio, visual, labels, 0.6, 1.8)


@pytest.mark.parametrize("videos", [1, 2**22, 10**7, 2**40])
def test_sums_cannot_overflow_and_are_fine_enough(videos: int) -> None:
    sums = ProbabilitySums(videos, 1, None, torch.device("cpu"))
    one = torch.ones(1, 1) * (1 + 1e-6)  # what rounding may make of a probability
    sums.add(torch.zeros(1, dtype=torch.int64), one, one)
    assert 0 < int(sums.sums[0, 0, 0]) * videos < 2**63
    assert sums.means()[0].item() == pytest.approx(one.item(), abs=1e-6 if videos > 10**9 else 1e-11)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs ../shared with the published ratios of LLP")
def test_the_published_ratios_of_llp_load() -> None:
    ratios = read_noise_ratios(PUBLISHED, [str(number) for number in range(25)])
    assert float(ratios.visual[0]) == pytest.approx(0.994, abs=5e-4)


def test_ratio_files_of_both_kinds(tmp_path: Path) -> None:
    values = {"audio": [0.0, 0.25], "visual": [1.0, 0.5]}
    np.savez(tmp_path / "r.npz", **{k: np.array(v) for k, v in values.items()})
    (tmp_path / "r.json").write_text(json.dumps(values))
    for name in ("r.npz", "r.json"):
        ratios = read_noise_ratios(tmp_path / name, ["a", "b"])
        assert {k: v.tolist() for k, v in ratios._asdict().items()} == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"audio": [0.1], "visual": [0.1, 0.2]}, r"audio has shape \(1,\), expected \(2,\)"),
        ({"audio": [0.1, 1.2], "visual": [0.1, 0.2]}, r"audio must lie in \[0, 1\], but category 1 has 1.2"),
        ({"audio": [0.1, 0.2], "visual": [0.1, float("nan")]}, r"visual must lie in \[0, 1\], but category 1 has nan"),
        ({"audio": [0.1, 0.2]}, "'visual' is missing"),
        ({"audio": ["a", "b"], "visual": [0, 0]}, "is damaged"),
    ],
)
def test_bad_ratio_files_are_named(tmp_path: Path, values: dict[str, list[float]], message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=message) as error:
        read_noise_ratios(path, ["a", "b"])
    assert str(path) in str(error.value)


def test_missing_and_damaged_ratio_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_noise_ratios(tmp_path / "none.npz", ["a", "b"])
    (tmp_path / "r.npz").write_bytes(b"PK no archive")
    np.save(tmp_path / "one.npy", np.zeros(2))
    for name in ("r.npz", "one.npy"):
        with pytest.raises(DataError, match=f"{name} is damaged"):
            read_noise_ratios(tmp_path / name, ["a", "b"])
    with unreadable(tmp_path / "r.npz"), pytest.raises(UnreadableError, match="cannot be read: Input/output error"):
        read_noise_ratios(tmp_path / "r.npz", ["a", "b"])


def write_ratios(folder: Path, kind: str, **columns: list[float] | list[str]) -> Path:
    path = folder / f"r.{kind}"
    if kind == "json":
        path.write_text(json.dumps(columns))
    else:
        np.savez(path, **{name: np.array(column) for name, column in columns.items()})
    return path


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_ratios_go_to_the_categories_that_the_file_names(tmp_path: Path, kind: str) -> None:
    path = write_ratios(tmp_path, kind, categories=["c", "a", "b"], audio=[0.3, 0.1, 0.2], visual=[0.6, 0.4, 0.5])
    ratios = read_noise_ratios(path, ("a", "b", "c"))
    assert ratios.audio.tolist() == [0.1, 0.2, 0.3]
    assert ratios.visual.tolist() == [0.4, 0.5, 0.6]


@pytest.mark.parametrize("kind", ["json", "npz"])
@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["a", "x"], "is for other categories than the data set's: without b and with x$"),
        (["a"], "2 problems:(.|\n)*without b(.|\n)*audio has shape"),
        (["a", "b", "b"], "some are in it twice"),
    ],
)
def test_ratios_of_other_categories_are_refused(tmp_path: Path, kind: str, categories: list[str], message: str) -> None:
    values = [0.5] * max(2, len(categories))
    path = write_ratios(tmp_path, kind, categories=categories, audio=values, visual=[0.5] * len(categories))
    with pytest.raises(DataError, match=message):
        read_noise_ratios(path, ("a", "b"))


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
