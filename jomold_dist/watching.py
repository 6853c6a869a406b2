"""Signs of life of what takes long: a bar where a person watches, and a line now and then where nobody does.

They come from a thread, so that something is also told while a single step, a first batch or a disk takes its time.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Never, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from jomold_dist.config_reporting import LogConfig
from jomold_dist.times import duration

logger = logging.getLogger(__name__)

T = TypeVar("T")
REDRAW_SECONDS = 1.0


class Task:
    """Something that takes long: `done` of `total` units, or of unknown length (None). `ends` names what ends with it,
    and what so many units after it."""

    def __init__(
        self,
        title: str,
        total: int | None,
        unit: str,
        done: int,
        describe: Callable[[], str],
        ends: Mapping[str, int] | None = None,
    ) -> None:
        self.title, self.total, self.unit, self.done, self.describe = title, total, unit, done, describe
        self._ends = {} if ends is None else ends
        self.bar: tqdm[Never] | None = None
        self._first, self._begun = done, time.monotonic()
        self._moved = self._begun

    def more(self, count: int = 1) -> None:
        """So many more units are done."""
        self.done += count
        self._moved = time.monotonic()
        if self.bar is not None:
            later = [text for name, text in self._left(self._moved).items() if self._ends.get(name)]
            self.bar.set_postfix_str(", ".join(filter(None, (self.describe(), *later))), refresh=False)
            self.bar.update(count)

    def redraw(self) -> None:
        """Its bar, with the time that has passed, if it has one that is still there."""
        if self.bar is not None:
            with self.bar.get_lock():
                if not self.bar.disable:
                    self.bar.refresh(nolock=True)

    def text(self, titles: str, now: float, moved_since: float) -> str:
        """How far it is; if nothing has moved since a moment, for how long it has been where it is."""
        if self.total is None:
            return f"{titles}: still at work, {duration(now - self._begun)} so far"
        at = f"{self.done:,} of {self.total:,}"
        if self._moved <= moved_since or self.done == self._first:
            begun = f"still in {self.unit} {min(self.done + 1, self.total):,} of {self.total:,}"
            return f"{titles}: {begun}, for {duration(now - self._moved)}"
        told = self.describe()
        return f"{titles}: {self.unit} {at}{', ' if told else ''}{told}; {', '.join(self._left(now).values())}"

    def _left(self, now: float) -> dict[str, str]:
        """When it ends, and what ends with or after it, if all units take as long as those before."""
        if self.total is None or self.done == self._first:
            return {}
        a_unit, left = (now - self._begun) / (self.done - self._first), self.total - self.done
        if not self._ends:
            return {"": f"{duration(a_unit * left)} left"}
        return {name: f"{name} ends in {duration(a_unit * (left + more))}" for name, more in self._ends.items()}


class Watch:
    """Tells what this process is doing. A context manager: its thread ends with it.

    With `every_seconds`, a line every so many seconds; where stderr is a terminal, bars, and lines only of what has no
    known length. None says nothing at all: what the ranks other than 0 have. Tasks may lie within each other; the
    innermost is told, with all titles.
    """

    def __init__(self, every_seconds: float | None) -> None:
        self._every = every_seconds
        self._bars = every_seconds is not None and sys.stderr is not None and sys.stderr.isatty()
        self._tasks: list[Task] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        if self._every is not None:
            self._thread = threading.Thread(target=self._tell, name="watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def task(
        self,
        title: str,
        total: int | None = None,
        unit: str = "step",
        done: int = 0,
        describe: Callable[[], str] = str,
        ends: Mapping[str, int] | None = None,
    ) -> Iterator[Task]:
        """Something that takes long, for the length of the block, which calls `more` of what is yielded. What
        `describe` returns is told with it, from another thread; `ends`: see Task."""
        task = Task(title, total, unit, done, describe, ends)
        self._tasks.append(task)
        with ExitStack() as stack:
            stack.callback(self._tasks.remove, task)
            if self._bars and total is not None:
                stack.enter_context(logging_redirect_tqdm())
                desc = self._titles(self._tasks)
                task.bar = stack.enter_context(tqdm(total=total, initial=done, desc=desc, unit=unit, leave=False))
            yield task

    def over(self, items: Iterable[T], total: int, title: str, unit: str = "batch") -> Iterator[T]:
        """The items; each is done when the next one is asked for."""
        with self.task(title, total, unit) as task:
            for item in items:
                yield item
                task.more()

    def where(self) -> str:
        """Where this process is, for another thread: the titles of what it does, and how far the innermost is."""
        tasks = self._tasks.copy()
        if not tasks:
            return "between two tasks"
        titles, at = self._titles(tasks), tasks[-1]
        return titles if at.total is None else f"{titles}: {at.unit} {min(at.done + 1, at.total)} of {at.total}"

    def _tell(self) -> None:
        """The thread."""
        assert self._every is not None
        pause = min(self._every, REDRAW_SECONDS) if self._bars else self._every
        told, waited = time.monotonic(), 0.0
        while not self._ended.wait(pause):
            tasks = self._tasks.copy()
            for task in tasks:
                task.redraw()
            waited += pause
            if waited < self._every:
                continue
            now, waited = time.monotonic(), 0.0
            if tasks and tasks[-1].bar is None:
                logger.info("%s", tasks[-1].text(self._titles(tasks), now, told))
            told = now

    @staticmethod
    def _titles(tasks: list[Task]) -> str:
        return ", ".join(task.title for task in tasks)


@contextmanager
def progress(title: str, total: int, unit: str = "video") -> Iterator[Callable[[int], object]]:
    """For a command with a single long task: yields what is to be called with how many more of `total` are done."""
    with Watch(LogConfig().every_seconds) as watch, watch.task(title, total, unit) as task:
        yield task.more
    logger.info("%s: %d of %d %ss", title, task.done, total, unit)


def lines_on_stderr() -> None:
    """Lines of this package as they are, and others' warnings, for a command with a single long task."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("jomold_dist").setLevel(logging.INFO)
