"""Which videos of a shard are damaged, and why: everything that the bytes of a record can tell.

Where a record has its checksum, a change of any one of its bits is found: tar headers have sums of their own, contents
have the CRC-32 of the video, and what fills up to a multiple of 512 bytes is zero.

Shapes: n videos, C categories, T segments.
"""

from __future__ import annotations

import json
import zlib
from itertools import pairwise
from typing import Any

import numpy as np

from jomold_dist.data.format.manifest import Manifest, SplitInfo
from jomold_dist.data.format.records import (
    DENSE,
    LABELS,
    MAX_KEY,
    NAME_FIELD,
    NPY_HEADER,
    OWNER_FIELD,
    TAR_BLOCK,
    RecordCheck,
    checksum_text,
    is_shard_key,
)

_SUM_FIELD = slice(148, 156)  # of a tar header: six octal digits, zero, space
_EXPONENT = {"float16": ("uint16", 0x7FFF, 0x7C00), "float32": ("uint32", 0x7FFFFFFF, 0x7F800000)}
_AT_ONCE = 1 << 20  # bytes of records that are looked at together: what is derived from them stays in the cache
_FORBIDDEN = np.array([not 32 < c < 127 or chr(c) in "./" for c in range(256)])


class VideoCheck:
    """Checks records of one split. It holds nothing but the layout, and threads can share it."""

    def __init__(self, manifest: Manifest, split: SplitInfo) -> None:
        self._manifest, self._split = manifest, split
        self._layout = RecordCheck(manifest, split)
        self._features = {f"{name}.npy": spec.dtype for name, spec in manifest.features.items()}
        self._contents: dict[str, slice] = {}  # of each member, its .npy header included
        for ending, member in split.record.members.items():
            start = member.offset if ending == LABELS else member.offset - NPY_HEADER
            self._contents[ending] = slice(start, member.offset + member.bytes)
        headers = [content.start - TAR_BLOCK for content in self._contents.values()]
        ends = [*headers[1:], split.record.bytes]
        self._fillings = [slice(c.stop, end) for c, end in zip(self._contents.values(), ends, strict=True)]

    def problems(self, records: np.ndarray) -> dict[int, str]:
        """What is wrong with records uint8 (n, record.bytes), C-contiguous, by row; a sound one is left out."""
        found: dict[int, str] = {}
        rows = max(1, _AT_ONCE // self._split.record.bytes)
        for first in range(0, len(records), rows):
            part = self._problems(records[first : first + rows])
            found.update({first + row: problem for row, problem in part.items()})
        return found

    def key(self, record: np.ndarray) -> str:
        """The key that most members of a record uint8 (record.bytes,) are named with, "" if none tells one."""
        votes: dict[str, int] = {}
        for ending, content in self._contents.items():
            header = content.start - TAR_BLOCK
            name = record[header : header + NAME_FIELD].tobytes().split(b"\0")[0].decode("ascii", "replace")
            key = name.removesuffix(f".{ending}")
            if key != name and is_shard_key(key):
                votes[key] = votes.get(key, 0) + 1
        return max(votes, key=lambda key: votes[key], default="")

    def has_checksum(self, records: np.ndarray) -> np.ndarray:
        """Whether each record tells its checksum, bool (n,); those of older data sets do not."""
        told: np.ndarray = records[:, OWNER_FIELD] != 0
        return np.asarray(told.any(axis=1))

    def bad_keys(self, records: np.ndarray) -> np.ndarray:
        """Whether records of a good layout have a key that no video may have: bool (n,)."""
        names = records[:, :NAME_FIELD]
        length = (names == ord(".")).argmax(axis=1)  # the layout is good: a dot ends the key
        inside = np.arange(NAME_FIELD) < length[:, None]
        return (inside & _FORBIDDEN[names]).any(axis=1) | (length > MAX_KEY)

    def _problems(self, records: np.ndarray) -> dict[int, str]:
        found: dict[int, list[str]] = {}

        def note(bad: np.ndarray, problem: str) -> None:
            for row in np.flatnonzero(bad).tolist():
                found.setdefault(row, []).append(problem)

        good = self._layout.good(records)
        note(~good, "its tar or .npy headers are not what the manifest says")
        note(good & self.bad_keys(records), "its key holds a character that a key may not hold")
        for ending, content in self._contents.items():
            note(good & _bad_sums(records, content.start - TAR_BLOCK), f"the tar header of {ending} is damaged")
        note(good & ~self._checksums_match(records), "its contents do not have its checksum")
        for ending, dtype in self._features.items():
            note(good & self._not_finite(records, ending, dtype), f"{ending} holds NaN or infinity")
        if self._split.dense:
            dense = records[:, self._contents[DENSE]][:, NPY_HEADER:]
            note(good & (dense > 1).any(axis=1), "dense.npy holds other values than 0 and 1")
        for row, problem in self._label_problems(records, good).items():
            found.setdefault(row, []).append(problem)
        bad_filling = np.zeros(len(records), dtype=bool)
        for filling in self._fillings:
            bad_filling |= records[:, filling].any(axis=1)
        note(good & bad_filling, "what fills its blocks is not zero")
        return {row: "; ".join(problems) for row, problems in sorted(found.items())}

    def _checksums_match(self, records: np.ndarray) -> np.ndarray:
        match = np.ones(len(records), dtype=bool)
        contents = list(self._contents.values())
        for row in np.flatnonzero(self.has_checksum(records)).tolist():
            record, crc = records[row].data, 0
            for content in contents:
                crc = zlib.crc32(record[content], crc)
            told = bytes(record[OWNER_FIELD]).rstrip(b"\0")
            match[row] = told == checksum_text(crc).encode()
        return match

    def _not_finite(self, records: np.ndarray, ending: str, dtype: str) -> np.ndarray:
        """NaN and infinity are the numbers with the largest exponent: compared as whole numbers, which is faster."""
        whole, magnitude, largest = _EXPONENT[dtype]
        values = records[:, self._contents[ending]][:, NPY_HEADER:].view(whole)
        most: np.ndarray = (values & np.array(magnitude, whole)).max(axis=1)
        return most >= largest

    def _label_problems(self, records: np.ndarray, good: np.ndarray) -> dict[int, str]:
        rows = np.flatnonzero(good).tolist()
        texts = [text.tobytes().rstrip() for text in records[:, self._contents[LABELS]][rows]]
        try:
            values = json.loads(b"[" + b",".join(texts) + b"]")  # one parse for all
        except (ValueError, RecursionError):
            values = []
        if len(values) != len(rows):  # at least one is damaged
            values = [_parsed(text) for text in texts]
        found = {row: self._label_problem(value) for row, value in zip(rows, values, strict=True)}
        return {row: problem for row, problem in found.items() if problem}

    def _label_problem(self, value: Any) -> str:
        labels = value.get("labels") if isinstance(value, dict) and len(value) == 1 else None
        if not isinstance(labels, list) or any(type(label) is not int for label in labels):
            return 'its label text is not {"labels": [indices]}'
        if labels and not 0 <= min(labels) <= max(labels) < len(self._manifest.categories):
            return f"its labels {labels} are not all in 0..{len(self._manifest.categories) - 1}"
        if any(a >= b for a, b in pairwise(labels)):
            return f"its labels {labels} are not sorted and distinct"
        if len(labels) > self._split.max_labels:
            return f"it has {len(labels)} labels, the manifest says at most {self._split.max_labels}"
        return ""


def _parsed(text: bytes) -> Any:
    """The JSON value of a text; None, as for null, if it has none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # also of bytes that are not UTF-8
        return None


def _bad_sums(records: np.ndarray, header: int) -> np.ndarray:
    """Whether the tar headers at `header` do not have the sum that they tell: bool (n,)."""
    block = records[:, header : header + TAR_BLOCK]
    told = block[:, _SUM_FIELD]
    total = block.sum(axis=1, dtype=np.int64) - told.sum(axis=1, dtype=np.int64) + 8 * ord(" ")
    digits = (total[:, None] >> np.arange(15, -1, -3)) & 7
    return (told[:, :6] != digits + ord("0")).any(axis=1) | (told[:, 6] != 0) | (told[:, 7] != ord(" "))
