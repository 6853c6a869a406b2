"""Worlds of other data sets than LLP: what is drawn against the tables that ship; and how hard their features are."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from jomold_dist.errors import UserError
from jomold_dist.simulation import FeatureWorld, LabelWorld, find_scenario, parse_difficulty
from jomold_dist.simulation.intervals import IntervalWorld
from jomold_dist.simulation.label_sets import LabelSets
from jomold_dist.simulation.llp_statistics import llp_statistics
from jomold_dist.simulation.statistics import read_shipped

COUNTED = {"lfav": 35, "vggsounder": 309}
VIDEOS = 2000


def band(share: np.ndarray, draws: np.ndarray | int) -> np.ndarray:
    """How far a share of so many draws may be from the truth."""
    return 4.5 * np.sqrt(share * (1 - share) / np.maximum(draws, 1)) + 2 / np.maximum(draws, 1)


def everything_labelled(name: str, videos: int) -> np.ndarray:
    """Truth of videos that carry every label: the same number of events for each category."""
    return LabelWorld(name, 5).truth("test", 0, np.ones((videos, COUNTED[name]), dtype=bool))


def test_label_sets_are_drawn_as_often_as_they_were_counted() -> None:
    sets = LabelSets.counted([(6, [0, 2]), (3, [1]), (1, [0, 1, 3])], categories=4)
    drawn = sets.draw((np.arange(10) + 0.5) / 10)
    expected = [[1, 0, 1, 0]] * 6 + [[0, 1, 0, 0]] * 3 + [[1, 1, 0, 1]]
    np.testing.assert_array_equal(drawn, np.array(expected, dtype=bool))
    assert sets.max_labels == 3
    assert sets.draw(np.array([1 - 1e-16])).tolist() == [[True, True, False, True]]


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("name", COUNTED)
def test_labels_have_the_counts_of_the_table(name: str, split: str) -> None:
    table = read_shipped(name)
    split_table = table["splits"][split]
    expected, sizes, known = np.zeros(COUNTED[name]), np.zeros(40), set()
    for count, columns in split_table["sets"]:
        expected[columns] += count / split_table["videos"]
        sizes[len(columns)] += count / split_table["videos"]
        known.add(tuple(sorted(columns)))
    labels = LabelWorld(name, 3).labels(split, 0, VIDEOS)
    assert labels.shape == (VIDEOS, len(table["categories"])) == (VIDEOS, COUNTED[name])
    assert (np.abs(labels.mean(axis=0) - expected) <= band(expected, VIDEOS)).all()
    seen = np.bincount(labels.sum(axis=1), minlength=40) / VIDEOS
    assert (np.abs(seen - sizes) <= band(sizes, VIDEOS)).all()
    assert {tuple(np.flatnonzero(row).tolist()) for row in labels} <= known  # no set that nobody has seen
    assert labels.sum(axis=1).max() <= find_scenario(name).max_labels


@pytest.mark.parametrize("name", COUNTED)
def test_odds_are_those_of_each_category(name: str) -> None:
    videos = 150
    present = everything_labelled(name, videos).any(axis=-1)
    odds = find_scenario(name).odds
    for seen, expected in zip(
        [present[:, 0], present[:, 1], present.all(axis=1)], [odds.audible, odds.visible, odds.both], strict=True
    ):
        assert (np.abs(seen.mean(axis=0) - expected) <= band(expected, videos)).all()


def test_lfav_has_noise_in_audio_and_vggsounder_noise_in_many_categories() -> None:
    noise = {}
    for name in COUNTED:
        world = LabelWorld(name, 0)
        labels = world.labels("train", 0, VIDEOS)
        present = world.truth("train", 0, labels).any(axis=-1)
        noise[name] = [1 - present[:, modality][labels].mean() for modality in (0, 1)]
    assert noise["lfav"] == pytest.approx([0.18, 0.31], abs=0.02)
    assert noise["vggsounder"][1] == pytest.approx(0.37, abs=0.02)
    invisible = 1 - find_scenario("vggsounder").odds.visible
    assert (invisible > 0.2).sum() > 100


def runs_of(mask: np.ndarray) -> list[int]:
    """The lengths of a mask's maximal runs, one by one: the oracle."""
    return [len(list(run)) for on, run in groupby(mask.tolist()) if on]


def test_intervals_of_lfav_have_the_figures_of_each_category() -> None:
    dense = everything_labelled("lfav", 300)
    events = find_scenario("lfav").events
    for modality in (0, 1):
        for category in range(COUNTED["lfav"]):
            runs = [runs_of(mask) for mask in dense[:, modality, category] if mask.any()]
            for values, mean in (
                ([sum(run) for run in runs], events.segments[modality, category]),
                ([len(run) for run in runs], events.intervals[modality, category]),
            ):
                allowed = 4.5 * np.std(values) / np.sqrt(len(runs)) + 0.05
                assert np.mean(values) == pytest.approx(mean, abs=allowed), (modality, category)


def test_where_no_times_were_counted_events_are_when_llps_are() -> None:
    """Every category has LLP's histograms, and an event's sound and sight overlap as much as LLP's."""
    dense = everything_labelled("vggsounder", 12)
    for modality, figures in enumerate(llp_statistics().events.histograms):
        runs = [runs_of(mask) for mask in dense[:, modality].reshape(-1, 10) if mask.any()]
        lengths = np.bincount([n for run in runs for n in run], minlength=11)[1:] / len(runs)
        real = np.array([figures.length[k] for k in range(1, 11)]) / figures.events
        np.testing.assert_allclose(lengths, real, atol=0.04)
        single = np.mean([len(run) == 1 for run in runs])
        assert single == pytest.approx(figures.per_event[1] / figures.events, abs=0.03)


def test_categories_of_equal_statistics_share_a_distribution_and_others_do_not() -> None:
    world = IntervalWorld(llp_statistics().events.for_any(309))
    uniform = np.linspace(0, 1, 60, endpoint=False)
    first = world.draw_alone(0, np.zeros(60, dtype=np.int64), uniform)
    np.testing.assert_array_equal(first, world.draw_alone(0, np.full(60, 308), uniform))
    together = world.draw_visual_with(first, np.zeros(60, dtype=np.int64), uniform)
    np.testing.assert_array_equal(together, world.draw_visual_with(first, np.full(60, 308), uniform))
    own = IntervalWorld(llp_statistics().events)
    assert (own.draw_alone(0, np.zeros(60, dtype=np.int64), uniform) != first).any()


def test_a_truth_that_is_given_is_kept_and_only_its_times_are_drawn() -> None:
    world = LabelWorld("lfav", 0)
    labels = world.labels("train", 0, 50)
    present = np.random.default_rng(1).random((50, 2, COUNTED["lfav"])) < 0.6
    present &= labels[:, None]
    dense = world.truth("train", 0, labels, present)
    np.testing.assert_array_equal(dense.any(axis=-1), present)
    assert (world.truth("train", 0, labels).any(axis=-1) != present).any()
    both = present.all(axis=1)
    overlap = (dense[:, 0] & dense[:, 1]).sum(axis=-1)[both]
    assert (overlap > 0).mean() > 0.8  # sound and sight of an event are coupled here too


@pytest.mark.parametrize("name", COUNTED)
def test_a_video_does_not_depend_on_how_many_there_are_or_how_they_are_grouped(name: str) -> None:
    world, features = LabelWorld(name, 7), FeatureWorld(7, COUNTED[name], parse_difficulty("hard"))
    labels = world.labels("val", 0, 8)
    truth = world.truth("val", 0, labels)
    whole = features.features("val", 0, truth)
    for first, count in [(0, 3), (3, 1), (4, 4)]:
        rows = slice(first, first + count)
        np.testing.assert_array_equal(world.labels("val", first, count), labels[rows])
        np.testing.assert_array_equal(world.truth("val", first, labels[rows]), truth[rows])
        for feature, array in features.features("val", first, truth[rows]).items():
            np.testing.assert_array_equal(array, whole[feature][rows])


def test_evaluation_splits_have_the_share_of_their_own_data_set() -> None:
    videos = {name: find_scenario(name).videos for name in COUNTED}
    assert videos["lfav"] == {"train": 3721, "val": 486, "test": 968}
    for name, counts in videos.items():
        own = find_scenario(name).evaluation_videos
        assert [own(split, counts["train"]) for split in ("val", "test")] == [counts["val"], counts["test"]]
        assert [own(split, 300) for split in ("val", "test")] == [200, 300]


def difference(difficulty: str) -> dict[str, float]:
    """The norm that an event adds to each feature, where nothing is cut off at zero."""
    world = FeatureWorld(0, 4, parse_difficulty(difficulty))
    silent = np.zeros((3, 2, 4, 10), dtype=np.uint8)
    event = silent.copy()
    event[:, :, 2] = 1
    without, with_event = world.features("train", 0, silent), world.features("train", 0, event)
    lit = {name: (without[name] > 0) & (with_event[name] > 0) for name in without}
    return {name: float(np.linalg.norm((with_event[name] - without[name])[lit[name]])) for name in without}


def test_difficulty_is_a_factor_on_the_signal_of_a_modality() -> None:
    easy, quiet, dark, other = map(difference, ("easy", "0.5,1", "1,0.25", "0.5,0.25"))
    assert quiet["audio"] < easy["audio"] * 0.55
    assert quiet["frames"] == easy["frames"]
    for name in ("frames", "motion"):
        assert dark[name] == pytest.approx(easy[name] * 0.25, rel=1e-3)
        assert other[name] == dark[name]
    assert dark["audio"] == easy["audio"]
    assert other["audio"] == quiet["audio"]
    assert difference("1,1") == easy


def test_difficulty_leaves_what_is_no_event_as_it_is() -> None:
    silent = np.zeros((2, 2, 4, 10), dtype=np.uint8)
    easy, hard = (FeatureWorld(3, 4, parse_difficulty(d)).features("val", 0, silent) for d in ("easy", "hard"))
    for name, array in easy.items():
        np.testing.assert_array_equal(array, hard[name])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hrad", "did you mean 'hard'"),
        ("0.5", "two factors"),
        ("1,2,3", "two factors"),
        ("a,b", "two factors"),
        ("", "two factors"),
        ("nan,1", "from 0 to 10"),
        ("1,-0.1", "from 0 to 10"),
        ("1,inf", "from 0 to 10"),
    ],
)
def test_a_difficulty_that_is_none_is_named(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_difficulty(text)


def test_a_difficulty_is_told_by_its_name_or_its_factors() -> None:
    assert [str(parse_difficulty(text)) for text in ("hard", "0.6,0.4", "1.0,1", "0.55,0.30", "0.61234567,2")] == [
        "hard",
        "hard",
        "easy",
        "0.55,0.3",
        "0.61234567,2",
    ]
