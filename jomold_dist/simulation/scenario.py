"""The scenarios: which categories there are, what videos are labelled with, and what of it is heard and seen, and when.

`llp` has LLP's figures, `speech-neutral` LLP's labels with the same odds for all categories. The others have the label
sets of a data set as they are, from a table of counts (`<name>_statistics.json`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from jomold_dist.errors import UserError, nearest
from jomold_dist.labels import LLP_CATEGORIES, CategorySet
from jomold_dist.simulation.label_sets import LabelSets
from jomold_dist.simulation.llp_label_sets import MAX_LABELS, llp_label_sets
from jomold_dist.simulation.llp_statistics import llp_statistics
from jomold_dist.simulation.statistics import EventStatistics, IntervalHistograms, Odds, read_shipped

LEAST_VIDEOS = {"val": 200, "test": 400}


@dataclass(frozen=True)
class Scenario:
    """What a world's labels and truth are drawn from. `videos` are those of the data set that was counted, by split;
    `odds` how often a labelled category is audible, visible, both."""

    name: str
    categories: CategorySet
    videos: dict[str, int]
    max_labels: int
    label_sets: Callable[[str], LabelSets]
    odds: Odds
    events: EventStatistics

    def evaluation_videos(self, split: str, train: int) -> int:
        """How many videos `split` ("val" or "test") has beside `train` training videos: the data set's share of them,
        but at least 200 or 400, so that scores are not all chance, and never more than `train`, so that a tiny data set
        stays tiny."""
        share = round(train * self.videos[split] / self.videos["train"])
        return min(train, max(share, LEAST_VIDEOS[split]))


def unknown_scenario(name: str) -> str:
    """What to say to a scenario that there is not."""
    return f"unknown scenario {name!r}{nearest(name, SCENARIOS)}; there are: {', '.join(SCENARIOS)}"


@cache
def find_scenario(name: str) -> Scenario:
    """The scenario of that name. UserError if there is none."""
    if name not in SCENARIOS:
        raise UserError(unknown_scenario(name))
    return SCENARIOS[name](name)


def _llp(name: str) -> Scenario:
    statistics = llp_statistics()
    return Scenario(
        name=name,
        categories=LLP_CATEGORIES,
        videos={split: figures.videos for split, figures in statistics.splits.items()},
        max_labels=MAX_LABELS,
        label_sets=llp_label_sets,
        odds=statistics.odds if name == "llp" else statistics.pooled,
        events=statistics.events,
    )


def _counted(name: str) -> Scenario:
    """The scenario of a table of counts. Where that does not know when events are, they are when LLP's are."""
    table = read_shipped(name)
    categories = CategorySet(tuple(table["categories"]))
    sets = {split: LabelSets.counted(data["sets"], len(categories)) for split, data in table["splits"].items()}
    events = table["events"]
    return Scenario(
        name=name,
        categories=categories,
        videos={split: data["videos"] for split, data in table["splits"].items()},
        max_labels=max(split.max_labels for split in sets.values()),
        label_sets=sets.__getitem__,
        odds=Odds(*(np.array(table["odds"][key]) for key in ("audible", "visible", "both"))),
        events=llp_statistics().events.for_any(len(categories)) if events is None else _events(events),
    )


def _events(table: dict[str, list]) -> EventStatistics:
    audio, visual = map(IntervalHistograms.from_json, table["histograms"])
    return EventStatistics(np.array(table["segments"]), np.array(table["intervals"]), (audio, visual))


SCENARIOS: dict[str, Callable[[str], Scenario]] = {
    "llp": _llp,
    "speech-neutral": _llp,
    "lfav": _counted,
    "vggsounder": _counted,
}
