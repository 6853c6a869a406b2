"""Part of tools/check_gpu.py: figures that must come out as they do on the CPU."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from jomold_dist.methods.registry import METHODS
from tests.gpu.golden_checks import CHECKS
from tests.gpu.step_checks import compare_steps

SMALL_METHODS = ("han", "jomold")


def figures(device: torch.device, out: Path, small: bool) -> None:
    """Every check, and how near the device comes."""
    checks: dict[str, Callable[[], str | None]] = {
        check.__name__.removeprefix("check_").replace("_", " "): partial(check, device) for check in CHECKS
    }
    for precision in ("float32",) if small else ("float64", "float32"):
        for method in SMALL_METHODS if small else METHODS:
            checks[f"{method}'s step in {precision}"] = partial(compare_steps, method, precision, device)
    print("| check | result |\n| --- | --- |", flush=True)
    failed = []
    for name, check in checks.items():
        try:
            result = check() or "as published"
        except Exception as error:
            failed.append(name)
            traceback.print_exc()
            result = f"**failed**: {' '.join(str(error).split())[:200]}"
        print(f"| {name} | {result} |", flush=True)
    assert not failed, f"failed: {', '.join(failed)}"
