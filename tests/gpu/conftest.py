"""The device of these tests: a CUDA GPU, without which they are skipped."""

from __future__ import annotations

import pytest
import torch

from jomold_dist.distributed.world import make_ready


@pytest.fixture(scope="session")
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is there; `tools/check_gpu.sh` computes the same on a CPU")
    return make_ready(torch.device("cuda", 0))
