"""Metrics on their way to MLflow: taken over at once, and sent in their order by a thread of its own.

So a slow server costs training nothing, and a dead one what is told in `flush` and `close`. A killed process loses what
it had not sent yet, of the steps of SEND_SECONDS at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from jomold_dist.tracking.about import metric_name

if TYPE_CHECKING:
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

SEND_SECONDS = 10.0
FLUSH_SECONDS = 60.0
CLOSE_SECONDS = 5.0
METRICS_AT_ONCE = 1000  # what MLflow takes in one request
MOST_WAITING = 50_000

Told = tuple[str, "Metric"]
"""A run's id and one of its metrics."""


class MetricQueue:
    """Sends metrics until the first failure, and nothing from then on.

    `send` is called with a run's id and at most METRICS_AT_ONCE metrics; `failed` with what it raises; `sample` every
    SEND_SECONDS for metrics of its own. All three are called in the queue's thread.
    """

    def __init__(
        self,
        send: Callable[[str, Sequence[Metric]], object],
        failed: Callable[[Exception], object],
        sample: Callable[[], Iterable[Told]],
    ) -> None:
        self._send, self._failed, self._sample = send, failed, sample
        self._changed = threading.Condition()  # guards what follows
        self._waiting: list[Told] = []
        self._sending = self._hurried = self._closed = self._full = False
        self._thread = threading.Thread(target=self._work, name="jomold_dist metrics", daemon=True)
        self._thread.start()

    def add(self, run: str, metrics: Sequence[Metric], soon: bool = True) -> None:
        """Takes over a run's metrics: they are sent now, or not `soon`, within SEND_SECONDS. Those for which there is
        no room any more are dropped, which is told once."""
        with self._changed:
            if self._closed:
                return
            room = MOST_WAITING - len(self._waiting)
            self._waiting += [(run, metric) for metric in metrics[:room]]
            told, self._full = self._full, self._full or len(metrics) > room
            if soon or len(self._waiting) >= METRICS_AT_ONCE:
                self._hurried = True
                self._changed.notify_all()
        if self._full and not told:
            logger.warning("MLflow takes metrics more slowly than training makes them: some are left out")

    def flush(self) -> None:
        """Waits until everything is sent, or sending has failed. TimeoutError if that takes longer than
        FLUSH_SECONDS."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: not self._waiting and not self._sending, FLUSH_SECONDS)
        if not done:
            raise TimeoutError(f"metrics were not taken within {FLUSH_SECONDS:.0f} s")

    def close(self) -> None:
        """Sends nothing more, and ends the thread; one that a dead server keeps waiting for longer than CLOSE_SECONDS
        ends with the process."""
        with self._changed:
            self._closed = True
            self._waiting = []
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        due = time.monotonic() + SEND_SECONDS
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._hurried, max(0.0, due - time.monotonic()))
                if self._closed:
                    return
            sampled: list[Told] = []
            if time.monotonic() >= due:
                sampled, due = list(self._sample()), time.monotonic() + SEND_SECONDS
            with self._changed:
                batch, self._waiting = [*self._waiting, *sampled], []
                self._sending, self._hurried = True, False
            problem = self._send_all(batch)
            if problem is not None:
                self._failed(problem)
            with self._changed:
                self._sending = False
                if problem is not None:
                    self._closed, self._waiting = True, []
                self._changed.notify_all()

    def _send_all(self, batch: Sequence[Told]) -> Exception | None:
        """What went wrong, or None."""
        try:
            for run, told in groupby(sorted(batch, key=itemgetter(0)), key=itemgetter(0)):  # sorted() keeps the order
                metrics = [metric for _, metric in told]
                for first in range(0, len(metrics), METRICS_AT_ONCE):
                    self._send(run, metrics[first : first + METRICS_AT_ONCE])
                    if self._closed:
                        return None
        except Exception as error:
            return error
        return None


def as_metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    """Numbers of this moment, as MLflow takes them."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(metric_name(name), float(value), now, step) for name, value in values.items()]
