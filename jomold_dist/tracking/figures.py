"""Three figures of a run: how its training went, its scores by category, and its removals by category.

Categories are sorted by how many labels they have, for few videos make a score that means little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jomold_dist.figures import COLOURS, new_figure
from jomold_dist.labels import MODALITIES
from jomold_dist.score_names import LEVELS
from jomold_dist.training.run_folder import BEST_WITHIN
from jomold_dist.training.scores import RunScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOSS, VAL_LOSS, REMOVED = "train/loss", "val/loss", "denoise/removed_"
MOST_CATEGORIES = 40  # more names than these cannot be read
OF_CURVES = COLOURS | {"type": "C0"}
RIGHT, WRONG, THERE = "C2", "C3", "0.85"


def run_figures(
    history: Sequence[Mapping[str, Any]],
    scores: RunScores | None,
    removals: Mapping[str, Any] | None,
    epoch: int | None,
) -> dict[str, Figure]:
    """By name, those for which there is something to draw. `epoch` is that of the finished model."""
    found = {
        "training": _training(history, scores, epoch),
        "scores_by_category": None if scores is None else _scores(scores),
        "removals_by_category": None if removals is None else _removals(removals, scores),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _training(history: Sequence[Mapping[str, Any]], scores: RunScores | None, epoch: int | None) -> Figure | None:
    """Losses, scores on val and removals over the epochs of the model's training."""
    if not history:
        return None
    names = list(history[0])
    masks = [n.removeprefix(REMOVED) for n in names if n.startswith(REMOVED) and any(line.get(n) for line in history)]
    panels = {
        "loss": {n.removeprefix("train/"): n for n in names if n.startswith(LOSS)},
        "loss on val": {"loss": VAL_LOSS} if VAL_LOSS in names else {},
        "F-score on val, %": {
            f"{level} {kind}": f"val/{level}_{kind}"
            for level in LEVELS
            for kind in ("type", *MODALITIES)
            if f"val/{level}_{kind}" in names
        },
        "labels removed in the epoch": {mask: f"{REMOVED}{mask}" for mask in masks},
    }
    shown = {title: curves for title, curves in panels.items() if curves}
    figure, found = new_figure(4.6 * len(shown), 3.6, nrows=1, ncols=len(shown), squeeze=False)
    for axes, (title, curves) in zip(found[0], shown.items(), strict=True):
        for label, name in curves.items():
            lines = [line for line in history if line.get(name) is not None]
            epochs, values = [line["epoch"] for line in lines], [line[name] for line in lines]
            style = "--" if label.startswith(LEVELS[1]) else "-"
            colour = OF_CURVES.get(label.split()[-1])
            axes.plot(epochs, values, style, marker="o", markersize=2, label=label, color=colour)
        if " on val" in title and epoch is not None:
            place, label = _best(next((line for line in history if line["epoch"] == epoch), {}), epoch)
            axes.axvline(place, color="grey", linewidth=0.8, linestyle=":", label=label)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        # below the curves, with lines long enough to tell dashes
        axes.legend(fontsize=7, handlelength=3.5, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.24))
    if scores is not None:
        figure.suptitle(f"Training on {scores.data.title('train')}", fontsize=10)
    figure.tight_layout()
    return figure


def _best(line: Mapping[str, Any], epoch: int) -> tuple[float, str]:
    """The moment of the best weights in epochs, and in words."""
    if (within := line.get(BEST_WITHIN)) is None:
        return epoch, f"best epoch, {epoch}"
    return epoch - 1 + within["step"] / within["steps"], f"best: in epoch {epoch}, after step {within['step']}"


def _scores(scores: RunScores) -> Figure | None:
    """The F-scores of segments by category, with the number of videos on each bar."""
    shown = [m for m in MODALITIES if f"segment_{m}" in scores.found.per_category and m in scores.found.videos]
    if not shown:
        return None
    counts = {m: scores.found.videos[m] for m in shown}
    names = _most(counts[shown[0]], {name: sum(of[name] for of in counts.values()) for name in counts[shown[0]]})
    figure, panels = _rows_of_bars(len(shown), len(names))
    places = np.arange(len(names))
    for axes, modality in zip(panels, shown, strict=True):
        values = scores.found.per_category[f"segment_{modality}"]
        there = [counts[modality][name] for name in names]
        heights = [values[name] or 0.0 if count else 0.0 for name, count in zip(names, there, strict=True)]
        axes.bar(places, heights, 0.75, color=COLOURS[modality])
        for place, height, count in zip(places, heights, there, strict=True):
            axes.text(place, height + 1, str(count) if count else "none", ha="center", va="bottom", fontsize=7)
        axes.axhline(scores.found.scores[f"segment_{modality}"], color="grey", linewidth=0.8, linestyle=":")
        axes.set_ylabel(f"{modality}, %")
        axes.set_ylim(0, 112)
    _name_categories(panels[-1], names)
    panels[0].set_title(
        f"F-scores of segments, {scores.data.title(scores.split)}\n"
        "on the bars: videos that have the category; dotted: the mean over videos",
        fontsize=10,
    )
    return figure


def _removals(removals: Mapping[str, Any], scores: RunScores | None) -> Figure | None:
    """Labels removed in an epoch by category, against what was there to be removed where the truth is known."""
    total, epochs = removals["total"], max(int(removals["epochs"]), 1)
    masks = [mask for mask, entry in total.items() if entry["removed"]]
    if not masks:
        return None
    entries = removals["categories"]
    names = _most(entries, {name: entries[name][masks[0]]["labels"] for name in entries})
    figure, panels = _rows_of_bars(len(masks), len(names))
    places, known = np.arange(len(names)), "noise" in total[masks[0]]
    for axes, mask in zip(panels, masks, strict=True):
        rows = [entries[name][mask] for name in names]
        removed = np.array([row["removed"] / epochs for row in rows])
        if known:
            rightly = removed * np.array([row["precision"] or 0.0 for row in rows])
            axes.bar(places, [row["noise"] for row in rows], 0.8, color=THERE, label="labels that are noise")
            axes.bar(places, rightly, 0.5, color=RIGHT, label="removed, rightly")
            axes.bar(places, removed - rightly, 0.5, bottom=rightly, color=WRONG, label="removed, wrongly")
        else:
            axes.bar(places, removed, 0.5, color=COLOURS.get(mask, "C0"), label="removed")
        axes.set_ylabel(f"{mask}, labels")
    _name_categories(panels[-1], [f"{name} ({entries[name][masks[0]]['labels']})" for name in names])
    panels[0].legend(fontsize=8)
    panels[0].set_title(
        f"Labels removed in an epoch of {'train' if scores is None else scores.data.title('train')}\n"
        f"mean of {epochs} epochs; in brackets: training labels",
        fontsize=10,
    )
    return figure


def _most(names: Any, support: Mapping[str, int]) -> list[str]:
    """The categories with most support, largest first."""
    return sorted(names, key=lambda name: -support[name])[:MOST_CATEGORIES]


def _rows_of_bars(rows: int, categories: int) -> tuple[Figure, Any]:
    figure, panels = new_figure(
        2 + 0.36 * categories, 1.2 + 2.2 * rows, nrows=rows, ncols=1, sharex=True, squeeze=False
    )
    for axes in panels[:, 0]:
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    return figure, panels[:, 0]


def _name_categories(axes: Any, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_xlim(-0.7, len(names) - 0.3)
