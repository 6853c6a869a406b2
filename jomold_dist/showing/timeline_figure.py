"""A video's timeline as a figure, which shows the same as the one on a page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from jomold_dist.figures import COLOURS, new_figure
from jomold_dist.palette import LIGHT
from jomold_dist.showing.timeline import Group, Lane, Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, LEFT = 9.0, 2.75  # inches: of the figure, and of the names in it
RIGHT = 0.99  # of the width, where the axes end
INCHES = 0.165  # a lane
BAR = 0.78  # of a lane's height that is filled
ROW_GAP, GROUP_GAP = 0.35, 0.8  # lanes
THUMBNAILS = 3.6  # lanes


def timeline_figure(timeline: Timeline) -> Figure:
    """The figure of a video."""
    lanes = sum(
        GROUP_GAP + sum(len(row.lanes) for row in group.rows) + ROW_GAP * (len(group.rows) - 1)
        for group in timeline.groups
    )
    top = THUMBNAILS + 0.4 if timeline.thumbnails else 0.0
    figure, axes = new_figure(WIDTH, INCHES * (lanes + top))
    figure.subplots_adjust(left=LEFT / WIDTH, right=RIGHT, bottom=0, top=1)
    axes.set_xlim(0, timeline.seconds)
    axes.set_ylim(lanes, -top)
    axes.set_yticks([])
    axes.set_xticks(timeline.ticks, timeline.tick_texts, fontsize=8, color=LIGHT["muted"])
    axes.tick_params(length=2, pad=2, color=LIGHT["muted"])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT["muted"])
    _draw_thumbnails(axes, timeline, -top)
    at = 0.0
    for group in timeline.groups:
        at = _draw_group(axes, timeline, group, at)
    _entitle(axes, timeline)
    _explain(axes, timeline)
    return figure


def _draw_group(axes: Any, timeline: Timeline, group: Group, at: float) -> float:
    """Draws a category from a height on, in lanes; the height at which it ends."""
    _line(axes, at)
    at += GROUP_GAP / 2
    name = group.category + ("  [label]" if group.labelled else "")
    _write(axes, 0, at, name, weight="bold" if group.labelled else "normal", size=8.5)
    for number, row in enumerate(group.rows):
        at += ROW_GAP if number else 0
        _write(axes, 1.38, at, row.modality, color=COLOURS[row.modality], size=7.5)
        for lane in row.lanes:
            _draw_lane(axes, timeline, lane, COLOURS[row.modality], at)
            at += 1
    return at + GROUP_GAP / 2


def _draw_lane(axes: Any, timeline: Timeline, lane: Lane, colour: str, at: float) -> None:
    """A lane: its name, its background, the probabilities as shades, and its events."""
    _write(axes, LEFT - 0.1, at, lane.name, color=LIGHT["muted"], size=7.5, ha="right")
    height = (at + (1 - BAR) / 2, BAR)
    segment, count = timeline.segment_seconds, timeline.segments
    cells = [(number * segment, segment) for number in range(count)]
    axes.broken_barh(cells, height, facecolors=LIGHT["panel"], edgecolors="white", linewidth=0.6)
    if lane.shade:
        axes.broken_barh(cells, height, facecolors=[(colour, shade) for shade in lane.shade], linewidth=0)
    spans = [(event.onset, event.offset - event.onset) for event in lane.events]
    if lane.is_truth:
        axes.broken_barh(spans, height, facecolors=COLOURS["truth"], linewidth=0)
    else:
        axes.broken_barh(spans, height, facecolors="none", edgecolors=LIGHT["ink"], linewidth=1.2)


def _draw_thumbnails(axes: Any, timeline: Timeline, top: float) -> None:
    """The pictures of the segments, side by side."""
    if not timeline.thumbnails:
        return
    from PIL import Image

    lane = INCHES / ((WIDTH * RIGHT - LEFT) / timeline.seconds)  # its height in seconds of the axis
    part = timeline.seconds / len(timeline.thumbnails)
    for number, content in enumerate(timeline.thumbnails):
        with Image.open(io.BytesIO(content)) as picture:
            shape = picture.width / picture.height
            height = min(THUMBNAILS * lane, part / shape)  # in seconds
            middle = (number + 0.5) * part
            across = (middle - height * shape / 2, middle + height * shape / 2)
            axes.imshow(picture.convert("RGB"), extent=(*across, top + height / lane, top), aspect="auto")


def _entitle(axes: Any, timeline: Timeline) -> None:
    """The video's key, what lanes are called, scores, and what else has to be said."""
    lines = [f"{system.short}: {system.name}" for system in timeline.systems if system.short != system.name]
    if timeline.scored:
        scores = [f"{s.short} {s.score:.0f} %" for s in timeline.systems if s.score is not None]
        lines.append(f"segment score: {', '.join(scores)}")
    lines += timeline.notes
    text: dict[str, Any] = {
        "xycoords": ("figure fraction", "axes fraction"),
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    for number, line in enumerate(reversed(lines)):
        axes.annotate(line, (0, 1), (0, 6 + 11 * number), fontsize=8, color=LIGHT["muted"], **text)
    axes.annotate(timeline.key, (0, 1), (0, 8 + 11 * len(lines)), fontsize=11, fontweight="bold", **text)


def _explain(axes: Any, timeline: Timeline) -> None:
    """The legend, below the axis."""
    nowhere = [(0.0, 0.0)]
    shown: list[tuple[str, dict[str, Any]]]
    shown = [] if timeline.truth is None else [("truth", {"facecolors": COLOURS["truth"]})]
    shown += [(f"probability, {m}", {"facecolors": [(COLOURS[m], 0.6)]}) for m in timeline.modalities]
    shown += [("found", {"facecolors": "none", "edgecolors": LIGHT["ink"], "linewidth": 1.2})]
    for label, look in shown:
        axes.broken_barh(nowhere, (0, 0), label=label, **look)
    axes.legend(
        loc="upper right", bbox_to_anchor=(1, 0), bbox_transform=axes.transAxes, borderaxespad=1.9, ncols=len(shown),
        fontsize=7.5, frameon=False, handlelength=1.4, handleheight=0.9, columnspacing=1.4, labelcolor=LIGHT["muted"],
    )  # fmt: skip


def _write(axes: Any, inches: float, at: float, text: str, ha: str = "left", **look: Any) -> None:
    """A text beside a lane, so many inches from the figure's left edge."""
    place, coords = (inches / WIDTH, at + 0.5), ("figure fraction", "data")
    axes.annotate(text, place, xycoords=coords, ha=ha, va="center", annotation_clip=False, **look)


def _line(axes: Any, at: float) -> None:
    """A thin line over the whole width above a category."""
    before = -LEFT / (WIDTH * RIGHT - LEFT)  # the names, in widths of the axes
    along = axes.get_yaxis_transform()
    axes.plot((before, 1), (at, at), transform=along, color=LIGHT["line"], linewidth=0.8, clip_on=False)
