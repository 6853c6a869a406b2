"""`jomold labels` on a finished run and on a file of probabilities, and a training on what it cleans."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished, Tiny
from launchers_help import run_here

from jomold_dist.data.packing.truth_writer import write_truth
from tests.browser import THEMES, WIDTHS, browser

pytestmark = pytest.mark.lengthy
Capture = pytest.CaptureFixture[str]
TOLD = re.compile(r"removed: audio (\d+), visual (\d+) of (\d+) labels")


@pytest.fixture(scope="module")
def mixture(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose labels were judged by estimators that had not learnt them; and its data's truth, made up."""
    folder = tmp_path_factory.mktemp("labels")
    shards = shutil.copytree(tiny.shards, folder / "data")
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["simulated"] = {"scenario": "made up"}
    del manifest["digest"]
    (shards / "manifest.json").write_text(json.dumps(manifest))
    videos, categories = tiny.videos["train"], len(manifest["categories"])
    present = np.zeros((len(videos), 2, categories), dtype=bool)
    for row, video in zip(present, videos, strict=True):
        row[0, list(video.labels)] = True
        row[1, list(video.labels)[::2]] = True
    write_truth(shards / "truth/train.npz", [video.key for video in videos], present)
    return folder


def test_from_a_run_to_cleaned_labels_to_a_network(mixture: Path, tiny: Tiny, capsys: Capture) -> None:
    data = f"data.shards={mixture / 'data'}"
    run, cleaned = mixture / "run", mixture / "cleaned"
    short = ("train.epochs=1", "estimator.epochs=1", "mixture.rounds=1")
    trained = run_here(capsys, "train", "--config", tiny.config, f"run.dir={run}", "method=mixture", data, *short)
    assert trained.code == 0, trained.err
    told = run_here(capsys, "jomold", "labels", run, "--apply", cleaned, "--confidence", "0.5")
    assert told.code == 0, told.err
    assert "every label was judged by an estimator that has not learnt it" in told.out
    assert "How right that is" in told.out
    assert sorted(path.name for path in (run / "label_report").iterdir()) == ["labels.csv", "labels.html"]
    with (run / "label_report/labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(video.labels) for video in tiny.videos["train"])
    match = TOLD.search(told.out)
    assert match
    told_by_list = [sum(row["verdict"] == f"noise in {name}" for row in rows) for name in ("audio", "visual")]
    assert [int(number) for number in match.groups()] == [*told_by_list, len(rows)]
    assert sum(told_by_list) > 0

    # the same labels, and no others, are kept from the network
    given = (f"denoise.cleaned_labels={cleaned / 'cleaned_labels.csv'}", "train.epochs=1")
    folder = mixture / "network"
    trained = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}", "method=cleaned", data, *given)
    assert trained.code == 0, trained.err
    assert f"cleaned labels: removed audio {told_by_list[0]}, visual {told_by_list[1]}" in trained.err
    with (folder / "removed_labels.csv").open(newline="") as file:
        removed = {(row["filename"], row["category"], row["modality"]) for row in csv.DictReader(file)}
    assert removed == {
        (row["filename"], row["category"], row["verdict"].removeprefix("noise in "))
        for row in rows
        if row["verdict"] != "keep"
    }

    with browser() as chromium:
        for width in WIDTHS:
            for theme in THEMES:
                seen = chromium.open(run / "label_report/labels.html", width, theme)
                assert (seen.complaints, seen.requests, seen.overflow) == ([], [], 0)
        rows_there = "[...document.querySelectorAll('#suspect-rows tr')].filter(row => row.offsetParent)"
        shown = f"{rows_there}.map(row => row.cells[2].innerText)"
        everything = chromium.evaluate(shown)
        assert sorted(everything) == ["audio"] * told_by_list[0] + ["visual"] * told_by_list[1]
        choose = "(f => {f.value = 'visual'; f.dispatchEvent(new Event('input'))})(document.getElementById('modality'))"
        chromium.evaluate(choose)
        assert chromium.evaluate(shown) == ["visual"] * told_by_list[1]
        chromium.evaluate("document.querySelectorAll('#suspects th button')[0].click()")  # sorting keeps what is chosen
        assert chromium.evaluate(shown) == ["visual"] * told_by_list[1]


def test_a_run_without_a_table_is_judged_by_its_estimator(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    told = run_here(capsys, "jomold", "labels", finished.folder, "--out", tmp_path, "--list", "parquet")
    assert told.code == 0, told.err
    assert "its estimator has looked once more at the labels that it has learnt" in told.out
    assert "Labels told as noise (a confidence of 90 % and more)" in told.out
    told = run_here(capsys, "jomold", "labels", finished.folder, "--out", tmp_path, "--removed", "0.5")
    assert "Labels told as noise (removed in 50 % of the epochs and more)" in told.out
    assert "removed, visual" in (tmp_path / "labels.html").read_text()  # in how many epochs
    assert (tmp_path / "labels.parquet").exists()
    (finished.folder / "checkpoints/estimator.safetensors").rename(tmp_path / "estimator.safetensors")
    try:
        told = run_here(capsys, "jomold", "labels", finished.folder, "--out", tmp_path / "by model")
    finally:
        (tmp_path / "estimator.safetensors").rename(finished.folder / "checkpoints/estimator.safetensors")
    assert "its model has looked once more" in told.out
    assert "Labels told as noise (removed in 50 % of the epochs and more)" in told.out


def test_what_predict_writes_is_judged_without_a_run(
    finished: Finished, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "labels.csv"
    categories = json.loads((tiny.shards / "manifest.json").read_text())["categories"]
    rows = [f"{video.key},{categories[label]}" for video in tiny.videos["train"] for label in video.labels]
    table.write_text("\n".join(["key,label", *rows, ""]))
    out, split = tmp_path / "p.npz", ("--split", "train")
    made = run_here(capsys, "predict", "--run", finished.folder, "--shards", tiny.shards, "--out", out, *split)
    assert made.code == 0, made.err
    given = ("--probabilities", out, "--labels", table)
    told = run_here(capsys, "jomold", "labels", *given, "--out", tmp_path / "report", "--apply", tmp_path / "cleaned")
    assert told.code == 0, told.err
    assert "p.npz: labels judged by the mixture, from given probabilities" in told.out
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["labels.csv", "labels.html"]
    assert (tmp_path / "cleaned/cleaned_labels.csv").exists()
    for option in ("--out", "--apply"):
        refused = run_here(capsys, "jomold", "labels", *given, "--out", tmp_path / "report", option, table)
        assert refused.code == 2
        assert f"{option} {table} cannot be written" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a run's folder, or a file of --probabilities: one of them"),
        (("run", "--labels", "x.csv"), "--labels goes with --probabilities only"),
        (("--probabilities", "p.npz"), "--probabilities needs labels"),
        (("--probabilities", "p.npz", "--labels", "x.csv", "--media", "clips"), "--media goes with a run only"),
        (("--probabilities", "none.npz", "--labels", "x.csv"), "--probabilities none.npz is no file"),
        (("nowhere",), "nowhere is no run's folder"),
        (("nowhere", "--format", "llp"), "--format goes with --apply only"),
        (("nowhere", "--names", "AVVP_train.csv"), "--names goes with --apply only"),
    ],
)
def test_mistakes_are_told(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    told = run_here(capsys, "jomold", "labels", *words)
    assert told.code == 2
    assert said in told.err
    assert "Traceback" not in told.err
    assert list(tmp_path.iterdir()) == []
