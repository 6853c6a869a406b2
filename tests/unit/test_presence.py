from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import jomold_dist
from jomold_dist import Presence, estimate_noise_ratios, fit_presence, select_noisy_labels

PATTERNS = ((True, True), (True, False), (False, True))


def simulated(videos: int = 2000, categories: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of both modalities, labels (N, C), and what is there, bool (2, N, C); each category on a scale of its
    own."""
    random = np.random.default_rng(seed)
    labels = random.random((videos, categories)) < 0.25
    pattern = random.choice(3, size=labels.shape, p=[0.6, 0.3, 0.1])
    there = np.moveaxis(np.array(PATTERNS)[pattern], 2, 0) & labels
    logit = random.standard_normal(there.shape) + np.where(there, 3.5, 0)
    logit = logit * random.uniform(0.1, 3, (2, 1, categories)) + random.uniform(-8, 2, (2, 1, categories))
    return *torch.from_numpy(logit.astype(np.float32)), torch.from_numpy(labels), torch.from_numpy(there)


def assert_sensible(presence: Presence, labels: Tensor) -> None:
    """Probabilities where there is a label, 0 elsewhere."""
    there = labels.bool()
    patterns = presence.patterns
    assert patterns.isfinite().all()
    assert ((patterns >= 0) & (patterns <= 1)).all()
    torch.testing.assert_close(patterns.sum(2), there.float())
    torch.testing.assert_close(presence.audio, patterns[..., 0] + patterns[..., 1])
    torch.testing.assert_close(presence.visual, patterns[..., 0] + patterns[..., 2])
    assert not presence.audio[~there].any()
    assert not presence.visual[~there].any()


def test_it_is_public() -> None:
    assert {"fit_presence", "Presence"} <= set(jomold_dist.__all__)


def test_noise_is_found_where_it_is() -> None:
    audio, visual, labels, there = simulated()
    presence = fit_presence(audio, visual, labels)
    assert_sensible(presence, labels)
    for found, truth in zip((presence.audio, presence.visual), there, strict=True):
        assert ((found > 0.5) == truth)[labels].float().mean() > 0.93


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_scale_of_logits_does_not_matter(scale: float, dtype: torch.dtype) -> None:
    audio, visual, labels, _ = simulated(300)
    expected = fit_presence(audio, visual, labels)
    found = fit_presence((audio * scale).to(dtype), (visual * scale).to(dtype), labels.to(torch.int8))
    assert torch.equal(found.patterns, expected.patterns)


def test_the_order_of_videos_does_not_matter() -> None:
    audio, visual, labels, _ = simulated(300)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    expected = fit_presence(audio, visual, labels).patterns[order]
    assert torch.equal(fit_presence(audio[order], visual[order], labels[order]).patterns, expected)


def test_an_outlier_changes_next_to_nothing() -> None:
    audio, visual, labels, _ = simulated()
    expected = fit_presence(audio, visual, labels)
    audio, visual = audio.double(), visual.double()
    first = int((~labels[:, 0]).nonzero()[0])
    audio[first, 0], visual[first, 0] = 1e300, -1e308
    torch.testing.assert_close(fit_presence(audio, visual, labels).patterns, expected.patterns, atol=0.02, rtol=0)


def test_infinite_logits_are_those_of_the_surest() -> None:
    audio, visual, labels, there = simulated()
    sure = 0.02
    for logit in (audio, visual):
        logit[logit > logit.quantile(1 - sure, dim=0)] = torch.inf
        logit[logit < logit.quantile(sure, dim=0)] = -torch.inf
    presence = fit_presence(audio, visual, labels)
    assert_sensible(presence, labels)
    for found, truth in zip((presence.audio, presence.visual), there, strict=True):
        assert ((found > 0.5) == truth)[labels].float().mean() > 0.9
    assert (presence.audio[labels & (audio == torch.inf)] > 0.9).all()


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_nan_is_refused_by_name(modality: str) -> None:
    audio, visual, labels, _ = simulated(30)
    {"audio": audio, "visual": visual}[modality][7, 2] = torch.nan
    with pytest.raises(ValueError, match=f"the {modality} logit of video 7 in category 2 is NaN"):
        fit_presence(audio, visual, labels)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(5, 3\).*\(5, 4\)"):
        fit_presence(torch.zeros(5, 3), torch.zeros(5, 3), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="must have one shape"):
        fit_presence(torch.zeros(5), torch.zeros(5), torch.zeros(5))


def test_probabilities_are_told_and_logits_are_not() -> None:
    audio, visual, labels, _ = simulated(30)
    with pytest.warns(UserWarning, match="all visual logits lie in") as warned:
        fit_presence(audio, visual.sigmoid(), labels)
    assert [warning.filename for warning in warned] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_presence(audio, visual, labels)
        fit_presence(torch.zeros(30, 4), torch.ones(30, 4), labels)  # logits of a network that has learnt nothing


@pytest.mark.parametrize("value", [0.3, -1.0, 7.0, torch.nan])
def test_labels_are_0_or_1(value: float) -> None:
    audio, visual, labels, _ = simulated(30)
    labels = labels.float()
    labels[7, 2] = value
    nothing = torch.zeros(4)
    for call in (
        lambda: fit_presence(audio, visual, labels),
        lambda: estimate_noise_ratios(audio.sigmoid(), visual.sigmoid(), labels, 0.6, 1.8),
        lambda: select_noisy_labels(audio, visual, labels, nothing, nothing),
    ):
        with pytest.raises(ValueError, match=f"the label of video 7 in category 2 is {value:g}; labels are 0 or 1"):
            call()


@pytest.mark.parametrize("change", [Tensor.numpy, Tensor.tolist, Tensor.to_sparse, lambda tensor: tensor + 1j, type])
def test_what_is_no_dense_tensor_of_real_numbers_is_refused(change: Callable[[Tensor], Tensor]) -> None:
    audio, visual, labels, _ = simulated(30)
    with pytest.raises(TypeError, match="audio_logit must be a"):
        fit_presence(change(audio), visual, labels)
    with pytest.raises(TypeError, match="visual_prob must be a"):
        estimate_noise_ratios(audio.sigmoid(), change(visual), labels, 0.6, 1.8)
    with pytest.raises(TypeError, match="labels must be a"):
        select_noisy_labels(audio, visual, change(labels.float()), torch.zeros(4), torch.zeros(4))


def every_video_has_it(labels: Tensor) -> None:
    labels[:, 1] = True


def no_absents(labels: Tensor) -> None:
    labels[:] = True


def one_labelled_video(labels: Tensor) -> None:
    labels[:] = False
    labels[5, 1] = True


def one_label_a_category(labels: Tensor) -> None:
    labels[:] = False
    labels[5] = True


def no_labels(labels: Tensor) -> None:
    labels[:] = False


@pytest.mark.parametrize(
    "degenerate", [every_video_has_it, no_absents, one_labelled_video, one_label_a_category, no_labels]
)
@pytest.mark.parametrize("videos", [6, 400])
def test_degenerate_labels(degenerate: object, videos: int) -> None:
    audio, visual, labels, _ = simulated(videos)
    degenerate(labels)  # type: ignore[operator]
    assert_sensible(fit_presence(audio, visual, labels), labels)


@pytest.mark.parametrize("value", [0.0, -7.25, torch.inf, -torch.inf])
@pytest.mark.parametrize("videos", [1, 400])
def test_constant_evidence(value: float, videos: int) -> None:
    audio, visual, labels, _ = simulated(videos)
    audio[:] = value
    assert_sensible(fit_presence(audio, visual, labels), labels)
    visual[:] = value
    assert_sensible(fit_presence(audio, visual, labels), labels)


def test_a_category_that_is_never_heard() -> None:
    audio, visual, labels, there = simulated()
    silent = labels[:, 0]
    audio[silent, 0] = audio[~labels[:, 0], 0][: int(silent.sum())]
    visual[silent, 0] = visual[there[1, :, 0], 0].repeat(10)[: int(silent.sum())]
    presence = fit_presence(audio, visual, labels)
    assert_sensible(presence, labels)
    assert presence.audio[silent, 0].mean() < 0.5  # it might as well not have been learnt
    assert presence.visual[silent, 0].mean() > 0.9


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_the_logits(data: st.DataObject) -> None:
    videos, categories = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 3))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = [
        *(10.0 ** random.integers(-300, 300, 3)),
        0.0,
        -1.0,
        1.0,
        *data.draw(st.sampled_from([[], [np.inf, -np.inf]])),
    ]
    audio, visual = (torch.from_numpy(random.choice(values, (videos, categories))) for _ in range(2))
    labels = torch.from_numpy(random.random((videos, categories)) < data.draw(st.sampled_from([0.1, 0.5, 0.9])))
    assert_sensible(fit_presence(audio, visual, labels), labels)
