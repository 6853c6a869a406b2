"""A sweep's tables and figures, from run folders that were written for it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jomold_dist.comparing.paired import PairedMean
from jomold_dist.errors import DataError
from jomold_dist.files import write_json
from jomold_dist.tuning.best import best_row, closing
from jomold_dist.tuning.figures import removed_text
from jomold_dist.tuning.paper import paper_scores
from jomold_dist.tuning.report import tabulate
from jomold_dist.tuning.results import RowResult, SweepResults, line, read_results
from tests.run_fixtures import DATA, TRIAL_OWNER, write_scores, write_sweep
from tools.tabulate_sweep import main


def test_a_grid_gives_tables_and_a_heat_map(tmp_path: Path) -> None:
    files = tabulate(write_sweep(tmp_path / "sweep"), tmp_path / "out")
    names = [file.name for file in files]
    assert names == [
        "table.md",
        "table.csv",
        "table.tex",
        "paper.md",
        "heat_map.png",
        "noise_ratios.png",
        "removals.png",
    ]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files if file.suffix == ".png")
    text = files[0].read_text()
    assert text.startswith("table2b: F-scores on test of tiny, simulated data, in percent")
    assert "Labels removed from train of tiny, simulated data, over all epochs" in text
    lines = [line for line in text.splitlines() if line.startswith("| han ")]
    assert "60.2 ± 0.4" in lines[0]
    last = next(line for line in text.splitlines() if "threshold=0.6, denoise.visual_threshold=1.7 |" in line)
    cells = [cell.strip() for cell in last.split("|")][-4:-1]
    assert cells == ["+5.0 ± 0.0", "above, 2 seeds", "+4.0 ± 0.0"]  # the same for both seeds; the last is from static
    assert "- Fewer than 5 seeds carry no claim, and every row has 2." in text
    assert "Noise floor" in text
    assert "**" not in text
    assert "paper" not in text
    assert "Not there" not in text
    paper = files[3].read_text()
    assert paper.startswith("table2b in the paper: LLP, real videos")
    assert "58.9" in paper  # θ^a = 0.6, θ^v = 1.6
    table = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert len(table) == 12
    assert table[0]["row"] == "han"
    assert float(table[0]["precision_visual"]) == 0.8
    tex = files[2].read_text()
    assert tex.count(r"\\") == 7
    assert r"denoise.audio\_threshold=0.6" in tex
    assert "simulated" in tex


def test_one_axis_gives_a_curve_and_what_is_missing_is_told(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", "batch_size", ("train.batch_size",), failed=True)
    files = tabulate(folder, folder)
    assert "curve.png" in [file.name for file in files]
    text = files[0].read_text()
    assert "- static, seed 1: a NaN in step 3" in text
    assert "the paper" not in text
    static = next(line for line in text.splitlines() if line.startswith("| static "))
    assert static.split("|")[2].strip() == "1"
    assert [cell.strip() for cell in static.split("|")[-4:-2]] == ["+1.0", "open, 1 seed"]  # the one that both have
    # ratios of 0.5 and 0.25 intend 2 x (20 + 2.5) removals, of which 22 were looked at and 20 made
    assert "48.9 ± 0.0 |" in text
    assert "44.4 ± 0.0 |" in text


def test_masks_of_another_name_are_tabulated(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", "batch_size", ("train.batch_size",))
    for seed in (0, 1):  # of `static`
        file = tmp_path / "trials" / f"1-{seed}" / "removals.json"
        removals = json.loads(file.read_text())
        for entries in (removals["total"], *removals["categories"].values()):
            entries["frames"] = entries.pop("visual") | {"candidates": None}
            del entries["audio"]
        file.write_text(json.dumps(removals))
    text = tabulate(folder, folder)[0].read_text()
    header, _, *rows = next(part for part in text.split("\n\n") if "frames: removed" in part).splitlines()
    names = [cell.strip() for cell in header.split("|")]
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")] for line in rows}
    static, han = (dict(zip(names, cells[name], strict=True)) for name in ("static", "han"))
    assert (static["audio: removed"], static["frames: removed"]) == ("-", "20 ± 0")
    assert static["frames: candidates, % of intended"] == "-"
    assert static["frames: removed, % of intended"] == "44.4 ± 0.0"
    assert (han["audio: removed"], han["frames: removed"]) == ("0 ± 0", "-")


def test_a_run_that_is_another_one_by_now_is_not_in_the_table(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", "table2d", ())
    write_scores(tmp_path / "trials" / "0-0", 60.0, epochs=50)  # somebody has trained it for longer
    (tmp_path / "trials" / "1-1" / "owner.json").write_text(json.dumps(TRIAL_OWNER | {"manifest": "other"}))
    text = tabulate(folder, folder)[0].read_text()
    for name, run in (("han, seed 0", "0-0"), ("static, seed 1", "1-1")):
        changed = "has been changed since: to another config, data set or length of training"
        assert f"- {name}: {tmp_path / 'trials' / run} {changed}" in text
    header, _, *rows = text.split("\n\n")[1].splitlines()
    assert "seeds" in header
    assert [row.split("|")[2].strip() for row in rows] == ["1", "1"]


def scored(row: RowResult) -> RowResult:
    """A row with a score."""
    vars(row)["scores"] = {0: {"segment_type": 1.0}}
    return row


def settings_of(results: SweepResults) -> tuple[str, list[Any]] | None:
    found = line(results)
    return found and (found[0], [row.settings[found[0]] for row in found[1]])


def test_a_precision_is_told_with_its_count_and_a_category_without_candidates_as_such(tmp_path: Path) -> None:
    entries = {"Speech": (20, 8), "Dog": (5, 0), "Car": (0, 0), "Cat": (None, 0)}
    for seed in (0, 1):
        categories = {
            name: {
                "visual": {"modality": "visual", "labels": 40, "candidates": looked, "removed": removed * (1 + seed)}
            }
            for name, (looked, removed) in entries.items()
        }
        total = {"visual": categories["Speech"]["visual"]}
        (tmp_path / f"{seed}").mkdir()
        write_json(tmp_path / f"{seed}" / "removals.json", {"epochs": 1, "total": total, "categories": categories})
    row = RowResult("jomold", "cell", "jomold", {}, {seed: tmp_path / f"{seed}" for seed in (0, 1)}, ())
    told = {name: removed_text(row, "visual", name) for name in entries}
    assert told == {"Speech": "12", "Dog": "none removed", "Car": "no candidate", "Cat": "none removed"}


def test_a_line_is_of_rows_that_differ_in_one_number() -> None:
    def results(*rows: dict[str, Any], axes: tuple[str, ...] = (), kind: str = "variant") -> SweepResults:
        made = [scored(RowResult(str(n), kind, "jomold", settings, {0: Path()}, ())) for n, settings in enumerate(rows)]
        return SweepResults("", "segment_type", DATA, axes, made, made[0])

    warmups = [{"warmup_epochs": value} for value in (1.0, None, 0.7, 0.9)]
    released = {"warmup": "released", "warmup_epochs": 0.8}
    assert settings_of(results(*warmups, released)) == ("warmup_epochs", [0.7, 0.9, 1.0])
    constants = [{"ratios": "constant", "ratio_constant": value} for value in (0.1, 0.2, 0.3)]
    assert settings_of(results(*constants, {"ratios": "estimated"})) == ("ratio_constant", [0.1, 0.2, 0.3])
    assert settings_of(results(*constants, kind="control")) is None
    assert settings_of(results(*constants[:2])) is None
    assert settings_of(results(*({"x": x, "y": 1} for x in range(4)), axes=("x", "y"))) is None
    assert settings_of(results(*({"cross_modal": flag} for flag in (True, False)))) is None


def test_variants_alone_give_no_map_and_no_curve_but_rows_with_intervals(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", "table2d", ())
    files = tabulate(folder, folder)
    assert [file.name for file in files] == ["table.md", "table.csv", "table.tex", "rows.png"]
    assert files[-1].read_bytes().startswith(b"\x89PNG")


def test_the_papers_figures_are_found_by_row() -> None:
    settings = {"denoise.audio_threshold": 0.8, "denoise.visual_threshold": 1.8}
    assert paper_scores("table2b", "any", settings) == {"segment_type": 60.7}
    assert paper_scores("table2a", "estimated", {})["segment_visual"] == 63.8
    assert paper_scores("table2a", "han", {}) == {}
    assert paper_scores("batch_size", "batch_size=16", {"train.batch_size": 16}) == {}


def test_mistakes_are_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="--baseline 'none' is no row"):
        read_results(write_sweep(tmp_path / "sweep"), "none")
    (tmp_path / "sweep" / "cells.json").write_text("{}")
    with pytest.raises(DataError, match="is damaged"):
        read_results(tmp_path / "sweep")
    monkeypatch.setattr("sys.argv", ["tabulate_sweep.py", str(tmp_path)])
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'cells.json'} does not exist")
    (tmp_path / "owner.json").write_text("{}")
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is a run's folder, and no sweep's")


def test_a_sweep_ends_with_its_table_the_best_row_and_where_all_lies(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", "batch_size", ("train.batch_size",))
    files = tabulate(folder, folder)
    table, best, places = closing(read_results(folder), files, "mlflow ui").rsplit("\n\n", 2)
    assert table == files[0].read_text().rstrip()
    first, caution = best.splitlines()
    assert first == (
        "best of 3 rows by segment_type on test: train.batch_size=64.0, 64.2 ± 3.2 (95 % interval, n = 2); "
        "Δ han +4.0 ± 0.0, above, 2 seeds"
    )
    assert "flatters" in caution
    assert places.splitlines() == [*(f"written: {file}" for file in files), "in MLflow: mlflow ui"]


def test_no_control_is_the_best_row_unless_there_is_nothing_else(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", "table2d", ())
    best = best_row(read_results(folder))
    assert best is not None
    assert (best.name, best.among, best.score.seeds) == ("static", 2, 2)
    assert str(best_row(read_results(folder, "static"))).startswith(
        "best of 2 rows by segment_type on test: static, 61.2 ± 3.2 (95 % interval, n = 2)\n"
    )
    one = replace(best, among=1, score=PairedMean(61.24, None, 1), difference=None)
    assert str(one).startswith("best of 1 row by segment_type on test: static, 61.2 (one seed)\n")
    for run in (tmp_path / "trials").iterdir():
        (run / "status.json").unlink()
    assert best_row(read_results(folder)) is None
    assert "no row has a score on test" in closing(read_results(folder), tabulate(folder, folder), None)
