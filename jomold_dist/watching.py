"""Progress: a bar where a person watches, and a line now and then where not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

LINE_EVERY = 1000  # between two lines


def progress_bar(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
    """A bar on stderr where a person watches, nothing otherwise."""
    return tqdm(items, total=total, desc=description, leave=False, disable=not sys.stderr.isatty())


@contextmanager
def progress(name: str, total: int, unit: str = "video") -> Iterator[Callable[[int], object]]:
    """Yields what is to be called with how many more of `total` are done."""
    if sys.stderr.isatty():
        with logging_redirect_tqdm(), tqdm(total=total, desc=name, unit=unit) as bar:
            yield bar.update
        return
    done = 0

    def more(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        if done // LINE_EVERY > before // LINE_EVERY or done == total:
            sys.stderr.write(f"{name}: {done} of {total} {unit}s\n")
            sys.stderr.flush()

    yield more
