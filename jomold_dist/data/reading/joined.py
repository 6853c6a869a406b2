"""The manifest of several data sets that are one: their videos one after the other, split by split.

The shard NAME of set number n is called n/NAME, as `source.Joined` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from jomold_dist.data.format.extraction import feature_differences
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, SplitInfo, TruthFile
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.errors import raise_together

SHOWN = 12  # categories in a message

ALIKE: dict[str, Callable[[Manifest], Any]] = {
    "segments a video": lambda manifest: manifest.segments,
    "seconds a segment": lambda manifest: manifest.segment_seconds,
    "features": lambda manifest: ", ".join(
        f"{name} {'×'.join(map(str, spec.shape))} {spec.dtype}" for name, spec in manifest.features.items()
    ),
    "origin": lambda manifest: "real" if manifest.simulated is None else "simulated",
}


def join_manifests(manifests: Sequence[Manifest], places: Sequence[str]) -> Manifest:
    """One manifest of sets that lie in these places. DataError tells everything by which they do not fit together.

    A split that some of the sets lack is that of the others. The videos of a set stay in their order.
    """
    first = manifests[0]
    problems = [
        problem
        for manifest, place in zip(manifests[1:], places[1:], strict=True)
        for problem in _misfits(first, places[0], manifest, place)
    ]
    raise_together([f"the data sets cannot be joined: {problem}" for problem in problems])
    names = list(dict.fromkeys(name for manifest in manifests for name in manifest.splits))
    origin = [{"name": manifest.name, "digest": manifest.digest, "origin": manifest.origin} for manifest in manifests]
    return replace(
        first,
        features={
            name: reduce(FeatureSpec.beside, (manifest.features[name] for manifest in manifests))
            for name in first.features
        },
        name=" + ".join(dict.fromkeys(manifest.name for manifest in manifests)),
        splits={name: _join_split(name, manifests) for name in names},
        origin={"joined": origin},
    )


def _misfits(first: Manifest, place: str, other: Manifest, other_place: str) -> list[str]:
    """By what a set does not fit the first one."""
    problems = []
    for what, value in ALIKE.items():
        if value(first) != value(other):
            problems.append(f"{place} has {what}: {value(first)}, and {other_place}: {value(other)}")
    problems += [
        f"their features were extracted in different ways: {difference}"
        for difference in feature_differences(first.extraction, other.extraction, (f"in {place}", f"in {other_place}"))
    ]
    ours, theirs = first.categories.names, other.categories.names
    if ours != theirs:
        lacking = [f"only {where} has {_some(some)}" for where, some in (
            (place, [name for name in ours if name not in theirs]),
            (other_place, [name for name in theirs if name not in ours]),
        ) if some]  # fmt: skip
        how = "; ".join(lacking) or "the same in another order"
        problems.append(f"{place} has other categories than {other_place}: {how}")
    if problems:
        return problems  # records differ by these already
    for name in [name for name in first.splits if name in other.splits]:
        one, another = first.splits[name], other.splits[name]
        if one.dense != another.dense:
            has, lacks = (place, other_place) if one.dense else (other_place, place)
            problems.append(f"split {name!r} has dense labels in {has} and none in {lacks}")
        elif one.record != another.record:
            problems.append(
                f"a video of split {name!r} takes {one.record.bytes} bytes in {place} and {another.record.bytes} in "
                f"{other_place}, which has room for another number of labels; pack one of them anew with the other's "
                f"most labels a video ({one.max_labels} and {another.max_labels})"
            )
    return problems


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _join_split(name: str, manifests: Sequence[Manifest]) -> SplitInfo:
    own = [(number, manifest, manifest.splits[name]) for number, manifest in enumerate(manifests)
           if name in manifest.splits]  # fmt: skip
    splits = [split for _, _, split in own]
    shuffled = [split.shuffled for split in splits]
    return replace(
        splits[0],
        max_labels=max(split.max_labels for split in splits),
        shards=tuple(
            replace(shard, name=f"{number}/{shard.name}") for number, _, split in own for shard in split.shards
        ),
        truth=all(split.truth for split in splits),
        shuffled=None if None in shuffled else shuffled[0],
        truth_files=tuple(TruthFile(f"{number}/{truth_name(name)}", split.videos) for number, _, split in own),
    )
