"""What README and docs show to type: their fenced blocks, and the commands in these as a shell would start them.

The shell itself reads a block, with its loops, globs, comments and continued lines; every program that the docs name is
in its PATH as a small script that writes its words down and does nothing.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("jomold", "python", "torchrun", "deepspeed", "make", "pip", "mlflow", "curl", "sbatch", "ray")
SCRIPTS = (
    "launchers/templates/torchrun.sh",
    "launchers/templates/deepspeed.sh",
    "tools/check_gpu.sh",
)
RECORDER = r"""#!/bin/sh
{{ for word in "{name}" "$@"; do printf '%s\0' "$word"; done; printf '\n\0'; }} >> "{record}"
"""
SAME = {"bash": "sh", "shell": "sh"}
FENCE = re.compile(r"^ *```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(?P<text>[^`\n]+(?:\n[^`\n]+)?)`")


@dataclass(frozen=True)
class Block:
    """A fenced block. A language that is not named is the shell's."""

    file: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Shown:
    """A command, and where it is shown."""

    place: str
    words: tuple[str, ...]


def blocks(root: Path) -> list[Block]:
    """All of them, the README's first: a stranger reads it first, and what it makes is there for the others."""
    files = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))]
    found = []
    for file in (file for file in files if file.exists()):
        text = file.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            language = match["language"] or "sh"
            found.append(Block(file.relative_to(root).as_posix(), line, SAME.get(language, language), match["text"]))
    return found


def spans(root: Path) -> list[Shown]:
    """Commands within the text: what stands in `…` and begins with a program's name."""
    found = []
    for file in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        text = FENCE.sub(lambda match: "\n" * match[0].count("\n"), file.read_text(encoding="utf-8"))
        for match in SPAN.finditer(text):
            typed = match["text"].partition(" > ")[0]
            words = tuple(shlex.split(typed)) if typed.split()[:1] and typed.split()[0] in PROGRAMS else ()
            if len(words) > 1:
                place = f"{file.relative_to(root).as_posix()}:{text.count(chr(10), 0, match.start()) + 1}"
                found.append(Shown(place, words))
    return found


class Shell:
    """A shell in a folder, whose programs write down how they are called."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder, self._record, self._programs = folder, scratch / "record", scratch / "programs"
        self._programs.mkdir()
        places = {name: self._programs / name for name in PROGRAMS} | {name: folder / name for name in SCRIPTS}
        for name, path in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(RECORDER.format(name=name, record=self._record))
            path.chmod(0o755)

    def commands(self, block: Block) -> list[Shown]:
        """What the block starts, in this order. It may use nothing but the programs that are known."""
        self._record.write_bytes(b"")
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", block.text], cwd=self._folder, capture_output=True, text=True,
            env={"PATH": str(self._programs)}, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, f"{block.file}:{block.line}: {done.stderr}"
        calls = self._record.read_bytes().decode().split("\n\0")[:-1]
        return [Shown(f"{block.file}:{block.line}", tuple(call.split("\0")[:-1])) for call in calls]
