"""Being asked to stop: by a signal, by the wall-clock limit, or by the launcher's end."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

from jomold_dist.distributed.ancestors import Launcher
from jomold_dist.distributed.world import World, gather_objects
from jomold_dist.errors import PREEMPTED, StoppedError

LOOK_SECONDS = 0.5


class StopRequest:
    """Whether and why this process was asked to stop.

    Until training begins, a signal ends the process at once with 75: nothing is lost. In training (`heeded`) it only
    leaves word, and calling this object tells; a second SIGINT interrupts. Afterwards SIGTERM changes nothing.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._launcher = Launcher()
        self._training = False
        self._deadline, self._next_look = math.inf, 0.0

    def __call__(self) -> bool:
        """Whether it was; cheap enough to be asked every step."""
        now = time.monotonic()
        if self.reason is None and now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            if now >= self._deadline:
                self.reason = "run.wall_minutes have passed"
            elif self._launcher.gone():
                self.reason = "the launcher has gone"
        return self.reason is not None

    @contextmanager
    def heeded(self, world: World, wall_minutes: float | None) -> Iterator[None]:
        """Collective where the block raises StoppedError: the error is raised again with the reasons of all ranks.

        The limit counts from the start of the process, its imports included.
        """
        if wall_minutes is not None:
            self._deadline = time.monotonic() + 60 * wall_minutes - process_age()
        self._training = True
        try:
            yield
        except StoppedError as error:
            raise StoppedError(f"{error} ({self._reasons(world)})") from None
        finally:
            leave_in_peace()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """The handler of SIGTERM and SIGINT."""
        name = signal.Signals(number).name
        if not self._training:
            sys.stderr.write(f"error: {name} before training began\n")
            raise SystemExit(PREEMPTED)
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = self.reason or name

    def _reasons(self, world: World) -> str:
        reasons: list[str | None] = [self.reason]
        with suppress(RuntimeError):  # the checkpoint is there: a rank that was killed since does not matter
            reasons = gather_objects(self.reason, world)
        ranks = {why: [str(r) for r, other in enumerate(reasons) if other == why] for why in reasons if why}
        if world.size == 1:
            return ", ".join(ranks)
        return "; ".join(f"{why} at rank {', '.join(at[:8])}{' …' * (len(at) > 8)}" for why, at in ranks.items())


def hear_signals() -> StopRequest:
    """From here on SIGTERM and SIGINT do what StopRequest says. To be called once, by the main thread."""
    request = StopRequest()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, request.on_signal)
    return request


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """In the block, SIGTERM does what Ctrl-C does; after it, both do what they did before."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what it puts into the background
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGINT)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_in_peace() -> None:
    """Ignore SIGTERM from here to the end of the process.

    Launchers send it to every rank as soon as one has left, and it would change the exit codes of the others.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def process_age() -> float:
    """Seconds since this process was started."""
    return max(0.0, time.time() - psutil.Process().create_time())
