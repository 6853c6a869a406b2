"""A file system without file locks, as a real process meets it: a library before libc's flock answers like one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Tiny
from launchers_help import ENVIRONMENT, command

NO_FLOCK = "#include <errno.h>\nint flock(int file, int operation) { errno = ENOSYS; return -1; }\n"


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_run_that_cannot_lock_its_folder_says_so_and_leaves_nothing(tiny: Tiny, tmp_path: Path) -> None:
    source, library, folder = tmp_path / "none.c", tmp_path / "none.so", tmp_path / "runs" / "one"
    source.write_text(NO_FLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    done = subprocess.run(
        command("python", "train", "--config", tiny.config, f"run.dir={folder}"),
        env=ENVIRONMENT | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1
    assert f"error: run.dir {folder} cannot be used: {folder}/.lock: this file system has no file locks" in done.stderr
    assert "(flock: Function not implemented); choose a folder on one that has them" in done.stderr
    assert "Traceback" not in done.stderr
    assert not folder.parent.exists()
