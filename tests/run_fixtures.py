"""Folders of finished runs, written without training anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jomold_dist.config import SCORES, Config
from jomold_dist.config_files import dump_config
from jomold_dist.files import write_json
from jomold_dist.training.evaluate import Evaluation
from jomold_dist.training.run_folder import OWNER, RunFolder
from jomold_dist.training.scores import RunScores, ScoredData, ScoredModel

DATA = ScoredData("tiny", "0" * 64, simulated=True)


def write_scores(folder: Path, score: float, epochs: int, data: ScoredData = DATA) -> None:
    """scores.json with all ten scores alike."""
    found = Evaluation(dict.fromkeys(SCORES, score), {}, {})
    model = ScoredModel("checkpoints/model.safetensors", epochs, epochs)
    write_json(RunFolder(folder).scores, RunScores("test", data, model, found, "0.1.0").to_json())


def finished_run(folder: Path, config: Config, score: float = 50.0, removed: int = 0, data: ScoredData = DATA) -> Path:
    """A finished run of this config, with all ten scores alike and half of its removals right."""
    run, epochs = RunFolder(folder), config.train.epochs
    folder.mkdir(parents=True)
    run.config.write_text(dump_config(config))
    write_json(folder / OWNER, run.owner(config, data.manifest))
    write_scores(folder, score, epochs, data)
    entry: dict[str, Any] = {"labels": 40, "candidates": removed, "removed": removed, "noise": 0}
    entry |= {"precision": 0.5 if removed else None, "recall": None}
    write_json(run.removals, {"epochs": epochs, "total": {"audio": entry, "visual": entry}, "categories": {}})
    run.write_status("finished", exit_code=0)
    return folder
