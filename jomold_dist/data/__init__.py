"""Labels and features to shards, and shards to batches."""

from jomold_dist.data.loader import Batch, Loader
from jomold_dist.data.manifest import FeatureSpec, Manifest, SplitInfo
from jomold_dist.data.plan import EpochPlan, check_world_size, steps_per_epoch
from jomold_dist.data.shards import DatasetWriter, ShardReader, Video, verify_shards
from jomold_dist.data.source import read_manifest

__all__ = [
    "Batch",
    "DatasetWriter",
    "EpochPlan",
    "FeatureSpec",
    "Loader",
    "Manifest",
    "ShardReader",
    "SplitInfo",
    "Video",
    "check_world_size",
    "read_manifest",
    "steps_per_epoch",
    "verify_shards",
]
