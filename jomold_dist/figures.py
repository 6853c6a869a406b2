"""What all figures share: a canvas that no display and no global state knows, PNG files, the modalities' colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jomold_dist.files import writing
from jomold_dist.palette import LIGHT, MEANINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
PNG: dict[str, Any] = {"dpi": DPI, "bbox_inches": "tight"}
"""How figures are saved."""
COLOURS = {name: LIGHT[name] for name in MEANINGS}
"""By what they stand for, as on pages."""


def new_figure(width: float, height: float, **shape: Any) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes as `subplots` gives them for `shape`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(**shape)


def save_png(figure: Figure, path: Path, *, cut: bool = True) -> None:
    """Write the figure, by default with what is empty around it cut off, which takes as long again. OSError if that
    cannot be."""
    with writing(path) as aside:
        figure.savefig(aside, format="png", **(PNG if cut else {"dpi": DPI}))
