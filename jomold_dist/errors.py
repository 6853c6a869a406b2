"""The errors a user can meet, and the exit codes they lead to. Each message says what, where, the value seen, and what
to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SUCCESS, FAILURE, USER_ERROR = 0, 1, 2
PREEMPTED = 75  # EX_TEMPFAIL: what a scheduler may requeue on


class UserError(Exception):
    """A mistake that the user can mend. Launchers print the message and exit with 2, without a traceback."""

    agreed = False  # set where all ranks are known to raise it together


class ConfigError(UserError):
    """One or more settings are wrong. The message lists every problem found."""


class DataError(UserError):
    """Annotations, features, shards or a manifest are not what they should be. `problems` tells each by itself."""

    def __init__(self, *problems: str) -> None:
        super().__init__(join_problems(list(problems)))
        self.problems = problems

    def __reduce__(self) -> tuple[type[DataError], tuple[str, ...]]:
        """Raised again by another process with its problems, and not with the text that they were joined to."""
        return type(self), self.problems


class RunFolderError(UserError):
    """A run's folder does not belong to this run, or cannot be used."""


class UnreadableError(UserError):
    """A file is there, and the system does not hand it out (see `reading.py`). It is no DataError: nothing is known to
    be wrong with the file."""


class NonFiniteError(Exception):
    """A feature or a gradient is not finite. Raised on every rank at the same step; launchers exit with 1."""

    agreed = True


class StoppedError(Exception):
    """A rank was asked to stop. Raised on every rank at the same step; launchers exit with 75."""

    agreed = True


class LostRankError(Exception):
    """Another rank has died, has left with an error of its own, or hangs. Each rank that notices raises it by itself;
    launchers exit with 1.
    """

    told = False  # whether the log has it


def exit_code(error: BaseException) -> int:
    """What a command that ends with this error exits with."""
    if isinstance(error, StoppedError):
        return PREEMPTED
    return USER_ERROR if isinstance(error, UserError) else FAILURE


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the known name closest to `name`, or an empty string if none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def join_problems(problems: list[str], limit: int = 20) -> str:
    """One message for several problems: each on its own line, at most `limit` of them and then a count."""
    if len(problems) == 1:
        return problems[0]
    lines = [f"{len(problems)} problems:"] + [f"  - {p}" for p in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  … and {len(problems) - limit} more")
    return "\n".join(lines)


def raise_together(problems: list[str]) -> None:
    """DataError with all problems in one message, if there are any."""
    if problems:
        raise DataError(*problems)
