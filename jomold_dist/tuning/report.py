"""A sweep as a paper prints it: tables in markdown, CSV and LaTeX, and figures."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from jomold_dist.errors import RunFolderError
from jomold_dist.files import write_text
from jomold_dist.score_names import SCORE_NAMES
from jomold_dist.tables import SCORE_HEADERS, markdown_table, spread
from jomold_dist.tuning.figures import draw_figures
from jomold_dist.tuning.paper import paper_scores
from jomold_dist.tuning.results import (
    MODALITIES,
    Difference,
    RowResult,
    SweepResults,
    best_row,
    difference,
    read_results,
)

HEADERS = dict(zip(SCORE_NAMES, SCORE_HEADERS, strict=True))


def tabulate(folder: Path, out: Path, baseline: str | None = None) -> list[Path]:
    """Write table.md, table.csv, table.tex and the figures of a sweep's folder; the files.

    DataError where the folder holds no sweep; RunFolderError if nothing can be written.
    """
    results = read_results(folder, baseline)
    texts = {"table.md": markdown, "table.csv": comma_separated, "table.tex": latex}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, made in texts.items():
            write_text(out / name, made(results))
        return [*(out / name for name in texts), *draw_figures(results, out)]
    except OSError as error:
        raise RunFolderError(f"{out} cannot be written: {error.strerror or error}") from None


def caption(results: SweepResults) -> str:
    """What every table says of itself."""
    return (
        f"{results.name}: F-scores on {results.where} in percent, mean ± standard deviation over seeds; "
        f"difference of {HEADERS[results.metric]} from {results.baseline.name}, paired by seed, with its 95 % interval"
    )


def markdown(results: SweepResults) -> str:
    """Scores, removals, the paper's own figures, and what is missing."""
    best = best_row(results)

    def name(row: RowResult) -> str:
        return f"**{row.name}**" if row is best else row.name

    header = ["row", "seeds", *SCORE_HEADERS, f"Δ {HEADERS[results.metric]}"]
    rows = [
        [
            name(row),
            str(len(row.runs)),
            *(spread(row.values(score)) for score in SCORE_NAMES),
            shown(_against(results, row)),
        ]
        for row in results.rows
    ]
    parts = [caption(results), markdown_table(header, rows)]
    parts += [f"Removed labels over all epochs, {results.where}", markdown_table(*_removals(results))]
    if paper := _paper(results):
        parts += ["For comparison: the paper, on LLP (real videos, one run)", markdown_table(*paper)]
    missing = [text for row in results.rows for text in row.missing]
    if missing:
        parts += ["Not there:", "\n".join(f"- {text}" for text in missing)]
    return "\n\n".join(parts) + "\n"


def comma_separated(results: SweepResults) -> str:
    """A row a row and seed, with everything by its full name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{name}_{modality}" for modality in MODALITIES for name in ("removed", "precision", "recall")]
    writer.writerow(("sweep", "simulated", "row", "kind", "seed", *SCORE_NAMES, *names))
    for row in results.rows:
        for seed, scores in row.scores.items():
            total = row.removals[seed]["total"]
            removals = [total[m].get(name) for m in MODALITIES for name in ("removed", "precision", "recall")]
            start = (results.name, results.simulated, row.name, row.kind, seed)
            writer.writerow((*start, *(scores[score] for score in SCORE_NAMES), *removals))
    return text.getvalue()


def latex(results: SweepResults) -> str:
    """The scores as a table for booktabs."""
    best = best_row(results)
    lines = [
        f"% {_escaped(caption(results))}",
        r"\begin{tabular}{l" + "r" * (len(SCORE_NAMES) + 1) + "}",
        r"\toprule",
        " & ".join(["", *SCORE_HEADERS, rf"$\Delta$ {HEADERS[results.metric]}"]) + r" \\",
        r"\midrule",
    ]
    for row in results.rows:
        name = rf"\textbf{{{_escaped(row.name)}}}" if row is best else _escaped(row.name)
        cells = [spread(row.values(score)) for score in SCORE_NAMES] + [shown(_against(results, row))]
        lines.append(" & ".join([name, *(cell.replace("±", r"$\pm$").replace("−", "$-$") for cell in cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def shown(found: Difference | None) -> str:
    """A difference with its interval, as in `+1.2 ± 0.7`."""
    if found is None:
        return "-"
    mean = f"{found.mean:+.1f}".replace("-", "−")
    return mean if found.half is None else f"{mean} ± {found.half:.1f}"


def _against(results: SweepResults, row: RowResult) -> Difference | None:
    return None if row is results.baseline else difference(row, results.baseline, results.metric)


def _removals(results: SweepResults) -> tuple[list[str], list[list[str]]]:
    def cells(row: RowResult, modality: str) -> list[str]:
        quality = [row.shares(modality, name) for name in ("precision", "recall")]
        intended = [row.intended_share(modality, name) for name in ("candidates", "removed")]
        return [spread(row.removed(modality), 0), *map(spread, [*quality, *intended])]

    columns = ("removed", "precision %", "recall %", "candidates, % of intended", "removed, % of intended")
    header = ["row", *(f"{modality}: {title}" for modality in MODALITIES for title in columns)]
    return header, [[row.name, *(cell for m in MODALITIES for cell in cells(row, m))] for row in results.rows]


def _paper(results: SweepResults) -> tuple[list[str], list[list[str]]] | None:
    found = {row.name: paper_scores(results.name, row.name, row.settings) for row in results.rows}
    names = [score for score in SCORE_NAMES if any(score in scores for scores in found.values())]
    if not names:
        return None
    rows = [
        [name, *(f"{scores[score]:.1f}" if score in scores else "-" for score in names)]
        for name, scores in found.items()
        if scores
    ]
    return ["paper, on LLP", *(HEADERS[score] for score in names)], rows


def _escaped(text: str) -> str:
    for sign in ("\\", "&", "%", "$", "#", "_", "{", "}"):
        text = text.replace(sign, r"\textbackslash{}" if sign == "\\" else f"\\{sign}")
    return text
