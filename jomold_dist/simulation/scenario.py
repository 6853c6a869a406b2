"""The label world: which labels a video has, and what of them is really heard and seen, and when.

Every video draws from generators of its own, keyed by (seed, split, video, purpose): video i is the same whatever the
number of videos and however they are grouped.

Legend: n videos, C categories, T segments; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import numpy as np

from jomold_dist.errors import UserError, nearest
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.simulation import intervals
from jomold_dist.simulation.label_sets import label_sets
from jomold_dist.simulation.statistics import SEGMENTS, Odds, llp_statistics

SCENARIOS = ("llp", "speech-neutral")
SPLITS = ("train", "val", "test")
LEAST_VIDEOS = {"val": 200, "test": 400}

# What a generator is for: the last number of its key.
LABELS, TRUTH, FEATURES, FRAMES, WORLD = range(5)


def video_generator(seed: int, split: str, video: int, purpose: int) -> np.random.Generator:
    """The generator of one video for one purpose."""
    return np.random.default_rng([seed, SPLITS.index(split), video, purpose])


def evaluation_videos(split: str, train: int) -> int:
    """How many videos `split` ("val" or "test") has beside `train` training videos: LLP's share of them, but at least
    200 or 400, so that scores are not all chance, and never more than `train`, so that a tiny data set stays tiny."""
    splits = llp_statistics().splits
    share = round(train * splits[split].videos / splits["train"].videos)
    return min(train, max(share, LEAST_VIDEOS[split]))


def unknown_scenario(name: str) -> str:
    """What to say to a scenario that there is not."""
    return f"unknown scenario {name!r}{nearest(name, SCENARIOS)}; there are: {', '.join(SCENARIOS)}"


class LabelWorld:
    """Labels and hidden truth of the scenario `scenario`. UserError if there is no such scenario."""

    def __init__(self, scenario: str, seed: int) -> None:
        if scenario not in SCENARIOS:
            raise UserError(unknown_scenario(scenario))
        self.scenario = scenario
        self.seed = seed

    @property
    def odds(self) -> Odds:
        """How often a labelled category is audible, visible, both: each category's own, or the same for all."""
        statistics = llp_statistics()
        return statistics.odds if self.scenario == "llp" else statistics.pooled

    def labels(self, split: str, first: int, count: int) -> np.ndarray:
        """Labels bool (n, C) of the videos `first` … `first + count - 1` of a split."""
        uniform = [video_generator(self.seed, split, first + i, LABELS).random() for i in range(count)]
        return label_sets(split).draw(np.array(uniform))

    def truth(self, split: str, first: int, labels: np.ndarray) -> np.ndarray:
        """Dense truth uint8 (n, 2, C, T) for the `labels` bool (n, C) of the videos from `first` on."""
        count, categories = labels.shape
        dense = np.zeros((count, 2, categories, SEGMENTS), dtype=np.uint8)
        # Three numbers a category, whether it is labelled or not: which modalities, when heard, when seen.
        uniform = np.empty((count, 3, len(LLP_CATEGORIES)))
        for i in range(count):
            uniform[i] = video_generator(self.seed, split, first + i, TRUTH).random(uniform.shape[1:])
        video, category = np.nonzero(labels)
        which, when_heard, when_seen = uniform[video, :, category].T

        audible, visible, both = self._modalities(category, which)
        heard = np.zeros(len(video), dtype=np.int64)
        seen = np.zeros(len(video), dtype=np.int64)
        heard[audible] = intervals.draw_alone(0, category[audible], when_heard[audible])
        alone = visible & ~both
        seen[alone] = intervals.draw_alone(1, category[alone], when_seen[alone])
        seen[both] = intervals.draw_visual_with(heard[both], category[both], when_seen[both])
        masks = intervals.masks()
        dense[video[audible], 0, category[audible]] = masks[heard[audible]]
        dense[video[visible], 1, category[visible]] = masks[seen[visible]]
        return dense

    def _modalities(self, category: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which events are audible, visible, both: bool (n,) each. The unit interval is cut in this order:
        both, audio only, visual only, neither."""
        both_share = self.odds.both[category]
        audio_share = both_share + self.odds.audio_only[category]
        visual_share = audio_share + self.odds.visual_only[category]
        both = uniform < both_share
        audible = uniform < audio_share
        visible = both | (~audible & (uniform < visual_share))
        return audible, visible, both
