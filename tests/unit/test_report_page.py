"""The report of a run: what it says, of runs of every kind, and that it does so in one small file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jomold_dist.commands import report as report_command
from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.world import World
from jomold_dist.files import write_json
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.score_names import CATEGORY_SCORE_NAMES, SCORE_NAMES, score_names
from jomold_dist.showing.reports.report import report_run, report_values, write_report
from jomold_dist.showing.reports.report_categories import category_scores, removal_rows
from jomold_dist.showing.reports.report_controls import beside
from jomold_dist.showing.reports.report_curves import time_chart, training_charts
from jomold_dist.showing.reports.run_record import RunRecord
from jomold_dist.training.evaluate import Evaluation
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_config
from jomold_dist.training.scores import RunScores, ScoredData, ScoredModel
from tests.browser import THEMES, WIDTHS, browser
from tests.run_fixtures import TINY, finished_run

EPOCHS = 4
MOST_BYTES = 3 << 20


class Words(HTMLParser):
    """The text of a page, without style and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in ("style", "script", "title", "desc")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script", "title", "desc")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.said.append(data)


def words_of(path: Path) -> str:
    parser = Words()
    parser.feed(path.read_text(encoding="utf-8"))
    return " ".join(" ".join(parser.said).split())


def removal(labels: int, candidates: int | None, removed: int, noise: int | None, rightly: int = 0) -> dict[str, Any]:
    """An entry of removals.json, over EPOCHS epochs."""
    entry: dict[str, Any] = {"modality": "visual", "labels": labels, "candidates": candidates, "removed": removed}
    if noise is not None:
        recall = rightly / (noise * EPOCHS) if noise else None
        entry |= {"noise": noise, "precision": rightly / removed if removed else None, "recall": recall}
    return entry


def epoch_line(stage: str, epoch: int) -> dict[str, Any]:
    return {
        "stage": stage, "epoch": epoch, "seconds": 60.0, "train/learning_rate": 5e-4, "train/loss": 2.0 / epoch,
        "train/loss_audio": 1.0 / epoch, "train/loss_contrastive": 0.5, "denoise/removed_audio": 0.0,
        "denoise/removed_visual": 10.0 * epoch, "denoise/precision_visual": 0.75, "denoise/recall_visual": 0.5,
        "perf/videos_per_second": 120.0, "perf/share_data_wait": 0.2, "perf/share_ranking": 0.1,
        "perf/share_exchange": 0.05, **{f"val/{name}": 40.0 + epoch for name in SCORE_NAMES},
    }  # fmt: skip


def whole_run(folder: Path, names: tuple[str, ...], config: Config | None = None) -> tuple[RunFolder, Manifest]:
    """A finished run on a data set of these categories, with all that a run leaves but its weights."""
    manifest = replace(TINY, categories=CategorySet(names))
    config = config or load_config(None, ["method=jomold", "run.seed=0", "train.epochs=4"])
    run = RunFolder(finished_run(folder, config, data=ScoredData.of(manifest)))
    draws = np.random.default_rng(0)
    per_category = {
        metric: {name: float(draws.uniform(20, 90)) if n else None for n, name in enumerate(names)}
        for metric in CATEGORY_SCORE_NAMES
    }
    videos = {modality: {name: 7 * n for n, name in enumerate(names)} for modality in MODALITIES}
    found = Evaluation(dict.fromkeys(SCORE_NAMES, 50.0), per_category, videos)
    model = ScoredModel("checkpoints/model.safetensors", 2, EPOCHS)
    write_json(run.scores, RunScores("test", ScoredData.of(manifest), model, found, "0.1.0").to_json())
    categories = {
        name: {"audio": removal(10 + n, 0, 0, 2), "visual": removal(10 + n, 9, 8, 4, 6)} for n, name in enumerate(names)
    }
    total = {"audio": removal(99, 0, 0, 2), "visual": removal(99, 40, 32, 4, 6)}
    write_json(run.removals, {"epochs": EPOCHS, "total": total, "both": {}, "categories": categories})
    ratios = {"categories": list(names), "audio": [0.1] * len(names), "visual": [0.4] * len(names)}
    write_json(run.noise_ratios, ratios)
    lines = [epoch_line(stage, epoch) for stage in ("estimator", "model") for epoch in range(1, EPOCHS + 1)]
    run.history.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    steps = [{"stage": "model", "step": 50 * n, "loss": 1 / n, "grad_norm": 0.1} for n in range(1, 20)]
    run.steps.write_text("".join(f"{json.dumps(step)}\n" for step in steps) + '{"stage": "model", "st')
    start = {
        "time": "2026-03-01T10:00:00+00:00", "ranks": 2, "versions": {"torch": "2.13.0"},
        "command": ["jomold", "train"],
        "hosts": [{"host": "node1", "ranks": [0, 1], "devices": ["NVIDIA H100"]}],
        "git": {"package": {"commit": "0123456789abcdef", "branch": "main", "changed_files": 1}},
    }  # fmt: skip
    write_json(run.environment, [start, {"ranks": "of another version"}, None])
    return run, manifest


NAMES = ("Speech", "Dog", "Frying_(food)")


@pytest.fixture
def run(tmp_path: Path) -> tuple[RunFolder, Manifest]:
    return whole_run(tmp_path / "jomold", NAMES)


def test_a_report_says_what_was_run_and_what_came_of_it(run: tuple[RunFolder, Manifest]) -> None:
    folder, manifest = run
    write_report(folder.report, RunRecord.read(folder, manifest))
    text = words_of(folder.report)
    for said in (
        "Simulated data (llp): these are not results on real videos.",
        "Run jomold",
        "finished on",
        "segment 50.0 50.0 50.0 50.0 50.0",
        "after epoch 2 of 4",
        "train.epochs 4",
        "2 ranks, NVIDIA H100",
        "commit 0123456789ab (main, 1 file changed)",
        "jomold train",
        "torch 2.13.0",
        "audio, of 396: no candidate",
        "75.0 % of 8",
        "in the mean computing 65 %, waiting for data 20 %, ranking 10 %, exchanging 5 %",
        "estimator 4 0:04:00 120",
        "Mean distance from the true ratio over the categories that have labels: audio 0.083, visual 0.034.",
    ):
        assert said in text, said
    assert folder.report.stat().st_size < MOST_BYTES
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", folder.report.read_text())


def test_recall_of_zero_and_no_candidate_are_told_apart() -> None:
    cases = {"looked": removal(10, 5, 0, 4), "never": removal(10, 0, 0, 4), "right": removal(10, 5, 5, 0)}
    categories = {name: {"visual": entry} for name, entry in cases.items()}
    rows = {
        r.category: r
        for r in removal_rows({"epochs": EPOCHS, "total": {"visual": removal(30, 10, 5, 8)}, "categories": categories})
    }
    assert (rows["looked"].recall, rows["looked"].without_candidate) == (0.0, False)
    assert (rows["never"].recall, rows["never"].without_candidate) == (0.0, True)
    assert rows["right"].recall is None


def test_categories_with_most_videos_come_first_and_differences_are_those_of_the_baseline(
    run: tuple[RunFolder, Manifest],
) -> None:
    scores = RunRecord.read(*run).scores
    assert scores is not None
    rows = category_scores(scores, "segment", [scores, scores])
    assert [row.category for row in rows] == ["Frying_(food)", "Dog", "Speech"]
    assert [row.support for row in rows] == [28, 14, 0]
    assert {score.difference for row in rows[:2] for score in row.scores} == {0.0}
    assert {(score.value, score.difference) for score in rows[2].scores} == {(None, None)}
    assert [score.videos for score in rows[0].scores] == [14, 14, None]


def test_controls_stand_beside_a_run(run: tuple[RunFolder, Manifest], tmp_path: Path) -> None:
    folder, manifest = run
    han, _ = whole_run(tmp_path / "han", NAMES, load_config(None, ["method=han", "run.seed=0", "train.epochs=4"]))
    found = beside(folder, [han.path])
    assert found.baseline is not None
    assert (found.name, found.baseline.name) == ("jomold", "han (seed 0)")
    assert [row[0] for row in found.table.rows] == ["jomold", "han"]
    write_report(folder.report, RunRecord.read(folder, manifest), beside=found)
    text = words_of(folder.report)
    assert "Δ: difference to han (seed 0), in points." in text
    assert "Fewer than 5 seeds carry no claim" in text


@pytest.mark.parametrize("lost", ["scores", "removals", "history", "steps", "environment", "noise_ratios", "status"])
def test_a_damaged_file_is_named_and_left_out(run: tuple[RunFolder, Manifest], lost: str) -> None:
    folder, manifest = run
    file: Path = getattr(folder, lost)
    file.write_bytes(b"\xff\x00 no text")
    record = RunRecord.read(folder, manifest)
    assert len(record.problems) == 1
    assert str(file) in record.problems[0]
    write_report(folder.report, record)
    assert file.name in words_of(folder.report).partition("Scores")[0]


@pytest.mark.parametrize("within", [3, {"step": 3}, {"step": 5, "steps": 4, "scores": {}}, {"step": 1, "steps": "x"}])
def test_a_best_moment_of_another_form_is_damage(run: tuple[RunFolder, Manifest], within: object) -> None:
    folder, manifest = run
    folder.history.write_text(json.dumps(epoch_line("model", 1) | {"best_within": within}) + "\n")
    record = RunRecord.read(folder, manifest)
    assert record.history == []
    assert str(folder.history) in record.problems[0]


def test_what_an_unfinished_run_has_is_told(run: tuple[RunFolder, Manifest]) -> None:
    folder, manifest = run
    for file in (folder.scores, folder.removals):
        file.unlink()
    folder.write_status("running", stage="train")
    record = RunRecord.read(folder, manifest)
    assert record.problems == []
    write_report(folder.report, record)
    text = words_of(folder.report)
    assert "not at its end: in stage train since" in text
    assert "There are no scores" in text
    assert "Loss on train" in text
    assert "Removed labels" not in text
    for file in (folder.history, folder.steps, folder.noise_ratios, folder.environment):
        file.unlink()
    write_report(folder.report, RunRecord.read(folder, manifest))
    assert "Training" not in words_of(folder.report)


def test_a_report_that_cannot_be_made_fails_no_run(
    run: tuple[RunFolder, Manifest], caplog: pytest.LogCaptureFixture
) -> None:
    folder, manifest = run
    finished = Run(read_config(folder), manifest, World(0, 2, 0, 2, torch.device("cpu")), folder)
    report_run(finished)
    assert caplog.messages == []
    assert "no timelines: " in words_of(folder.report).partition("Scores")[0]  # its weights are not there
    folder.report.unlink()
    folder.report.mkdir()
    report_run(finished)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"no {folder.report}: ")


def test_networks_of_one_modality_and_methods_that_look_at_nothing(run: tuple[RunFolder, Manifest]) -> None:
    folder, manifest = run
    scores = json.loads(folder.scores.read_text())
    scores["scores"] = dict.fromkeys(score_names(["visual"]), 50.0)
    scores["per_class"] = {k: v for k, v in scores["per_class"].items() if k.endswith("visual")}
    write_json(folder.scores, scores)
    none = removal(10, None, 0, None)
    write_json(folder.removals, {"epochs": 4, "total": {"visual": none}, "both": None, "categories": {}})
    folder.noise_ratios.unlink()
    record = RunRecord.read(folder, manifest)
    assert report_values(record)["modalities"] == ("visual",)
    write_report(folder.report, record)
    text = words_of(folder.report)
    assert "videos, visual" in text
    assert "videos, audio" not in text
    assert "No label was removed in 4 epochs." in text


def test_curves_of_a_history(run: tuple[RunFolder, Manifest]) -> None:
    record = RunRecord.read(*run)
    charts = {chart.title: chart for chart in training_charts(record)}
    assert charts["Loss on train"].words == "loss: 2 in epoch 1, 0.5 in epoch 4; all between 0.25 and 2."
    assert [name for _, name, _ in charts["F-scores on val"].keys] == [
        "seg Type", "seg A", "seg V", "ev Type", "ev A", "ev V",
    ]  # fmt: skip
    assert "kept: epoch 2" in charts["F-scores on val"].svg
    assert (
        charts["How rightly labels were removed"].words
        == "visual precision: 75 in epoch 1, 75 in epoch 4; all between 50 and 75."
    )
    assert "in optimizer step 950" in charts["Loss, between epochs"].words
    assert time_chart([]) is None
    assert training_charts(replace(record, histories={}, steps=[])) == []


def test_the_command_refuses_what_is_no_run_and_runs_on_other_data(
    run: tuple[RunFolder, Manifest], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, _ = whole_run(tmp_path / "other", ("Speech", "Car", "Cat"))

    def ends(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["jomold report", *words])
        assert report_command.main() == 2
        return capsys.readouterr().err

    assert "is no run's folder (config.yaml is missing)" in ends(str(tmp_path))
    assert "the runs are on different data sets" in ends(str(run[0].path), "--controls", str(other.path))
    assert "--pick differ compares runs" in ends(str(run[0].path), "--pick", "differ")
    assert "cannot be written" in ends(str(run[0].path), "--out", str(tmp_path / "no" / "report.html"))
    assert not run[0].report.exists()


@pytest.mark.lengthy
def test_reports_in_a_browser(run: tuple[RunFolder, Manifest], tmp_path: Path) -> None:
    """No complaint, no request, nothing beyond the edge at 400 pixels, also with 309 categories with long names, which
    are folded."""
    folder, manifest = run
    han, _ = whole_run(tmp_path / "han", NAMES, load_config(None, ["method=han", "run.seed=0", "train.epochs=4"]))
    write_report(folder.report, RunRecord.read(folder, manifest), beside=beside(folder, [han.path]))
    names = tuple(f"Category_{number}_{'with_a_long_name' * 3}" for number in range(309))
    large, of_large = whole_run(tmp_path / "large", names)
    write_report(large.report, RunRecord.read(large, of_large))
    assert large.report.stat().st_size < MOST_BYTES
    with browser() as chromium:
        for page in (folder.report, large.report):
            for width in WIDTHS:
                for theme in THEMES:
                    seen = chromium.open(page, width, theme)
                    assert (seen.complaints, seen.requests, seen.overflow) == ([], [], 0), (page, width, theme)
                    fixed = "Math.max(...[...document.querySelectorAll('tbody th')].map(cell => cell.offsetWidth))"
                    assert chromium.evaluate(fixed) < 0.6 * width  # it stays where the others are scrolled
        rows = "[...document.querySelectorAll('#categories tbody')].map(b => [...b.rows].filter(r => !r.hidden).length)"
        assert chromium.evaluate(rows) == [25, 25, 25]
        links = "[...document.querySelectorAll('.contents a')].filter(a => !document.querySelector(a.hash)).length"
        assert chromium.evaluate(links) == 0
