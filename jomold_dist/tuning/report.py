"""A sweep as a paper prints it: tables in markdown, CSV and LaTeX, and figures. The paper's own figures, which are of
other data, are a page of their own.
"""

from __future__ import annotations

from pathlib import Path

from jomold_dist.comparing.cautions import CONTROLS
from jomold_dist.comparing.paired import mask_names
from jomold_dist.comparing.score_table import Compared, by_seed, cautions, score_table
from jomold_dist.errors import RunFolderError
from jomold_dist.files import write_text
from jomold_dist.tables import Table, spread
from jomold_dist.training.run_reading import QUALITY
from jomold_dist.tuning.figures import draw_figures
from jomold_dist.tuning.paper import paper_table
from jomold_dist.tuning.results import RowResult, SweepResults, read_results


def tabulate(folder: Path, out: Path, baseline: str | None = None) -> list[Path]:
    """Write table.md, table.csv, table.tex, paper.md where the paper has any of the rows, and the figures; the files.

    DataError where the folder holds no sweep; RunFolderError if nothing can be written.
    """
    results = read_results(folder, baseline)
    texts = {"table.md": markdown(results), "table.csv": comma_separated(results), "table.tex": latex(results)}
    if paper := paper_table(results.name, {row.name: row.settings for row in results.rows}):
        texts["paper.md"] = f"{paper.markdown()}\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(out / name, text)
        return [*(out / name for name in texts), *draw_figures(results, out)]
    except OSError as error:
        raise RunFolderError(f"{out} cannot be written: {error.strerror or error}") from None


def markdown(results: SweepResults) -> str:
    """Scores, removals, what is to be said of them, and what is missing."""
    parts = [_scores(results).markdown(), _removals(results).markdown()]
    if told := _told(results):
        parts.append("\n".join(f"- {text}" for text in told))
    missing = [text for row in results.rows for text in row.missing]
    if missing:
        parts += ["Not there:", "\n".join(f"- {text}" for text in missing)]
    return "\n\n".join(parts) + "\n"


def comma_separated(results: SweepResults) -> str:
    """A row a row and seed, with everything by its full name."""
    front = {"sweep": results.name, "simulated": results.data.simulated}
    return by_seed([(front | {"row": row.name, "kind": row.kind}, row) for row in results.rows])


def latex(results: SweepResults) -> str:
    """The scores as a table for booktabs."""
    return "".join(f"% {text}\n" for text in _told(results)) + _scores(results).latex()


def _scores(results: SweepResults) -> Table:
    caption = f"{results.name}: F-scores on {results.data.title('test')}, in percent"
    return score_table(*_compared(results), results.metric, caption)


def _told(results: SweepResults) -> list[str]:
    return cautions(*_compared(results), results.metric)


def _compared(results: SweepResults) -> tuple[list[Compared], list[str]]:
    """Every row with what it is compared with, and all of that by name: the baseline first, then the rows that are
    called as the controls are."""
    named = {row.name: row for row in results.rows}
    controls = [results.baseline.name, *(name for name in CONTROLS if name in named and name != results.baseline.name)]

    def compared(row: RowResult) -> Compared:
        return Compared(row, row.method, {name: named[name] for name in controls if name != row.name})

    return [compared(row) for row in results.rows], controls


def _removals(results: SweepResults) -> Table:
    def cells(row: RowResult, mask: str) -> list[str]:
        quality = [[100 * share for share in row.totals(mask, name)] for name in QUALITY]
        intended = [row.intended_share(mask, name) for name in ("candidates", "removed")]
        return [spread(row.totals(mask, "removed"), 0), *map(spread, [*quality, *intended])]

    columns = ("removed", "precision %", "recall %", "candidates, % of intended", "removed, % of intended")
    masks = mask_names(results.rows)
    header = ["row", *(f"{mask}: {title}" for mask in masks for title in columns)]
    rows = [[row.name, *(cell for mask in masks for cell in cells(row, mask))] for row in results.rows]
    return Table(f"Labels removed from {results.data.title('train')}, over all epochs", header, rows)
