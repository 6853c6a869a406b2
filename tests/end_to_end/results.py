"""Comparing what two runs left in their folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


def without_times(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith(("perf/", "time", "seconds"))} for line in lines]


def same_results(
    one: Path, other: Path, stages: Sequence[str] = ("estimator", "model"), files: Sequence[str] = ()
) -> None:
    """Bit for bit: weights, scores, ratios, removals, further files and, times apart, the history."""
    for name in ("scores.json", "noise_ratios.json", "removed_labels.csv", "removals.json", *files):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for stage in stages:
        weights = [load_file(f / "checkpoints" / f"{stage}.safetensors") for f in (one, other)]
        assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items()), stage
    assert without_times(one) == without_times(other)
