"""The command line of commands that take a config: its options, settings on top, the help of settings, and the config
that is printed instead of being used."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jomold_dist.command_line import Parser, add_imports
from jomold_dist.config import Config
from jomold_dist.config_files import Resolved, resolve
from jomold_dist.config_printing import explained
from jomold_dist.config_values import schema
from jomold_dist.distributed.environment import read_environment
from jomold_dist.errors import SUCCESS, nearest
from jomold_dist.methods.registry import checked
from jomold_dist.settings_help import explain, overview
from jomold_dist.shipped import config_path

MOST_COLUMNS = 110


class ConfigParser(Parser):
    """Reads `--config FILE`, settings as `section.key=value`, `--section.key=value` or `--section.key value` on both
    sides of options, and `--help SECTION …`."""

    def __init__(self, description: str | None, cls: type[Config] = Config) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False)
        self._cls = cls
        self.add_argument(
            "-h", "--help", nargs="*", action=_Help, metavar="SECTION",
            help="show this, or all settings of some sections or single settings, such as `--help train run.dir`",
        )  # fmt: skip
        self.add_argument(
            "--config", type=config_path, metavar="CONFIG",
            help="a YAML file, or the name of one that comes with jomold_dist: llp, quickstart, sweeps/table2b, …",
        )  # fmt: skip
        add_imports(self)
        self.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings on top of the file")
        self.add_argument(
            "--print-config", action="store_true",
            help="print all settings and where each comes from, as a config file, and start nothing",
        )  # fmt: skip
        self.add_argument("--local_rank", help=argparse.SUPPRESS)  # deepspeed passes it; LOCAL_RANK is read

    def parse(self, words: Sequence[str] | None = None) -> Namespace:
        """What the words ask for, those of the command line where none are given. They end the process where they are
        wrong (2), or ask for help (0)."""
        found, unknown = self.parse_known_intermixed_args(
            self._with_overrides(sys.argv[1:] if words is None else words)
        )
        if unknown:
            self._refuse(unknown[0])
        if found.config is None:  # required, but a mistyped option is to be told of first
            self.error("the following arguments are required: --config")
        return found

    def explain(self, topics: Sequence[str]) -> str:
        """The help, or that of some sections and settings. ConfigError for what is neither."""
        width = min(shutil.get_terminal_size((MOST_COLUMNS, 24)).columns, MOST_COLUMNS)
        if topics:
            return explain(self._cls, topics, width)
        return f"{self.format_help()}\nsections of settings, and settings in none:\n{overview(self._cls, width)}"

    def _with_overrides(self, words: Sequence[str]) -> list[str]:
        """The words with `--section.key=value` and `--section.key value` as `section.key=value`."""
        settings, rest = schema(self._cls), list(words)
        found: list[str] = []
        while rest:
            word = rest.pop(0)
            name, equals, value = word.removeprefix("--").partition("=")
            if word == "--":  # what follows is no option
                return [*found, word, *rest]
            if not word.startswith("--") or (name not in settings and "." not in name):
                found.append(word)
            elif equals:
                found.append(f"{name}={value}")
            elif rest and not rest[0].startswith("--"):
                found.append(f"{name}={rest.pop(0)}")
            else:
                self.error(f"--{name} needs a value: --{name}=…")
        return found

    def _refuse(self, word: str) -> None:
        name = word.partition("=")[0]
        options = [option for action in self._actions for option in action.option_strings]
        self.error(
            f"unknown option {name}{nearest(name, [*options, *(f'--{setting}' for setting in schema(self._cls))])}"
        )


class _Help(argparse.Action):
    """Prints and ends, as argparse's own does, before anything that is required is missed."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Namespace, values: Any, option: Any = None) -> None:
        assert isinstance(parser, ConfigParser)
        sys.stdout.write(parser.explain(values) + "\n")
        parser.exit()


def training_parser(description: str | None) -> ConfigParser:
    """The command line of `jomold train`, which `jomold start` must understand too."""
    parser = ConfigParser(description)
    parser.add_argument("--dry-run", action="store_true", help="check everything and print what the run would do")
    parser.add_argument(
        "--smoke", action="store_true", help="try everything with one batch a stage in a temporary folder"
    )
    parser.add_argument("--until", metavar="STAGE", help="end after this stage, for instance noise_ratios")
    parser.add_argument("--ranks", type=_rank_count, help="ranks of the dry run (default: those that are started)")
    return parser


def _rank_count(text: str) -> int:
    """A number of ranks on the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of ranks; it must be 1 or more")
    return int(text)


def resolve_run(path: Path, overrides: Sequence[str]) -> Resolved[Config]:
    """A run's config, with its origins."""
    return resolve(Config, path, overrides)


def print_config(
    asked: Namespace, resolve: Callable[[Path, Sequence[str]], Resolved[Any]] = resolve_run, remark: str = ""
) -> int:
    """What `--print-config` asks for, on rank 0. ConfigError where the config is none to start with."""
    if read_environment(os.environ, meeting=False).rank == 0:
        found = resolve(asked.config, asked.overrides)
        config = checked(found.config, asked.imports)
        imported = {"imports": "--import"} if asked.imports else {}
        title = f"{asked.config}: all settings, and where each comes from{remark}"
        sys.stdout.write(explained(Resolved(config, {**found.origins, **imported}), title) + "\n")
    return SUCCESS
