"""Timelines as files: a PNG a video, and one page with all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jomold_dist.errors import DataError
from jomold_dist.figures import save_png
from jomold_dist.files import problem_of
from jomold_dist.showing.pages.page import write_page
from jomold_dist.showing.timelines.timeline import Timeline
from jomold_dist.showing.timelines.timeline_figure import timeline_figure

PAGE = "index.html"


def write_gallery(
    out: Path,
    timelines: Sequence[Timeline],
    *,
    title: str,
    about: str,
    runs: Sequence[tuple[str, str]],
    notes: Sequence[str] = (),
    simulated: str | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Path:
    """Write the timelines into a folder, which is made where it is not there; the page. `runs` are names with places;
    `progress` is called with how many more pictures are done. DataError if it cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for timeline in timelines:
            save_png(timeline_figure(timeline), out / f"{timeline.anchor}.png", cut=False)
            progress(1)
        page = out / PAGE
        values = {"title": title, "about": about, "runs": runs, "notes": notes, "simulated": simulated}
        write_page(page, "show.html", timelines=timelines, **values)
    except OSError as error:
        raise DataError(f"--out {out} cannot be written: {problem_of(error)}") from None
    return page
