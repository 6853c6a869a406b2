"""Runs on several nodes, from the templates of docs/clusters.md; here a node is a launcher process on this machine.

In place of SLURM there are small programs of the same names, which do what SLURM's manual says of the options in use.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from clusters_help import BASE, Job, job_of
from conftest import Finished, Tiny
from launchers_help import ROOT, free_port

TEMPLATES = ROOT / "launchers" / "templates"
TERM, KILL = signal.SIGTERM, signal.SIGKILL


def torchrun_nodes(job: Job, tmp_path: Path, nodes: int, **more: str) -> None:
    same = more | {"NODES": str(nodes), "RANKS": "1", "FIRST": "127.0.0.1", "PORT": free_port()}
    job.start(*[[TEMPLATES / "torchrun.sh"]] * nodes, environments=[same] * nodes)


def deepspeed_nodes(job: Job, tmp_path: Path, nodes: int) -> None:
    comment, *examples = (TEMPLATES / "hostfile").read_text().splitlines()
    assert examples == ["node-0 slots=8", "node-1 slots=8"]
    hostfile = tmp_path / "hostfile"
    hostfile.write_text("\n".join([comment, *["localhost slots=1", "127.0.0.1 slots=1"][:nodes]]) + "\n")
    same = {"HOSTFILE": str(hostfile), "PORT": free_port()}
    job.start(*[[TEMPLATES / "deepspeed.sh"]] * nodes, environments=[same | {"NODE": str(n)} for n in range(nodes)])


STARTS = {"torchrun": torchrun_nodes, "deepspeed": deepspeed_nodes}


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "nodes_after"), [("torchrun", 1), ("deepspeed", 2)])
def test_two_nodes_stop_together_and_go_on(
    launcher: str, nodes_after: int, finished_long: Finished, tiny: Tiny, tmp_path: Path
) -> None:
    """A signal at one node stops both; the run goes on with as many nodes or fewer, and ends as on one rank."""
    with job_of(tiny, tmp_path) as job:
        STARTS[launcher](job, tmp_path, 2)
        job.wait_for_training()
        job.processes[1].send_signal(TERM)
        assert job.end() == [75, 75], job.said
        job.assert_preempted()
        STARTS[launcher](job, tmp_path, nodes_after)
        assert job.end() == [0] * nodes_after, job.said
        assert "estimator: going on in epoch" in job.said
        job.assert_same_as(finished_long)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", list(STARTS))
def test_a_lost_node(launcher: str, finished_long: Finished, tiny: Tiny, tmp_path: Path) -> None:
    """The other node ends by itself, naming the ranks that are missing, and the run can be started again."""
    with job_of(tiny, tmp_path) as job:
        STARTS[launcher](job, tmp_path, 2)
        job.wait_for_training()
        lost = next(n for n, p in enumerate(job.processes) if "1" in map(rank_of, descendants(p.pid)))
        for process in [*descendants(job.processes[lost].pid), job.processes[lost]]:
            process.send_signal(KILL)
        codes = job.end()
        assert codes[1 - lost] == 1, job.said
        assert re.search(r"rank 1 \(host .*\) has", job.said), job.said
        assert job.state == "failed"
        STARTS[launcher](job, tmp_path, 2)
        assert job.end() == [0, 0], job.said
        job.assert_same_as(finished_long)


@pytest.mark.slow
def test_torchrun_restarts_a_lost_rank(finished_long: Finished, tiny: Tiny, tmp_path: Path) -> None:
    """... within the same job, given the two variables that docs/clusters.md names."""
    with job_of(tiny, tmp_path) as job:
        torchrun_nodes(job, tmp_path, 2, PET_MAX_RESTARTS="1", TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
        job.wait_for_training()
        (lost,) = [p for process in job.processes for p in descendants(process.pid) if rank_of(p) == "1"]
        lost.kill()
        assert job.end() == [0, 0], job.said
        assert re.search(rf"rank 1 \(host .*, pid {lost.pid}\) has", job.said), job.said
        job.assert_same_as(finished_long)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def rank_of(process: psutil.Process) -> str | None:
    return process.environ().get("RANK")


JOB_ID = "4711"
SRUN = """#!{python}
import os, subprocess, sys
words = sys.argv[1:]
while words[0].startswith("--"):
    words.pop(0)
tasks = range(int(os.environ["SLURM_JOB_NUM_NODES"]))
started = [subprocess.Popen(words, env=os.environ | {{"SLURM_PROCID": str(n), "SLURM_NODEID": str(n)}}) for n in tasks]
codes = [task.wait() for task in started]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
SCONTROL = """#!/bin/sh
case "$1 $2" in
  "show hostnames") test "$3" = "node-[0-1]" && printf '127.0.0.1\\nlocalhost\\n' ;;
  "requeue {job}") echo requeued >> {folder}/requeued ;;
  *) exit 1 ;;
esac
"""


class Slurm:
    """A job of two nodes, started as SLURM's daemon does: from a copy of the script, with its variables."""

    def __init__(self, job: Job, tmp_path: Path) -> None:
        self._job, self._folder = job, tmp_path
        self._script = shutil.copy(TEMPLATES / "slurm.sbatch", tmp_path / "slurm_script")
        text = self._script.read_text()
        self.options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?", text, re.MULTILINE))
        programs = tmp_path / "bin"
        programs.mkdir()
        for name, program in (("srun", SRUN), ("scontrol", SCONTROL)):
            (programs / name).write_text(program.format(python=sys.executable, job=JOB_ID, folder=tmp_path))
            (programs / name).chmod(0o755)
        self._environment = {
            "PATH": f"{programs}{os.pathsep}{BASE['PATH']}",
            "SLURM_JOB_ID": JOB_ID,
            "SLURM_JOB_NODELIST": "node-[0-1]",
            "SLURM_JOB_NUM_NODES": self.options["nodes"],
            "SLURM_SUBMIT_DIR": str(ROOT),
            "RANKS": "1",
        }

    def start(self) -> None:
        self._job.start(["bash", self._script], environments=[self._environment])

    def warn(self) -> None:
        """What --signal asks for: the signal to every process of the steps, or with B: to the batch shell."""
        target, _, number = self.options["signal"].partition("@")[0].rpartition(":")
        assert number == "TERM"
        shell = psutil.Process(self._job.processes[0].pid)
        (srun,) = shell.children()
        for process in [shell] if target == "B" else srun.children(recursive=True):
            with suppress(psutil.Error):
                process.send_signal(TERM)

    def cancel(self) -> None:
        """scancel: SIGTERM to everything (SIGKILL would follow half a minute later)."""
        shell = psutil.Process(self._job.processes[0].pid)
        for process in [shell, *shell.children(recursive=True)]:
            with suppress(psutil.Error):
                process.send_signal(TERM)

    @property
    def requeued(self) -> int:
        """How often; as SLURM would for a job that allows it."""
        assert "requeue" in self.options
        record = self._folder / "requeued"
        return len(record.read_text().splitlines()) if record.exists() else 0


@pytest.mark.slow
def test_slurm_requeues_a_preempted_run(finished_long: Finished, tiny: Tiny, tmp_path: Path) -> None:
    with job_of(tiny, tmp_path) as job:
        slurm = Slurm(job, tmp_path)
        slurm.start()
        job.wait_for_training()
        slurm.warn()
        assert job.end() == [75], job.said
        assert slurm.requeued == 1
        job.assert_preempted()
        slurm.start()
        assert job.end() == [0], job.said
        assert slurm.requeued == 1
        assert "estimator: going on in epoch" in job.said
        job.assert_same_as(finished_long)


@pytest.mark.slow
def test_slurm_requeues_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    with job_of(tiny, tmp_path) as job:
        slurm = Slurm(job, tmp_path)
        job.arguments.append("train.epoch=3")
        slurm.start()
        assert job.end() == [2], job.said
        assert "did you mean 'train.epochs'" in job.said
        job.arguments.pop()
        slurm.start()
        job.wait_for_training()
        slurm.cancel()
        assert job.end() == [-TERM], job.said
        job.assert_preempted()
        assert slurm.requeued == 0


def test_templates_are_well_formed() -> None:
    for script in [*TEMPLATES.glob("*.sh"), TEMPLATES / "slurm.sbatch"]:
        subprocess.run(["bash", "-n", script], check=True, timeout=20)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", script], check=True, timeout=60)
        assert os.access(script, os.X_OK), script
