"""An overview of a data set, and one of its videos, as text for a terminal of 100 columns."""

from __future__ import annotations

from typing import Any

from jomold_dist.data.format.extraction import extraction_text
from jomold_dist.data.looking.overview import Overview
from jomold_dist.data.looking.statistics import Statistics
from jomold_dist.data.looking.video import VideoView
from jomold_dist.labels import MODALITIES
from jomold_dist.tables import markdown_table, value_text
from jomold_dist.wording import number_of

FEW = 40  # categories that are all shown
MOST_FREQUENT, LEAST_FREQUENT = 12, 8  # that are shown of more
NAME_WIDTH = 48
VALUES = ("mean", "std", "least", "largest", "zeros")
MANY_ROWS = 40


def set_text(found: Overview, everything: bool = False) -> str:
    """What is known of a data set; with `everything`, all categories however many there are."""
    blocks = [_head(found), _splits(found), _features(found), _categories(found, everything)]
    return "\n\n".join(blocks)


def video_text(video: VideoView, everything: bool = False) -> str:
    """What is known of a video; with `everything`, all rows of features however many there are."""
    place = f"video {video.number} of {video.shard}, {video.number_in_split} of the split (from 0)"
    blocks = [f"{video.key}: {video.split}, {place}", _labels(video)]
    if video.events:
        rows = [[_number(e.onset), _number(e.offset), e.category, e.modality] for e in video.events]
        header = ["from", "to", "category", "modality"]
        blocks.append(f"events in seconds, of {_number(video.seconds)}\n{markdown_table(header, rows, len(header))}")
    elif video.events is not None:
        blocks.append("events: none, by its dense labels")
    for name, feature in video.features.items():
        shown = feature.rows if everything else feature.rows[:MANY_ROWS]
        rows = [[_span(row.first, row.count), *_values(row.values)] for row in shown]
        more = f", the first {len(shown)} segments (all with --all)" if len(shown) < len(feature.rows) else ""
        blocks.append(f"{name} {feature.shape} {feature.dtype}{more}\n{markdown_table(['rows', *VALUES], rows)}")
    return "\n\n".join(blocks)


def _head(found: Overview) -> str:
    made = dict(found.origin)
    command, version = made.pop("command", None), made.pop("version", None)
    if additions := made.pop("appended", None):
        made["added to"] = "once" if len(additions) == 1 else f"{len(additions)} times"
    by = f"{command or 'a program that did not say its name'}" + (f", version {version}" if version else "")
    seconds = found.segments * found.segment_seconds
    return "\n".join(
        [
            f"{found.name} in {found.place}",
            "real data" if found.simulated is None else f"simulated: {_pairs(found.simulated)}",
            f"made by {by}" + (f": {_pairs(made)}" if made else ""),
            f"a video has {found.segments} segments of {_number(found.segment_seconds)} s, {_number(seconds)} s in all",
        ]
    )


def _splits(found: Overview) -> str:
    header = ["split", "dense labels", "truth", "shuffled", "videos", "shards", "bytes", "labels a video"]
    rows = [
        [
            name,
            "yes" if split.dense else "no",
            "yes" if split.truth else "no",
            "by nobody" if split.shuffled is None else f"by seed {split.shuffled}",
            f"{split.videos:,}",
            f"{split.shards:,}",
            f"{split.bytes:,}",
            f"{split.labels / split.videos:.2f}",
        ]
        for name, split in found.splits.items()
    ]
    return markdown_table(header, rows, 4)


def _features(found: Overview) -> str:
    header = ["feature", "shape", "dtype", *VALUES]
    rows = [
        [name, f"{feature.shape}", feature.dtype, *(_values(feature.values) if feature.values else "-" * len(VALUES))]
        for name, feature in found.features.items()
    ]
    sample = found.sample
    lines = [markdown_table(header, rows, 3)]
    lines += [f"{name}: {feature.pooled}" for name, feature in found.features.items() if feature.pooled]
    lines += [
        f"{name}: {text}" for name, feature in found.features.items() if (text := extraction_text(feature.extraction))
    ]
    lines.append(
        f"values of {number_of(sample.videos, 'video')} of {sample.split}, from {number_of(sample.shards, 'shard')}"
    )
    if sample.damaged:
        lines.append(f"{sample.damaged:,} more are damaged or missing: jomold verify tells which")
    return "\n".join(lines)


def _categories(found: Overview, everything: bool) -> str:
    names, main = list(found.categories), found.sample.split
    splits = list(found.splits)
    shown: list[str | None] = [*names]
    said = f"{'1 category' if len(names) == 1 else f'{len(names)} categories'}, with the videos of each"
    if len(names) > FEW and not everything:
        order = sorted(names, key=lambda name: -found.categories[name][main])
        there = [name for name in order if found.categories[name][main]]
        most, least = there[:MOST_FREQUENT], there[MOST_FREQUENT:][-LEAST_FREQUENT:]
        shown = [*most, None, *least] if len(there) > len(most) + len(least) else [*most, *least]
        said += f": the most and least frequent in {main} (all with --all)"
    rows = [
        ["…"] * (1 + len(splits))
        if name is None
        else [_short(name), *(f"{found.categories[name][split]:,}" for split in splits)]
        for name in shown
    ]
    none = {split: sum(not counts[split] for counts in found.categories.values()) for split in splits}
    lines = [said, markdown_table(["category", *splits], rows)]
    if any(none.values()):
        lines.append("without any video: " + ", ".join(f"{count} in {split}" for split, count in none.items() if count))
    return "\n".join(lines)


def _labels(video: VideoView) -> str:
    if not video.labels and not video.truth:
        return "labels: none"
    if video.truth is None:
        return f"labels: {', '.join(video.labels)} (where they are heard or seen is not known)"
    audio, visual = (video.truth[modality] for modality in MODALITIES)
    names = list(dict.fromkeys([*video.labels, *audio, *visual]))
    rows = [[name, *("yes" if name in there else "no" for there in (video.labels, audio, visual))] for name in names]
    return markdown_table(["category", "label", "heard", "seen"], rows, 4)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items())


def _values(values: Statistics) -> list[str]:
    numbers = (values.mean, values.std, values.least, values.largest)
    return [*(f"{value:.4g}" for value in numbers), f"{100 * values.zeros:.1f} %"]


def _span(first: int, count: int) -> str:
    return f"{first}" if count == 1 else f"{first}–{first + count - 1}"


def _number(value: float) -> str:
    return f"{value:g}"


def _short(name: str) -> str:
    return name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…"
