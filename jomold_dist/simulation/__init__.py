"""Worlds like LLP's with a truth that is known: labels from LLP's statistics, features from the truth."""

from jomold_dist.simulation.features import Channel, FeatureWorld
from jomold_dist.simulation.label_sets import MAX_LABELS
from jomold_dist.simulation.scenario import SCENARIOS, SPLITS, LabelWorld, evaluation_videos, unknown_scenario
from jomold_dist.simulation.statistics import SEGMENTS

__all__ = [
    "MAX_LABELS",
    "SCENARIOS",
    "SEGMENTS",
    "SPLITS",
    "Channel",
    "FeatureWorld",
    "LabelWorld",
    "evaluation_videos",
    "unknown_scenario",
]
