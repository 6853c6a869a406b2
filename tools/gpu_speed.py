"""Part of tools/check_gpu.py: how long a step takes, and of what."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_train import make_step, matrix_rate, random_batch
from torch.profiler import ProfilerActivity, profile

from jomold_dist.distributed.world import World
from jomold_dist.methods.base import Moment
from jomold_dist.methods.registry import METHODS
from jomold_dist.training.step import TrainStep

PROFILED = 3
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")


@dataclass(frozen=True)
class Kind:
    """What is timed."""

    method: str
    precision: str
    videos: int


def kinds(device: torch.device, small: bool) -> Iterator[Kind]:
    if small:
        yield from (Kind(method, "float32", 16) for method in ("han", "jomold"))
        return
    yield from (Kind(method, "float32", 128) for method in METHODS)
    yield from (Kind("jomold", precision, 128) for precision in ("bf16", "float16"))
    if device.type == "cuda":
        yield from (Kind("jomold", precision, n) for precision in ("float32", "bf16") for n in (512, 2048))


def speed(device: torch.device, out: Path, small: bool) -> None:
    """Milliseconds a step by method, precision and batch size."""
    print(f"float32 matrix rate: {matrix_rate(device):.0f} GFLOP/s.\n")
    print("| device | method | precision | videos a step | ms a step | videos/s | ms of host's thread | ms of kernels | launches | peak MiB |")  # fmt: skip # noqa: E501
    print("| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: |", flush=True)
    for kind in kinds(device, small):
        print(line(kind, device, 2 if small else 20 if device.type == "cuda" else 4), flush=True)
    if device.type == "cuda" and not small:  # what the same machine's processor does
        print(line(Kind("jomold", "float32", 128), torch.device("cpu"), 4), flush=True)


def line(kind: Kind, device: torch.device, rounds: int) -> str:
    """A row of the table: medians over rounds, after three that are not counted."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    batch = random_batch(kind.videos)
    step = make_step(kind.method, kind.precision, kind.videos, World(0, 1, 0, 1, device))
    seconds, host = [], []
    for number in range(rounds + 3):
        begun, begun_host = time.perf_counter(), time.thread_time()
        step(batch, Moment(number, 1), 5e-4)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        host.append(time.thread_time() - begun_host)
    median = statistics.median(seconds[3:])
    kernels, launches, peak = "-", "-", "-"
    if cuda:
        kernels, launches = profiled(step, batch)
        peak = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"
    cells = [f"{1000 * median:.2f}", f"{kind.videos / median:.0f}", f"{1000 * statistics.median(host[3:]):.2f}"]
    where = "GPU" if cuda else f"CPU, {torch.get_num_threads()} threads"
    return f"| {' | '.join([where, kind.method, kind.precision, str(kind.videos), *cells, kernels, launches, peak])} |"


def profiled(step: TrainStep, batch: object) -> tuple[str, str]:
    """Milliseconds that the GPU is busy in a step, and kernels that are launched in it."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        for number in range(PROFILED):
            step(batch, Moment(100 + number, 1), 5e-4)  # type: ignore[arg-type]
        torch.cuda.synchronize()
    averages = found.key_averages()
    busy = sum(entry.self_device_time_total for entry in averages) / PROFILED / 1000
    launches = sum(entry.count for entry in averages if entry.key in LAUNCHES) / PROFILED
    return f"{busy:.2f}", f"{launches:.0f}"
