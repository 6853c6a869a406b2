"""What training reports to: a small protocol, so that training knows no tracking library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

Cell = str | int | float | None


class Recorder(Protocol):
    """Receives what a run has to tell. Only rank 0 has one that does anything; no method is a collective."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Everything recorded inside belongs to the stage `name` (a nested run)."""
        ...

    def finished(self, name: str) -> None:
        """The stage `name` was finished by an earlier start, which may not have lived to record it."""
        ...

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at one step (an epoch's number in our loops)."""
        ...

    def table(self, name: str, columns: Mapping[str, Sequence[Cell]]) -> None:
        """A table, column by column, kept as an artifact `name`."""
        ...

    def artifact(self, path: Path) -> None:
        """Keep a file of the run's folder."""
        ...

    def model(self, path: Path) -> None:
        """Keep the best model, given as the weights file that `models.weights.load_model` reads."""
        ...


class NullRecorder:
    """Records nothing: for the ranks other than 0, and for a run without tracking."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def finished(self, name: str) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        pass

    def table(self, name: str, columns: Mapping[str, Sequence[Cell]]) -> None:
        pass

    def artifact(self, path: Path) -> None:
        pass

    def model(self, path: Path) -> None:
        pass
