"""Which commit a folder's checkout is at, and whether its files were changed since."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 2.0  # a large checkout on a slow disk is not worth more of a run's start


@dataclass(frozen=True)
class GitState:
    """A checkout: its folder, the commit and branch (empty where HEAD is detached) that it is at, and how many of the
    files that git knows were changed since."""

    root: str
    commit: str
    branch: str
    changed_files: int


def git_state(folder: Path) -> GitState | None:
    """The state of the checkout that the folder belongs to; None where there is none, no commit, no git, or no answer
    in time."""
    # no lock that would disturb a command of the user's, and no program that the checkout's own settings name
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder)]
    root = _said([*command, "rev-parse", "--show-toplevel"])
    if root is None:
        return None
    lines = _said([*command, "status", "--porcelain=v2", "--branch", "--untracked-files=no"])
    if lines is None:
        return None
    told = dict(line[2:].split(" ", 1) for line in lines.splitlines() if line.startswith("# ") and " " in line[2:])
    commit, branch = told.get("branch.oid", ""), told.get("branch.head", "")
    if not commit or commit.startswith("("):  # "(initial)"
        return None
    changed = sum(not line.startswith("#") for line in lines.splitlines())
    return GitState(root.strip(), commit, "" if branch.startswith("(") else branch, changed)


def _said(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
