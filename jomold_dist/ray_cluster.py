"""Joining a Ray cluster: the one that is named, once something there answers as Ray does, or one of this machine's own.

Ray itself tries for a quarter of an hour to reach a cluster that has gone, without a word, and deaf to signals.
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import RayError

from jomold_dist.command_line import say
from jomold_dist.errors import PREEMPTED, ConfigError

logger = logging.getLogger(__name__)

CONNECT_SECONDS, ANSWER_SECONDS, QUIET_SECONDS = 2.0, 10.0, 5.0
SETTINGS = 4  # the type, in byte 3, of the frame with which both sides of HTTP/2, and so of gRPC, begin
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0))
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Named:
    """The address of a cluster, and where it stands: in a setting, in RAY_ADDRESS, or in a file."""

    address: str
    source: str

    def __str__(self) -> str:
        return f"the Ray cluster at {self.address} (from {self.source})"


@contextmanager
def joined_cluster(setting: str | None = None, asked: str | None = None) -> Iterator[None]:
    """The cluster that `asked`, RAY_ADDRESS or `ray start` names; without one, this machine is a cluster.

    `setting` is what `asked` is the value of. ConfigError if the cluster does not answer or cannot be joined. SIGINT
    and SIGTERM end this process at once while it is being joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # failures are told by us, in a line
    named = named_cluster(setting, asked)
    with _signals_heard("Ray on this machine" if named is None else str(named), patient=named is None):
        if named is None:
            _give_token()
        else:
            refuse_silent(named, f"{setting or 'RAY_ADDRESS'}=local")
        try:
            ray.init(address=asked, include_dashboard=False, logging_level=logging.CRITICAL, log_to_driver=False)
        except (RayError, OSError, RuntimeError, ValueError) as error:
            what = "a Ray cluster cannot be started on this machine" if named is None else f"{named} cannot be joined"
            raise ConfigError(f"{what}: {reason(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


def named_cluster(setting: str | None, asked: str | None) -> Named | None:
    """The cluster that Ray is going to join; None where it will start one. ConfigError if that cannot be known."""
    address, source = asked, setting or ""
    if address in (None, "auto"):
        address, source = os.environ.get("RAY_ADDRESS"), "RAY_ADDRESS"
    if address in (None, "", "auto"):
        place = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))
        file = Path(place) / "ray" / "ray_current_cluster"  # what `ray start` leaves for others on this machine
        try:
            address, source = file.read_text(encoding="utf-8").strip(), str(file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}, which names this machine's Ray cluster, cannot be read: {error}") from None
    return None if address == "local" else Named(str(address), source)


def refuse_silent(named: Named, local: str) -> None:
    """ConfigError unless a server that speaks gRPC answers within seconds. `local` is the setting that needs none."""
    found = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d{1,5})", named.address)
    if found is None or int(found[2]) > 65535:
        raise ConfigError(f"{named.address!r} (from {named.source}) is no address of a Ray cluster, as host:port or "
                          f"ray://host:port; for this machine alone give {local}")  # fmt: skip
    host, port = found[1], int(found[2])
    if host in ("localhost", "127.0.0.1", "::1"):
        host = ray.util.get_node_ip_address()  # which is where Ray will look
    try:
        problem = _problem_of_server(host, port)
    except OSError as error:
        problem = f"nobody answers there: {error.strerror or error}"
    if problem is None:
        return
    advice = f"correct or remove {named.source}"
    if named.source.startswith("/"):
        advice = "`ray stop` forgets a cluster that has ended, RAY_ADDRESS names another"
    raise ConfigError(
        f"{named} cannot be joined: {problem}. Start it; or {advice}; or give {local} for this machine alone"
    )


def _problem_of_server(host: str, port: int) -> str | None:
    """What is wrong with what listens there. OSError if nothing does."""
    with socket.create_connection((host, port), CONNECT_SECONDS) as link:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return None
        link.settimeout(ANSWER_SECONDS)
        answer = b""
        try:
            link.sendall(HELLO)
            while len(answer) < 9 and (more := link.recv(9 - len(answer))):
                answer += more
        except TimeoutError:
            return f"a process takes the connection but says nothing for {ANSWER_SECONDS:g} s"
        return None if answer[3:4] == bytes((SETTINGS,)) else "what answers there is no Ray"


def _give_token() -> None:
    """A token for a cluster of this process's own where Ray could not keep one: in the user's home."""
    if any(name in os.environ for name in AUTHENTICATION):
        return
    home = os.path.expanduser("~")
    if not os.access(home, os.W_OK | os.X_OK):
        os.environ["RAY_AUTH_TOKEN"] = uuid.uuid4().hex


@contextmanager
def _signals_heard(what: str, patient: bool) -> Iterator[None]:
    """SIGINT and SIGTERM end this process at once, with a line, and a wait is told unless `patient`.

    Python's own handlers would have to wait until Ray returns. Nothing is lost, and what Ray has started notices.
    """
    wake, signals = os.pipe()
    os.set_blocking(signals, False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as a shell starts what it puts into the background
            signal.signal(number, lambda *_: None)
    earlier = signal.set_wakeup_fd(signals)
    ear = threading.Thread(target=_listen, args=(wake, what, patient), name="joining-signals", daemon=True)
    ear.start()
    try:
        yield
    finally:
        os.write(signals, b"\0")  # what came before it ends the process
        ear.join()
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():  # Ray has set its own
            signal.signal(number, handler)
        os.close(wake)
        os.close(signals)


def _listen(wake: int, what: str, patient: bool) -> None:
    while True:
        ready, _, _ = select.select([wake], [], [], None if patient else QUIET_SECONDS)
        if not ready:
            logger.warning("waiting for %s", what)
            patient = True
            continue
        (number,) = os.read(wake, 1)
        if number in (signal.SIGINT, signal.SIGTERM):
            say(f"{signal.Signals(number).name} while waiting for {what}; nothing was begun")
            os._exit(PREEMPTED)
        if number == 0:
            return


def reason(error: BaseException) -> str:
    """Why Ray could not do what it was asked, in a line."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    own = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]  # the last of a traceback
    return (own or lines[:1] or [type(error).__name__])[-1]


def working_copy() -> Path | None:
    """The copy of the working directory in which a submitted job runs, and which ends with it; None elsewhere."""
    return Path.cwd() if "working_dir" in ray.get_runtime_context().runtime_env else None
