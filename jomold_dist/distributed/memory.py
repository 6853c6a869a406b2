"""How much memory this process takes."""

from __future__ import annotations

import psutil
import torch


def memory_gigabytes(device: torch.device) -> float:
    """The most that was allocated on the GPU so far, or what the process has in memory now. It costs no waiting."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return float(psutil.Process().memory_info().rss / 1e9)
