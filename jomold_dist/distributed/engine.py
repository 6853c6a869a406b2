"""What turns a network and a loss into an optimizer step over all ranks: one small interface, and DDP behind it.

`deepspeed_engine.py` is the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jomold_dist.config import Config, TrainConfig
from jomold_dist.distributed.world import World


class Engine(Protocol):
    """Owns the network's parameters while they are trained. Losses are sums over a rank's own videos, already divided
    by the global count; the engine turns the ranks' mean of gradients into their sum."""

    def forward(self, *arguments: Any) -> Any:
        """Collective: the wrapped module's forward pass. With gradient inside `part`, without it (under
        `torch.no_grad`) anywhere."""
        ...

    def part(self, last: bool) -> AbstractContextManager[None]:
        """Context of one micro-batch's forward and backward pass; gradients are reduced in the last one."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Collective: all ranks must call it, also one without videos of its own."""
        ...

    def clip_gradient(self) -> Tensor:
        """Collective: the norm () of the whole batch's gradient, the same on every rank and not finite if any rank's
        gradient is not, after which the gradient is clipped if so set. Before `step`, after the last part."""
        ...

    def step(self, learning_rate: float) -> None:
        """Collective: one optimizer step; gradients are cleared."""
        ...

    def skip(self) -> None:
        """Drops the gradients instead of a step: the next one is as if this batch had not been."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Collective: a copy of every parameter and buffer by its name in the module's state dict, whole, on every
        rank."""
        ...

    def full_state(self) -> dict[str, Any]:
        """Collective: `weights`, and `optimizer`: what the optimizer keeps of each parameter, by the parameter's name
        and the optimizer's key (`exp_avg`, `step`, ...). Whole CPU tensors on every rank, the same for every engine
        and number of ranks. Before the first step `optimizer` is empty."""
        ...

    def load_full_state(self, state: Mapping[str, Any]) -> None:
        """Collective: the inverse of `full_state`, bit for bit; every rank passes the same. Without optimizer entries
        the optimizer starts afresh."""
        ...


class DdpEngine:
    """torch's DistributedDataParallel; with one rank, the module itself."""

    def __init__(self, module: nn.Module, world: World, config: Config) -> None:
        self._module = module
        self._world = world
        self._clip = config.train.clip_grad_norm
        self._trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._optimizer = make_optimizer(self._trained.values(), config.train)
        self._wrapped: nn.Module = module
        if world.size > 1:
            device_ids = [world.device] if world.device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(module, device_ids=device_ids, gradient_as_bucket_view=True)
            _settle_buckets(self._wrapped)

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
        gradients = [p.grad for p in self._trained.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        clip(gradients, norm, self._clip)
        return norm

    def step(self, learning_rate: float) -> None:
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.step()
        self.skip()

    def skip(self) -> None:
        self._optimizer.zero_grad(set_to_none=self._world.size == 1)  # DDP's gradients are views of its buckets

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._module.state_dict().items()}

    def full_state(self) -> dict[str, Any]:
        weights = {name: tensor.cpu() for name, tensor in self.weights().items()}
        return {"weights": weights, "optimizer": optimizer_entries(self._optimizer, self._trained)}

    def load_full_state(self, state: Mapping[str, Any]) -> None:
        self._module.load_state_dict(state["weights"])
        load_optimizer_entries(self._optimizer, self._trained, state["optimizer"])


def _settle_buckets(wrapped: DistributedDataParallel) -> None:
    """Collective: regroups DDP's buckets now, by a backward pass whose gradients are all 0.

    DDP does it once, after its first backward pass, and the order of its sums changes with it. With three and more
    ranks a resumed run would differ from the undisturbed one in the last bits, as another step is its first.
    (`find_unused_parameters=True` does not prevent that, and searches the graph in every step.)
    """
    wrapped.reducer.prepare_for_backward([])
    trained = [p for p in wrapped.module.parameters() if p.requires_grad]
    torch.stack([(0 * p).sum() for p in reversed(trained)]).sum().backward()
    wrapped.reducer._rebuild_buckets()


def make_optimizer(parameters: Iterable[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer, in torch's fused form."""
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    return kinds[train.optimizer](parameters, lr=train.learning_rate, weight_decay=train.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def clip(gradients: list[Tensor], norm: Tensor, limit: float | None) -> None:
    """Scales gradients of this norm down to `limit`, in place."""
    if limit is not None and gradients:
        factor = (limit / (norm + 1e-6)).clamp(max=1.0)  # as in torch.nn.utils.clip_grad_norm_
        torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))


def optimizer_entries(
    optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter]
) -> dict[str, dict[str, Tensor]]:
    """What an optimizer of whole parameters keeps of each, as copies on the CPU; nothing for those without any."""
    kept = {name: optimizer.state.get(parameter) for name, parameter in trained.items()}
    return {n: {k: v.detach().cpu().clone() for k, v in state.items()} for n, state in kept.items() if state}


def load_optimizer_entries(
    optimizer: torch.optim.Optimizer, trained: Mapping[str, nn.Parameter], entries: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """The inverse of `optimizer_entries`."""
    optimizer.state.clear()
    for name, parameter in trained.items():
        if name in entries:
            optimizer.state[parameter] = {
                key: value.to(parameter.device, copy=True) for key, value in entries[name].items()
            }


def make_engine(module: nn.Module, world: World, config: Config) -> Engine:
    """Collective: the configured engine around the module, with rank 0's parameters on every rank."""
    if config.train.engine == "ddp":
        return DdpEngine(module, world, config)
    from jomold_dist.distributed.deepspeed_engine import DeepSpeedEngine  # imports DeepSpeed, which takes seconds

    return DeepSpeedEngine(module, world, config)
