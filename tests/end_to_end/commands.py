"""Every command of launchers/ and tools/ with arguments of a small case, to try all of them with one misuse.

Run as a program, it takes commands as JSON from stdin, runs them one after another in its own environment, and writes
what became of each as JSON to the file that is named: to start a process for each would take seconds each.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Those that only measure or write the docs; judge_labels has a test of its own. All are started with --help: the first
# three take minutes.
BENCHMARKS = (
    "bench_exchange",
    "bench_loader",
    "bench_plan",
    "bench_packing",
    "bench_checkpoint",
    "bench_train",
    "bench_step_metrics",
    "bench_mixture",
    "judge_labels",
    "measure_shuffle",
    "check_processors",
    "check_gpu",
)

WITHOUT_PAGE = ("extract", "pack", "show", "labels", "report")
"""Commands of which neither launchers/ nor tools/ has a page."""


@dataclass(frozen=True)
class Places:
    """What the commands work on: a packed set, label and feature files, labels with tags as VGGSounder has them, a
    config, a finished run and a sweep."""

    shards: Path
    annotations: Path
    tags: Path
    features: Path
    config: Path
    run: Path
    sweep: Path
    sweep_config: Path
    scratch: Path
    """An empty folder for what they write."""


def scripts() -> set[str]:
    """The names of all scripts that are commands, and of the commands that are no script."""
    files = [*ROOT.glob("launchers/*.py"), *ROOT.glob("tools/*.py")]
    marks = ("\n@command\n", "import main\n")  # the command itself, or a page that leads to it
    return {file.stem for file in files if any(mark in file.read_text(encoding="utf-8") for mark in marks)} | {
        *WITHOUT_PAGE
    }


def all_commands(places: Places) -> dict[str, list[str]]:
    """A name for each case, and its script and arguments. All of them succeed."""
    p = places
    train = ["train", "--config", f"{p.config}", f"run.dir={p.scratch / 'run'}", f"data.shards={p.shards}"]
    pack = ["pack_llp", "--annotations", f"{p.annotations}", "--features", f"{p.features}"]
    pack_own = ["pack", "--labels", f"{p.annotations / 'AVVP_train.csv'}"]
    pack_own += ["--feature", f"audio={p.features / 'vggish' / '{id}.npy'}"]
    return {
        "train": train,
        "dry run": [*train, "--dry-run"],
        "evaluate": ["evaluate", "--run", f"{p.run}", "--split", "val"],
        "predict": ["predict", "--run", f"{p.run}", "--shards", f"{p.shards}", "--out", f"{p.scratch / 'events.csv'}"],
        "show": ["show", f"{p.run}", "--videos", "2", "--out", f"{p.scratch / 'shown'}"],
        "labels": ["labels", f"{p.run}", "--out", f"{p.scratch / 'report'}"],
        "sweep": ["sweep", "--config", f"{p.sweep_config}", "--dry-run"],
        "start": ["start", "python", str(ROOT / "launchers" / "train.py"), *train[1:], "--dry-run"],
        "ray_train": ["ray_train", "--help"],
        "quickstart": ["quickstart", "--help"],
        "extract": ["extract", "--help"],
        "report": ["report", f"{p.run}", "--out", f"{p.scratch / 'report.html'}"],
        "pack_llp": [*pack, "--out", f"{p.scratch / 'packed'}"],
        "pack": [*pack_own, "--out", f"{p.scratch / 'own'}"],
        "simulate_llp": ["simulate_llp", "--videos", "3", "--out", f"{p.scratch / 'simulated'}"],
        "verify_shards": ["verify_shards", f"{p.shards}", "--report", f"{p.scratch / 'report.json'}"],
        "compare_runs": ["compare_runs", f"{p.run}"],
        "compare_worlds": ["compare_worlds", f"{p.run}"],
        "count_labels": ["count_labels", "vggsounder", f"{p.tags}", f"{p.scratch / 'table.json'}"],
        "tabulate_sweep": ["tabulate_sweep", f"{p.sweep}", "--out", f"{p.scratch / 'tables'}"],
        "document_settings": ["document_settings", "--check"],
        **{name: [name, "--help"] for name in BENCHMARKS},
    }


def with_output(words: list[str], out: str) -> list[str]:
    """The command with another --out or --report."""
    at = next(number for number, word in enumerate(words) if word in ("--out", "--report"))
    return [*words[: at + 1], out, *words[at + 2 :]]


def run(script: str, words: list[str]) -> dict[str, object]:
    """One command in this process: its exit code, and what it printed."""
    if script in WITHOUT_PAGE:
        return run_main(importlib.import_module(f"jomold_dist.commands.{script}").main, [f"jomold {script}", *words])
    folder = "launchers" if (ROOT / "launchers" / f"{script}.py").exists() else "tools"
    main = importlib.import_module(f"{folder}.{script}" if folder == "launchers" else script).main
    return run_main(main, [f"{script}.py", *words])


def run_main(main: Callable[[], int], argv: list[str]) -> dict[str, object]:
    """What `main` makes of these words, the program's name first."""
    encoding = sys.__stdout__.encoding if sys.__stdout__ is not None else "utf-8"
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in range(2))
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    before, sys.argv = sys.argv, argv
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: object = main()
            except SystemExit as error:  # argparse
                code = error.code
            except BaseException:
                traceback.print_exc()
                code = "an error"
    finally:
        sys.argv = before
        for number, handler in signals.items():
            signal.signal(number, handler)
        for handler in list(logging.getLogger().handlers):
            logging.getLogger().removeHandler(handler)
    texts = [stream.buffer.getvalue().decode(encoding) for stream in (out, err)]  # type: ignore[attr-defined]
    return {"code": code, "out": texts[0], "err": texts[1]}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tools"))
    given = {name: [os.fsdecode(word.encode()) for word in words] for name, words in json.load(sys.stdin).items()}
    outcomes = {name: run(words[0], words[1:]) for name, words in given.items()}
    Path(sys.argv[1]).write_text(json.dumps(outcomes))
