"""Adding to a data set: what the old and the new part must have in common, and the manifest of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jomold_dist.data.format.extraction import feature_differences
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, SplitInfo
from jomold_dist.data.format.records import LABELS
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.errors import DataError

APPENDED_TOLD = 50  # the last so many additions, as a manifest has no room for any number of them


def append_problems(existing: Manifest, wanted: Manifest) -> list[str]:
    """Where a set, and what is to be added to it, do not go together."""
    problems = []
    for what, old, new in (
        ("features", features_text(existing.features), features_text(wanted.features)),
        ("segments", existing.segments, wanted.segments),
        ("seconds a segment", existing.segment_seconds, wanted.segment_seconds),
        ("simulated world", existing.simulated, wanted.simulated),
    ):
        if old != new:
            problems.append(f"its {what}: {old}, not {new}")
    other = feature_differences(existing.extraction, wanted.extraction, ("there", "in what is added"))
    problems += [f"its features were extracted in another way: {difference}" for difference in other]
    if existing.categories != wanted.categories:
        names = existing.categories.names, wanted.categories.names
        first = next(((a, b) for a, b in zip(*names, strict=False) if a != b), None)
        counts = ", not ".join(f"{len(own):,}" for own in names)
        how = f"; the first that differ are {first[0]!r} and {first[1]!r}" if first else ""
        problems.append(f"its categories: {counts}{how}")
    return problems


def split_to_extend(existing: Manifest | None, name: str, dense: bool) -> SplitInfo | None:
    """The split that is added to, None for a new one. DataError if it cannot be."""
    split = None if existing is None else existing.splits.get(name)
    if split is None:
        return None
    if split.dense != dense:
        has = (
            "has dense labels, and what is added has none"
            if split.dense
            else "has no dense labels, and what is added has"
        )
        raise DataError(f"split {name!r} cannot be added to: it {has}")
    if split.truth or (existing is not None and existing.simulated is not None and not dense):
        raise DataError(
            f"split {name!r} cannot be added to: {truth_name(name)} tells what is really heard and seen in its videos "
            "alone; add the videos as another split, or pack all of them anew"
        )
    return split


def label_room(split: SplitInfo) -> int:
    """The bytes that a split has for the text of a video's labels."""
    return split.record.members[LABELS].bytes


def extended(existing: Manifest, added: Manifest) -> Manifest:
    """The manifest of a set and of what is added to it: whose splits are longer, or new."""
    splits = dict(existing.splits)
    for name, new in added.splits.items():
        old = splits.get(name)
        splits[name] = new if old is None else _longer(old, new)
    appended: list[Any] = [*existing.origin.get("appended", []), added.origin][-APPENDED_TOLD:]
    features = {name: spec.beside(added.features[name]) for name, spec in existing.features.items()}
    return replace(existing, features=features, splits=splits, origin={**existing.origin, "appended": appended})


def _longer(old: SplitInfo, new: SplitInfo) -> SplitInfo:
    shuffled = None if new.shuffled is None else old.shuffled  # where one part lies as it came, nobody has shuffled all
    most = max(old.max_labels, new.max_labels)
    return replace(old, max_labels=most, shards=old.shards + new.shards, shuffled=shuffled)


def features_text(features: Mapping[str, FeatureSpec]) -> str:
    """Features in a message."""
    return ", ".join(f"{name} {spec.shape} {spec.dtype}" for name, spec in features.items())
