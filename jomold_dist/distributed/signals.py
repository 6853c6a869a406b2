"""What a rank asks of all others at the end of a step: rides along with the step's one collective."""

from __future__ import annotations

from enum import IntEnum


class Ask(IntEnum):
    """What a rank asks of all at the end of a step. The most urgent counts."""

    NOTHING = 0
    SAVE = 1
    """A checkpoint."""
    STOP = 2
    """A checkpoint, and to end."""
    FAIL = 3
    """To end with an error that the rank has met."""
