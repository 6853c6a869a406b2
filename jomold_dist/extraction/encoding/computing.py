"""How encoders compute: on which device, in which numbers, and so that one video gives the same bits in every process.

On a CPU, torch and the BLAS below numpy add up in another order with another number of threads, so both get one thread
here, and who wants to be faster takes more processes. On a GPU float32 is float32. Rows go through in chunks whose
shape hangs on the number of a video's rows alone: what went through before, or stands beside, changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from jomold_dist.errors import ConfigError, DataError, nearest

MOST_ROWS = 32  # of a chunk; a ViT-L then takes some 200 MB for its activations
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Computing:
    """Where an encoder computes, and in which numbers. `dtype` is as people write it."""

    device: torch.device
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]


def computing_on(device: str, dtype: str) -> Computing:
    """ConfigError for a device that is not there, and for numbers that it does not compute in."""
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device '{device}' is none that torch knows; take cpu, cuda or cuda:N") from None
    if found.type not in ("cpu", "cuda"):
        raise ConfigError(f"device '{device}': features are made on cpu, cuda or cuda:N")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device '{device}' is not there: torch sees {torch.cuda.device_count()} GPUs; take cpu")
    if dtype not in DTYPES:
        raise ConfigError(f"dtype '{dtype}' is not one of {', '.join(DTYPES)}{nearest(dtype, DTYPES)}")
    if found.type == "cpu" and dtype != "float32":
        raise ConfigError(f"dtype {dtype} is for GPUs; on a CPU features are computed in float32")
    return Computing(found, dtype)


@contextmanager
def reproducible() -> Iterator[None]:
    """Inside, this process computes as every other one does (see above). For inference."""
    threads = torch.get_num_threads()
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with ThreadpoolController().limit(limits=1, user_api="blas"), torch.inference_mode(), exact:
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def chunks(rows: int, most: int = MOST_ROWS) -> Iterator[tuple[slice, int]]:
    """Which of a video's rows go through together, and the size of all chunks: as few as can be, none larger than
    `most`, the last one perhaps filled up."""
    size = math.ceil(rows / math.ceil(rows / most))
    for first in range(0, rows, size):
        yield slice(first, min(first + size, rows)), size


def rows_of(
    rows: int,
    prepare: Callable[[slice], np.ndarray],
    network: Callable[[torch.Tensor], torch.Tensor],
    computing: Computing,
    most: int = MOST_ROWS,
) -> np.ndarray:
    """What a network makes of a video's rows, float32 (rows, width). `prepare` gives the network's input (n, …) of some
    of them. DataError if it is not finite; so is whatever numbers of 16 bits cannot hold."""
    made: list[np.ndarray] = []
    with reproducible():
        for part, size in chunks(rows, most):
            content = prepare(part)
            filled = np.zeros((size, *content.shape[1:]), dtype=np.float32)
            filled[: len(content)] = content
            batch = torch.from_numpy(filled).to(computing.device, computing.torch_dtype)
            made.append(network(batch).float().cpu().numpy()[: len(content)])
    features = np.concatenate(made)
    if not np.isfinite(features).all():
        hint = "" if computing.dtype == "float32" else f"; {computing.dtype} may be too narrow for it, take float32"
        raise DataError(f"the model gives numbers that are not finite{hint}")
    return features


def unit_rows(rows: torch.Tensor, unit: bool) -> torch.Tensor:
    """Rows of length one, in float32; zeros stay. As they are where `unit` is not wanted."""
    return torch.nn.functional.normalize(rows.float(), dim=-1) if unit else rows
