"""File systems that do not hand out what is there."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


@contextmanager
def unreadable(path: Path, number: int = errno.EIO) -> Iterator[None]:
    """Inside the block the file cannot be opened, or the folder listed: with EIO, ESTALE, EACCES …"""

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(place: Any = ".", *arguments: Any, **options: Any) -> Any:
            if not isinstance(place, int) and os.path.abspath(place) == str(path):
                raise OSError(number, os.strerror(number), str(place))
            return call(place, *arguments, **options)

        return called

    with ExitStack() as stack:
        for where, name in ((io, "open"), (os, "listdir"), (os, "scandir")):
            stack.enter_context(mock.patch.object(where, name, failing(getattr(where, name))))
        yield
