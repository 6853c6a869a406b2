"""A wheel of this checkout, installed into an environment of its own beside .venv's libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "jomold_dist", "configs")


class Installed:
    """An installed wheel: its Python, its programs, and an empty folder in which they are used."""

    def __init__(self, scratch: Path) -> None:
        """Builds and installs, without a network: what building needs is there."""
        self.folder = scratch / "empty"
        self.folder.mkdir()
        self.environment = scratch / "environment"
        wheel = build(scratch)
        venv.create(self.environment, symlinks=True)
        libraries = self.libraries / "libraries.pth"  # as such, .venv's own .pth files are not read: no checkout
        libraries.write_text(f"{sysconfig.get_path('purelib')}\n")
        pip(f"--python={self.environment / 'bin' / 'python'}", "install", "--no-deps", "--no-index", str(wheel))
        for name in ("torchrun", "deepspeed"):
            self._install_program(name)

    @property
    def libraries(self) -> Path:
        (found,) = self.environment.glob("lib/python*/site-packages")
        return found

    def run(self, name: str, *words: str, code: int = 0) -> str:
        """A program of the environment, as a user types it in a folder that has nothing to do with a checkout: what it
        printed, and said."""
        variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        variables |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        variables |= {"PATH": f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            [str(self.environment / "bin" / name), *words],
            cwd=self.folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, f"{name} {' '.join(words)}\n{done.stdout}"
        return done.stdout

    def _install_program(self, name: str) -> None:
        """Another package's program, which would start .venv's Python."""
        _, *lines = Path(sys.executable).with_name(name).read_text().splitlines()
        program = self.environment / "bin" / name
        program.write_text("\n".join([f"#!{self.environment / 'bin' / 'python'}", *lines, ""]))
        program.chmod(0o755)


def build(scratch: Path) -> Path:
    """The wheel, made of a copy: nothing is written into the checkout."""
    copy = scratch / "source"
    copy.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", f"--wheel-dir={scratch}", str(copy))
    shutil.rmtree(copy)
    (wheel,) = scratch.glob("*.whl")
    return wheel


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
