"""What launchers share: their settings, joining the ranks, logging, progress, and exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from jomold_dist.config import DistributedConfig
from jomold_dist.distributed.world import World, agree_on_errors, open_world
from jomold_dist.errors import (
    FAILURE,
    PREEMPTED,
    SUCCESS,
    USER_ERROR,
    LostRankError,
    NonFiniteError,
    StoppedError,
    UserError,
)
from jomold_dist.stopping import leave_in_peace

T = TypeVar("T")

EXIT_CODE_FILE = "JOMOLD_DIST_EXIT_CODE_FILE"


def config_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a launcher that takes a config and settings on top of it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="a YAML file, see configs/ and docs/settings.md")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings on top of the file")
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # the deepspeed launcher passes it; LOCAL_RANK is read
    return parser


def training_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of launchers/train.py, which launchers/start.py must understand too."""
    parser = config_parser(description)
    parser.add_argument("--dry-run", action="store_true", help="check everything and print what the run would do")
    parser.add_argument("--until", metavar="STAGE", help="end after this stage, for instance noise_ratios")
    parser.add_argument("--ranks", type=_rank_count, help="ranks of the dry run (default: those that are started)")
    return parser


def _rank_count(text: str) -> int:
    """A number of ranks on the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of ranks; it must be 1 or more")
    return int(text)


def launch(
    load: Callable[[], T], distributed: Callable[[T], DistributedConfig], body: Callable[[T, World], None]
) -> int:
    """Collective: load the settings, join the ranks, run the body; the exit code of this process.

    A user's mistake is one message and 2, a stop one message and 75; a lost rank, or a value that is not finite, one
    message and 1; anything else a traceback and 1. Ranks that agree on an error leave together, because launchers kill
    the others as soon as one has left. Rank 0 leaves the code in the file that launchers/start.py asks for.
    """
    code = _run(load, distributed, body)
    asked_for = os.environ.get(EXIT_CODE_FILE)
    if asked_for and os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # launchers/start.py on this machine may have gone
            Path(asked_for).write_text(str(code), encoding="utf-8")
    return code


def _run(load: Callable[[], T], distributed: Callable[[T], DistributedConfig], body: Callable[[T, World], None]) -> int:
    settings: T | None = None
    failure: UserError | None = None
    try:
        settings = load()
    except UserError as error:
        failure = error
    where = DistributedConfig(device="cpu") if settings is None else distributed(settings)
    world: World | None = None
    reached: int | None = None
    try:
        with open_world(where.device, where.timeout_seconds) as world:
            set_up_logging(world)
            try:
                with agree_on_errors(world):
                    if failure is not None:
                        raise failure
                assert settings is not None
                body(settings, world)
                reached = SUCCESS
            except (UserError, NonFiniteError, StoppedError) as error:
                if not error.agreed:
                    raise
                leave_in_peace()
                if world.is_main:
                    say(str(error))
                reached = exit_code(error)
        return reached
    except LostRankError as error:  # named in the log when it was found
        return exit_code(error) if reached is None else reached  # a rank lost while leaving changes nothing
    except UserError as error:
        leave_in_peace()
        rank = os.environ.get("RANK", "0")
        if world is not None:  # this rank has met it alone
            say(str(error) if world.size == 1 else f"rank {rank}: {error}")
        elif rank == "0":
            say(str(error))
        else:
            time.sleep(2)  # every rank knows; let rank 0 be heard
        return exit_code(error)
    except KeyboardInterrupt as error:
        say("interrupted")
        return exit_code(error)
    except Exception as error:
        traceback.print_exc()
        return exit_code(error)


def exit_code(error: BaseException) -> int:
    """What a launcher that ends with this error exits with."""
    if isinstance(error, StoppedError):
        return PREEMPTED
    return USER_ERROR if isinstance(error, UserError) else FAILURE


def say(message: str) -> None:
    """An error, as launchers tell it."""
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()


def set_up_logging(world: World) -> None:
    """Lines of this package on stderr: everything from rank 0, warnings with their rank from the others."""
    name = "" if world.is_main else f"rank {world.rank} "
    plain_logging(name, logging.INFO if world.is_main else logging.WARNING)


def plain_logging(name: str = "", level: int = logging.INFO) -> None:
    """Lines of this package, from a level on, and others' warnings on stderr."""
    logging.basicConfig(
        level=logging.WARNING,
        format=f"%(asctime)s {name}%(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("jomold_dist").setLevel(level)


def progress_bar(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """A bar on stderr where a person watches, nothing otherwise."""
    return tqdm(items, total=total, desc=description, leave=False, disable=not sys.stderr.isatty())
