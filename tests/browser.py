"""Pages in headless Chromium: what they complain of, what they ask for, and how they look.

The browser is told what to do over a pipe, in the DevTools protocol, so that nothing but Chromium has to be there.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--remote-debugging-pipe", "--hide-scrollbars"),
)
SECONDS = 60.0
WIDTHS = (400, 1400)
THEMES = ("light", "dark")


@dataclass
class Seen:
    """What came of opening a page."""

    complaints: list[str] = field(default_factory=list)
    """Errors and warnings in the console, refusals of the page's own policy among them."""
    requests: list[str] = field(default_factory=list)
    """What the page asked for beside itself and what lies in it."""
    overflow: int = 0
    """By how many pixels it is wider than the window."""


class Browser:
    """A Chromium that is running."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = os.fdopen(reads, "rb"), os.fdopen(writes, "wb")
        self._number, self._events, self._rest = 0, [], b""  # type: tuple[int, list[dict[str, Any]], bytes]
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, width: int = 1400, theme: str = "light") -> Seen:
        """Opens a page in a window of this width."""
        self._events.clear()
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self._call("Page.navigate", url=page.resolve().as_uri())
        self._await("Page.loadEventFired")
        seen = Seen(overflow=self.evaluate("document.documentElement.scrollWidth - innerWidth"))
        for event in self._events:
            told = event["params"]
            if event["method"] == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                seen.complaints.append(told["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                seen.complaints.append(json.dumps(told["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
                seen.complaints.append(json.dumps(told["args"]))
            elif event["method"] == "Network.requestWillBeSent":
                url = told["request"]["url"]
                if not url.startswith("data:") and url.partition("#")[0] != page.resolve().as_uri():
                    seen.requests.append(url)
        return seen

    def screenshot(self) -> bytes:
        """A PNG of the whole page that is open."""
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def evaluate(self, expression: str) -> Any:
        """The value of a script's expression on the page that is open."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if hasattr(self, "_session") and not method.startswith("Target."):
            message["sessionId"] = self._session
        self._writes.write(json.dumps(message).encode() + b"\0")
        self._writes.flush()
        while (answer := self._next()).get("id") != self._number:
            self._events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def _await(self, method: str) -> None:
        while not any(event.get("method") == method for event in self._events):
            self._events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._reads.read1(1 << 20)  # type: ignore[attr-defined]
            assert piece, "Chromium has ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium of its own; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs Chromium: none of {', '.join(NAMES)} is on the PATH")
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        theirs, ours = zip(*(_pipe_ends(reading) for reading in (True, False)), strict=True)
        # Chromium reads commands from descriptor 3 and answers on 4
        shell = f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
        words = ["bash", "-c", shell, "bash", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            words, pass_fds=theirs, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        for end in theirs:
            os.close(end)
        watchdog = time.monotonic() + SECONDS
        try:
            yield Browser(ours[1], ours[0])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(max(watchdog - time.monotonic(), 5.0))


def _pipe_ends(theirs_reads: bool) -> tuple[int, int]:
    """Their end and ours of a pipe; theirs is clear of the descriptors that it is to become."""
    reads, writes = os.pipe()
    theirs, ours = (reads, writes) if theirs_reads else (writes, reads)
    high = fcntl.fcntl(theirs, fcntl.F_DUPFD, 10)
    os.close(theirs)
    return high, ours
