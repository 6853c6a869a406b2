"""How ranks find each other, and what is said where they do not."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ranks import free_port

from jomold_dist.distributed.environment import RankEnvironment
from jomold_dist.distributed.meeting import meet
from jomold_dist.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]

WAITING = """
import sys
from jomold_dist.distributed import meeting
from jomold_dist.distributed.environment import RankEnvironment
meeting.FIRST_WORD_SECONDS = 0.5
rank, port, seconds = map(int, sys.argv[1:])
try:
    meeting.meet(RankEnvironment(rank, 3, rank, 3, "127.0.0.1", port), seconds)
except KeyboardInterrupt:
    print("heard")
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def waiting(rank: int, seconds: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WAITING, str(rank), free_port(), str(seconds)]
    pipe = subprocess.PIPE

    def hear() -> None:  # a shell's job in the background is deaf to Ctrl-C, and so is what it starts
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear)


@pytest.mark.parametrize(("rank", "whom"), [(0, "for 2 of 3 ranks"), (1, "for rank 0")])
def test_who_waits_says_for_whom_and_gives_up_in_a_line(rank: int, whom: str) -> None:
    process = waiting(rank, 2)
    out, err = process.communicate(timeout=60)
    assert re.search(rf"^rank {rank} waits at 127\.0\.0\.1:\d+ .*{whom}.*Ctrl-C ends it$", err, re.MULTILINE), err
    assert "Traceback" not in err
    assert out.startswith(f"LostRankError: rank {rank} of 3 has not met the others at 127.0.0.1:")
    assert "2 s have passed (distributed.timeout_seconds)" in out
    assert "unset them to run one process" in out


def test_who_waits_hears_ctrl_c() -> None:
    process = waiting(0, 600)
    assert process.stderr is not None
    assert "waits at" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out == "heard\n"


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} of this machine is taken.*--master_port"):
            meet(RankEnvironment(0, 2, 0, 2, "127.0.0.1", port), 20)
