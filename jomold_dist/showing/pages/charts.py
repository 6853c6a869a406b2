"""Curves and stacked areas as SVG that lies in a page, with words for who cannot see them.

Colours are names of the palette, so that a chart follows the page's theme. A chart is 360 wide and as high as text of
eleven points allows; the page lays them beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 18, 34
X_TICKS, Y_TICKS = 6, 4  # at most so many and one more
MOST_POINTS = 400  # more than pixels help nobody, and make a page large
STYLES = {"solid": "", "dashed": "6 4", "dotted": "2 3"}


@dataclass(frozen=True)
class Line:
    """A curve: its name, points (x, y) from left to right, and how it is drawn."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str = "ink"
    style: str = "solid"


@dataclass(frozen=True)
class Axis:
    """What an axis shows, with its unit, and its ends; None: those of what is drawn."""

    name: str
    low: float | None = None
    high: float | None = None
    whole: bool = False


@dataclass(frozen=True)
class Mark:
    """A moment: an upright line and its name."""

    x: float
    name: str


@dataclass(frozen=True)
class Chart:
    """An SVG with what stands around it on the page."""

    title: str
    words: str
    svg: Markup
    keys: tuple[tuple[str, str, str], ...]
    """Colour, name and style of each curve."""


def line_chart(title: str, words: str, lines: Sequence[Line], x: Axis, y: Axis, marks: Sequence[Mark] = ()) -> Chart:
    """Curves over a common x. ValueError where no line has a point."""
    thinned = [Line(line.name, _thinned(line.points), line.colour, line.style) for line in lines]
    frame = _Frame.around([point for line in thinned for point in line.points], x, y)
    parts = [frame.axes(x, y), *(frame.mark(mark) for mark in marks)]
    for line in thinned:
        dashes = f' stroke-dasharray="{STYLES[line.style]}"' if STYLES[line.style] else ""
        path = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in line.points)
        stroke = f'stroke="var(--{line.colour})"'
        parts.append(
            f'<polyline points="{path}" fill="none" {stroke} stroke-width="1.8" stroke-linejoin="round"{dashes}/>'
        )
        if len(line.points) <= 12:
            parts += [
                f'<circle cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}" r="2.4" fill="var(--{line.colour})"/>'
                for a, b in line.points
            ]
    keys = tuple((line.colour, line.name, "dashes" if STYLES[line.style] else "rule") for line in thinned)
    return Chart(title, words, _svg(title, words, parts), keys)


def area_chart(title: str, words: str, areas: Sequence[Line], x: Axis, y: Axis) -> Chart:
    """Areas on top of each other, the first one lowest; all have the same x. ValueError where there is no point."""
    places = [a for a, _ in areas[0].points] if areas else []
    floor, layers = [0.0] * len(places), []
    for area in areas:
        top = [low + value for low, (_, value) in zip(floor, area.points, strict=True)]
        layers.append((area, floor, top))
        floor = top
    frame = _Frame.around(list(zip(places, floor, strict=True)), x, y)
    parts = []
    for area, low, high in layers:
        way = [*zip(places, high, strict=True), *reversed(list(zip(places, low, strict=True)))]
        if len(places) == 1:  # one epoch is a column
            half = (frame.right - frame.left) / 2
            way = [
                (places[0] + sign * half, value)
                for sign, value in ((-1, high[0]), (1, high[0]), (1, low[0]), (-1, low[0]))
            ]
        path = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in way)
        parts.append(f'<polygon points="{path}" fill="var(--{area.colour})" stroke="var(--page)" stroke-width="1"/>')
    keys = tuple((area.colour, area.name, "fill") for area in areas)
    return Chart(title, words, _svg(title, words, [*parts, frame.axes(x, y)]), keys)


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie on the picture."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> _Frame:
        finite = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
        if not finite:
            raise ValueError("there is nothing to draw")
        across, up = [a for a, _ in finite], [b for _, b in finite]
        left = min(across) if x.low is None else x.low
        right = max(across) if x.high is None else x.high
        low = min(up) if y.low is None else y.low
        if left == right:
            left, right = left - 0.5, right + 0.5
        high = _above(low, max(up), y.whole) if y.high is None else y.high
        return cls(left, right, low, high)

    def x(self, value: float) -> float:
        return LEFT + (value - self.left) / (self.right - self.left) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)

    def axes(self, x: Axis, y: Axis) -> str:
        parts = []
        for value in ticks(self.low, self.high, Y_TICKS, y.whole):
            at = f"{self.y(value):.1f}"
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}" stroke="var(--line)"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{at}" dy="0.35em" text-anchor="end">{tick_text(value)}</text>')
        for value in ticks(self.left, self.right, X_TICKS, x.whole):
            place = f'x="{self.x(value):.1f}" y="{HEIGHT - BOTTOM + 14}"'
            parts.append(f'<text {place} text-anchor="middle">{tick_text(value)}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle:g}" y="{HEIGHT - 4}" text-anchor="middle">{_escaped(x.name)}</text>')
        return "".join(parts)

    def mark(self, mark: Mark) -> str:
        at = self.x(mark.x)
        anchor = "end" if at > 0.7 * WIDTH else "start" if at < 0.3 * WIDTH else "middle"
        return (
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="var(--muted)" '
            'stroke-dasharray="2 3"/>'
            f'<text x="{at:.1f}" y="{TOP - 6}" text-anchor="{anchor}">{_escaped(mark.name)}</text>'
        )


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers between two, at most so many and one more, at least one."""
    step = _step(low, high, most, whole)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)] or [low]


def _step(low: float, high: float, most: int, whole: bool) -> float:
    """How far round numbers are apart."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= most)
    return max(step, 1.0) if whole else step


def _above(low: float, high: float, whole: bool) -> float:
    """The round number at or above what is highest."""
    if high <= low:
        return low + 1.0
    step = _step(low, high, Y_TICKS, whole)
    return math.ceil(high / step - 1e-9) * step


def tick_text(value: float) -> str:
    """A number at an axis: short, with separators."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that can be drawn; of many, the mean of each of MOST_POINTS equal parts."""
    finite = [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]
    if len(finite) <= MOST_POINTS:
        return finite
    edges = [round(n * len(finite) / MOST_POINTS) for n in range(MOST_POINTS + 1)]
    parts = [finite[start:end] for start, end in pairwise(edges)]
    return [(sum(a for a, _ in part) / len(part), sum(b for _, b in part) / len(part)) for part in parts]


def _svg(title: str, words: str, parts: Sequence[str]) -> Markup:
    from markupsafe import Markup

    label = _escaped(f"{title}: {words}")
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH * 5 // 4}" role="img" aria-label="{label}">'
    told = f"<title>{_escaped(title)}</title><desc>{_escaped(words)}</desc>"
    return Markup(head + told + "".join(parts) + "</svg>")


def _escaped(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))
