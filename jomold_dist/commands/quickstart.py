"""Simulate a small data set, train five methods on two ranks, and compare them: what `make run` does.

    jomold quickstart [--videos 1500] [--ranks 2] [--scenario speech-neutral]

Data and runs come into the folders data/ and runs/ of the working directory, and MLflow's record beside the runs.

In the scenario speech-neutral every category is as often noise as any other, so that there is more to find than the one
label that `static` is told. In llp, as in LLP, most visual noise is Speech.

Every command is printed before it runs, so that each can be taken and changed. A second start skips what is there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jomold_dist import starting
from jomold_dist.command_line import command, command_parser, show
from jomold_dist.config_files import load_config
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.errors import DataError
from jomold_dist.shipped import config_path
from jomold_dist.tables import markdown_table, scores_table

METHODS = ("han", "static", "jomold", "mixture", "true")
CONFIG = "quickstart"
DEFAULT = "speech-neutral"
CLOSING = {
    "llp": (
        "One seed on simulated data: no claim. Seeds alone move a score by two points and more (docs/results.md).\n"
        "`static` is told to remove every visual Speech label, which is most of the noise here, as in LLP; a denoiser\n"
        "has to find it. In batches of this size jomold reaches hardly anything else; mixture looks at all.\n"
    ),
    "speech-neutral": (
        "One seed on simulated data: no claim. Seeds alone move a score by two points and more (docs/results.md).\n"
        "`static` is told to remove every visual Speech label, most of which are right here, and so it should lose;\n"
        "where they are mostly noise, as in LLP, it is hard to beat: see that world with --scenario llp.\n"
    ),
}


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--videos", type=int, default=1500, help="videos of the training split (default: 1500)")
    parser.add_argument("--ranks", type=int, default=2, help="ranks of each training (default: 2)")
    parser.add_argument("--scenario", choices=tuple(CLOSING), default=DEFAULT, help="the world (default: %(default)s)")
    arguments = parser.parse_args()
    started = time.perf_counter()
    world = World(arguments.scenario)
    if (world.shards / "manifest.json").exists():
        there = read_manifest(world.shards)
        videos, simulated = there.split("train").videos, there.simulated or {}
        if (videos, simulated.get("scenario")) != (arguments.videos, arguments.scenario):
            raise DataError(
                f"{world.shards} holds {videos} videos of scenario {simulated.get('scenario')}; remove it and "
                f"{world.runs} to make {arguments.videos} of {arguments.scenario}"
            )
        say(f"{world.shards} is there already")
    else:
        simulation = ["--scenario", world.scenario, "--out", str(world.shards), "--videos", str(arguments.videos)]
        run("simulate", *simulation)
    for method in METHODS:
        train = ["--module", "jomold_dist", "train", "--config", CONFIG, *world.overrides(method)]
        run("start", *launcher(arguments.ranks), *train)
    summarise(world, time.perf_counter() - started)
    return 0


@dataclass(frozen=True)
class World:
    """Where the data and the runs of a scenario lie."""

    scenario: str

    @property
    def shards(self) -> Path:
        return Path(load_config(config_path(CONFIG)).data.places[0]).parent / self.scenario

    @property
    def runs(self) -> Path:
        return Path("runs/quickstart") / self.scenario

    def overrides(self, method: str) -> list[str]:
        return [f"method={method}", f"run.dir={self.runs / method}", f"data.shards={self.shards}"]


def launcher(ranks: int) -> list[str]:
    """The launcher of a training, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return ["deepspeed", "--quiet", "--num_gpus", str(ranks), "--master_port", str(port)]


def run(name: str, *words: str) -> None:
    """Run a command as a process of its own; leave with its exit code if it fails."""
    say(f"$ {shlex.join(['jomold', name, *words])}")
    variables = {}
    if shutil.which("nvidia-smi") is None and "DS_ACCELERATOR" not in os.environ:
        variables["DS_ACCELERATOR"] = "cpu"
    code = subprocess.run(starting.command(name, *words), env=starting.environment(variables), check=False).returncode
    if code:
        say(f"the command above ended with exit code {code}")
        sys.exit(code if 0 < code < 128 else 1)


def summarise(world: World, seconds: float) -> None:
    """The table of the methods, what was removed and how rightly, and where to look."""
    from jomold_dist.tracking import ui_command  # these import torch, which takes a second
    from jomold_dist.training.removal_table import removals_of
    from jomold_dist.training.run_folder import RunFolder
    from jomold_dist.training.run_reading import read_removals, read_scores

    folders = {method: RunFolder(world.runs / method) for method in METHODS}
    config = load_config(config_path(CONFIG), world.overrides("jomold"))
    scores = {m: read_scores(folders[m]).found.scores for m in METHODS}
    say(f"Scenario {world.scenario}. {scores_table(scores, 'test', simulated=True)}")
    say("Removed labels, over all epochs; precision and recall against the hidden truth of the simulation\n")
    rows = []
    for method in METHODS[1:]:
        total = read_removals(folders[method])["total"]
        rows += [
            [f"{method}, {m}", str(e["removed"]), percent(e.get("precision")), percent(e.get("recall"))]
            for m, e in total.items()
        ]
    show(markdown_table(["method, modality", "removed", "precision %", "recall %"], rows))
    names = read_manifest(world.shards).categories.names
    say(f"mixture, by category. {removals_of(folders['mixture'], names)}")
    say(CLOSING[world.scenario])
    show(f"every label:  {folders['mixture'].labels()} (its evidence, and how likely it is heard and seen)")
    show(f"reports:      {folders['mixture'].report} (open it in a browser; every run has one)")
    show(f"run folders:  {world.runs}/{{{','.join(METHODS)}}} (scores, removals, removed labels, history)")
    show(f"MLflow:       {ui_command(config)}")
    show(f"took {seconds / 60:.1f} minutes")


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def say(text: str) -> None:
    show(f"\n{text}")
