"""Moments and durations as they are written."""

from __future__ import annotations

from datetime import datetime


def now_iso() -> str:
    """This moment as ISO 8601 has it, with the zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
