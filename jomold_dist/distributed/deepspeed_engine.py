"""DeepSpeed behind the engine's interface: ZeRO 0 to 3 with torch's own optimizers.

ZeRO's optimizers keep a rank's share of the float32 parameters, flat, and torch's optimizer steps on that share. What
leaves this module is whole and by parameter name.
"""

from __future__ import annotations

import atexit
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jomold_dist.config import Config
from jomold_dist.distributed.deepspeed_config import quiet_import, to_deepspeed
from jomold_dist.distributed.engine import (
    clip,
    load_optimizer_entries,
    make_optimizer,
    optimizer_entries,
    set_learning_rate,
)
from jomold_dist.distributed.world import World

with quiet_import():
    import deepspeed
    from deepspeed import utils as shares
    from deepspeed.accelerator import get_accelerator, set_accelerator
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
    from deepspeed.accelerator.cuda_accelerator import CUDA_Accelerator


class DeepSpeedEngine:
    """A module trained by DeepSpeed."""

    def __init__(self, module: nn.Module, world: World, config: Config) -> None:
        self._module = module
        self._world = world
        self._clip = config.train.clip_grad_norm
        self._stage = config.deepspeed.zero_stage
        self._trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._optimizer = make_optimizer(self._trained.values(), config.train)
        settings = to_deepspeed(config, sum(p.numel() for p in self._trained.values()))
        _prepare(world, settings)
        self._engine = deepspeed.initialize(model=module, optimizer=self._optimizer, config=settings)[0]
        self._zero = self._engine.optimizer  # with stage 0 torch's optimizer itself

    def forward(self, *arguments: Any) -> Any:
        return self._engine(*arguments)

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        self._engine.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss * self._world.size, scale_wrt_gas=False)

    def clip_gradient(self) -> Tensor:
        gradients = self._gradients()
        norm = torch.nn.utils.get_total_norm(gradients).to(self._world.device)
        if self._stage > 0:
            square = norm.double().square()  # double: a finite norm's square stays finite
            dist.all_reduce(square)
            norm = square.sqrt().to(norm.dtype)
        clip(gradients, norm, self._clip)
        return norm

    def _gradients(self) -> list[Tensor]:
        """This rank's share of the averaged gradient; with stage 0 all of it."""
        if self._stage == 0:
            return [p.grad for p in self._trained.values() if p.grad is not None]
        return [gradient for group in self._zero.averaged_gradients.values() for gradient in group]

    def step(self, learning_rate: float) -> None:
        set_learning_rate(self._optimizer, learning_rate)
        self._engine.step()
        self._forget()

    def skip(self) -> None:
        self._engine.zero_grad()
        if self._stage > 0:
            self._zero.zero_grad()
            for kept in (self._zero.averaged_gradients, getattr(self._zero, "all_grad_tensors", {})):
                for group in kept:
                    kept[group] = None
        self._forget()

    def _forget(self) -> None:
        """Stage 3 overwrites its gradients in the next backward pass, except those of parameters without one there."""
        if self._stage == 3:
            self._zero.grad_partitions_flat_buffer.zero_()

    def weights(self) -> dict[str, Tensor]:
        with self._whole():
            return {name: tensor.detach().clone() for name, tensor in self._module.state_dict().items()}

    @contextmanager
    def _whole(self, from_rank: int | None = None) -> Iterator[None]:
        """Collective: every rank holds all parameters. Changes are kept if they are to be taken from a rank."""
        enabled = self._stage == 3
        parameters = list(self._module.parameters())
        with deepspeed.zero.GatheredParameters(parameters, modifier_rank=from_rank, enabled=enabled):
            yield

    def full_state(self) -> dict[str, Any]:
        weights = {name: tensor.cpu() for name, tensor in self.weights().items()}
        if self._stage == 0:
            return {"weights": weights, "optimizer": optimizer_entries(self._optimizer, self._trained)}
        state = self._optimizer.state.get(self._flats()[0], {})
        entries: dict[str, dict[str, Tensor]] = {}
        for name, parameter in self._trained.items() if state else ():
            entries[name] = {
                key: value.detach().cpu().clone()
                if value.dim() == 0  # the count of steps
                else shares.safe_get_full_optimizer_state(parameter, key).cpu()
                for key, value in state.items()
            }
        return {"weights": weights, "optimizer": entries}

    def load_full_state(self, state: Mapping[str, Any]) -> None:
        with self._whole(from_rank=0):
            self._module.load_state_dict(state["weights"])
        if self._stage == 0:
            load_optimizer_entries(self._optimizer, self._trained, state["optimizer"])
            return
        self._zero.refresh_fp32_params()
        self._optimizer.state.clear()
        for flat in self._flats():
            self._optimizer.state[flat] = self._empty_state(flat, state["optimizer"])
        if self._stage < 3:  # these find a parameter's part of the state by references that they make once
            self._zero._hp_optimizer_states_linked = False
            self._zero._lazy_init_hp_params_optimizer_state()
        for name, entry in state["optimizer"].items():
            for key, value in entry.items():
                if value.dim() > 0 or key != "step":
                    self._set_share(self._trained[name], key, value.to(self._world.device))

    def _flats(self) -> list[Tensor]:
        """This rank's share of the trained parameters, as torch's optimizer knows it."""
        if self._stage == 3:
            return self._zero.fp32_partitioned_groups_flat
        return self._zero.single_partition_of_fp32_groups

    @staticmethod
    def _empty_state(flat: Tensor, entries: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Room for what the entries hold. A flat share has one count of steps, the same for all its parameters."""
        one = next(iter(entries.values()), {})
        return {
            key: value.to(flat.device, copy=True) if key == "step" else torch.zeros_like(flat, requires_grad=False)
            for key, value in one.items()
        }

    def _set_share(self, parameter: Any, key: str, value: Tensor) -> None:
        if self._stage < 3:
            shares.safe_set_full_optimizer_state(parameter, value, key)
            return
        share = parameter.ds_tensor.numel()  # the last rank's ends with padding
        padded = torch.nn.functional.pad(value.flatten(), (0, share * self._world.size - value.numel()))
        shares.safe_set_local_optimizer_state(parameter, padded[self._world.rank * share :][:share], key)


def _prepare(world: World, settings: Mapping[str, Any]) -> None:
    """What DeepSpeed needs of this process, and what keeps it quiet."""
    if get_accelerator().device_name() != world.device.type:
        set_accelerator(CUDA_Accelerator() if world.device.type == "cuda" else CPU_Accelerator())
    # DeepSpeed would compile its own operators for a minute, of which training uses none: none is offered. (What it
    # compiles serves inference. A compilation that is killed leaves a lock on which every later start hangs.)
    deepspeed.ops.__compatible_ops__ = {}
    if "log_level" not in settings:
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", r"`torch.distributed.\w+_tensor` is deprecated", FutureWarning)
    # DeepSpeed reads it as the number of the GPU. Stage 3 reads it always, and with one rank it is not there.
    os.environ["LOCAL_RANK"] = str(world.local_rank if world.device.index is None else world.device.index)
    if not dist.is_initialized():
        backend = "nccl" if world.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        atexit.register(_leave_group)


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
