"""How the ranks find each other: one place where all of them come, and what is said while some have not."""

from __future__ import annotations

import sys
import threading
import time
from datetime import timedelta

import torch.distributed as dist

from jomold_dist.distributed.environment import RankEnvironment
from jomold_dist.errors import ConfigError, LostRankError

LOOK_SECONDS = 0.2  # a signal is heard within
FIRST_WORD_SECONDS, NEXT_WORD_SECONDS = 10.0, 60.0
FOR_EVER = timedelta(days=1)  # this module gives up by its own clock: torch would print its stack, and try again
ARRIVED, EVERYBODY = "meeting/arrived", "meeting/everybody"


def meet(place: RankEnvironment, timeout_seconds: float) -> dist.Store:
    """Collective: the ranks' common store, once every rank has come. Signals are heard meanwhile.

    ConfigError if rank 0 cannot listen at the port; LostRankError if somebody has not come in time.
    """
    arrival = _Arrival(place)
    arrival.start()
    begun, next_word = time.monotonic(), FIRST_WORD_SECONDS
    while arrival.is_alive():
        arrival.join(LOOK_SECONDS)
        waited = time.monotonic() - begun
        if arrival.is_alive() and waited > timeout_seconds:
            raise _missing(arrival, f"{timeout_seconds:g} s have passed (distributed.timeout_seconds)")
        if arrival.is_alive() and waited > next_word:
            next_word += NEXT_WORD_SECONDS
            _tell(f"{arrival.waits_for()} since {waited:.0f} s, at most {timeout_seconds:g} s; Ctrl-C ends it")
    if arrival.error is not None:
        raise _explained(arrival.error, arrival) from None
    assert arrival.store is not None
    arrival.store.set_timeout(timedelta(seconds=timeout_seconds))
    return arrival.store


class _Arrival(threading.Thread):
    """Comes to the meeting place and waits for the others. In a thread, as torch hears no signal while it connects; it
    ends with the process."""

    def __init__(self, place: RankEnvironment) -> None:
        super().__init__(name="meeting", daemon=True)
        self.place = place
        self.store: dist.Store | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        place = self.place
        try:
            self.store = dist.TCPStore(
                place.host,
                place.port,
                place.size,
                is_master=place.rank == 0 and not place.launcher_meets,
                timeout=FOR_EVER,
                wait_for_workers=False,
                multi_tenant=True,
            )
            if self.store.add(ARRIVED, 1) == place.size:
                self.store.set(EVERYBODY, "")
            self.store.wait([EVERYBODY], FOR_EVER)
        except Exception as error:
            self.error = error

    def waits_for(self) -> str:
        """Where this rank waits, and for whom."""
        place = self.place
        where = f"rank {place.rank} waits at {place.host}:{place.port} (MASTER_ADDR, MASTER_PORT)"
        if self.store is None:
            return f"{where} for {'the launcher' if place.launcher_meets else 'rank 0'}"
        connection = self.store.clone()  # type: ignore[attr-defined]  # one serves one thread at a time
        return f"{where} for {place.size - int(connection.add(ARRIVED, 0))} of {place.size} ranks (WORLD_SIZE)"


def _explained(error: Exception, arrival: _Arrival) -> Exception:
    if "EADDRINUSE" in str(error):
        return ConfigError(
            f"port {arrival.place.port} of this machine is taken, where the ranks were to meet (MASTER_PORT): another "
            "training may run. Give the launcher another port (deepspeed --master_port, torchrun --master-port)"
        )
    if isinstance(error, dist.DistError):
        return _missing(arrival, " ".join(str(error).split())[:200])
    return error


def _missing(arrival: _Arrival, why: str) -> LostRankError:
    place = arrival.place
    return LostRankError(
        f"rank {place.rank} of {place.size} has not met the others at {place.host}:{place.port}: {why}. RANK, "
        "WORLD_SIZE, MASTER_ADDR and MASTER_PORT come from the environment: unset them to run one process, or look why "
        "the others have not come"
    )


def _tell(message: str) -> None:
    """Logging is set up only when the ranks have met."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
