"""The name by which an encoder is opened again, from what its description says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jomold_dist.extraction.encoding.encoders import KINDS, EncoderName

OF_THE_HUB = ("clip", "clap", "dino")  # kinds whose models may be named as in the hub: AUTHOR/MODEL


def encoder_name(description: Mapping[str, Any]) -> EncoderName | None:
    """What an encoder that describes itself so was opened by. Its `model` is "" where that was a folder or a file,
    which lies elsewhere on each machine. None for a kind that is not known here."""
    kind, name = str(description.get("kind", "")), str(description.get("name", ""))
    if kind not in KINDS:
        return None
    options = {
        "raw": kind in ("clip", "clap") and not description.get("unit_norm"),
        "pca": kind == "vggish" and "whitened" in description and not description.get("quantised"),
        "quantised": kind == "vggish" and bool(description.get("quantised")),
        "16": kind == "r2plus1d" and description.get("frames_per_clip") == 16,
    }
    named = kind in OF_THE_HUB and "/" in name
    return EncoderName(kind, frozenset(option for option, is_on in options.items() if is_on), name if named else "")


def encoder_text(name: EncoderName, model: str) -> str:
    """KIND[+OPTION…]:MODEL."""
    return f"{'+'.join([name.kind, *sorted(name.options)])}:{model}"
