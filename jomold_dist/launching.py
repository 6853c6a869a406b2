"""What the commands of several ranks share: joining them, ending together, logging."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jomold_dist.command_line import PrintError, say
from jomold_dist.config import Config, DistributedConfig
from jomold_dist.distributed.agreement import agree_on_settings
from jomold_dist.distributed.environment import read_environment
from jomold_dist.distributed.stacks import STACKS, answer_signals
from jomold_dist.distributed.world import World, agree_on_errors, open_world
from jomold_dist.errors import (
    SUCCESS,
    USER_ERROR,
    ConfigError,
    LostRankError,
    NonFiniteError,
    StoppedError,
    UserError,
    exit_code,
)
from jomold_dist.stopping import leave_in_peace
from jomold_dist.supervising import EXIT_CODE_FILE


def launch(
    load: Callable[[], Config],
    body: Callable[[Config, World], None],
    options: Mapping[str, Any],
    traces: bool = False,
) -> int:
    """Collective: load the settings, join the ranks, run the body; the exit code of this process.

    All ranks must have the same settings and `options`. A user's mistake is one message and 2, a stop one message and
    75; a lost rank, or a value that is not finite, one message and 1; anything else a traceback and 1. Ranks that agree
    on an error leave together, because launchers kill the others as soon as one has left. Rank 0 leaves the code in the
    file that `jomold start` asks for. With `traces`, NCCL leaves those of failed collectives in the run's folder, which
    is then written to anyway.
    """
    answer_signals()
    try:
        rank = read_environment(os.environ).rank
    except ConfigError as error:  # nobody to agree with
        say(str(error))
        return USER_ERROR
    code = _run(load, body, options, rank, traces)
    asked_for = os.environ.get(EXIT_CODE_FILE)
    if asked_for and rank == 0:
        with suppress(OSError):  # `jomold start` on this machine may have gone
            Path(asked_for).write_text(str(code), encoding="utf-8")
    return code


def _run(
    load: Callable[[], Config],
    body: Callable[[Config, World], None],
    options: Mapping[str, Any],
    rank: int,
    traces: bool,
) -> int:
    config: Config | None = None
    failure: UserError | None = None
    try:
        config = load()
    except UserError as error:
        failure = error
    device = None if config is None else config.distributed.device
    patience = (DistributedConfig() if config is None else config.distributed).timeout_seconds
    kept = Path(config.run.dir, STACKS) if config is not None and traces else None
    world: World | None = None
    reached: int | None = None
    try:
        with open_world(device, patience, kept) as world:
            set_up_logging(world)
            try:
                with agree_on_errors(world):
                    if failure is not None:
                        raise failure
                assert config is not None
                agree_on_settings(config, options, world)
                body(config, world)
                reached = SUCCESS
            except (UserError, NonFiniteError, StoppedError) as error:
                if not error.agreed:
                    raise
                leave_in_peace()
                if world.is_main:
                    say(str(error))
                reached = exit_code(error)
        return reached
    except LostRankError as error:
        if not error.told:
            say(str(error))
        return exit_code(error) if reached is None else reached  # a rank lost while leaving changes nothing
    except UserError as error:
        leave_in_peace()
        if world is not None:  # this rank has met it alone
            say(str(error) if world.size == 1 else f"rank {rank}: {error}")
        elif rank == 0:
            say(str(error))
        else:
            time.sleep(2)  # every rank knows; let rank 0 be heard
        return exit_code(error)
    except KeyboardInterrupt as error:
        say("interrupted")
        return exit_code(error)
    except PrintError:  # as in every command
        raise
    except Exception as error:
        traceback.print_exc()
        return exit_code(error)


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
