"""From a command as it is typed to what a test runs of it: the command behind its launcher, made small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from commands import BENCHMARKS, run, run_main

from jomold_dist import __main__ as jomold
from jomold_dist.commands import ray_train
from jomold_dist.config_command import training_parser
from jomold_dist.config_files import load_config
from jomold_dist.errors import UserError

PAGES = {
    "pack_llp": "pack-llp", "simulate_llp": "simulate", "verify_shards": "verify", "compare_runs": "compare",
    "compare_worlds": "compare-worlds", "tabulate_sweep": "tabulate", "ray_train": "ray-train",
}  # fmt: skip
"""What a page of launchers/ or tools/ is called as a command, where its name is another one."""

RANKS = ("--num_gpus", "--nproc-per-node")
SMALL = ("train.epochs=1", "estimator.epochs=1", "distributed.device=cpu")


@dataclass(frozen=True)
class Call:
    """A command with its arguments, whatever started it."""

    command: str
    words: tuple[str, ...]
    page: str | None = None
    """The file's name, where a page of a checkout was typed."""
    ranks: int = 1

    def outcome(self, *words: str) -> dict[str, object]:
        """What becomes of the command in this process, with other arguments."""
        if self.page:
            return run(self.page, list(words))
        return run_main(jomold.main, ["jomold", self.command, *words])


def call_of(words: tuple[str, ...]) -> Call | None:
    """The command that is started here; None for what is none of this project's."""
    program, rest = words[0], list(words[1:])
    ranks = next((int(rest[n + 1]) for n, word in enumerate(rest) if word in RANKS), 1)
    if program == "jomold" and rest[0] != "start":
        return called(rest[0], tuple(rest[1:]))
    if program == "ray":
        return call_of(tuple(rest[rest.index("--") + 1 :])) if "--" in rest else None
    for number, word in enumerate(rest):
        after = tuple(rest[number + 1 :])
        if word == "jomold_dist" and rest[number - 1] in ("-m", "--module") and after[:1] != ("start",):
            return called(after[0], after[1:], ranks=ranks)
        if match := re.fullmatch(r"(?:launchers|tools)/(\w+)\.py", word):
            if match[1] != "start":
                return called(PAGES.get(match[1], match[1]), after, match[1], ranks)
        elif "launchers/templates/" in word:  # sbatch
            return Call("train", after)
    return Call("train", tuple(rest)) if program.startswith("launchers/templates/") else None


def called(command: str, words: tuple[str, ...], page: str | None = None, ranks: int = 1) -> Call:
    """The call; of a training on a Ray cluster, the training itself."""
    if command != "ray-train" or not words or "…" in words:
        return Call(command, words, page, ranks)
    asked = ray_train.parser().parse_intermixed_args(list(words))
    return Call("train", ("--config", str(asked.config), *asked.overrides), None, asked.nodes * asked.ranks_per_node)


def arguments(call: Call, words: list[str], trained: Sequence[str]) -> list[str]:
    """The call's words, changed so that it ends within seconds. Runs in the folders `trained` are wanted later on."""
    if call.command in BENCHMARKS or call.command == "quickstart":
        return ["--help"]
    if "--help" in words:
        return words
    if call.command == "train":
        folder = run_folder(words)
        words = [*words, *(SMALL if folder in trained else ())]
        if "--smoke" in words:
            return words
        if "--dry-run" in words or folder not in trained or (Path(folder) / "scores.json").exists():
            words += ["--dry-run"] if "--ranks" in words else ["--dry-run", "--ranks", f"{call.ranks}"]
        return words
    if call.command == "extract":
        return [*words, "--jobs", "1"]
    if call.command == "sweep":
        return [*words, "--dry-run"]
    if call.command == "simulate" and "--annotations" not in words:
        return [*words, "--videos", "6"]
    return words


def run_folder(words: list[str]) -> str:
    """Where a training writes; nothing where its words are wrong, which the training itself will tell."""
    with suppress(UserError, SystemExit):
        asked = training_parser("").parse_intermixed_args(words)
        return load_config(asked.config, asked.overrides).run.dir
    return ""


def output(words: list[str]) -> Path | None:
    """The file or folder that a command writes."""
    return next((Path(words[n + 1]) for n, word in enumerate(words[:-1]) if word == "--out"), None)
