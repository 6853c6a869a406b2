"""Folders of finished runs and sweeps, written without training anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jomold_dist.config import Config
from jomold_dist.config_files import dump_config
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.files import write_json
from jomold_dist.labels import CategorySet
from jomold_dist.score_names import SCORE_NAMES
from jomold_dist.training.evaluate import Evaluation
from jomold_dist.training.run_folder import OWNER, RunFolder
from jomold_dist.training.scores import RunScores, ScoredData, ScoredModel

CATEGORIES = ("Speech", "Dog")
TRIAL_OWNER = {"config": "0", "manifest": "1", "plan": 2}
AXES = ("denoise.audio_threshold", "denoise.visual_threshold")
TINY_CATEGORIES = ("Speech", "Dog", "Car")
TINY = Manifest(
    name="tiny",
    segments=4,
    categories=CategorySet(TINY_CATEGORIES),
    features={
        "audio": FeatureSpec((4, 3), "float16"),
        "frames": FeatureSpec((4, 6), "float16"),
        "motion": FeatureSpec((4, 5), "float16"),
    },
    splits={},
    simulated={"scenario": "llp", "seed": 0},
)
"""A data set of which nothing but the manifest is there."""
DATA = ScoredData("tiny", "0" * 64, simulated=True)


def write_scores(
    folder: Path, score: float, epochs: int, data: ScoredData = DATA, names: Sequence[str] = SCORE_NAMES
) -> None:
    """scores.json with all scores alike."""
    found = Evaluation(dict.fromkeys(names, score), {}, {})
    model = ScoredModel("checkpoints/model.safetensors", epochs, epochs)
    write_json(RunFolder(folder).scores, RunScores("test", data, model, found, "0.1.0").to_json())


def finished_run(
    folder: Path,
    config: Config,
    score: float = 50.0,
    removed: int = 0,
    data: ScoredData = DATA,
    names: Sequence[str] = SCORE_NAMES,
) -> Path:
    """A finished run of this config, with all of these scores alike and half of its removals right."""
    run, epochs = RunFolder(folder), config.train.epochs
    folder.mkdir(parents=True)
    run.config.write_text(dump_config(config))
    write_json(folder / OWNER, run.owner(config, data.manifest))
    write_scores(folder, score, epochs, data, names)
    entry: dict[str, Any] = {"labels": 40, "candidates": removed, "removed": removed, "noise": 0}
    entry |= {"precision": 0.5 if removed else None, "recall": None}
    total = {modality: {"modality": modality, **entry} for modality in ("audio", "visual")}
    write_json(run.removals, {"epochs": epochs, "total": total, "categories": {}})
    run.write_status("finished", exit_code=0)
    return folder


def write_run(folder: Path, score: float, ratio: float | None = 0.25) -> None:
    """A finished run: all scores alike, half of the visual noise of Speech removed."""
    folder.mkdir(parents=True)
    write_json(folder / OWNER, TRIAL_OWNER)
    RunFolder(folder).write_status("finished", exit_code=0)
    write_scores(folder, score, epochs=2)

    def entry(modality: str, labels: int, removed: int, noise: int, rightly: int) -> dict[str, Any]:
        return {
            "modality": modality, "labels": labels, "candidates": removed + 2, "removed": removed, "noise": noise,
            "precision": rightly / removed if removed else None, "recall": rightly / (2 * noise) if noise else None,
        }  # fmt: skip

    speech = {"audio": entry("audio", 40, 0, 4, 0), "visual": entry("visual", 40, 20, 16, 16)}
    dog = {"audio": entry("audio", 10, 0, 0, 0), "visual": entry("visual", 10, 0, 2, 0)}
    total = {"audio": entry("audio", 50, 0, 4, 0), "visual": entry("visual", 50, 20, 18, 16)}
    removals = {"epochs": 2, "total": total, "categories": {"Speech": speech, "Dog": dog}}
    (folder / "removals.json").write_text(json.dumps(removals))
    if ratio is not None:
        ratios = {"categories": CATEGORIES, "audio": [0.1, 0.0], "visual": [2 * ratio, ratio]}
        (folder / "noise_ratios.json").write_text(json.dumps(ratios))


def write_sweep(folder: Path, name: str = "table2b", axes: tuple[str, ...] = AXES, failed: bool = False) -> Path:
    """A sweep of two controls and, by its axes, some cells, with two seeds."""
    rows: list[dict[str, Any]] = [
        {"name": "han", "kind": "control", "method": "han", "settings": {"method": "han"}},
        {"name": "static", "kind": "control", "method": "static", "settings": {"method": "static"}},
    ]
    values = [(0.5, 0.6), (1.6, 1.7)] if len(axes) == 2 else [(16.0, 32.0, 64.0)]
    for cell in np.stack(np.meshgrid(*values, indexing="ij"), -1).reshape(-1, len(axes)).tolist() if axes else []:
        settings = dict(zip(axes, cell, strict=True))
        title = ", ".join(f"{k}={v}" for k, v in settings.items())
        rows.append({"name": title, "kind": "cell", "method": "jomold", "settings": settings})
    trials = []
    for number, row in enumerate(rows):
        for seed in (0, 1):
            trial = {"row": row["name"], "seed": seed, "run": f"../trials/{number}-{seed}", "state": "finished"}
            trial["is"] = TRIAL_OWNER | {"epochs": 2}
            if failed and row["name"] == "static" and seed == 1:
                trial |= {"run": None, "state": "failed", "problem": "a NaN in step 3"}
            else:
                write_run(folder.parent / "trials" / f"{number}-{seed}", 60 + number + 0.5 * seed)
            trials.append({"problem": None, **trial})
    folder.mkdir()
    content = {"sweep": name, "metric": "segment_type", "data": asdict(DATA), "axes": axes, "baseline": "han"}
    (folder / "cells.json").write_text(json.dumps(content | {"rows": rows, "trials": trials}))
    return folder
