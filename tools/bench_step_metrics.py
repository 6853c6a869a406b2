"""What metrics of steps cost of a run: rounds of steps with and without them, in turn.

    python tools/bench_step_metrics.py [--every 10] [--rounds 20]

With them, every so many steps loss, gradient norm, speed, removals and memory go to MLflow (a local sqlite store) and
into steps.jsonl. The ratio of paired rounds is noisy where the machine has other work, so the time that is spent in
recording is also told as a share of the same rounds. Divide by what `--every` is below 50, the default.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from bench_train import describe, llp_manifest, make_step, random_batch

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import Config
from jomold_dist.config_reporting import MetricsConfig
from jomold_dist.distributed.world import World, open_world
from jomold_dist.methods.base import Moment
from jomold_dist.tracking import open_recorder
from jomold_dist.training.listeners import StepDone
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.step_metrics import StepMetrics

EPOCH = 10**9  # steps: the rounds are one epoch


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--every", type=int, default=10, help="steps between two records, and of a round (default: 10)")
    parser.add_argument("--batch", type=int, default=128, help="videos in a step (default: 128)")
    parser.add_argument("--rounds", type=int, default=20, help="pairs of rounds, after one not counted (default: 20)")
    arguments = parser.parse_args()
    logging.getLogger("jomold_dist").setLevel(logging.ERROR)
    with open_world("auto") as world, tempfile.TemporaryDirectory() as folder:
        bench(world, Path(folder), arguments.every, arguments.batch, arguments.rounds)


def bench(world: World, place: Path, every: int, videos: int, rounds: int) -> None:
    """Take the rounds and print what they tell."""
    step, batch, manifest = make_step("jomold", "float32", videos, world), random_batch(videos), llp_manifest()
    config = Config(metrics=MetricsConfig(every_steps=every))
    config = replace(config, run=replace(config.run, dir=str(place / "run")))
    numbers = itertools.count()
    wall: dict[bool, list[float]] = {True: [], False: []}
    busy: dict[bool, list[float]] = {True: [], False: []}
    recording = 0.0
    with open_recorder(config, manifest, world) as recorder:
        run = Run(config, manifest, world, RunFolder(place / "run"), recorder)
        with recorder.stage("train"), StepMetrics(run, "model", step.sums) as metrics:
            for number in range(rounds + 1):
                for records in ((True, False), (False, True))[number % 2]:
                    start, cpu = time.perf_counter(), time.process_time()
                    for at in range(every):
                        begun = time.perf_counter()
                        report = step(batch, Moment(next(numbers), EPOCH), 5e-4)
                        if records:  # step numbers of their own, of which the last but one is a multiple of `every`
                            told = number * every + at + 2
                            done = StepDone(told, EPOCH, 5e-4, time.perf_counter() - begun, report)
                            begun = time.perf_counter()
                            metrics.after_step(done)
                            recording += time.perf_counter() - begun if number else 0.0
                    if number:
                        wall[records].append(time.perf_counter() - start)
                        busy[records].append(time.process_time() - cpu)
        lines = len(run.folder.steps.read_text().splitlines())
    print(f"device: {describe(world)}, torch {torch.__version__}; jomold, float32, {videos} videos a step")
    milliseconds = 1000 * statistics.median(wall[False]) / every
    print(f"{lines} records, one every {every} steps; a step takes {milliseconds:.0f} ms")
    for name, taken in (("wall", wall), ("CPU", busy)):
        ratios = [a / b for a, b in zip(taken[True], taken[False], strict=True)]
        print(f"{name} time with metrics / without: {statistics.median(ratios):.4f} (median of {rounds} paired rounds)")
    share = 100 * recording / sum(wall[True])
    print(f"recording: {share:.3f} % of the time, which is {share * every / 50:.3f} % every 50 steps")


if __name__ == "__main__":
    sys.exit(main())
