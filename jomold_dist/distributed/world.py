"""Who this process is among the ranks, where it computes, and the few collectives that training needs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before any process group: see `open_world`

from jomold_dist.distributed.devices import Choice, Sight, choose, device_of, from_json, look
from jomold_dist.distributed.environment import read_environment
from jomold_dist.distributed.liveness import Liveness, naming_lost_ranks
from jomold_dist.distributed.meeting import meet
from jomold_dist.distributed.stacks import keep_nccl_traces
from jomold_dist.errors import ConfigError, UserError


@dataclass(frozen=True)
class World:
    """This process among all: rank of size, rank on its node, its device, and (size > 1) who else is there."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device
    liveness: Liveness | None = field(default=None, repr=False, compare=False)
    why_cpu: str = ""
    """Why the ranks compute on CPUs although there are GPUs."""

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def open_world(
    device: Literal["auto", "cpu", "cuda"] | None = "auto", timeout_seconds: float = 600, traces: Path | None = None
) -> Iterator[World]:
    """Collective: joins the process group that the launcher's environment describes; all ranks leave it together.

    See `environment.py`; without its variables this is a world of one, which needs no process group. All ranks use one
    kind of device, which they settle before the group is made (`devices.choose`; None: this rank's settings cannot be
    read, and all meet on CPUs to be told). Sets the threads of this process to its share of the node's cores, unless
    OMP_NUM_THREADS is set. Where a collective fails inside, LostRankError names the rank that is missing. ConfigError,
    on every rank, for an environment that describes no world or for GPUs that are wanted and missing. NCCL leaves its
    traces of collectives that fail in the folder `traces`.

    Gloo's threads end with the group, if nothing else refers to it. They must: one that drops a tensor while the
    interpreter shuts down aborts the process (-6 instead of 0). `torch.distributed.nn.functional`, which DDP imports,
    keeps the group that is there when it is imported as a default argument.
    """
    place = read_environment(os.environ)
    rank, size, local_rank, local_size = place.rank, place.size, place.local_rank, place.local_size
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_size))
    sight = look(rank, local_rank, local_size, device)
    if size == 1:
        choice = choose([sight])
        yield World(rank, size, local_rank, local_size, _enter_device(sight, choice), why_cpu=choice.why)
        return
    timeout = timedelta(seconds=timeout_seconds)
    store = meet(place, timeout_seconds)
    with Liveness(store, rank, size) as liveness:
        with naming_lost_ranks(liveness):
            choice = _choose_together(store, sight, size)
            where = _enter_device(sight, choice)
            if where.type == "cuda" and traces is not None:
                keep_nccl_traces(traces, os.environ)
            dist.init_process_group(
                "nccl" if where.type == "cuda" else "gloo",
                store=dist.PrefixStore("ranks", store),
                rank=rank,
                world_size=size,
                timeout=timeout,
                device_id=where if where.type == "cuda" else None,
            )
        try:
            with liveness.taking_part():
                yield World(rank, size, local_rank, local_size, where, liveness, choice.why)
        finally:
            dist.destroy_process_group()


def _choose_together(store: dist.Store, sight: Sight, size: int) -> Choice:
    """Collective, through the store: rank 0 reads what all ranks see and decides. ConfigError on every rank."""
    own = dist.PrefixStore("devices", store)
    own.set(str(sight.rank), json.dumps(asdict(sight)))
    if sight.rank == 0:
        problem, choice = "", Choice("cpu")
        try:
            choice = choose([from_json(json.loads(own.get(str(rank)))) for rank in range(size)])
        except ConfigError as error:
            problem = str(error)
        own.set("chosen", json.dumps([problem, choice.kind, choice.why]))
    problem, kind, why = json.loads(own.get("chosen"))
    if own.add("read", 1) == size:
        own.set("everybody", "")
    if problem:
        own.wait(["everybody"])  # the store may live in rank 0, which leaves now
        raise ConfigError(problem)
    return Choice(kind, why)


def _enter_device(sight: Sight, choice: Choice) -> torch.device:
    """This rank's device, made ready."""
    return make_ready(device_of(sight, choice))


def make_ready(device: torch.device) -> torch.device:
    """The device, on which this process computes as all others do from now on: float32 is float32, also in recurrent
    layers and convolutions, where cuDNN would take products of 10 bits unless it is told not to."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.allow_tf32 = False
    else:
        _keep_freed_memory()
    return device


def _keep_freed_memory() -> None:
    """Ask glibc not to hand activations back to the kernel after every use.

    By default each tensor of some megabytes is mapped and unmapped anew, and the page faults cost a tenth of a step.
    """
    with contextlib.suppress(OSError, AttributeError):  # another libc has no mallopt
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


def gather_rows(rows: torch.Tensor, world: World) -> torch.Tensor:
    """Collective: the same-shaped `rows` of every rank, stacked by rank: (size, *rows.shape)."""
    if world.size == 1:
        return rows.unsqueeze(0)
    gathered = rows.new_empty((world.size, *rows.shape))
    dist.all_gather(list(gathered.unbind(0)), rows.contiguous())
    return gathered


def sum_over_ranks(values: torch.Tensor, world: World) -> torch.Tensor:
    """Collective: the elementwise sum over all ranks."""
    if world.size > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def gather_objects(value: Any, world: World) -> list[Any]:
    """Collective: every rank's picklable value, by rank, on every rank. For rare and small things."""
    if world.size == 1:
        return [value]
    values: list[Any] = [None] * world.size
    dist.all_gather_object(values, value)
    return values


def gather_to_main(value: Any, world: World) -> list[Any]:
    """Collective: every rank's picklable value, by rank, on rank 0; elsewhere nothing.

    The others neither receive nor unpickle what they have no use for: a rank's own value leaves it once.
    """
    if world.size == 1:
        return [value]
    values: list[Any] | None = [None] * world.size if world.is_main else None
    dist.gather_object(value, values)
    return values or []


def broadcast_object(value: Any, world: World) -> Any:
    """Collective: rank 0's value on every rank."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=world.device)
    return box[0]


def barrier(world: World) -> None:
    """Collective: returns once every rank has come here."""
    if world.size > 1:
        dist.barrier()


@contextmanager
def agree_on_errors(world: World) -> Iterator[None]:
    """Collective at its end: an error of one rank inside the block is raised on every rank.

    Without it, a rank that stops leaves the others waiting in their next collective. Nothing inside the block may be
    a collective itself. Other ranks raise the error of the lowest failing rank.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    failures = gather_objects(failure and _portable(failure), world)
    agreed = failure or next((f for f in failures if f is not None), None)
    if agreed is not None:
        if isinstance(agreed, UserError):
            agreed.agreed = True
        raise agreed


def _portable(error: Exception) -> Exception:
    """The error without its traceback, in a form that can be pickled."""
    try:
        return type(error)(*error.args)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
