"""Training steps on a GPU take the CPU's decisions."""

from __future__ import annotations

import pytest
import torch

from jomold_dist.methods.registry import METHODS
from tests.gpu.step_checks import compare_steps

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_takes_the_decisions_of_the_cpu(method: str, precision: str, device: torch.device) -> None:
    compare_steps(method, precision, device)
