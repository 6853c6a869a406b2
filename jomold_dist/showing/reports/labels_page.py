"""The page of judged labels: noise by category, how right its confidences are, and the labels to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.cleaning.judged import JudgedLabels, Rule
from jomold_dist.cleaning.summary import Quality, by_category, quality_of
from jomold_dist.cleaning.suspects import Suspect
from jomold_dist.labels import MODALITIES
from jomold_dist.showing.pages.charts import Axis, Chart, Line, line_chart
from jomold_dist.showing.pages.page import percent, write_page
from jomold_dist.showing.timelines.timeline import Timeline

TEMPLATE = "labels.html"
FEWEST = 20
"""Labels of a band by which its share of noise is worth a point in the chart."""
HIGH = 0.9
"""What is told in words of the curves."""
WORDS = {
    "logit": "the logit of the network that judged it",
    "probit": "where its logit lies among the videos without the label: 0 is their middle, 2 above 98 of 100 of them",
    "loss": "the loss of the label, if it were right: the larger, the less the network finds the event",
}


@dataclass(frozen=True)
class Told:
    """What the page says of where its labels are from."""

    title: str
    source: str
    notes: Sequence[str]
    rule: Rule
    """By what a label is told as noise."""
    listed: str
    """The name of the list of all labels, which lies beside the page."""
    simulated: str | None = None
    """The world, where the data are simulated."""


def write_labels_page(
    path: Path, judged: JudgedLabels, told: Told, suspects: Sequence[Suspect], timelines: Sequence[Timeline] = ()
) -> None:
    """The page, whole or not at all. `timelines` are those of some suspects."""
    quality = quality_of(judged, told.rule.by_removals)
    noise = told.rule.told(judged)
    write_page(
        path,
        TEMPLATE,
        told=told,
        simulated=told.simulated,
        labels=len(judged),
        modalities=MODALITIES,
        numbers=[_number(judged, noise, number, told.rule.by_removals) for number in range(len(MODALITIES))],
        rows=by_category(judged, told.rule),
        quality=quality,
        charts=_charts(quality, told.rule.by_removals),
        suspects=suspects,
        evidence=_evidence(suspects),
        removed=judged.epochs_removed is not None,
        epochs=judged.epochs,
        known=judged.there is not None,
        categories=sorted({suspect.category for suspect in suspects}),
        timelines=timelines,
        drawn={timeline.key: timeline.anchor for timeline in timelines},
    )


def _number(judged: JudgedLabels, noise: np.ndarray, modality: int, by_removals: bool) -> dict[str, Any]:
    """What is said of one modality at the top."""
    own, confidence = noise[modality], judged.confidence[modality]
    right = None if judged.there is None or not own.any() else float((~judged.there[modality][own]).mean())
    expected = float(confidence[own].mean(dtype=np.float64)) if own.any() and not by_removals else None
    return {"modality": MODALITIES[modality], "told": int(own.sum()), "expected": expected, "right": right}


def _evidence(suspects: Sequence[Suspect]) -> list[tuple[str, str]]:
    """The kinds of evidence that are shown, and what each means. A logit says less than its probit."""
    names = suspects[0].evidence if suspects else {}
    return [(name, WORDS.get(name, name)) for name in names if name != "logit" or "probit" not in names]


def _charts(quality: Sequence[Quality], by_removals: bool) -> list[Chart]:
    """Calibration, and precision and recall by what labels are told; none where the truth is not known."""
    charts = [] if by_removals or not quality else [_calibration(quality)]
    return [*charts, *_curves(quality, by_removals)]


def _calibration(quality: Sequence[Quality]) -> Chart:
    axis, share = Axis("told confidence", 0.0, 1.0), Axis("share of noise", 0.0, 1.0)
    lines, words = [Line("as told", [(0.0, 0.0), (1.0, 1.0)], "muted", "dotted")], []
    for found in quality:
        points = [(band.expected, band.found) for band in found.bands if band.labels >= FEWEST]
        lines += [Line(found.modality, points, found.modality)] if points else []
        words.append(f"{found.modality}: {percent(found.error)}")
    said = f"Mean distance between what is told and what is so: {', '.join(words)}."
    return line_chart("Confidence and truth", f"{said} A point has {FEWEST} labels or more.", lines, axis, share)


def _curves(quality: Sequence[Quality], by_removals: bool) -> list[Chart]:
    curves, words = [], []
    for found in quality:
        for name, style in (("precision", "solid"), ("recall", "dashed")):
            points = [(at.confidence, value) for at in found.at if (value := getattr(at, name)) is not None]
            curves += [Line(f"{found.modality}, {name}", points, found.modality, style)] if points else []
        at = next(at for at in found.at if at.confidence >= HIGH)
        words.append(f"{found.modality} {percent(at.precision)} right, {percent(at.recall)} of the noise found")
    if not curves:
        return []
    axis = Axis("share of epochs", 0.0, 1.0) if by_removals else Axis("confidence", 0.5, 1.0)
    return [
        line_chart(
            "Precision and recall", f"At {percent(HIGH)}: {'; '.join(words)}.", curves, axis, Axis("share", 0.0, 1.0)
        )
    ]
