"""steps.jsonl: what a start that goes on keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jomold_dist.training.step_file import StepFile


@pytest.mark.parametrize("damage", [b"\xff\xfe torn", b"\x00" * 40, b'{"stage": "model", "st', b"[]", b'{"step": 2}'])
def test_a_damaged_line_ends_no_training(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    good = [{"stage": stage, "step": step} for stage, step in (("estimator", 9), ("model", 1), ("model", 3))]
    path.write_bytes(b"\n".join([*(json.dumps(line).encode() for line in good), damage]) + b"\n")
    file = StepFile(path, "model")
    file.begin_after(2)
    file.append(3, {"loss": 1.0})
    file.close()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == [*good[:2], {"stage": "model", "step": 3, "loss": 1.0}]
