"""The check of a GPU, where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(out: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and the report."""
    words = [str(ROOT / "tools" / "check_gpu.sh"), "--device", "cpu", "--small", "--out", str(out), *arguments]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert "written to" in done.stderr + done.stdout, done.stderr
    return done.returncode, (out / "check_gpu.md").read_text(encoding="utf-8")


def test_the_figures_and_steps_are_those_of_the_cpu(tmp_path: Path) -> None:
    code, report = check(tmp_path, "--only", "figures")
    assert code == 0, report
    assert "| forward | as published |" in report
    assert "jomold's step in float32" in report


def test_a_part_without_time_is_told_and_hides_no_other(tmp_path: Path) -> None:
    code, report = check(tmp_path, "--only", "figures", "profile", "--minutes", "0")
    assert code == 1
    assert report.count("stopped: no time was left") == 2


@pytest.mark.slow
def test_every_part_runs(tmp_path: Path) -> None:
    code, report = check(tmp_path, "--minutes", "14")
    assert code == 0, report
    for words in ("| jomold | passed |", "| float32 | passed |", "exit code 75", "ms a step", "aten::"):
        assert words in report
    assert "Stopped and resumed: bit for bit the same as undisturbed" in report
