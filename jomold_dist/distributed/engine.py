"""What turns a network and a loss into an optimizer step over all ranks: one small interface, DDP behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jomold_dist.config import TrainConfig
from jomold_dist.distributed.world import World


class Engine(Protocol):
    """Owns the network's parameters while they are trained. Losses are sums over a rank's own videos, already divided
    by the global count; the engine turns the ranks' mean of gradients into their sum."""

    def forward(self, *arguments: Any) -> Any:
        """The wrapped module's forward pass, with gradient. Call it inside `part`."""
        ...

    def part(self, last: bool) -> AbstractContextManager[None]:
        """Context of one micro-batch's forward and backward pass; gradients are reduced in the last one."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Collective in the last part: all ranks must call it."""
        ...

    def clip_gradient(self) -> Tensor:
        """The norm of the whole batch's gradient, the same on every rank, after which it is clipped if so set."""
        ...

    def step(self, learning_rate: float) -> None:
        """One optimizer step; gradients are cleared."""
        ...

    def full_state(self) -> dict[str, Any]:
        """Collective: parameters and optimizer state as one rank would hold them."""
        ...

    def load_full_state(self, state: dict[str, Any]) -> None:
        """Collective: the inverse of `full_state`."""
        ...


class DdpEngine:
    """torch's DistributedDataParallel; with one rank, the module itself."""

    def __init__(self, module: nn.Module, world: World, train: TrainConfig) -> None:
        self._module = module
        self._world = world
        self._clip = train.clip_grad_norm
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._optimizer = make_optimizer(self._parameters, train)
        self._wrapped: nn.Module = module
        if world.size > 1:
            device_ids = [world.device] if world.device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(module, device_ids=device_ids, gradient_as_bucket_view=True)

    def forward(self, *arguments: Any) -> Any:
        return self._wrapped(*arguments)

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        if isinstance(self._wrapped, DistributedDataParallel) and not last:
            with self._wrapped.no_sync():
                yield
        else:
            yield

    def backward(self, loss: Tensor) -> None:
        (loss * self._world.size).backward()

    def clip_gradient(self) -> Tensor:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._clip, norm)
        return norm

    def step(self, learning_rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=self._world.size == 1)  # DDP's gradients are views of its buckets

    def full_state(self) -> dict[str, Any]:
        return {"module": self._module.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_full_state(self, state: dict[str, Any]) -> None:
        self._module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])


def make_optimizer(parameters: list[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer, in torch's fused form."""
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    return kinds[train.optimizer](parameters, lr=train.learning_rate, weight_decay=train.weight_decay, fused=True)


def make_engine(module: nn.Module, world: World, train: TrainConfig) -> Engine:
    """Collective: the configured engine around the module, with rank 0's parameters on every rank."""
    engines: dict[str, Callable[[nn.Module, World, TrainConfig], Engine]] = {"ddp": DdpEngine}
    return engines[train.engine](module, world, train)
