"""Servers of shards on this machine: HTTP that can be told to misbehave, and a real S3 API."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest


class ShardServer(ThreadingHTTPServer):
    """Serves a folder over HTTP, also as a proxy for any host. Shares of the transfers are cut, altered or answered
    with 503, as a seed has it."""

    daemon_threads = True

    def __init__(self, folder: Path, drop: float = 0.0, corrupt: float = 0.0, busy: float = 0.0, seed: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.shares = folder, (drop, corrupt, busy)
        self.refused: int | None = None  # a status with which everything is answered
        self.delay = 0.0  # seconds before each chunk
        self.gets: Counter[str] = Counter()
        self.hosts: Counter[str] = Counter()  # that were asked for through this server as a proxy
        self.times: dict[str, float] = {}  # of the first request for each file
        self.mishaps: Counter[str] = Counter()
        self._random, self._lock = random.Random(seed), threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def note(self, name: str) -> str:
        """Counts a request; what is to go wrong with its answer."""
        with self._lock:
            self.gets[name] += 1
            self.times.setdefault(name, time.monotonic())
            draw, (drop, corrupt, busy) = self._random.random(), self.shares
            limits = {"drop": drop, "corrupt": drop + corrupt, "busy": drop + corrupt + busy}
            mishap = next((what for what, limit in limits.items() if draw < limit), "")
            if mishap:
                self.mishaps[mishap] += 1
            return mishap


class _Handler(BaseHTTPRequestHandler):
    server: ShardServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        asked = urlsplit(self.path)
        if asked.netloc:
            self.server.hosts[asked.netloc] += 1
        name = asked.path.lstrip("/")
        path = self.server.folder / name
        if self.server.refused or not path.is_file():
            self.send_error(self.server.refused or 404)
            return
        content = bytearray(path.read_bytes())
        mishap = self.server.note(name) if body else ""
        if mishap == "busy":
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if mishap == "corrupt":
            content[len(content) // 3] ^= 0x10
        if mishap == "drop":
            del content[len(content) // 2 :]
        for start in range(0, len(content), 1 << 16):
            time.sleep(self.server.delay)
            self.wfile.write(content[start : start + (1 << 16)])
        if mishap == "drop":
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving(folder: Path, **mishaps: float) -> Iterator[ShardServer]:
    with ShardServer(folder, **mishaps) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder's files in a bucket of a real S3 API: its URL. The environment holds endpoint and credentials."""
    import boto3
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()  # of this process, with the buckets of servers before this one
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket="shards")
        for path in (p for p in folder.rglob("*") if p.is_file()):
            client.upload_file(str(path), "shards", f"set/{path.relative_to(folder)}")
        yield "s3://shards/set"
    finally:
        server.stop()
        S3FileSystem.clear_instance_cache()  # those of this server, which the next one is not
