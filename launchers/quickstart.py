"""What `make run` does: simulate a small data set, train three methods on two ranks, and compare them.

    python launchers/quickstart.py [--videos 2000] [--ranks 2]

Every command is printed before it runs, so that each can be taken and changed. A second start skips what is there.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from jomold_dist.command_line import command, command_parser
from jomold_dist.config_files import load_config
from jomold_dist.data.source import read_manifest
from jomold_dist.errors import DataError
from jomold_dist.tables import markdown_table, scores_table
from jomold_dist.tracking import ui_command
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_removals, read_scores

METHODS = ("han", "static", "jomold")
CONFIG = Path("configs/quickstart.yaml")
ROOT = Path(__file__).resolve().parents[1]


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--videos", type=int, default=2000, help="videos of the training split (default: 2000)")
    parser.add_argument("--ranks", type=int, default=2, help="ranks of each training (default: 2)")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    started = time.perf_counter()
    shards = Path(load_config(CONFIG).data.shards)
    if (shards / "manifest.json").exists():
        there = read_manifest(shards).split("train").videos
        if there != arguments.videos:
            raise DataError(f"{shards} holds {there} videos; remove it and runs/quickstart to make {arguments.videos}")
        say(f"{shards} is there already")
    else:
        run([sys.executable, "tools/simulate_llp.py", "--out", str(shards), "--videos", str(arguments.videos)])
    for method in METHODS:
        run([*launcher(arguments.ranks), "launchers/train.py", "--config", str(CONFIG), *overrides(method)])
    summarise(time.perf_counter() - started)
    return 0


def launcher(ranks: int) -> list[str]:
    """The start of a training command, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = [sys.executable, "launchers/start.py", "deepspeed", "--quiet"]
    return [*start, "--num_gpus", str(ranks), "--master_port", str(port)]


def overrides(method: str) -> list[str]:
    return [f"method={method}", f"run.dir={run_dir(method)}"]


def run_dir(method: str) -> Path:
    return Path("runs/quickstart") / method


def run(command: list[str]) -> None:
    """Run one command from the repository's root; leave with its exit code if it fails."""
    short = [Path(command[0]).name, *command[1:]]
    say(f"$ {' '.join(short)}")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if shutil.which("nvidia-smi") is None:
        environment.setdefault("DS_ACCELERATOR", "cpu")
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        say(f"the command above ended with exit code {code}")
        sys.exit(code if 0 < code < 128 else 1)


def summarise(seconds: float) -> None:
    """The table of the three methods, the quality of the removals, and where to look."""
    config = load_config(CONFIG, overrides("jomold"))
    scores = {m: read_scores(RunFolder(run_dir(m))).found.scores for m in METHODS}
    say(scores_table(scores, "test", simulated=True))
    say("Removed labels, over all epochs; precision and recall against the hidden truth of the simulation\n")
    rows = []
    for method in METHODS[1:]:
        total = read_removals(RunFolder(run_dir(method)))["total"]
        rows += [
            [f"{method}, {m}", str(e["removed"]), percent(e.get("precision")), percent(e.get("recall"))]
            for m, e in total.items()
        ]
    print(markdown_table(["method, modality", "removed", "precision %", "recall %"], rows))
    say(
        "One seed on simulated data: differences of a point or two are noise. `static` removes every visual Speech\n"
        "label; a denoiser must beat it, not only `han`.\n"
    )
    print(
        f"run folders:  {Path('runs/quickstart')}/{{{','.join(METHODS)}}} (scores, removals, removed labels, history)"
    )
    print(f"MLflow:       {ui_command(config)}")
    print(f"took {seconds / 60:.1f} minutes")


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
