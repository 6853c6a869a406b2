"""PURE: the colours of pages and figures, in a light and a dark theme: one meaning, one colour.

Each can be read as text on both of its theme's backgrounds (contrast of 4.5 and more), and those that stand for
something are told apart by people who see no red, no green or no blue (Okabe and Ito 2008 show what to look for).
"""

from __future__ import annotations

MEANINGS = ("audio", "visual", "truth", "good", "bad")
"""What a colour stands for: the two modalities, what is known to be so, and what went well or ill."""

LIGHT = {
    "page": "#ffffff", "panel": "#f5f6f8", "line": "#d9dce1", "ink": "#1b1e24", "muted": "#565d68",
    "audio": "#3150d0", "visual": "#ac5b02", "truth": "#65137f", "good": "#00814d", "bad": "#8e0814",
}  # fmt: skip
DARK = {
    "page": "#14161a", "panel": "#1d2025", "line": "#3a3f48", "ink": "#e8eaee", "muted": "#a3abb8",
    "audio": "#5592fb", "visual": "#fbaf2a", "truth": "#d1c6ff", "good": "#71f0c2", "bad": "#ff585e",
}  # fmt: skip
BACKGROUNDS = ("page", "panel")
