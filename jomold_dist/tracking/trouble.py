"""Trouble with MLflow never stops training or a sweep: it is told once, and from then on nothing is recorded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from jomold_dist.errors import StoppedError, UserError
from jomold_dist.secrets import blotted

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Trouble:
    """Whether there was trouble with the store at a URI, on any thread."""

    def __init__(self, uri: str) -> None:
        self._uri, self._lock = uri, threading.Lock()
        self.met = False

    def attempt(self, doing: str, action: Callable[[], T]) -> T | None:
        """The action's result; None, and a warning the first time, where MLflow fails or has failed before."""
        if self.met:
            return None
        try:
            return action()
        except Exception as error:
            self.tell(doing, error)
            return None

    def tell(self, doing: str, error: Exception) -> None:
        """The first trouble, and the last that is told."""
        with self._lock:
            first, self.met = not self.met, True
        if first:
            warn(self._uri, doing, error)


def warn(uri: str, doing: str, error: Exception) -> None:
    """The one warning about MLflow's trouble."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    logger.warning(
        "MLflow at %s: trouble while %s (%s); going on without it",
        blotted(uri), doing, blotted(" ".join(text.split()))[:500],
    )  # fmt: skip


def run_status(error: BaseException) -> str:
    """What MLflow is told of how a run ended: stopped on request, or failed."""
    if isinstance(error, SystemExit) and not error.code:
        return "FINISHED"
    asked = isinstance(error, StoppedError | KeyboardInterrupt) or not isinstance(error, Exception)
    return "KILLED" if asked else "FAILED"
