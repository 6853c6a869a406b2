"""Who is still there: every rank gives a sign of life once a second, so that one that dies or hangs can be named.

The signs lie in the store through which the ranks found each other. They are compared when a collective has failed;
before that they lead to a warning at most. Nothing in here ends a run, and trouble with the store is ignored.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import torch.distributed as dist

from jomold_dist.errors import LostRankError

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
SILENT_SECONDS = 3.5  # a rank that gives no sign for so long, after a collective has failed, has gone
SILENT_BEATS = 30  # a neighbour that gives no sign for so many of our own is worth a warning
STOOD_STILL_BEATS = 60  # for so long after it a rank tells that it stood still
STORE_SECONDS = 3.0  # how long the store may take to answer; leaving waits for no more than that
DONE, NOTICED = "done", "noticed"  # why a rank leaves that waits for the others, or misses one of them
NAMED_AT_MOST = 8
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Sign:
    """A rank's last sign of life: who it is, how many signs it gave, where its main thread is, why it leaves."""

    host: str
    pid: int
    beat: int = 0
    at: str = ""
    left: str = ""  # empty while it is there
    stood_still: float = 0.0  # seconds for which the whole process did nothing lately, as in a suspended machine


class Liveness:
    """Gives this rank's signs from a thread while the context is open, and reads those of the others.

    `store` is the ranks' common store; a second connection to it is used, as a connection serves one thread at a time.
    """

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        own = store.clone()  # type: ignore[attr-defined]
        own.set_timeout(timedelta(seconds=STORE_SECONDS))
        self._store = dist.PrefixStore("liveness", own)
        self._rank, self._size = rank, size
        self._sign = Sign(socket.gethostname(), os.getpid())
        self._known: dict[int, Sign] = {}
        self._paused_at = 0  # the beat after which this process stood still
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="liveness", daemon=True)

    def __enter__(self) -> Liveness:
        self._give_sign()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Collective at its end, unless the block raises: between the ranks' meeting and their leaving together.

        Nobody leaves before the others are done, as the store may live in one of them. A rank that raises tells the
        others why, before they miss it.
        """
        with suppress(RuntimeError):
            self._known = self._read()
        try:
            with naming_lost_ranks(self):
                yield
                self._leave(DONE)
                self._close()
                dist.barrier()
        except BaseException as error:
            if self._sign.left in ("", DONE):
                self._leave(_in_a_line(error))
            raise

    def explain(self, error: Exception) -> str:
        """Which ranks have gone or hang, after a collective has failed with `error`. Takes a few seconds."""
        self._leave(NOTICED)
        try:
            before = self._read()
            if not _failed(before):
                time.sleep(SILENT_SECONDS)
            after = self._read()
        except RuntimeError:
            return f"{self._store_holder()} has gone, or cannot be reached any more"
        if failed := _failed(after):
            return self._list(failed, after, lambda sign: f"has left: {sign.left}")
        there = {rank: sign for rank, sign in after.items() if rank != self._rank and not sign.left}
        if never := [rank for rank in range(self._size) if rank not in after]:
            return f"rank {', '.join(map(str, never[:NAMED_AT_MOST]))} never came"
        if silent := [r for r, sign in there.items() if before.get(r, sign).beat == sign.beat]:
            return self._list(silent, after, lambda sign: "has died or was stopped: it gives no sign of life")
        if stood := [rank for rank, sign in after.items() if sign.stood_still]:
            text = self._list(stood, after, lambda sign: f"stood still for {sign.stood_still:.0f} s")
            return f"{text}, longer than distributed.timeout_seconds: suspended or stopped from outside"
        what = _in_a_line(error)
        if there:  # every rank that waits for others has noticed by now
            return self._list(list(there), after, lambda sign: f"hangs at {sign.at}") + f" ({what})"
        return f"the connection between the ranks broke, though the process of every rank lives ({what})"

    def _list(self, ranks: list[int], signs: dict[int, Sign], say: Callable[[Sign], str]) -> str:
        named = [f"{_name(rank, signs[rank])} {say(signs[rank])}" for rank in ranks[:NAMED_AT_MOST]]
        more = [f"and {len(ranks) - NAMED_AT_MOST} more ranks"] if len(ranks) > NAMED_AT_MOST else []
        return "; ".join(named + more)

    def _store_holder(self) -> str:
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return f"the launcher on {os.environ.get('MASTER_ADDR', 'the first node')}, through which the ranks meet,"
        return _name(0, self._known[0]) if 0 in self._known else "rank 0"

    def _close(self) -> None:
        self._closing.set()
        self._thread.join(2 * STORE_SECONDS)

    def _beat(self) -> None:
        """The thread: a sign a second, and a look at the next rank. It gives up where the store has gone."""
        failures, beat, silent = 0, -1, 0
        last = time.monotonic()
        while failures < 2 and not self._closing.wait(BEAT_SECONDS):
            last = self._note_pause(last)
            try:
                self._give_sign()
                neighbour = (self._rank + 1) % self._size
                sign = self._read_one(neighbour)
                failures = 0
            except Exception:
                failures += 1
                continue
            silent = silent + 1 if sign is not None and sign.beat == beat and not sign.left else 0
            if sign is not None and silent == SILENT_BEATS:
                logger.warning("%s gives no sign of life since %d s", _name(neighbour, sign), silent * BEAT_SECONDS)
            beat = -1 if sign is None else sign.beat

    def _note_pause(self, last: float) -> float:
        """Notes whether this process has stood still since the last beat; the time now."""
        now = time.monotonic()
        with self._lock:
            if now - last > BEAT_SECONDS + STORE_SECONDS + SILENT_SECONDS:
                self._sign, self._paused_at = replace(self._sign, stood_still=now - last), self._sign.beat
            elif self._sign.beat > self._paused_at + STOOD_STILL_BEATS:
                self._sign = replace(self._sign, stood_still=0.0)
        return now

    def _give_sign(self) -> None:
        with self._lock:
            self._sign = replace(self._sign, beat=self._sign.beat + 1, at=_main_thread_is_at())
            self._store.set(str(self._rank), json.dumps(asdict(self._sign)))

    def _leave(self, why: str) -> None:
        with self._lock:
            self._sign = replace(self._sign, left=why)
        with suppress(RuntimeError):
            self._give_sign()

    def _read(self) -> dict[int, Sign]:
        """The last sign of every rank that ever gave one. RuntimeError without the store."""
        found = ((rank, self._read_one(rank)) for rank in range(self._size))
        return {rank: sign for rank, sign in found if sign is not None}

    def _read_one(self, rank: int) -> Sign | None:
        if not self._store.check([str(rank)]):
            return None
        return Sign(**json.loads(self._store.get(str(rank))))


def _nowhere(reason: str) -> Path | None:
    """Writes nothing."""
    return None


@contextmanager
def naming_lost_ranks(
    liveness: Liveness | None, write_stacks: Callable[[str], Path | None] = _nowhere
) -> Iterator[None]:
    """Turns the error of a collective that failed inside the block into a LostRankError that names who is missing.

    The message is logged at once, as the launcher may kill this process before anybody else can say it. Before the
    others are asked, `write_stacks` is given the error with its traceback, and the message names the folder of the file
    that it returns.
    """
    try:
        yield
    except RuntimeError as error:
        if liveness is None or not _of_a_collective(error):
            raise
        written = write_stacks(f"A collective has failed:\n{''.join(traceback.format_exception(error))}")
        where = "" if written is None else f"; the stacks of the ranks that waited are in {written.parent}"
        lost = LostRankError(liveness.explain(error) + where)
        logger.error("error: %s", lost)
        lost.told = True
        raise lost from error


def _of_a_collective(error: RuntimeError) -> bool:
    words = ("gloo", "Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "caused pair closure")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def _failed(signs: dict[int, Sign]) -> list[int]:
    """Ranks that left for a reason of their own."""
    return [rank for rank, sign in signs.items() if sign.left not in ("", DONE, NOTICED)]


def _name(rank: int, sign: Sign) -> str:
    return f"rank {rank} (host {sign.host}, pid {sign.pid})"


def _in_a_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _main_thread_is_at() -> str:
    """The innermost line of this package that the main thread is at."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            return f"{path.relative_to(PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "a line outside this package"
