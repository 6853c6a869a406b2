"""What launchers share: joining the ranks, logging, progress, stopping on a signal, and exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from tqdm import tqdm

from jomold_dist.config import DistributedConfig
from jomold_dist.distributed.world import World, agree_on_errors, barrier, open_world
from jomold_dist.errors import NonFiniteError, StoppedError, UserError

T = TypeVar("T")

SUCCESS, FAILURE, USER_ERROR = 0, 1, 2
PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # what gloo says


def launch(
    load: Callable[[], T], distributed: Callable[[T], DistributedConfig], body: Callable[[T, World], None]
) -> int:
    """Collective: load the settings, join the ranks, run the body; the exit code of this process.

    A user's mistake is one message and 2; a stop, or a value that is not finite, one message and 1; anything else a
    traceback and 1. All ranks meet before they leave with an error they agree on, because launchers kill the others
    as soon as one has left.
    """
    settings: T | None = None
    failure: UserError | None = None
    try:
        settings = load()
    except UserError as error:
        failure = error
    where = DistributedConfig(device="cpu") if settings is None else distributed(settings)
    try:
        with open_world(where.device, where.timeout_seconds) as world:
            set_up_logging(world)
            try:
                with agree_on_errors(world):
                    if failure is not None:
                        raise failure
                assert settings is not None
                body(settings, world)
            except (UserError, NonFiniteError, StoppedError) as error:
                return _leave_together(world, error)
            return SUCCESS
    except UserError as error:  # the world could not be opened; every rank knows why
        if os.environ.get("RANK", "0") != "0":
            time.sleep(2)  # let rank 0 be heard
        else:
            _say(str(error))
        return USER_ERROR
    except Exception as error:
        if any(words in str(error) for words in PEER_GONE):
            _say(f"rank {os.environ.get('RANK', 0)}: another rank has gone; its own message says why")
        else:
            traceback.print_exc()
        return FAILURE


def _leave_together(world: World, error: UserError | NonFiniteError | StoppedError) -> int:
    """Collective for the errors that all ranks raise together; one that a rank meets alone is told by that rank."""
    if error.agreed:
        if world.is_main:
            _say(str(error))
        barrier(world)
    else:
        _say(str(error) if world.size == 1 else f"rank {world.rank}: {error}")
    return USER_ERROR if isinstance(error, UserError) else FAILURE


def _say(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()


def set_up_logging(world: World) -> None:
    """Lines of this package on stderr: everything from rank 0, warnings with their rank from the others."""
    name = "" if world.is_main else f"rank {world.rank} "
    logging.basicConfig(
        level=logging.WARNING,
        format=f"%(asctime)s {name}%(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("jomold_dist").setLevel(logging.INFO if world.is_main else logging.WARNING)


def progress_bar(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """A bar on stderr where a person watches, nothing otherwise."""
    return tqdm(items, total=total, desc=description, leave=False, disable=not sys.stderr.isatty())


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Within the block, SIGTERM and SIGINT only set what the yielded function tells; a second SIGINT interrupts."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
