"""An estimator is scored with the attention that it was trained with, and with no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Finished
from launchers_help import run_here


def test_its_scores_are_those_that_its_training_saw(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.folder, run)
    weights = run / "checkpoints" / "estimator.safetensors"
    outcome = run_here(capsys, "evaluate", "--run", run, "--weights", weights, "--split", "val")
    assert outcome.code == 0, outcome.err
    scored = json.loads((run / "scores_val_estimator.json").read_text())
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    seen = [line for line in lines if line["stage"] == "estimator" and line["epoch"] == scored["model"]["epoch"]]
    assert {f"val/{name}": value for name, value in scored["scores"].items()} == {
        name: value for name, value in seen[0].items() if name.startswith("val/")
    }
