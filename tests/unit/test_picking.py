"""Picks are what sorting a whole split would give, whatever the split's size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jomold_dist.evaluation.metrics import parsing_scores
from jomold_dist.showing.timelines import picking
from jomold_dist.showing.timelines.picking import (
    differing_segments,
    pick_differing,
    pick_worst,
    random_numbers,
    segment_scores,
)
from tests.parsed_videos import parsed_video, random_videos


@pytest.mark.parametrize("seed", range(5))
def test_a_video_is_scored_as_evaluation_scores_it(seed: int) -> None:
    videos = random_videos(8, seed)
    for video, score in zip(videos, segment_scores(videos), strict=True):
        assert video.truth is not None
        found, truth = (torch.from_numpy(rows)[:, None] for rows in (video.found, video.truth))
        assert score == pytest.approx(parsing_scores(*found, *truth)["segment_type"])
        deaf = replace(video, modalities=("visual",))
        assert segment_scores([deaf]) == [pytest.approx(parsing_scores(*found, *truth)["segment_visual"])]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_the_worst_are_those_that_sorting_gives(seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picking, "AT_ONCE", at_once)
    videos = random_videos(50, seed)
    scores = segment_scores(videos)
    for count in (1, 6, 80):
        expected = [videos[n].key for n in np.argsort(scores, kind="stable")[:count]]
        assert [one.key for (one,) in pick_worst(((video,) for video in videos), count)] == expected


@pytest.mark.parametrize("seed", range(5))
def test_those_that_differ_most_come_first(seed: int) -> None:
    systems = [random_videos(50, seed + 10 * n) for n in range(3)]
    rows = list(zip(*systems, strict=True))
    # the plain way: a segment counts if not all say the same of it
    plain = [sum(len({*cells}) > 1 for cells in zip(*(v.found.flat for v in row), strict=True)) for row in rows]
    assert [differing_segments(row) for row in rows] == plain
    picked = pick_differing(iter(rows), 7)
    assert [row[0].key for row in picked] == [rows[n][0].key for n in np.argsort(-np.array(plain), kind="stable")[:7]]


def test_a_network_does_not_differ_in_a_modality_that_it_lacks() -> None:
    both = parsed_video(found={("Dog", "audio"): "##", ("Dog", "visual"): "####"})
    deaf = parsed_video(found={("Dog", "visual"): "#"}, modalities=("visual",))
    assert differing_segments((both, deaf)) == 3


def test_random_videos_are_any_and_each_once() -> None:
    drawn = [random_numbers(20, 6, seed) for seed in range(200)]
    assert all(len(set(numbers.tolist())) == 6 and (np.diff(numbers) > 0).all() for numbers in drawn)
    assert set(np.concatenate(drawn).tolist()) == set(range(20))
    assert random_numbers(20, 6, 3).tolist() == random_numbers(20, 6, 3).tolist()
    assert random_numbers(4, 100, 0).tolist() == [0, 1, 2, 3]
