"""Metrics on their way to MLflow: their order, what a slow or dead server costs, and that nothing stays behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jomold_dist.tracking import metric_queue
from jomold_dist.tracking.metric_queue import METRICS_AT_ONCE, MetricQueue, as_metrics

LONG = 60.0


class Server:
    """Takes metrics, once it is open."""

    def __init__(self) -> None:
        self.open, self.asked = threading.Event(), threading.Event()
        self.batches: list[tuple[str, list[tuple[str, float, int]]]] = []
        self.failures: list[Exception] = []

    def take(self, run: str, metrics: Sequence[Any]) -> None:
        self.asked.set()
        assert self.open.wait(LONG)
        self.batches.append((run, [(metric.key, metric.value, metric.step) for metric in metrics]))

    @contextmanager
    def queue(self, sample: Callable[[], list[Any]] = list) -> Iterator[MetricQueue]:
        queue = MetricQueue(self.take, self.failures.append, sample)
        try:
            yield queue
        finally:
            self.open.set()
            queue.close()


def worker() -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == "jomold_dist metrics"), None)


def test_metrics_arrive_in_their_order_and_batches() -> None:
    server = Server()
    server.open.set()
    with server.queue() as queue:
        for step in range(1, 2500):
            queue.add("a", as_metrics({"step/loss": float(step)}, step), soon=False)
            if step % 100 == 0:
                queue.add("b", as_metrics({"train/loss": 0.5}, step), soon=False)
        queue.flush()
        assert max(len(metrics) for _, metrics in server.batches) <= METRICS_AT_ONCE
        for run, steps in (("a", range(1, 2500)), ("b", range(100, 2500, 100))):
            taken = [metric for of, metrics in server.batches if of == run for metric in metrics]
            assert [step for _, _, step in taken] == [*steps]
        assert worker() is not None
    assert worker() is None


def test_a_server_that_hangs_does_not_hold_up_who_tells(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metric_queue, "MOST_WAITING", 5000)
    monkeypatch.setattr(metric_queue, "FLUSH_SECONDS", 0.2)
    server = Server()
    with server.queue() as queue:
        queue.add("a", as_metrics({"train/loss": 1.0}, 0))
        assert server.asked.wait(LONG)
        for step in range(1, 7001):  # comes back, though nothing is taken
            queue.add("a", as_metrics({"step/loss": 1.0}, step), soon=False)
        with pytest.raises(TimeoutError, match="not taken within"):
            queue.flush()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "some are left out" in caplog.text
        server.open.set()
        monkeypatch.setattr(metric_queue, "FLUSH_SECONDS", LONG)
        queue.flush()
        assert [step for _, metrics in server.batches for _, _, step in metrics] == [*range(5001)]


def test_after_a_failure_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = []

    def refuse(run: str, metrics: Sequence[Any]) -> None:
        raise OSError("no room")

    queue = MetricQueue(refuse, failures.append, list)
    queue.add("a", as_metrics({"x": 1.0}, 1))
    queue.flush()
    for step in range(5):
        queue.add("a", as_metrics({"x": 1.0}, step))
    queue.flush()
    queue.close()
    assert [str(error) for error in failures] == ["no room"]
    assert worker() is None
    assert not caplog.records


def test_what_nobody_flushes_is_sent_all_the_same_and_the_load_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_queue, "SEND_SECONDS", 0.05)
    server = Server()
    server.open.set()
    with server.queue(lambda: [("r", metric) for metric in as_metrics({"system/x": 2.0}, 7)]) as queue:
        queue.add("r", as_metrics({"step/loss": 1.0}, 3), soon=False)
        deadline = time.monotonic() + LONG
        while len({name for _, metrics in server.batches for name, _, _ in metrics}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


WAITING = """
import time
from jomold_dist.tracking.metric_queue import MetricQueue
asked = []
queue = MetricQueue(lambda run, metrics: (asked.append(run), time.sleep(1000)), print, list)
queue.add("a", [None])
while not asked:
    time.sleep(0.01)
queue.close()
print("left", flush=True)
"""


def test_a_process_ends_while_a_request_is_not_answered() -> None:
    root = Path(__file__).resolve().parents[2]
    outcome = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, timeout=LONG, cwd=root)
    assert (outcome.stdout, outcome.returncode) == ("left\n", 0), outcome.stderr
