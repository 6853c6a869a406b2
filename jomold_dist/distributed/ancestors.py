"""Whether the launcher that started this rank is still there.

The `deepspeed` command dies alone at a SIGTERM: the process below it, `deepspeed.launcher.launch`, and the ranks go on
as orphans. A rank cannot be told, so it looks whether its ancestors are those that it began with.
"""

from __future__ import annotations

import os
from contextlib import suppress

import psutil


class Launcher:
    """The processes from this one up to the command that started it, as they are now."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}  # of this process and, below deepspeed, of its parent
        if not {"TORCHELASTIC_RUN_ID", "CROSS_SIZE"} & os.environ.keys():
            return  # started by hand, or by something that takes its processes along; whoever did may go
        parent = os.getppid()
        self._parents[os.getpid()] = parent
        if _runs_deepspeed_launch(parent):
            self._parents[parent] = _parent(parent)
        self._gone = any(_adopted(child, parent) for child, parent in self._parents.items())

    def gone(self) -> bool:
        """Whether one of them has ended since, or had ended before this process looked first."""
        if not self._parents or self._gone:
            return bool(self._parents)
        self._gone = any(_parent(child) != parent for child, parent in self._parents.items())
        return self._gone


def _parent(pid: int) -> int:
    """-1 where the process has gone."""
    if pid == os.getpid():
        return os.getppid()
    with suppress(psutil.Error):
        return psutil.Process(pid).ppid()
    return -1


def _runs_deepspeed_launch(pid: int) -> bool:
    with suppress(psutil.Error):
        return "deepspeed.launcher.launch" in psutil.Process(pid).cmdline()
    return False


def _adopted(child: int, parent: int) -> bool:
    """Whether the parent cannot have started the child, so that the one who did has gone.

    Launchers start their processes in their own session; an orphan's new parent, which is the first process of the
    machine or a service manager, is of another one. A child that leads a session tells nothing.
    """
    if parent < 0:
        return True
    with suppress(OSError):
        return os.getsid(parent) != os.getsid(child) != child
    return False
