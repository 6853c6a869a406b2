"""Commands that wait for a Ray cluster which says nothing. No Ray is started."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import Tiny
from launchers_help import ENVIRONMENT, command


@pytest.mark.parametrize(
    ("script", "number"), [("sweep", signal.SIGTERM), ("ray_train", signal.SIGINT), ("ray_train", signal.SIGTERM)]
)
def test_who_waits_hears_signals(script: str, number: int, tiny: Tiny, tmp_path: Path) -> None:
    settings = {"base": str(tiny.config), "run": {"dir": str(tmp_path / "run")}}
    if script == "sweep":
        settings["sweep"] = {"dir": str(tmp_path / "sweep"), "variants": {"han": {"method": "han"}}}
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    options = ["--nodes=1", "--ranks-per-node=1"] if script == "ray_train" else []
    with socket.create_server(("", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            command("python", script, "--config", file, *options),
            env=ENVIRONMENT | {"RAY_ADDRESS": address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(120)
        link, _ = silent.accept()
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        link.close()
    name = signal.Signals(number).name
    assert (
        said == f"error: {name} while waiting for the Ray cluster at {address} (from RAY_ADDRESS); nothing was begun\n"
    )
    assert process.returncode == 75
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]
