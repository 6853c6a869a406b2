"""steps.jsonl: a line for every so many optimizer steps of a run's trainings. Written by rank 0."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from jomold_dist.files import write_text
from jomold_dist.reading import parse_json

logger = logging.getLogger(__name__)


class StepFile:
    """The lines of one stage, behind those of others. Trouble with it is told once, and ends no training."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path, self._stage = path, stage
        self._file: TextIO | None = None
        self._in_trouble = False

    def begin_after(self, step: int) -> None:
        """Keep the stage's lines up to this step: what training goes on with will write the others again."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
            lines = text.splitlines(keepends=True)
            kept = [line for line in lines if not self._comes_again(line, step)]
            if kept != lines:
                write_text(self._path, "".join(kept))
        except OSError as error:
            self._give_up(error)

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """A line of this step."""
        if self._in_trouble:
            return
        try:
            if self._file is None:
                self._file = self._path.open("a", encoding="utf-8")
            self._file.write(json.dumps({"stage": self._stage, "step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Ends writing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _comes_again(self, line: str, step: int) -> bool:
        """Whether a line will be written again, or is none: a kill has cut it short, or a power cut has torn it."""
        try:
            found = parse_json(line)
            return bool(found["stage"] == self._stage and found["step"] > step)
        except (ValueError, KeyError, TypeError):
            return True

    def _give_up(self, error: OSError) -> None:
        self._in_trouble = True
        logger.warning("%s: %s; metrics of steps are not written there", self._path, error.strerror or error)
