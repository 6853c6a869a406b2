"""Writing the damaged or missing shards of a data set anew from what it was packed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jomold_dist.data.format.manifest import FeatureSpec, Manifest, SplitInfo
from jomold_dist.data.format.records import label_slot
from jomold_dist.data.packing.appending import features_text, label_room
from jomold_dist.data.packing.journal import FinishedShard
from jomold_dist.data.packing.shard_jobs import ShardJob, ShardResult, SplitJobs
from jomold_dist.data.packing.shard_writer import OtherContentError, ShardFormat
from jomold_dist.data.packing.splits import SplitSource
from jomold_dist.data.packing.workers import Outcome, Workers
from jomold_dist.data.packing.workplace import beside, place_of
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import CategorySet

OTHER_SOURCES = (
    "the sources, the options, or the versions of this package and of numpy are not those it was packed with; "
    "pack the data set again elsewhere"
)
ADDED_TO = (
    "it was added to (--append), and parts that were packed apart are not written anew together; copy what is damaged "
    "again, or pack all videos elsewhere"
)


@dataclass(frozen=True)
class Repair:
    """The names of the shards that were whole, and of those that were written anew."""

    whole: tuple[str, ...]
    rewritten: tuple[str, ...]


def repair_shards(
    folder: Path,
    splits: Sequence[SplitSource],
    *,
    categories: CategorySet,
    segments: int,
    features: Mapping[str, FeatureSpec],
    videos_per_shard: int,
    simulated: Mapping[str, Any] | None = None,
    jobs: int = 1,
    progress: Callable[[int], object] = lambda videos: None,
) -> Repair:
    """Compares every shard with its digest in the manifest and writes those that differ or are missing anew.

    A shard is replaced only by one of the very digest that the manifest tells. DataError, with a problem for every
    shard that cannot be restored so or whose videos cannot be had; those that can are restored all the same.
    """
    manifest = read_manifest(folder)
    workplace = beside(place_of(folder))
    try:
        forms = {}
        for split in splits:
            info = manifest.splits.get(split.name)
            slot = label_slot(split.max_labels or 0, len(categories))
            if info is not None and split.max_labels is None:
                slot = label_room(info)
            forms[split.name] = ShardFormat(features, categories, segments, split.dense, slot)
        differences = _differences(manifest, splits, forms, videos_per_shard)
        if manifest.simulated != simulated:
            differences.append(f"it was simulated with {manifest.simulated}, not {simulated}")
        if differences:
            remedy = ADDED_TO if manifest.origin.get("appended") else OTHER_SOURCES
            raise DataError(*(f"{folder} was packed otherwise: {text}; {remedy}" for text in differences))
        found: dict[str, Outcome] = {}
        with Workers(jobs, workplace.lock) as workers:
            for split in splits:
                work = SplitJobs(Path(folder), forms[split.name], split.videos, exact=True)
                for job, outcome in workers.each(work, _jobs(manifest.split(split.name))):
                    found[job.name] = outcome
                    progress(job.videos)
    finally:
        workplace.close(keep=workplace.holds_work())
    names = [shard.name for split in splits for shard in manifest.split(split.name).shards]
    raise_together([problem for name in names for problem in _problems(found[name])])
    kept = {name for name, outcome in found.items() if isinstance(outcome, ShardResult) and outcome.kept}
    return Repair(tuple(n for n in names if n in kept), tuple(n for n in names if n not in kept))


def _jobs(split: SplitInfo) -> list[ShardJob]:
    """One for each shard that the manifest names."""
    jobs, first = [], 0
    for shard in split.shards:
        known = FinishedShard(shard.name, shard.videos, shard.bytes, shard.sha256, shard.positives, 0, (), "")
        jobs.append(ShardJob(shard.name, slice(first, first + shard.videos), known))
        first += shard.videos
    return jobs


def _problems(outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, ShardResult):
        return ()
    if isinstance(outcome, OtherContentError):
        return (f"{outcome}: {OTHER_SOURCES}",)
    return outcome.problems if isinstance(outcome, DataError) else (str(outcome),)


def _differences(
    manifest: Manifest, splits: Sequence[SplitSource], forms: Mapping[str, ShardFormat], videos_per_shard: int
) -> list[str]:
    """What the manifest tells otherwise than the sources and options lead to."""
    wanted = [split.name for split in splits]
    if list(manifest.splits) != wanted:
        return [f"it has the splits {', '.join(manifest.splits)}, not {', '.join(wanted)}"]
    found = []
    for split in splits:
        info, form = manifest.split(split.name), forms[split.name]
        if manifest.categories != form.categories:
            return ["its categories are others"]
        if manifest.features != form.features:
            return [f"its features are {features_text(manifest.features)}, not {features_text(form.features)}"]
        if info.videos != len(split.videos):
            found.append(f"split {split.name!r} holds {info.videos} videos, not {len(split.videos)}")
        elif info.shards[0].videos != min(videos_per_shard, info.videos):
            found.append(f"split {split.name!r} has {info.shards[0].videos} videos a shard, not {videos_per_shard}")
        elif info.record != form.layout:
            found.append(f"split {split.name!r} has room for other labels")
    return found
