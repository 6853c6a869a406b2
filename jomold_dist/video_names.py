"""How videos are called: by a key, or by a name that tells from when to when the clip is, `<id>_<start>_<end>`.

Whoever cuts the times off and whoever keeps them have to find each other's videos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ID_LENGTH = 11  # of YouTube's ids
_TIMES = re.compile(r"(.+?)((?:_\d+){1,2})")


def key_id(key: str) -> str:
    """What stands in a key before `_<start>` or `_<start>_<end>`, or else the whole key. The 11 characters of a YouTube
    id before such times may end in the same way, and stay together."""
    if re.fullmatch(r"(_\d+){1,2}", key[ID_LENGTH:]):
        return key[:ID_LENGTH]
    match = _TIMES.fullmatch(key)
    return match[1] if match else key


class Names:
    """Names of videos, each of which is found by the key that others call it by."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_id: dict[str, str | None] = {}
        for name in self._names:
            number = key_id(name)
            self._by_id[number] = None if number in self._by_id else name  # of two clips neither is meant

    def find(self, key: str) -> str | None:
        """The name that is the key, or whose id it is, or that is the key's id. None if there is none, or several."""
        if key in self._names:
            return key
        if (name := self._by_id.get(key)) is not None:
            return name
        own = key_id(key)
        return own if own in self._names else None
