"""PURE: how videos of a split may be picked."""

from __future__ import annotations

from typing import Literal, get_args

Pick = Literal["random", "worst", "differ"]
"""Any; those that the first run parses worst; those on which runs differ most."""
PICKS: tuple[Pick, ...] = get_args(Pick)
