"""Files shared out among processes, which are started with this module: it imports nothing that takes long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jomold_dist.extraction.jobs.processes import Processes


def _ends_at_bad(given: str, key: str, path: Path) -> str:
    """What a process does with a file."""
    if path.name == "bad":
        os._exit(9)
    return given + key


@pytest.mark.lengthy
def test_a_file_that_ends_its_process_is_given_up_and_no_other() -> None:
    processes = Processes(2)
    files = {key: Path(key) for key in ("one", "bad", "two", "three", "four")}
    try:
        done = dict(processes.each(_ends_at_bad, files, "done "))
    finally:
        processes.close()
    assert done == {key: None if key == "bad" else f"done {key}" for key in files}
