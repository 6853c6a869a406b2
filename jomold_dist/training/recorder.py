"""What training reports to: a small protocol, so that training knows no tracking library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

Cell = str | int | float | None
STEP = "step/"
"""How the names of metrics begin whose step is an optimizer step; that of the others is an epoch."""


class Recorder(Protocol):
    """Receives what a run has to tell, beside what its folder holds at the end. Only rank 0 has one that does anything;
    no method is a collective."""

    def stage(self, name: str, of_model: bool = False) -> AbstractContextManager[None]:
        """Metrics recorded inside belong to the stage `name` (a nested run); `of_model`: it trains the network that is
        the run's result."""
        ...

    def finished(self, name: str) -> None:
        """The stage `name` was finished by an earlier start, which may not have lived to record it."""
        ...

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at one step (see STEP). Returns at once."""
        ...

    def table(self, name: str, columns: Mapping[str, Sequence[Cell]]) -> None:
        """A table, column by column, kept as an artifact `name`."""
        ...

    def model(self, path: Path) -> None:
        """Keep the best model, given as the weights file that `models.weights.load_model` reads."""
        ...


class NullRecorder:
    """Records nothing: for the ranks other than 0, and for a run without tracking."""

    def stage(self, name: str, of_model: bool = False) -> AbstractContextManager[None]:
        return nullcontext()

    def finished(self, name: str) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        pass

    def table(self, name: str, columns: Mapping[str, Sequence[Cell]]) -> None:
        pass

    def model(self, path: Path) -> None:
        pass
