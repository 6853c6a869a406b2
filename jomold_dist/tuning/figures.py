"""Figures of a sweep, as PNG files."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jomold_dist.comparing.paired import PairedMean, difference, values
from jomold_dist.figures import COLOURS, new_figure, save_png
from jomold_dist.tuning.results import (
    CONTROL,
    COUNTS,
    MODALITIES,
    RowResult,
    SweepResults,
    estimated_ratios,
    is_number,
    line,
    per_category,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("--", ":", "-.")
COLOUR_SPREADS = 2  # standard deviations between the middle colour and the last, that seeds do not look like a pattern
NAMED_POINTS = 5  # more names than these lie on top of each other


def draw_figures(results: SweepResults, out: Path) -> list[Path]:
    """Draw what the sweep's axes and removals give; the files."""
    figures: dict[str, Figure | None] = {
        "heat_map.png": _heat_map(results),
        "curve.png": _curve(results),
        "rows.png": _rows(results),
        "noise_ratios.png": _noise_ratios(results),
        "removals.png": _removals(results),
    }
    made = []
    for name, figure in figures.items():
        if figure is not None:
            save_png(figure, out / name)
            made.append(out / name)
    return made


def _heat_map(results: SweepResults) -> Figure | None:
    """The sweep's score over two axes."""
    rows = [row for row in results.scored if row.kind == "cell"]
    numbers = all(is_number(row.settings.get(axis)) for row in rows for axis in results.axes)
    if len(results.axes) != 2 or not rows or not numbers:
        return None
    one, other = results.axes
    ys, xs = (sorted({row.settings[axis] for row in rows}) for axis in (one, other))
    means = np.full((len(ys), len(xs)), np.nan)
    texts = {}
    for row in rows:
        at = ys.index(row.settings[one]), xs.index(row.settings[other])
        found = values(row, results.metric)
        means[at] = statistics.mean(found)
        texts[at] = f"{means[at]:.1f}" + (f"\n± {statistics.stdev(found):.1f}" if len(found) > 1 else "")
    figure, axes = new_figure(1.6 + 1.1 * len(xs), 1.4 + 0.8 * len(ys))
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    spreads = [_std(values(row, results.metric)) for row in rows]
    half = max((np.nanmax(means) - np.nanmin(means)) / 2, COLOUR_SPREADS * statistics.mean(spreads), 0.5)
    image = axes.imshow(means, cmap="viridis", aspect="auto", vmin=middle - half, vmax=middle + half)
    for (y, x), text in texts.items():
        colour = "black" if means[y, x] > middle else "white"
        axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    axes.set_xlabel(other)
    axes.set_ylabel(one)
    figure.colorbar(image, label=f"{results.metric} on test, %")
    axes.set_title(_title(results, "test", "mean ± standard deviation over seeds"), fontsize=10)
    return figure


def _curve(results: SweepResults) -> Figure | None:
    """The sweep's score over one setting, with all other rows as lines, and how much of what the noise ratios intend
    was removed."""
    found = line(results)
    if found is None:
        return None
    axis, rows = found
    shares = {
        (modality, name): [row.intended_share(modality, name) for row in rows]
        for modality in MODALITIES
        for name in ("removed", "candidates")
    }
    shown = [key for key, of_rows in shares.items() if all(of_rows)]
    figure, panels = new_figure(6.5, 6.5 if shown else 4, nrows=2 if shown else 1, ncols=1, sharex=True, squeeze=False)
    axes = panels[0, 0]
    xs = [row.settings[axis] for row in rows]
    _band(axes, xs, [values(row, results.metric) for row in rows], "C0", axis.rsplit(".", 1)[-1])
    others = [row for row in results.scored if row not in rows]
    for number, row in enumerate(others, 1):
        scores = values(row, results.metric)
        mean, std = statistics.mean(scores), _std(scores)
        axes.axhline(mean, color=f"C{number}", linestyle=LINES[number % len(LINES)], label=row.name)
        axes.axhspan(mean - std, mean + std, color=f"C{number}", alpha=0.12, linewidth=0)
    axes.set_ylabel(f"{results.metric} on test, %")
    if shown:
        axes = panels[1, 0]
        for modality, name in shown:
            colour, style = COLOURS[modality], "-" if name == "removed" else "--"
            _band(axes, xs, shares[modality, name], colour, f"{modality}, {name}", style)
        axes.set_ylabel("% of intended removals")
    if min(xs) > 0 and max(xs) / min(xs) >= 8:
        axes.set_xscale("log", base=2)
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.set_xlabel(axis)
    for axes in panels[:, 0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        axes.grid(alpha=0.3)
    panels[0, 0].set_title(_title(results, "test", "bands: ± one standard deviation over seeds"), fontsize=10)
    return figure


def _band(
    axes: Any, xs: Sequence[float], found: Sequence[Sequence[float]], colour: str, label: str, style: str = "-"
) -> None:
    """A line of means with a band of one standard deviation."""
    means, stds = np.array([statistics.mean(v) for v in found]), np.array([_std(v) for v in found])
    axes.plot(xs, means, marker="o", color=colour, label=label, linestyle=style)
    axes.fill_between(xs, means - stds, means + stds, color=colour, alpha=0.2, linewidth=0)


def _std(found: Sequence[float]) -> float:
    return statistics.stdev(found) if len(found) > 1 else 0.0


def _rows(results: SweepResults) -> Figure | None:
    """The sweep's score of every row, and its difference from the baseline, with 95 % intervals: where the rows lie on
    no axis."""
    rows = results.scored
    if len(rows) < 2 or results.axes or line(results) is not None:
        return None
    scores = [PairedMean.of(values(row, results.metric)) for row in rows]
    deltas = [None if row is results.baseline else difference(row, results.baseline, results.metric) for row in rows]
    figure, panels = new_figure(9, 1.2 + 0.35 * len(rows), nrows=1, ncols=2, sharey=True)
    for axes, means in zip(panels, (scores, deltas), strict=True):
        for place, (row, found) in enumerate(zip(rows, means, strict=True)):
            if found is not None:
                colour = "C7" if row.kind == CONTROL else "C0"
                axes.errorbar(found.mean, place, xerr=found.half, fmt="o", color=colour, capsize=3, markersize=5)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(rows)), [f"{row.name} ({len(values(row, results.metric))})" for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)  # as in the table
    panels[0].set_xlabel(f"{results.metric} on test, %")
    panels[1].axvline(0, color="grey", linewidth=0.8)
    panels[1].set_xlabel(f"Δ {results.baseline.name}, paired by seed")
    figure.suptitle(_title(results, "test", "95 % intervals; in brackets how many seeds; grey: controls"), fontsize=10)
    figure.tight_layout()
    return figure


def _noise_ratios(results: SweepResults) -> Figure | None:
    """Estimated against true noise ratios per category, of the row that estimates them and has the best score."""
    found = estimated_ratios(results)
    if found is None:
        return None
    row, points = found
    figure, panels = new_figure(9, 4.2, nrows=1, ncols=2, sharex=True, sharey=True)
    for axes, modality in zip(panels, MODALITIES, strict=True):
        ratios = points[modality]
        farthest = sorted(ratios, key=lambda category: abs(ratios[category][0] - ratios[category][1]))[-NAMED_POINTS:]
        for category, (true, estimated) in ratios.items():
            axes.plot(true, estimated, "o", color=COLOURS[modality], markersize=4)
            if category in farthest:
                axes.annotate(
                    category, (true, estimated), fontsize=7, xytext=(3, 2), textcoords="offset points", rotation=35
                )
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.set_title(modality, fontsize=10)
        axes.set_xlabel("true noise ratio")
        axes.set_xlim(-0.02, 1.08)
        axes.set_ylim(-0.02, 1.04)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("estimated noise ratio")
    figure.suptitle(_title(results, "train", f"{row.name}; a point a category, mean over seeds"), fontsize=10)
    return figure


def _removals(results: SweepResults) -> Figure | None:
    """Precision and recall of the removals per category, of how many labels each, of the best row that removes anything
    and knows the truth."""
    rows = [row for row in results.scored if row.kind != CONTROL and per_category(row, "visual", "precision")]
    if not rows:
        return None
    row = max(rows, key=lambda row: statistics.mean(values(row, results.metric)))
    shares = {(m, name): per_category(row, m, name) for m in MODALITIES for name in ("precision", "recall")}
    categories = list(per_category(row, "visual", "noise"))
    figure, panels = new_figure(10, 5.2, nrows=2, ncols=1, sharex=True)
    places = np.arange(len(categories))
    for axes, modality in zip(panels, MODALITIES, strict=True):
        for offset, name, strength in ((-0.2, "precision", 1.0), (0.2, "recall", 0.45)):
            heights = [shares[modality, name].get(category, 0.0) for category in categories]
            axes.bar(
                places + offset, heights, 0.4, label=f"{modality}, {name}", color=COLOURS[modality], alpha=strength
            )
        for place, category in zip(places, categories, strict=True):
            height = shares[modality, "precision"].get(category, 0.0)
            text = removed_text(row, modality, category)
            axes.text(place - 0.2, height + 2, text, rotation=90, ha="center", va="bottom", fontsize=6)
        axes.set_ylabel(f"{modality}, %")
        axes.set_ylim(0, 130)
        axes.set_yticks(range(0, 101, 25))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        axes.grid(axis="y", alpha=0.3)
    panels[1].set_xticks(places, categories, rotation=60, ha="right", fontsize=8)
    what = f"{row.name}: removals per category, mean over seeds; above: labels removed in all epochs"
    figure.suptitle(_title(results, "train", what), fontsize=10)
    return figure


def removed_text(row: RowResult, modality: str, category: str) -> str:
    """Of how many removed labels a precision is; where there are none, whether any was looked at."""
    removed, candidates = (per_category(row, modality, name).get(category) for name in COUNTS)
    if removed:
        return f"{removed:.0f}"
    return "no candidate" if candidates == 0 else "none removed"


def _title(results: SweepResults, split: str, what: str) -> str:
    return f"{results.name}, {results.data.title(split)}\n{what}"
