"""report.html: one run on one page, from what its folder holds."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jomold_dist.comparing.worlds import errors_of
from jomold_dist.distributed.world import World
from jomold_dist.errors import UserError
from jomold_dist.labels import MODALITIES
from jomold_dist.score_names import LEVELS
from jomold_dist.secrets import blotted
from jomold_dist.showing.pages.page import write_page
from jomold_dist.showing.reports.report_about import data_facts, settings, standing, starts
from jomold_dist.showing.reports.report_categories import category_scores, ratio_rows, removal_rows, removal_totals
from jomold_dist.showing.reports.report_controls import Beside
from jomold_dist.showing.reports.report_curves import time_chart, training_charts
from jomold_dist.showing.reports.report_timelines import Examples, examples
from jomold_dist.showing.reports.run_record import RunRecord
from jomold_dist.showing.timelines.picks import Pick
from jomold_dist.tables import system_name
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.selection import why_unscored
from jomold_dist.watching import Watch

logger = logging.getLogger(__name__)

SHOWN_ROWS = 25
"""Of a table by category; the others are there when asked for."""


def report_run(run: Run) -> None:
    """Writes the report of a run that is finished, on rank 0; not a collective. Whatever goes wrong is a warning, for
    the run is finished."""
    world = World(0, 1, 0, 1, run.world.device)
    try:
        with run.watch.task("report"):
            record = RunRecord.read(run.folder, run.manifest)
            write_report(run.folder.report, *with_examples(record, [], world, run.watch))
    except Exception as error:
        logger.warning("no %s: %s", run.folder.report, f"{error}" or type(error).__name__)


def with_examples(
    record: RunRecord, others: Sequence[RunFolder], world: World, watch: Watch, how: Pick = "random"
) -> tuple[RunRecord, Examples | None]:
    """The record, and timelines by the finished models of its run and of others. Where the data set is known not to be
    there, or there is no finished model, there are none; why there are none else is among the record's problems."""
    if record.manifest is None or record.model is None:
        return record, None
    try:
        return record, examples([record.folder, *others], world, watch, how)
    except (UserError, OSError) as error:
        return replace(record, problems=[*record.problems, f"no timelines: {error}"]), None


def write_report(path: Path, record: RunRecord, examples: Examples | None = None, beside: Beside | None = None) -> None:
    """The page of a run. OSError if it cannot be written."""
    write_page(path, "report.html", examples=examples, **report_values(record, beside))


def report_values(record: RunRecord, beside: Beside | None = None) -> dict[str, Any]:
    """What the page says beside its timelines."""
    baseline = None if beside is None else beside.baseline
    others = None if baseline is None else baseline.scores
    scores, removals = record.scores, record.removals
    by_level = {} if scores is None else {level: category_scores(scores, level, others) for level in LEVELS}
    return {
        "name": record.name,
        "simulated": record.simulated,
        "method": system_name(record.config),
        "standing": standing(record),
        "problems": [blotted(problem) for problem in record.problems],
        "data": data_facts(record),
        "scores": scores,
        "unscored": "" if record.manifest is None else why_unscored(record.manifest),
        "modalities": _modalities(record),
        "beside": beside,
        "baseline": baseline,
        "categories": by_level if any(by_level.values()) else {},
        "charts": training_charts(record),
        "removals": None if removals is None else removal_totals(removals),
        "removal_rows": [] if removals is None else removal_rows(removals),
        "both": None if removals is None else removals.get("both"),
        **_ratios(record),
        "times": [_time(stage, lines) for stage, lines in record.histories.items()],
        "time_chart": time_chart(record.history),
        "settings": settings(record.config),
        "starts": starts(record),
        "shown": SHOWN_ROWS,
    }


def _modalities(record: RunRecord) -> tuple[str, ...]:
    """Those that are scored."""
    if record.scores is None:
        return MODALITIES
    return tuple(name for name in MODALITIES if f"segment_{name}" in record.scores.found.scores)


def _ratios(record: RunRecord) -> dict[str, Any]:
    if record.ratios is None:
        return {"ratios": [], "ratio_errors": None}
    rows = ratio_rows(record.ratios, record.categories, record.removals)
    errors = None
    if record.removals is not None and record.removals["categories"]:
        errors = errors_of(record.ratios, record.removals["categories"])
    return {"ratios": rows, "ratio_errors": None if errors is None else dict(zip(MODALITIES, errors, strict=True))}


def _time(stage: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How long a training took, and how fast it was."""

    def numbers(name: str) -> list[float]:
        return [float(line[name]) for line in lines if isinstance(line.get(name), int | float)]

    speeds = numbers("perf/videos_per_second")
    return {
        "stage": stage,
        "epochs": len(lines),
        "seconds": math.fsum(numbers("seconds")),
        "speed": sum(speeds) / len(speeds) if speeds else None,
    }
