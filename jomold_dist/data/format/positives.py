"""Lists of positives per category as JSON text, a shard a list, without a Python object a number.

A set of ten million videos in 20,000 shards has ten million such numbers. As Python lists they take hundreds of
megabytes and seconds to read and to write; here they go from text to arrays and back directly.

Legend: C categories.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import numpy as np

# A quote inside a JSON string has a backslash before it; a list holds none, so a search ends where the next begins.
_LIST = re.compile(rb'(?<!\\)"positives"\s*:\s*\[([^\[\]"]*)\]')
_CHARACTERS = b"0123456789, \t\r\n"
MOST_LISTS = 1 << 20  # a shard each: ten million videos have 20,000
_CHUNK = 256  # lists that are written at once
_TABLE = 1 << 16  # numbers whose text is kept: a shard of two billion videos may hold any


def cut_out_positives(text: bytes) -> tuple[bytes, list[np.ndarray]]:
    """A manifest's text with its n-th list of positives replaced by the number n, and the lists, int32 (C,) each.

    ValueError if a list holds anything but whole numbers from 0 to 2³¹ − 1, or if there are more than MOST_LISTS.
    """
    lists: list[np.ndarray] = []

    def keep(match: re.Match[bytes]) -> bytes:
        lists.append(_numbers(match[1]))
        if len(lists) > MOST_LISTS:
            raise ValueError(f"it has more than {MOST_LISTS} lists of positives")
        return b'"positives": %d' % (len(lists) - 1)

    return _LIST.sub(keep, text), lists


def positives_texts(lists: Sequence[np.ndarray]) -> Iterator[str]:
    """The JSON text of each list, as `json.dumps` writes it. All lists are of one length."""
    most = max((int(numbers.max(initial=0)) for numbers in lists), default=0)
    if most >= _TABLE:
        yield from (json.dumps(numbers.tolist()) for numbers in lists)
        return
    words = np.array([f"{number}, ".encode() for number in range(most + 1)])  # shorter ones end in zero bytes
    for start in range(0, len(lists), _CHUNK):
        chunk = np.stack(lists[start : start + _CHUNK])
        for row in words[chunk].view(np.uint8):
            yield f"[{row[row > 0].tobytes()[:-2].decode()}]"


def _numbers(text: bytes) -> np.ndarray:
    """The numbers between the brackets of a JSON list, int32."""
    if not text.strip():
        return np.zeros(0, dtype=np.int32)
    try:
        numbers = np.fromstring(text.decode(), dtype=np.int64, sep=",")
    except ValueError:  # UnicodeDecodeError, or numpy met something else than numbers and commas
        numbers = np.zeros(0, dtype=np.int64)
    if text.translate(None, _CHARACTERS) or len(numbers) != text.count(b",") + 1 or numbers.max() >= 1 << 31:
        raise ValueError(f"a list of positives holds other than counts: {text[:40].decode(errors='replace')!r}")
    return numbers.astype(np.int32)
