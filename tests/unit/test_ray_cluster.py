"""Which Ray cluster is meant, and that one that does not answer is told within seconds. No Ray is started."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jomold_dist import ray_cluster
from jomold_dist.errors import ConfigError
from jomold_dist.ray_cluster import Named, joined_cluster, named_cluster, reason, refuse_silent

SETTINGS_FRAME = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None is named in the environment, nor by `ray start` on this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port on all of this machine's addresses, where connections are taken and, if not None, answered and closed."""
    with socket.create_server(("", 0)) as server:

        def serve() -> None:
            link, _ = server.accept()
            with link:
                link.recv(1000)
                link.sendall(answer or b"")

        thread = threading.Thread(target=serve, daemon=True)
        if answer is not None:
            thread.start()
        yield server.getsockname()[1]
        if answer is not None:
            thread.join()


def unused_port() -> int:
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_which_cluster_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert named_cluster("sweep.address", None) is None
    assert named_cluster("sweep.address", "auto") is None
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text("10.0.0.1:6379\n")
    assert named_cluster("sweep.address", None) == Named("10.0.0.1:6379", str(file))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert named_cluster(None, None) == Named("10.0.0.2:6379", "RAY_ADDRESS")
    assert named_cluster("sweep.address", "10.0.0.3:6379") == Named("10.0.0.3:6379", "sweep.address")
    assert named_cluster("sweep.address", "local") is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert named_cluster(None, None) is None


def test_a_file_that_cannot_be_read_names_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").symlink_to("/proc/self/mem")
    with pytest.raises(
        ConfigError, match="ray_current_cluster, which names this machine's Ray cluster, cannot be read"
    ):
        named_cluster(None, None)


def test_a_cluster_that_has_ended_is_told_with_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    port = unused_port()
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text(f"127.0.0.1:{port}")
    with pytest.raises(ConfigError) as error, joined_cluster("sweep.address"):
        pass
    parts = [f"127.0.0.1:{port}", f"from {file}", "Connection refused", "`ray stop`", "sweep.address=local"]
    assert all(part in str(error.value) for part in parts), error.value
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(ConfigError) as error, joined_cluster():
        pass
    assert all(part in str(error.value) for part in (parts[0], "correct or remove RAY_ADDRESS", "RAY_ADDRESS=local"))
    with pytest.raises(ConfigError) as error, joined_cluster("sweep.address", f"ray://127.0.0.1:{port}"):
        pass
    assert all(part in str(error.value) for part in (f"ray://127.0.0.1:{port}", "correct or remove sweep.address"))


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("nonsense", "is no address of a Ray cluster, as host:port or ray://host:port"),
        ("127.0.0.1:99999", "is no address of a Ray cluster"),
        ("http://127.0.0.1:8265", "is no address of a Ray cluster"),
        ("nowhere.invalid:6379", "nobody answers there"),
    ],
)
def test_an_address_that_cannot_be_right(address: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        refuse_silent(Named(address, "RAY_ADDRESS"), "RAY_ADDRESS=local")


def test_what_listens_must_answer_as_ray_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.5)
    cases = {
        None: "a process takes the connection but says nothing for 0.5 s",
        b"HTTP/1.1 400 Bad Request\r\n\r\n": "what answers there is no Ray",
        b"": "what answers there is no Ray",
        SETTINGS_FRAME: None,
    }
    for answer, problem in cases.items():
        with listening(answer) as port:
            named = Named(f"localhost:{port}", "RAY_ADDRESS")
            if problem is None:
                refuse_silent(named, "RAY_ADDRESS=local")
            else:
                with pytest.raises(ConfigError, match=problem):
                    refuse_silent(named, "RAY_ADDRESS=local")


def test_an_account_without_a_home_gives_its_own_cluster_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ray_cluster.AUTHENTICATION:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = ray_cluster.os.environ
    ray_cluster._give_token()
    assert "RAY_AUTH_TOKEN" not in environment
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray_cluster._give_token()
    assert "RAY_AUTH_TOKEN" not in environment
    monkeypatch.delenv("RAY_AUTH_MODE")
    ray_cluster._give_token()
    assert len(environment["RAY_AUTH_TOKEN"]) >= 32


def test_a_reason_is_one_line() -> None:
    cause = RuntimeError(
        "Failed\nTraceback (most recent call last):\n  File x\nray.exceptions.AuthenticationError: no token"
    )
    error = ConnectionError("cannot connect")
    error.__cause__ = cause
    assert reason(error) == "ray.exceptions.AuthenticationError: no token"
    assert reason(ConnectionError("The actor died.\n\tclass_name: Node")) == "The actor died."
    assert reason(ConnectionError()) == "ConnectionError"
