"""Where the time of an epoch goes, without making the GPU wait for the clock."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of named spans. On a GPU, spans are events on its stream: those that it has passed are summed
    up when further ones begin, so that few are kept, and the others are waited for only when asked for."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds: dict[str, float] = defaultdict(float)
        self._events: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        if self._cuda:
            self._sum_up_passed()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            yield
            end.record()
            self._events.append((name, begin, end))
        else:
            start = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """Seconds by name since the last call. Waits for the GPU."""
        if self._cuda:
            torch.cuda.synchronize()
            self._sum_up_passed()
        seconds, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds

    def _sum_up_passed(self) -> None:
        """The spans that the GPU has passed, in their order; to ask it costs no waiting."""
        while self._events and self._events[0][2].query():
            name, begin, end = self._events.popleft()
            self._seconds[name] += begin.elapsed_time(end) / 1000
