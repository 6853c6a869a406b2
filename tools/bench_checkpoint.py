"""What checkpoints cost: the time of one, beside the training that lies between two by default.

    python tools/bench_checkpoint.py [--out FOLDER]

A network of LLP's sizes with Adam's state, best weights, and a record of removals as 25 epochs on LLP leave it. Rounds
of training steps with and without a checkpoint after them alternate, so that a busy machine slows both.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_train import describe, llp_manifest, make_step, random_batch

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import CheckpointConfig
from jomold_dist.distributed.world import World, open_world
from jomold_dist.methods.base import Moment
from jomold_dist.methods.jomold import Jomold
from jomold_dist.models.network import FeatureSizes
from jomold_dist.models.registry import form_of
from jomold_dist.models.weights import WeightsInfo, save_model
from jomold_dist.places import local_folder
from jomold_dist.training.checkpoint import Checkpoint, write_checkpoint
from jomold_dist.training.removals import RemovalRecord
from jomold_dist.training.step import TrainStep

VIDEOS, LABELS, STEPS = 128, 15_000, 2


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--out", type=local_folder, help="where checkpoints are written (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=8, help="timed rounds, after two that are not (default: 8)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args()
    with open_world(arguments.device) as world, tempfile.TemporaryDirectory(dir=arguments.out) as folder:
        bench(world, Path(folder), arguments.rounds)


def bench(world: World, folder: Path, rounds: int) -> None:
    """Take the rounds and print what a checkpoint costs."""
    step, batch = make_step("jomold", "float32", VIDEOS, world), random_batch(VIDEOS)
    removals = removal_record()
    plain: list[float] = []
    saving: list[float] = []
    alone: list[float] = []
    for number in range(rounds + 2):
        for seconds, saves in ((plain, False), (saving, True)):
            start = time.perf_counter()
            for _ in range(STEPS):
                step(batch, Moment(number, 1), 5e-4)
            begun = time.perf_counter()
            if saves:
                size = save(step, removals, folder)
                alone.append(time.perf_counter() - begun)
            seconds.append(time.perf_counter() - start)
    one = statistics.median(alone[2:])
    beside = statistics.median(b - a for a, b in zip(plain[2:], saving[2:], strict=True))
    interval = 60 * (CheckpointConfig.every_minutes or 0)
    print(f"device: {describe(world)}; {VIDEOS} videos a step: {1000 * statistics.median(plain[2:]) / STEPS:.0f} ms")
    print(f"a checkpoint: {size / 1e6:.0f} MB, {1000 * one:.0f} ms; in pairs of rounds it adds {1000 * beside:.0f} ms")
    print(f"every {interval:.0f} s (the default) that is {100 * max(one, beside) / interval:.2f} % of a run's time")


def save(step: TrainStep, removals: RemovalRecord, folder: Path) -> int:
    """One checkpoint as training writes it; its bytes."""
    state = step.state()
    info = WeightsInfo(llp_manifest().categories.names, 10, 1.0, FeatureSizes(), form_of(step.network), {})
    content = Checkpoint(state["weights"], state["weights"], state["optimizer"], removals.state(), {}, {"sums": []})
    place = write_checkpoint(
        folder, "model-e0000-s00000001", content, lambda path, weights: save_model(path, step.network, info, weights)
    )
    size = sum(path.stat().st_size for path in place.iterdir())
    shutil.rmtree(place)
    return size


def removal_record() -> RemovalRecord:
    """A record of removals from as many labels as LLP's training split has."""
    record = RemovalRecord(llp_manifest(), None, Jomold)
    random = np.random.default_rng(0)
    state = record.state() | {
        "label_key": np.array([f"video{n:06d}" for n in range(LABELS)], dtype=np.bytes_),
        "label_mask": random.integers(0, 2, LABELS).astype(np.int8),
        "label_category": random.integers(0, 25, LABELS).astype(np.int32),
        "label_epochs": np.full(LABELS, 20, dtype=np.int32),
    }
    record.load_state(state)
    return record


if __name__ == "__main__":
    sys.exit(main())
