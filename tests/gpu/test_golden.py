"""The golden figures as a GPU computes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.gpu.golden_checks import CHECKS

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_golden_figures(check: Callable[[torch.device], None], device: torch.device) -> None:
    check(device)
