"""Speed of a full training step, beside the machine's own matrix rate in the same run.

    python tools/bench_train.py [--precision float32 bf16] [--batch 128] [--rounds 12]

A step is everything between two batches: ranking pass, removal, gradient pass, optimizer. The rounds of all kinds are
taken in turn, so that ratios hold when the machine's speed drifts; medians are printed.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import Config, TrainConfig
from jomold_dist.data.format.manifest import FeatureSpec, Manifest, RecordLayout, SplitInfo
from jomold_dist.data.reading.loader import Batch
from jomold_dist.denoising.label_probabilities import LabelProbabilities
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.distributed.world import World, open_world
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.methods.base import Moment
from jomold_dist.methods.registry import method_class
from jomold_dist.tables import markdown_table
from jomold_dist.training.presence_stage import FoundLabels
from jomold_dist.training.step import TrainStep
from jomold_dist.training.stopwatch import Stopwatch

MOST_VIDEOS = 4096  # of a random batch
ROWS, WIDTH = 1280, 512  # the matrix product of the rate: 1280x512 by 512x512


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--precision", nargs="+", choices=("float32", "bf16"), default=["float32", "bf16"])
    parser.add_argument("--batch", type=int, default=128, help="videos in a step (default: 128)")
    parser.add_argument("--rounds", type=int, default=12, help="counted rounds, after two that are not (default: 12)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args()
    with open_world(arguments.device) as world:
        bench(world, arguments.precision, arguments.batch, arguments.rounds)


def bench(world: World, precisions: list[str], videos: int, rounds: int) -> None:
    """Take the rounds and print the table."""
    batch = random_batch(videos)
    steps = {
        (method, precision): make_step(method, precision, videos, world)
        for precision in precisions
        for method in ("han", "jomold")
    }
    seconds: dict[tuple[str, str], list[float]] = {kind: [] for kind in steps}
    rates = []
    for number in range(rounds + 2):
        rates.append(matrix_rate(world.device))
        for kind, step in steps.items():
            start = time.perf_counter()
            step(batch, Moment(number, 1), 5e-4)
            _wait(world.device)
            seconds[kind].append(time.perf_counter() - start)
    median = {kind: statistics.median(taken[2:]) for kind, taken in seconds.items()}
    rate = statistics.median(rates[2:])
    print(f"device: {describe(world)}, torch {torch.__version__}")
    print(f"float32 matrix rate ({ROWS}x{WIDTH} by {WIDTH}x{WIDTH}): {rate:.0f} GFLOP/s")
    rows = [
        [f"{m} {p}", f"{1000 * t:.1f}", f"{videos / t:.0f}", f"{videos / t / rate:.2f}"] for (m, p), t in median.items()
    ]
    print(markdown_table(["step", "ms", "videos/s", "videos/s per GFLOP/s"], rows))
    for precision in precisions:
        ratio = statistics.median(
            j / h for j, h in zip(seconds["jomold", precision][2:], seconds["han", precision][2:], strict=True)
        )
        print(f"{precision}: denoising costs {100 * (ratio - 1):.1f} % on top of han (median of the paired rounds)")
    if len(precisions) == 2:
        pairs = zip(seconds["jomold", "float32"][2:], seconds["jomold", "bf16"][2:], strict=True)
        print(f"bf16 is {statistics.median(a / b for a, b in pairs):.2f} times as fast as float32 (jomold, paired)")


def make_step(method: str, precision: str, videos: int, world: World) -> TrainStep:
    """A step as training takes it, with noise ratios like those estimated on LLP."""
    torch.manual_seed(0)
    config = Config(method=method, train=replace(TrainConfig(), precision=precision))  # type: ignore[arg-type]
    manifest = llp_manifest()
    chosen = method_class(method)(config, manifest, earlier_results(), world.device)
    network = chosen.network(config, manifest)
    return TrainStep(chosen, network, world, 0, Stopwatch(world.device), capacity=7 * videos)


def earlier_results() -> dict[str, Any]:
    """What the stages before training leave, by their names: noise ratios like those estimated on LLP, an eighth of all
    labels marked, and no label judged."""
    categories, random = len(LLP_CATEGORIES), np.random.default_rng(1)
    ratios = NoiseRatios(*torch.tensor([[0.05], [0.3]], dtype=torch.float64).expand(2, categories))
    unjudged = LabelProbabilities(np.zeros(MOST_VIDEOS + 1, dtype=np.int64), np.zeros((0, 2), dtype=np.float32))
    marked = random.random((2, MOST_VIDEOS, categories)) < 1 / 8
    presence = FoundLabels(unjudged, ratios)
    return {"noise_ratios": ratios, "labels": np.packbits(marked, axis=2), "presence": presence}


def llp_manifest() -> Manifest:
    """LLP's categories and pooled features, without any shard."""
    specs = {k: FeatureSpec((10, size), "float16") for k, size in (("audio", 128), ("frames", 2048), ("motion", 512))}
    empty = SplitInfo("train", 7, False, RecordLayout(0, {}), ())
    return Manifest("random", 10, LLP_CATEGORIES, specs, {"train": empty})


def random_batch(videos: int) -> Batch:
    """Random features and labels, 1.6 labels a video as in LLP."""
    random = np.random.default_rng(0)
    features = {
        name: torch.from_numpy(np.maximum(random.standard_normal((videos, *spec.shape)), 0).astype(np.float16))
        for name, spec in llp_manifest().features.items()
    }
    at = torch.arange(videos)
    labels = torch.from_numpy(random.random((videos, len(LLP_CATEGORIES))) < 1.6 / len(LLP_CATEGORIES))
    return Batch(features, labels, at, at, tuple(map(str, range(videos))), None, videos)


def matrix_rate(device: torch.device, seconds: float = 0.15) -> float:
    """GFLOP/s of one float32 matrix product."""
    a, b = torch.randn(ROWS, WIDTH, device=device), torch.randn(WIDTH, WIDTH, device=device)
    a @ b
    _wait(device)
    start, products = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < seconds:
        for _ in range(10):
            a @ b
        _wait(device)
        products += 10
    return products * 2 * ROWS * WIDTH * WIDTH / taken / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def describe(world: World) -> str:
    if world.device.type == "cuda":
        return torch.cuda.get_device_name(world.device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
