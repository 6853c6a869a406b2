"""A training step with torch's meta device as the accelerator: another device than the CPU, without data.

Whatever mixes the two devices, or reads a value back beside the step's one read-back, raises there. As a shape that
hung on data would need such a value, shapes cannot hang on them either.
"""

from __future__ import annotations

import traceback
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import bench_train
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jomold_dist.config import Config, TrainConfig
from jomold_dist.distributed.signals import Ask
from jomold_dist.distributed.world import World
from jomold_dist.methods.base import Moment
from jomold_dist.methods.registry import METHODS, method_class
from jomold_dist.training import step as steps
from jomold_dist.training.finite import StepSummary
from jomold_dist.training.stopwatch import Stopwatch

pytestmark = pytest.mark.lengthy

VIDEOS = 16
META = torch.device("meta")


class Transfers(TorchDispatchMode):
    """Notes what crosses between the devices, and refuses an operation on both."""

    def __init__(self) -> None:
        super().__init__()
        self.up = 0
        self.blocking: list[str] = []
        self.down: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kinds = {t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.dim()}
        name = str(func)
        copies = "_to_copy" in name or "copy_" in name
        assert len(kinds) < 2 or copies, f"{name} mixes devices at {_where()}"
        out = func(*args, **kwargs)
        if "_to_copy" in name and args[0].device != out.device:
            if out.device == META:
                self.up += 1
                if not kwargs.get("non_blocking"):
                    self.blocking.append(_where())
            else:
                self.down.append(_where())
        return out


def _where() -> str:
    frames = [f for f in traceback.extract_stack() if "/jomold_dist/" in f.filename]
    return f"{frames[-1].filename.split('/jomold_dist/')[-1]}:{frames[-1].lineno}"


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Steps on the meta device: the read-back is given made-up values, and its shape is noted."""
    read: list[tuple[int, ...]] = []
    monkeypatch.setattr("jomold_dist.distributed.engine.make_optimizer", lambda p, train: torch.optim.SGD(p, lr=0.1))

    def read_back(self: Any, decision: Any, norm: torch.Tensor) -> StepSummary:
        told = (decision.exchanged.ask, decision.exchanged.bad_position, decision.exchanged.repeated)
        sums = decision.exchanged.sums
        for tensor in (*told, norm, decision.removed, decision.candidates, decision.exchanged.videos, sums):
            assert tensor.device == META
        read.append(tuple(decision.removed.shape))
        nothing, zeros = np.zeros(tuple(decision.removed.shape), bool), np.zeros(tuple(decision.candidates.shape), int)
        return StepSummary(Ask.NOTHING, -1, False, 1.0, VIDEOS, nothing, zeros, np.zeros(len(sums)))

    monkeypatch.setattr(steps.TrainStep, "_read_back", read_back)
    monkeypatch.setattr(steps, "FiniteGuard", lambda *_: SimpleNamespace(lets_pass=lambda *_: True))
    return read


def make_step(method: str, precision: str, micro_batch: int | None) -> steps.TrainStep:
    train = replace(TrainConfig(), precision=precision, micro_batch_size=micro_batch)  # type: ignore[arg-type]
    config, manifest = Config(method=method, train=train), bench_train.llp_manifest()
    chosen = method_class(method)(config, manifest, bench_train.earlier_results(), META)
    network = chosen.network(config, manifest)
    return steps.TrainStep(chosen, network, World(0, 1, 0, 1, META), 0, Stopwatch(META), capacity=7 * VIDEOS)


@pytest.mark.parametrize("micro_batch", [None, 5])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_mixes_no_devices_and_reads_back_once(
    method: str, precision: str, micro_batch: int | None, without_data: list[tuple[int, ...]]
) -> None:
    step = make_step(method, precision, micro_batch)
    batch = bench_train.random_batch(VIDEOS)
    counts = []
    for labels in (batch.labels, batch.labels & False):  # the shapes of a batch do not hang on its labels
        with Transfers() as transfers:
            step(replace(batch, labels=labels), Moment(0, 1), 5e-4)
        assert transfers.down == []
        assert transfers.blocking == []
        counts.append(transfers.up)
    assert len(without_data) == 2
    assert len(set(without_data)) == 1
    assert len(set(counts)) == 1
