"""Part of tools/check_gpu.py: what one step spends its time on, and where the host waits for the device."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import torch
from bench_train import make_step, random_batch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiling

from jomold_dist.distributed.world import World
from jomold_dist.methods.base import Moment
from jomold_dist.training.step import TrainStep

TOP = 15
ROOT = Path(__file__).resolve().parents[1]
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpyAsync", "cudaMemcpy")


def profile(device: torch.device, out: Path, small: bool) -> None:
    """The top kernels and host operations of jomold's step; whole tables go to profile_PRECISION.txt."""
    videos = 16 if small else 128
    batch = random_batch(videos)
    for precision in ("float32",) if small else ("float32", "bf16"):
        step = make_step("jomold", precision, videos, World(0, 1, 0, 1, device))
        for number in range(3):
            step(batch, Moment(number, 1), 5e-4)
        cuda = device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        with profiling(activities=activities) as found:
            step(batch, Moment(3, 1), 5e-4)
            if cuda:
                torch.cuda.synchronize()
        averages = found.key_averages()
        orders = ["self_cpu_time_total", *(["self_device_time_total"] if cuda else [])]
        whole = "\n".join(averages.table(sort_by=order, row_limit=100, max_name_column_width=80) for order in orders)
        (out / f"profile_{precision}.txt").write_text(whole, encoding="utf-8")
        print(f"jomold, {precision}, {videos} videos:\n\n```")
        for order in reversed(orders):
            top = sorted(averages, key=lambda entry: -getattr(entry, order))[:TOP]
            print(f"{order} in µs, calls")
            for entry in top:
                print(f"{getattr(entry, order):10.0f} {entry.count:5d}  {entry.key[:90]}")
        for key in WAITS if cuda else ():
            print(f"{key}: {sum(entry.count for entry in averages if entry.key == key)}")
        print("```\n", flush=True)
        if cuda:
            print(f"The host waits in a step at: {waits(step, batch)}.\n", flush=True)


def waits(step: TrainStep, batch: object) -> str:
    """The lines at which a step's host waits for the device, with how often."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step(batch, Moment(4, 1), 5e-4)  # type: ignore[arg-type]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = Counter(f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchronizing" in str(w.message))
    return ", ".join(f"{place} ({count}×)" for place, count in places.items()) or "no line"
