"""The label world: which labels a video has, and what of them is really heard and seen, and when.

Legend: n videos, C categories, T segments; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from jomold_dist.simulation.draws import LABELS, TRUTH, video_generator
from jomold_dist.simulation.intervals import IntervalWorld, masks
from jomold_dist.simulation.scenario import find_scenario
from jomold_dist.simulation.statistics import SEGMENTS


class LabelWorld:
    """Labels and hidden truth of the scenario `name`. UserError if there is no such scenario."""

    def __init__(self, name: str, seed: int) -> None:
        self.scenario = find_scenario(name)
        self.seed = seed
        self._intervals = _intervals(name)

    def labels(self, split: str, first: int, count: int) -> np.ndarray:
        """Labels bool (n, C) of the videos `first` … `first + count - 1` of a split."""
        uniform = [video_generator(self.seed, split, first + i, LABELS).random() for i in range(count)]
        return self.scenario.label_sets(split).draw(np.array(uniform))

    def truth(self, split: str, first: int, labels: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
        """Dense truth uint8 (n, 2, C, T) for the `labels` bool (n, C) of the videos from `first` on.

        `present`, bool (n, 2, C), tells what of its labels a video sounds and shows; drawn by the odds where None.
        """
        count, categories = labels.shape
        dense = np.zeros((count, 2, categories, SEGMENTS), dtype=np.uint8)
        # Three numbers a category, whether it is labelled or not: which modalities, when heard, when seen.
        uniform = np.empty((count, 3, categories))
        for i in range(count):
            uniform[i] = video_generator(self.seed, split, first + i, TRUTH).random(uniform.shape[1:])
        video, category = np.nonzero(labels)
        which, when_heard, when_seen = uniform[video, :, category].T

        if present is None:
            audible, visible = self._modalities(category, which)
        else:
            audible, visible = present[video, :, category].T
        both = audible & visible
        heard = np.zeros(len(video), dtype=np.int64)
        seen = np.zeros(len(video), dtype=np.int64)
        heard[audible] = self._intervals.draw_alone(0, category[audible], when_heard[audible])
        alone = visible & ~both
        seen[alone] = self._intervals.draw_alone(1, category[alone], when_seen[alone])
        seen[both] = self._intervals.draw_visual_with(heard[both], category[both], when_seen[both])
        dense[video[audible], 0, category[audible]] = masks()[heard[audible]]
        dense[video[visible], 1, category[visible]] = masks()[seen[visible]]
        return dense

    def _modalities(self, category: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which events are audible and which visible: bool (n,) each. The unit interval is cut in this order:
        both, audio only, visual only, neither."""
        odds = self.scenario.odds
        both_share = odds.both[category]
        audio_share = both_share + odds.audio_only[category]
        visual_share = audio_share + odds.visual_only[category]
        audible = uniform < audio_share
        visible = (uniform < both_share) | (~audible & (uniform < visual_share))
        return audible, visible


@cache
def _intervals(name: str) -> IntervalWorld:
    return IntervalWorld(find_scenario(name).events)
