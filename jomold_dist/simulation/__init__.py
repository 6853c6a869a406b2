"""Worlds with a truth that is known: labels from a data set's statistics, a truth from them, features from that.

What belongs here knows no network, no shards and no files but the tables of statistics that ship.
"""

from jomold_dist.simulation.difficulty import DIFFICULTIES, Difficulty, parse_difficulty
from jomold_dist.simulation.draws import SPLITS
from jomold_dist.simulation.features import FRAMES_PER_SEGMENT, Channel, FeatureWorld
from jomold_dist.simulation.label_world import LabelWorld
from jomold_dist.simulation.scenario import SCENARIOS, Scenario, find_scenario, unknown_scenario
from jomold_dist.simulation.statistics import SEGMENTS

__all__ = [
    "DIFFICULTIES",
    "FRAMES_PER_SEGMENT",
    "SCENARIOS",
    "SEGMENTS",
    "SPLITS",
    "Channel",
    "Difficulty",
    "FeatureWorld",
    "LabelWorld",
    "Scenario",
    "find_scenario",
    "parse_difficulty",
    "unknown_scenario",
]
