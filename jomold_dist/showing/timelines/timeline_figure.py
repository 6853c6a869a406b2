"""A video's timeline as a figure, which shows the same as the one on a page."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from jomold_dist.figures import COLOURS, new_figure
from jomold_dist.palette import LIGHT
from jomold_dist.showing.timelines.timeline import Group, Lane, Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

WIDTH, LEFT, RIGHT = 9.2, 2.85, 9.0  # inches: of the figure, and from where to where time goes
MARGIN, MODALITY, NAME = 0.1, 1.48, LEFT - 0.1  # inches: where texts begin, and where the names of lanes end
INCHES = 0.165  # a lane
CHARACTERS = 20  # of a category's name in a line
TITLE, LINE, BELOW = 0.34, 0.155, 0.5  # inches: a video's key, a line under it, axis and legend
BAR = 0.78  # of a lane's height that is filled
ROW_GAP, GROUP_GAP = 0.35, 0.8  # lanes
THUMBNAIL, THUMBNAIL_GAP = 3.6, 0.5  # lanes: the most that one is high, and what is below it


def timeline_figure(timeline: Timeline) -> Figure:
    """The figure of a video."""
    lanes = sum(map(_height, timeline.groups))
    pictures = _open_thumbnails(timeline)
    top = max((height for _, _, height in pictures), default=-THUMBNAIL_GAP) + THUMBNAIL_GAP
    heading = TITLE + LINE * len(_heading(timeline))
    height = heading + INCHES * (lanes + top) + BELOW
    figure, axes = new_figure(WIDTH, height)
    figure.subplots_adjust(left=LEFT / WIDTH, right=RIGHT / WIDTH, bottom=BELOW / height, top=1 - heading / height)
    axes.set_xlim(0, timeline.seconds)
    axes.set_ylim(lanes, -top)
    axes.set_yticks([])
    axes.set_xticks(timeline.ticks, timeline.tick_texts, fontsize=8, color=LIGHT["muted"])
    axes.tick_params(length=2, pad=2, color=LIGHT["muted"])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT["muted"])
    part = timeline.seconds / max(len(pictures), 1)
    for number, (picture, width, height_in_lanes) in enumerate(pictures):
        middle = (number + 0.5) * part
        extent = (middle - width / 2, middle + width / 2, height_in_lanes - top, -top)
        axes.imshow(picture, extent=extent, aspect="auto")
    at = 0.0
    for group in timeline.groups:
        at = _draw_group(axes, timeline, group, at)
    _entitle(axes, timeline)
    _explain(axes, timeline)
    return figure


def _draw_group(axes: Any, timeline: Timeline, group: Group, at: float) -> float:
    """Draws a category from a height on, in lanes; the height at which it ends."""
    _line(axes, at)
    end, at = at + _height(group), at + GROUP_GAP / 2
    for number, line in enumerate(lines := _name_lines(group.category)):
        _write(axes, MARGIN, at + number, line, weight="bold", size=8.5)
    if group.labelled:
        _write(axes, MARGIN, at + len(lines), "label", color=LIGHT["muted"], size=7.5)
    for number, row in enumerate(group.rows):
        at += ROW_GAP if number else 0
        _write(axes, MODALITY, at, row.modality, color=COLOURS[row.modality], size=7.5)
        for lane in row.lanes:
            _draw_lane(axes, timeline, lane, COLOURS[row.modality], at)
            at += 1
    return end


def _height(group: Group) -> float:
    """How many lanes a category takes, with the gap around it."""
    rows = sum(len(row.lanes) for row in group.rows) + ROW_GAP * (len(group.rows) - 1)
    return GROUP_GAP + max(rows, len(_name_lines(group.category)) + group.labelled)


def _name_lines(category: str) -> list[str]:
    """A category's name in lines that are short enough, broken after underscores and spaces."""
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]?", category):
        if lines[-1] and len(lines[-1] + part) > CHARACTERS:
            lines.append("")
        lines[-1] += part
    return [line if len(line) <= CHARACTERS else f"{line[: CHARACTERS - 1]}…" for line in lines]


def _draw_lane(axes: Any, timeline: Timeline, lane: Lane, colour: str, at: float) -> None:
    """A lane: its name, its background, the probabilities as shades, and its events."""
    _write(axes, NAME, at, lane.name, color=LIGHT["muted"], size=7.5, ha="right")
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


def _open_thumbnails(timeline: Timeline) -> list[tuple[Image, float, float]]:
    """The pictures from equal parts of the video, with their widths in seconds of the axis and heights in lanes."""
    from PIL.Image import open as open_image

    lane = INCHES / (RIGHT - LEFT) * timeline.seconds  # its height in seconds of the axis
    found = []
    for content in timeline.thumbnails:
        with open_image(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB")
        shape = picture.width / picture.height
        width = min(timeline.seconds / len(timeline.thumbnails), THUMBNAIL * lane * shape)
        found.append((picture, width, width / shape / lane))
    return found


def _heading(timeline: Timeline) -> list[str]:
    """What lanes are called, scores, and what else has to be said."""
    lines = [s.name if s.name.startswith(s.short) else f"{s.short}: {s.name}" for s in timeline.longer]
    if timeline.scored:
        scores = [f"{s.short} {s.score:.0f} %" for s in timeline.systems if s.score is not None]
        lines.append(f"segment score: {', '.join(scores)}")
    return [*lines, *timeline.notes]


def _entitle(axes: Any, timeline: Timeline) -> None:
    """The video's key, and the lines under it."""

    def write(line: str, inches: float, **look: Any) -> None:
        place, coords = (_across(MARGIN), 1.0), "axes fraction"
        axes.annotate(line, place, (0, 72 * inches), coords, "offset points", annotation_clip=False, **look)

    lines = _heading(timeline)
    for number, line in enumerate(reversed(lines)):
        write(line, 0.07 + LINE * number, fontsize=8, color=LIGHT["muted"])
    write(timeline.key, 0.09 + LINE * len(lines), fontsize=11, fontweight="bold")


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
    along = axes.get_yaxis_transform()
    axes.text(_across(inches), at + 0.5, text, transform=along, ha=ha, va="center", **look)


def _line(axes: Any, at: float) -> None:
    """A thin line over the whole width above a category."""
    along = axes.get_yaxis_transform()
    axes.plot((_across(MARGIN), 1), (at, at), transform=along, color=LIGHT["line"], linewidth=0.8, clip_on=False)


def _across(inches: float) -> float:
    """A place so many inches from the figure's left edge, in widths of the axes from theirs."""
    return (inches - LEFT) / (RIGHT - LEFT)
