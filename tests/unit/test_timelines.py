"""What a timeline shows: every event once, in rows that can be found again, and the same in words."""

from __future__ import annotations

import numpy as np
import pytest

from jomold_dist.labels import MODALITIES
from jomold_dist.showing.timelines.timeline import MOST_TICKS, Event, Timeline
from jomold_dist.showing.timelines.timelines import MOST_CATEGORIES, MOST_PROBABLE, short_names, timeline_of
from tests.parsed_videos import CATEGORIES, parsed_video, random_videos

DOG, SPEECH = ("Dog", "audio"), ("Speech", "audio")


def by_row(timeline: Timeline) -> dict[tuple[str, str, str], tuple[Event, ...]]:
    """All events that are drawn, by category, modality and lane."""
    return {
        (group.category, row.modality, lane.name): lane.events
        for group in timeline.groups
        for row in group.rows
        for lane in row.lanes
    }


def test_labelled_and_true_categories_come_before_those_that_are_only_found() -> None:
    video = parsed_video(found={SPEECH: "###", DOG: "#"}, truth={("Cello", "visual"): "##"}, labels=("Car", "Cello"))
    shown = timeline_of([("han", video)])
    assert [(group.category, group.labelled) for group in shown.groups] == [
        ("Cello", True), ("Car", True), ("Speech", False), ("Dog", False)
    ]  # fmt: skip
    assert [row.modality for row in shown.groups[0].rows] == ["audio", "visual"]
    assert [lane.name for lane in shown.groups[0].rows[0].lanes] == ["truth", "han"]


def test_events_are_runs_of_segments_in_seconds() -> None:
    video = parsed_video(found={DOG: "##.#"}, truth={DOG: ".###"}, labels=("Dog",), segments=4, segment_seconds=0.5)
    rows = by_row(timeline_of([("han", video)]))
    assert [(e.onset, e.offset) for e in rows["Dog", "audio", "han"]] == [(0, 1), (1.5, 2)]
    assert [e.probability for e in rows["Dog", "audio", "han"]] == pytest.approx([0.75, 0.75])
    assert rows["Dog", "audio", "truth"] == (Event("Dog", "audio", 0.5, 2.0),)
    assert rows["Dog", "visual", "han"] == ()


@pytest.mark.parametrize("seed", range(20))
def test_every_event_is_drawn_once_and_nothing_else(seed: int) -> None:
    """Over generated videos: the drawn events of a system cover exactly the segments that it finds."""
    one, other = random_videos(1, seed)[0], random_videos(1, seed + 100)[0]
    other = other.__class__(**{**vars(other), "truth": one.truth})
    shown = timeline_of([("a", one), ("b", other)])
    assert len({group.category for group in shown.groups}) == len(shown.groups)
    for name, present in (("a", one.found), ("b", other.found), ("truth", one.truth)):
        drawn = np.zeros_like(one.found)
        for (category, modality, lane), events in by_row(shown).items():
            for event in events if lane == name else ():
                cells = drawn[MODALITIES.index(modality), CATEGORIES.index(category)]
                cells[int(event.onset) : int(event.offset)] += True
        np.testing.assert_array_equal(drawn, present)
    words = " ".join(shown.words())
    assert all(str(event) in words for events in by_row(shown).values() for event in events)


def test_a_video_of_which_nothing_is_known_or_found_shows_what_is_most_probable() -> None:
    video = parsed_video(labels=None)
    video.probability[1, 3, 2] = 0.4
    shown = timeline_of([("han", video)])
    assert (shown.groups[0].category, len(shown.groups)) == ("Cello", MOST_PROBABLE)
    assert shown.words()[0] == "Its labels are not known."
    assert "Nothing is labelled or found; shown are the most probable categories." in shown.words()
    assert timeline_of([("han", parsed_video())]).words()[0] == "It has no label."


def test_what_is_not_drawn_is_told_in_words() -> None:
    names = tuple(f"c{number:03d}" for number in range(309))
    video = parsed_video(found={(name, "audio"): "#" for name in names[:40]}, categories=names)
    shown = timeline_of([("han", video)])
    assert len(shown.groups) == MOST_CATEGORIES
    assert f"Not drawn, but told in words: {40 - MOST_CATEGORIES} more categories." in shown.words()
    assert all(f"{name} heard 0–1 s (0.75)" in shown.words()[1] for name in names[:40])


def test_a_network_of_one_modality_has_no_lane_in_the_other() -> None:
    deaf = parsed_video(found={("Dog", "visual"): "#"}, labels=("Dog",), modalities=("visual",))
    both = timeline_of([("stpn", deaf), ("han", parsed_video(labels=("Dog",)))])
    assert by_row(both).keys() == {("Dog", "audio", "han"), ("Dog", "visual", "stpn"), ("Dog", "visual", "han")}
    assert "stpn parses visual only." in both.notes
    assert timeline_of([("stpn", deaf)]).modalities == ("visual",)


@pytest.mark.parametrize(
    ("segments", "segment_seconds", "ticks"),
    [
        (10, 1.0, [*map(str, range(10)), "10 s"]),
        (5, 2.0, [*map(str, range(10)), "10 s"]),
        (5, 0.1, ["0", "0.1", "0.2", "0.3", "0.4", "0.5 s"]),
        (20, 1.0, ["0", "2", "4", "6", "8", "10", "12", "14", "16", "18", "20 s"]),
        (60, 10.0, ["0", "60", "120", "180", "240", "300", "360", "420", "480", "540", "600 s"]),
    ],
)
def test_the_axis_names_round_seconds(segments: int, segment_seconds: float, ticks: list[str]) -> None:
    shown = timeline_of([("han", parsed_video(segments=segments, segment_seconds=segment_seconds))])
    assert list(shown.tick_texts) == ticks
    assert len(shown.ticks) <= MOST_TICKS + 1
    assert shown.share(shown.seconds) == "100"


def test_lanes_have_names_that_fit_and_tell_them_apart() -> None:
    long, longer = "jomold, denoise.audio_threshold=1.6", "jomold, denoise.audio_threshold=1.7"
    assert short_names(["han", "jomold"]) == ["han", "jomold"]
    assert short_names(["han", long]) == ["han", "jomold"]
    assert short_names([long, longer]) == ["A", "B"]
    assert short_names(["a_method_of_ones_own, x=1", "han"]) == ["A", "B"]
    assert short_names(["han", "han"]) == ["A", "B"]
    video = parsed_video(labels=("Dog",))
    shown = timeline_of([("han", video), (long, video)], [None, 41.6])
    assert shown.lane_names == ("han", long)
    assert [lane.name for lane in shown.groups[0].rows[0].lanes] == ["han", "jomold"]
    assert f"{long}, segment score 42 %: nothing." in shown.words()


def test_a_probability_that_is_no_number_is_drawn_as_none() -> None:
    video = parsed_video(labels=("Dog",))
    video.probability[0, 1, :] = np.nan
    (group,) = timeline_of([("han", video)]).groups
    assert group.rows[0].lanes[0].shade == (0.0,) * 10


def test_videos_with_other_keys_are_other_files_and_links() -> None:
    """Keys are printable ASCII; an address or a file's name takes less."""
    anchors = [timeline_of([("han", parsed_video(key=key))]).anchor for key in ("a-b", "a:b", "a|b", "a--b", 'a"b')]
    assert anchors[0] == "a-b"
    assert len(set(anchors)) == len(anchors)
    assert all(set(anchor) <= set("abcdef0123456789-") for anchor in anchors)
