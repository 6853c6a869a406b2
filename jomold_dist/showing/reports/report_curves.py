"""How a run's training went, as charts with words: losses, scores on val, removals, learning rate, and where the time
went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jomold_dist.labels import MODALITIES
from jomold_dist.score_names import LEVELS, heading
from jomold_dist.showing.pages.charts import Axis, Chart, Line, Mark, area_chart, line_chart, tick_text
from jomold_dist.showing.reports.run_record import RunRecord
from jomold_dist.training.run_folder import BEST_WITHIN

Lines = Sequence[Mapping[str, Any]]

LOSS, VAL_LOSS = "train/loss", "val/loss"
REMOVED, PRECISION, RECALL = "denoise/removed_", "denoise/precision_", "denoise/recall_"
EPOCH, STEP = Axis("epoch", whole=True), Axis("optimizer step", whole=True)
OTHERS = (("muted", "solid"), ("muted", "dashed"), ("muted", "dotted"), ("ink", "dashed"), ("ink", "dotted"))
"""How curves are drawn that are of no modality."""
UNBROKEN = "\u00a0"  # a space at which no line ends
SHARES = {"waiting for data": "data_wait", "ranking": "ranking", "exchanging": "exchange"}
SHARE_COLOURS = {"computing": "good", "waiting for data": "bad", "ranking": "muted", "exchanging": "ink"}


def training_charts(record: RunRecord) -> list[Chart]:
    """Those for which there is something to draw."""
    epochs, steps = record.history, record.steps
    marks = _best(epochs, None if record.model is None else record.model.epoch)
    found = [
        _losses(epochs),
        _chart("Loss on val", "loss", {"loss": VAL_LOSS}, epochs, EPOCH, marks),
        _scores(epochs, marks),
        _removed(epochs),
        _quality(epochs),
        _chart("Learning rate", "learning rate", {"learning rate": "train/learning_rate"}, epochs, EPOCH),
        _chart("Loss, between epochs", "loss", {"loss": "loss"}, steps, STEP),
        _chart("Gradient norm", "norm", {"norm": "grad_norm"}, steps, STEP),
    ]
    return [chart for chart in found if chart is not None]


def time_chart(lines: Lines) -> Chart | None:
    """What each epoch of a training spent its time on; None where that is not told."""
    told = [line for line in lines if all(_is_number(line.get(f"perf/share_{of}")) for of in SHARES.values())]
    if not told:
        return None
    shares: dict[str, list[float]] = {
        name: [min(max(float(line[f"perf/share_{of}"]), 0.0), 1.0) for line in told] for name, of in SHARES.items()
    }
    computing = [max(1.0 - sum(parts), 0.0) for parts in zip(*shares.values(), strict=True)]
    every = {"computing": computing, **shares}
    epochs = [float(line["epoch"]) for line in told]
    areas = [
        Line(name, [(epoch, 100 * part) for epoch, part in zip(epochs, parts, strict=True)], SHARE_COLOURS[name])
        for name, parts in every.items()
    ]
    means = (f"{name} {100 * sum(parts) / len(parts):.0f}{UNBROKEN}%" for name, parts in every.items())
    words = f"Share of an epoch's time; in the mean {', '.join(means)}."
    return area_chart("Where the time went", words, areas, EPOCH, Axis("% of the time", 0, 100))


def best_moment(line: Mapping[str, Any]) -> tuple[float, str]:
    """The moment of the best weights in an epoch, by its line: in epochs, and in words."""
    epoch, within = int(line["epoch"]), line.get(BEST_WITHIN)
    if within is None:
        return float(epoch), f"kept: epoch {epoch}"
    return epoch - 1 + within["step"] / within["steps"], f"kept: epoch {epoch}, after step {within['step']}"


def _best(epochs: Lines, epoch: int | None) -> list[Mark]:
    line = next((line for line in epochs if line["epoch"] == epoch), None)
    return [] if line is None else [Mark(*best_moment(line))]


def _losses(epochs: Lines) -> Chart | None:
    names = [name for name in (epochs[0] if epochs else {}) if name.startswith(LOSS)]
    curves = {name.removeprefix(f"{LOSS}_") if name != LOSS else "loss": name for name in names}
    return _chart("Loss on train", "mean of a video", curves, epochs, EPOCH)


def _scores(epochs: Lines, marks: Sequence[Mark]) -> Chart | None:
    kinds = ("type", *MODALITIES)
    curves = {heading(f"{level}_{kind}"): f"val/{level}_{kind}" for level in LEVELS for kind in kinds}
    styles = {heading(f"{level}_{kind}"): _style(level, kind) for level in LEVELS for kind in kinds}
    return _chart("F-scores on val", "F-score in %", curves, epochs, EPOCH, marks, styles)


def _style(level: str, kind: str) -> tuple[str, str]:
    return (kind if kind in MODALITIES else "ink"), ("solid" if level == LEVELS[0] else "dashed")


def _removed(epochs: Lines) -> Chart | None:
    masks = [n.removeprefix(REMOVED) for n in (epochs[0] if epochs else {}) if n.startswith(REMOVED)]
    there = [mask for mask in masks if any(line.get(f"{REMOVED}{mask}") for line in epochs)]
    return _chart("Labels removed in an epoch", "labels", {mask: f"{REMOVED}{mask}" for mask in there}, epochs, EPOCH)


def _quality(epochs: Lines) -> Chart | None:
    """Precision and recall of the removals, in percent, where the truth is known and something was removed."""
    removed = [{k: v for k, v in line.items() if line.get(_count_of(k))} | {"epoch": line["epoch"]} for line in epochs]
    percents = [{k: 100 * v if _count_of(k) else v for k, v in line.items()} for line in removed]
    masks = dict.fromkeys(name.removeprefix(PRECISION) for line in percents for name in line if _is_precision(name))
    curves, styles = {}, {}
    for mask in masks:
        for word, start, style in (("precision", PRECISION, "solid"), ("recall", RECALL, "dashed")):
            curves[f"{mask} {word}"] = f"{start}{mask}"
            styles[f"{mask} {word}"] = (mask if mask in MODALITIES else "ink", style)
    return _chart("How rightly labels were removed", "%", curves, percents, EPOCH, styles=styles)


def _is_precision(name: str) -> bool:
    return name.startswith(PRECISION)


def _count_of(name: str) -> str:
    """The metric that counts the removals whose quality another tells; none for one that tells no quality."""
    for start in (PRECISION, RECALL):
        if name.startswith(start):
            return f"{REMOVED}{name.removeprefix(start)}"
    return ""


def _chart(
    title: str,
    unit: str,
    curves: Mapping[str, str],
    lines: Lines,
    x: Axis,
    marks: Sequence[Mark] = (),
    styles: Mapping[str, tuple[str, str]] | None = None,
) -> Chart | None:
    """The curves, by their names, of the metrics that any line has; None where there is none."""
    at, others = ("epoch" if x is EPOCH else "step"), iter(OTHERS * 4)
    drawn = []
    for name, metric in curves.items():
        points = [(float(line[at]), float(line[metric])) for line in lines if _is_number(line.get(metric))]
        if points:
            colour, style = (styles or {}).get(name) or _plain(name, others, len(curves))
            drawn.append(Line(name, points, colour, style))
    if not drawn:
        return None
    return line_chart(title, _words(drawn, x), drawn, x, Axis(unit, low=0), marks)


def _plain(name: str, others: Iterator[tuple[str, str]], curves: int) -> tuple[str, str]:
    if name in MODALITIES:
        return name, "solid"
    return ("ink", "solid") if name == "loss" or curves == 1 else next(others)


def _words(drawn: Sequence[Line], x: Axis) -> str:
    """What the first and most important curve does, and between which values all of them lie."""
    first = drawn[0]
    (begin, value), (end, last) = first.points[0], first.points[-1]
    told = f"{first.name}: {tick_text(_short(value))} in {x.name} {begin:,.0f}"
    if len(first.points) > 1:
        told += f", {tick_text(_short(last))} in {x.name} {end:,.0f}"
    if len(drawn) > 1:
        every = [value for line in drawn for _, value in line.points]
        told += f"; all between {tick_text(_short(min(every)))} and {tick_text(_short(max(every)))}"
    return f"{told}."


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
