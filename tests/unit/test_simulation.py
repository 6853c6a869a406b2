"""The simulated worlds: their labels against LLP's figures, their determinism, and the shape of their features."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from jomold_dist.errors import UserError
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.simulation import FeatureWorld, LabelWorld, find_scenario, maximum_entropy
from jomold_dist.simulation.intervals import IntervalWorld, masks
from jomold_dist.simulation.llp_label_sets import MAX_LABELS, llp_label_sets
from jomold_dist.simulation.llp_statistics import llp_statistics

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "llp"
CATEGORIES = len(LLP_CATEGORIES)
VIDEOS = 6000


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return LabelWorld("llp", 3).labels("train", 0, VIDEOS)


@pytest.fixture(scope="module")
def truth(labels: np.ndarray) -> np.ndarray:
    return LabelWorld("llp", 3).truth("train", 0, labels)


def everything_labelled(scenario: str, videos: int) -> np.ndarray:
    """Truth of videos that carry every label: the same number of events for each category."""
    labels = np.ones((videos, CATEGORIES), dtype=bool)
    return LabelWorld(scenario, 5).truth("train", 0, labels)


def test_the_maximum_entropy_of_no_constraint_is_even_and_a_constraint_is_met() -> None:
    features = np.array([[0.0], [1.0], [2.0], [3.0]])
    even, _ = maximum_entropy.fit(features, np.array([1.5]))
    np.testing.assert_allclose(even, 0.25, atol=1e-9)
    tilted, theta = maximum_entropy.fit(features, np.array([2.2]))
    assert tilted @ features[:, 0] == pytest.approx(2.2, abs=1e-7)
    np.testing.assert_allclose(np.diff(np.log(tilted)), theta[0], rtol=1e-9)  # nothing but exp(θ·f)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_label_sets_have_the_margins_of_llp(split: str) -> None:
    figures = llp_statistics().splits[split]
    sets = llp_label_sets(split)
    probability = np.diff(sets.cumulative, prepend=0.0)
    counts = probability @ sets.members * figures.videos
    # In test, four videos with more than MAX_LABELS labels are cut, so a category may lose a video or two.
    np.testing.assert_allclose(counts, figures.counts, atol=2.0 if split == "test" else 1e-3)
    sizes = np.bincount(sets.members.sum(axis=1), weights=probability, minlength=MAX_LABELS + 1) * figures.videos
    for size, videos in figures.sizes.items():
        if size < MAX_LABELS:
            assert sizes[size] == pytest.approx(videos, abs=1e-3)
    if split == "train":
        for (a, b), videos in llp_statistics().pairs.items():
            pair = probability @ (sets.members[:, a] & sets.members[:, b]) * figures.videos
            assert pair == pytest.approx(videos, abs=1e-3)


def test_val_and_test_take_over_the_affinities_of_training() -> None:
    cello, violin = (LLP_CATEGORIES.index(name) for name in ("Cello", "Violin_fiddle"))
    for split in ("val", "test"):
        sets = llp_label_sets(split)
        probability = np.diff(sets.cumulative, prepend=0.0)
        alone = probability @ sets.members
        together = probability @ (sets.members[:, cello] & sets.members[:, violin])
        assert together > 3 * alone[cello] * alone[violin]


def test_drawn_labels_are_within_chance_of_the_figures(labels: np.ndarray) -> None:
    figures = llp_statistics().splits["train"]
    expected = figures.counts / figures.videos
    band = 4.5 * np.sqrt(expected * (1 - expected) / VIDEOS)
    assert (np.abs(labels.mean(axis=0) - expected) < band).all()
    sizes = labels.sum(axis=1)
    assert sizes.min() == 1
    assert sizes.max() <= 3
    assert sizes.mean() == pytest.approx(1.606, abs=0.03)
    evaluation = LabelWorld("llp", 3).labels("test", 0, 2000)
    assert evaluation.sum(axis=1).mean() == pytest.approx(1.81, abs=0.07)
    clapping = LLP_CATEGORIES.index("Clapping")  # four times as frequent in val and test as in train
    assert evaluation[:, clapping].mean() > 2.5 * labels[:, clapping].mean()


def test_an_event_belongs_to_a_label_and_about_one_label_in_a_hundred_has_none(
    labels: np.ndarray, truth: np.ndarray
) -> None:
    present = truth.any(axis=-1)  # (N, 2, C)
    assert truth.dtype == np.uint8
    assert set(np.unique(truth)) == {0, 1}
    assert not (present.any(axis=1) & ~labels).any()
    neither = 1 - present.any(axis=1)[labels].mean()
    assert 0.005 < neither < 0.02


def test_odds_of_the_llp_scenario_are_those_of_each_category() -> None:
    videos = 1500
    present = everything_labelled("llp", videos).any(axis=-1)
    odds = llp_statistics().odds
    shares = [present[:, 0], present[:, 1], present.all(axis=1)]
    for seen, expected in zip(shares, [odds.audible, odds.visible, odds.both], strict=True):
        band = 4.5 * np.sqrt(expected * (1 - expected) / videos) + 2e-4
        assert (np.abs(seen.mean(axis=0) - expected) < band).all()
    assert odds.visible[0] == pytest.approx(0.22, abs=0.01)


def test_odds_of_the_speech_neutral_scenario_are_the_same_for_all() -> None:
    videos = 1500
    odds = find_scenario("speech-neutral").odds
    assert len(set(odds.audible)) == len(set(odds.visible)) == len(set(odds.both)) == 1
    present = everything_labelled("speech-neutral", videos).any(axis=-1)
    for modality, expected in enumerate([odds.audible[0], odds.visible[0]]):
        band = 4.5 * np.sqrt(expected * (1 - expected) / videos)
        assert (np.abs(present[:, modality].mean(axis=0) - expected) < band).all()


def intervals_of(mask: np.ndarray) -> list[int]:
    """The lengths of a mask's maximal runs, one by one: the oracle."""
    return [len(list(run)) for on, run in groupby(mask.tolist()) if on]


def test_intervals_have_the_figures_of_each_category_and_of_llp() -> None:
    dense = everything_labelled("llp", 400)
    statistics = llp_statistics()
    for modality in (0, 1):
        for category in range(CATEGORIES):
            runs = [intervals_of(mask) for mask in dense[:, modality, category] if mask.any()]
            segments = np.array([sum(r) for r in runs])
            band = 4.5 * segments.std() / np.sqrt(len(runs)) + 0.05
            assert segments.mean() == pytest.approx(statistics.events.segments[modality, category], abs=band)
            count = np.array([len(r) for r in runs])
            band = 4.5 * count.std() / np.sqrt(len(runs)) + 0.03
            assert count.mean() == pytest.approx(statistics.events.intervals[modality, category], abs=band)


def test_intervals_of_videos_labelled_like_val_and_test_have_llps_histograms() -> None:
    world = LabelWorld("llp", 9)
    dense = world.truth("test", 0, world.labels("test", 0, 5000))
    for modality, figures in enumerate(llp_statistics().events.histograms):
        runs = [intervals_of(mask) for mask in dense[:, modality].reshape(-1, 10) if mask.any()]
        lengths = np.bincount([n for r in runs for n in r], minlength=11)[1:] / len(runs)
        real = np.array([figures.length[k] for k in range(1, 11)]) / figures.events
        np.testing.assert_allclose(lengths, real, atol=0.04)
        single = np.mean([len(r) == 1 for r in runs])
        assert single == pytest.approx(figures.per_event[1] / figures.events, abs=0.03)
    both = (dense[:, 0] & dense[:, 1]).sum(axis=-1)
    assert both[both > 0].mean() == pytest.approx(llp_statistics().overlap_segments, abs=0.25)


def test_coupling_sound_and_sight_leaves_each_its_own_distribution() -> None:
    category, count = LLP_CATEGORIES.index("Basketball_bounce"), 4000
    generator = np.random.default_rng(0)
    categories = np.full(count, category)
    world = IntervalWorld(llp_statistics().events)
    heard = world.draw_alone(0, categories, generator.random(count))
    seen = world.draw_visual_with(heard, categories, generator.random(count))
    segments = masks().sum(axis=1)
    assert segments[seen].mean() == pytest.approx(llp_statistics().events.segments[1, category], abs=0.25)
    overlap = (masks()[heard] & masks()[seen]).sum(axis=1).mean()
    shuffled = (masks()[heard] & masks()[generator.permutation(seen)]).sum(axis=1).mean()
    assert overlap > shuffled + 1


def test_a_video_does_not_depend_on_how_many_there_are_or_how_they_are_grouped() -> None:
    world, features = LabelWorld("llp", 7), FeatureWorld(7, CATEGORIES)
    labels = world.labels("train", 0, 12)
    truth = world.truth("train", 0, labels)
    whole = features.features("train", 0, truth)
    for first, count in [(0, 5), (5, 1), (6, 6), (11, 1)]:
        rows = slice(first, first + count)
        np.testing.assert_array_equal(world.labels("train", first, count), labels[rows])
        np.testing.assert_array_equal(world.truth("train", first, labels[rows]), truth[rows])
        part = features.features("train", first, truth[rows])
        for name, array in part.items():
            np.testing.assert_array_equal(array, whole[name][rows])


def test_seed_and_split_make_another_world() -> None:
    same = LabelWorld("llp", 1).labels("train", 0, 40)
    np.testing.assert_array_equal(same, LabelWorld("llp", 1).labels("train", 0, 40))
    assert (same != LabelWorld("llp", 2).labels("train", 0, 40)).any()
    assert (LabelWorld("llp", 1).labels("val", 0, 40) != LabelWorld("llp", 1).labels("test", 0, 40)).any()
    dense = everything_labelled("llp", 2)
    one = FeatureWorld(1, CATEGORIES).features("train", 0, dense)["audio"]
    assert (one != FeatureWorld(2, CATEGORIES).features("train", 0, dense)["audio"]).any()
    assert (one != FeatureWorld(1, CATEGORIES).features("val", 0, dense)["audio"]).any()


def audio_shape(features: np.ndarray) -> dict[str, float]:
    """What is known of real VGGish features, of `features` (N, T, D)."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        return float(((a * b).sum(axis=-1) / np.maximum(norms, 1e-9)).mean())

    return {
        "least": float(features.min()),
        "zeros": float((features == 0).mean()),
        "mean": float(features.mean()),
        "sd": float(features.std()),
        "neighbours": cosine(features[:, :-1], features[:, 1:]),
        "random": cosine(features, np.roll(features, 7, axis=0)),
    }


SHAPE = {"least": 0.0, "zeros": 0.65, "mean": 0.122, "sd": 0.262, "neighbours": 0.76, "random": 0.45}
BANDS = {"least": 0.0, "zeros": 0.07, "mean": 0.03, "sd": 0.06, "neighbours": 0.08, "random": 0.11}


def close_in_shape(seen: dict[str, float], wanted: dict[str, float]) -> None:
    far = {k: (seen[k], wanted[k]) for k in wanted if abs(seen[k] - wanted[k]) > BANDS[k]}
    assert not far, f"(simulated, real): {far}"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_features_have_a_realistic_shape(seed: int) -> None:
    world = LabelWorld("llp", seed)
    dense = world.truth("train", 0, world.labels("train", 0, 150))
    features = FeatureWorld(seed, CATEGORIES).features("train", 0, dense)
    assert {name: array.shape for name, array in features.items()} == {
        "audio": (150, 10, 128),
        "frames": (150, 10, 2048),
        "motion": (150, 10, 512),
    }
    close_in_shape(audio_shape(features["audio"]), SHAPE)
    for name in ("frames", "motion"):
        array = features[name]
        assert array.dtype == np.float32
        assert array.min() == 0
        assert array.max() < 200  # far inside float16
        assert 0.1 < (array == 0).mean() < 0.4
        assert 0.3 < array.mean() < 0.7


@pytest.mark.skipif(not (SHARED / "vggish_real_ave.npz").is_file(), reason="no real VGGish features in ../shared/llp")
def test_audio_looks_like_real_vggish() -> None:
    real = np.load(SHARED / "vggish_real_ave.npz")["features"]
    world = LabelWorld("llp", 0)
    dense = world.truth("train", 0, world.labels("train", 0, len(real)))
    close_in_shape(audio_shape(FeatureWorld(0, CATEGORIES).features("train", 0, dense)["audio"]), audio_shape(real))


def test_an_event_is_seen_in_its_own_modality_and_seconds_alone() -> None:
    world = FeatureWorld(0, CATEGORIES)
    silent = np.zeros((1, 2, CATEGORIES, 10), dtype=np.uint8)
    event = silent.copy()
    event[0, 1, 4, 2:5] = 1
    without, with_event = world.features("val", 3, silent), world.features("val", 3, event)
    np.testing.assert_array_equal(without["audio"], with_event["audio"])
    for name in ("frames", "motion"):
        changed = (without[name] != with_event[name]).any(axis=-1)[0]
        assert changed.tolist() == [2 <= second < 5 for second in range(10)]


def test_difficulty_is_shared_by_both_modalities() -> None:
    """Loudness of an event in sound and sight, over videos that differ in chance alone, goes together."""
    world = FeatureWorld(0, CATEGORIES)
    count = 300
    silent = np.zeros((count, 2, CATEGORIES, 10), dtype=np.uint8)
    event = silent.copy()
    event[:, :, 4] = 1
    without, with_event = world.features("train", 0, silent), world.features("train", 0, event)
    heard, seen = (np.log((with_event[n] - without[n]).sum(axis=(1, 2))) for n in ("audio", "frames"))
    assert 0.65 < np.corrcoef(heard, seen)[0, 1] < 0.95


def test_unpooled_frames_average_to_the_pooled_ones() -> None:
    world = FeatureWorld(0, CATEGORIES)
    dense = everything_labelled("llp", 2)
    pooled = world.features("val", 0, dense)["frames"]
    frames = world.unpooled_frames("val", 0, pooled)
    assert frames.shape == (2, 80, 2048)
    assert frames.min() == 0
    means = frames.reshape(2, 10, 8, 2048).mean(axis=2)
    np.testing.assert_allclose(means, pooled, rtol=1e-5, atol=1e-6)
    assert (frames[:, 0] != frames[:, 1]).any()
    np.testing.assert_array_equal(world.unpooled_frames("val", 1, pooled[1:]), frames[1:])


def test_evaluation_splits_have_llps_share_within_bounds() -> None:
    videos = find_scenario("llp").evaluation_videos
    sizes = {n: (videos("val", n), videos("test", n)) for n in (1, 50, 300, 2000, 10000)}
    assert sizes == {1: (1, 1), 50: (50, 50), 300: (200, 300), 2000: (200, 400), 10000: (649, 1200)}


def test_an_unknown_scenario_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown scenario 'speech-natural'.*speech-neutral"):
        LabelWorld("speech-natural", 0)


@pytest.mark.skipif(not (SHARED / "statistics.json").is_file(), reason="no LLP statistics in ../shared/llp")
def test_the_table_that_ships_has_the_figures_of_llp() -> None:
    real = json.loads((SHARED / "statistics.json").read_text(encoding="utf-8"))
    table = llp_statistics()
    for split, figures in table.splits.items():
        assert figures.videos == real[split]["rows"]
        assert figures.counts.tolist() == [real[split]["class_counts"][name] for name in LLP_CATEGORIES.names]
        assert {str(k): v for k, v in figures.sizes.items()} == real[split]["labels_per_video"]
    pairs = {(LLP_CATEGORIES.index(a), LLP_CATEGORIES.index(b)): n for n, a, b in real["train"]["top_pairs"]}
    assert table.pairs == pairs
    per_class = [real["val+test"]["per_class"][name] for name in LLP_CATEGORIES.names]
    for key, odds in (("P_audible", "audible"), ("P_visible", "visible"), ("P_both", "both")):
        assert getattr(table.odds, odds).tolist() == [row[key] for row in per_class]
        assert getattr(table.pooled, odds)[0] == pytest.approx(real["val+test"]["total"][key], abs=1e-4)
    for modality, name in enumerate(("audio", "visual")):
        wanted = [row[f"mean_seg_{name}"] for row in per_class]
        np.testing.assert_allclose(table.events.segments[modality], wanted, atol=1e-3)
        wanted = [row[f"mean_intervals_{name}"] for row in per_class]
        np.testing.assert_allclose(table.events.intervals[modality], wanted, atol=1e-3)
        figures_of = real["val+test"]["segments"]
        histogram = table.events.histograms[modality]
        assert {str(k): v for k, v in histogram.per_event.items()} == figures_of["intervals_hist"][name]
        assert {str(k): v for k, v in histogram.length.items()} == figures_of["interval_len_hist"][name]
