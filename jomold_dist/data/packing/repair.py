"""Writing the damaged or missing shards of a data set anew from what it was packed from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jomold_dist.data.format.damage import unreadable
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, ShardInfo
from jomold_dist.data.packing.dataset_writer import SplitSource
from jomold_dist.data.packing.shard_writer import BadVideosError, OtherContentError, ShardFormat, write_shard
from jomold_dist.data.packing.workplace import Workplace
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError, raise_together
from jomold_dist.labels import CategorySet
from jomold_dist.reading import regular_file

OTHER_SOURCES = (
    "the sources, the options, or the versions of this package and of numpy are not those it was packed with; "
    "pack the data set again elsewhere"
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
    progress: Callable[[int], object] = lambda videos: None,
) -> Repair:
    """Compares every shard with its digest in the manifest and writes those that differ or are missing anew.

    A shard is replaced only by one of the very digest that the manifest tells. DataError, with a problem for every
    shard that cannot be restored so or whose videos cannot be had; those that can are restored all the same.
    """
    manifest = read_manifest(folder)
    workplace = Workplace(folder)
    try:
        forms = {s.name: ShardFormat(features, categories, segments, s.max_labels, s.dense) for s in splits}
        differences = _differences(manifest, splits, forms, videos_per_shard)
        if manifest.simulated != simulated:
            differences.append(f"it was simulated with {manifest.simulated}, not {simulated}")
        if differences:
            raise DataError(*(f"{folder} was packed otherwise: {text}; {OTHER_SOURCES}" for text in differences))
        whole, rewritten, problems = [], [], []
        for split in splits:
            first = 0
            for shard in manifest.split(split.name).shards:
                path, part = Path(folder) / shard.name, slice(first, first + shard.videos)
                first = part.stop
                try:
                    if _is_whole(path, shard):
                        whole.append(shard.name)
                    else:
                        path.parent.mkdir(exist_ok=True)
                        write_shard(path, split.videos[part], forms[split.name], sha256=shard.sha256)
                        rewritten.append(shard.name)
                except OtherContentError as error:
                    problems.append(f"{error}: {OTHER_SOURCES}")
                except BadVideosError as error:
                    problems += error.problems
                except DataError as error:
                    problems.append(str(error))
                except OSError as error:
                    problems.append(f"cannot write {path}: {error.strerror or error}")
                progress(shard.videos)
        raise_together(problems)
        return Repair(tuple(whole), tuple(rewritten))
    finally:
        workplace.close(keep=workplace.holds_work())


def _is_whole(path: Path, shard: ShardInfo) -> bool:
    """Whether the shard is there and what it should be. DataError if it cannot be read: then it may be good."""
    try:
        with regular_file(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(f"{path}, which may be sound", error) from None


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
            return [f"its features are {_text(manifest.features)}, not {_text(form.features)}"]
        if info.videos != len(split.videos):
            found.append(f"split {split.name!r} holds {info.videos} videos, not {len(split.videos)}")
        elif info.shards[0].videos != min(videos_per_shard, info.videos):
            found.append(f"split {split.name!r} has {info.shards[0].videos} videos a shard, not {videos_per_shard}")
        elif info.record != form.layout:
            found.append(f"split {split.name!r} has room for other labels")
    return found


def _text(features: Mapping[str, FeatureSpec]) -> str:
    return ", ".join(f"{name} {spec.shape} {spec.dtype}" for name, spec in features.items())
