"""launchers/ray_train.py on a Ray cluster of two nodes, both of which are on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from clusters_help import Job, job_of
from conftest import Finished, Tiny
from launchers_help import ROOT, processes_naming

pytestmark = pytest.mark.slow
TERM, KILL = signal.SIGTERM, signal.SIGKILL


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """A Ray cluster of two nodes with a CPU each: its address."""
    from ray.cluster_utils import Cluster as RayCluster

    nodes = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    try:
        yield nodes.address
    finally:
        nodes.shutdown()


def ray_train(job: Job, address: str, *options: str, **environment: str) -> None:
    command = [sys.executable, ROOT / "launchers" / "ray_train.py", "--ranks-per-node=1", *options]
    job.start(command, environments=[environment | {"RAY_ADDRESS": address}])


def test_a_ray_job_on_two_nodes(ray_cluster: str, finished_long: Finished, tiny: Tiny, tmp_path: Path) -> None:
    with job_of(tiny, tmp_path) as job:
        ray_train(job, ray_cluster, "--nodes=2")
        job.wait_for_training()
        job.processes[0].send_signal(TERM)
        assert job.end() == [75], job.said
        job.assert_preempted()
        assert "with a checkpoint; the same command goes on" in job.said
        ray_train(job, ray_cluster, "--nodes=2")
        assert job.end() == [0], job.said
        assert "estimator: going on in epoch" in job.said
        job.assert_same_as(finished_long)


@pytest.mark.parametrize("killed", ["driver", "actor"])
def test_a_ray_job_whose_driver_or_node_is_killed(killed: str, ray_cluster: str, tiny: Tiny, tmp_path: Path) -> None:
    with job_of(tiny, tmp_path) as job:
        ray_train(job, ray_cluster, "--nodes=2")
        job.wait_for_training()
        if killed == "driver":
            job.processes[0].kill()
            assert job.end() == [-KILL]
            job.assert_preempted()
        else:
            os.kill(parent_of_start(job, "--node-rank=1"), KILL)
            assert job.end() == [75], job.said
            assert "node 1 of 2 is lost" in job.said


def parent_of_start(job: Job, word: str) -> int:
    """The process that started launchers/start.py with this word: an actor."""
    processes = [psutil.Process(pid) for pid in processes_naming(job.folder)]
    (found,) = [p for p in processes if word in p.cmdline() and p.cmdline()[1].endswith("start.py")]
    return found.ppid()


@pytest.mark.parametrize(
    ("options", "override", "parts"),
    [
        ("--nodes=3 --wait-seconds=1", "train.epochs=2", ["1 CPU, 0 GPU on each of 3 different nodes", "with 1 CPU"]),
        ("--nodes=2 --wait-seconds=1", "distributed.device=cuda", ["1 CPU, 1 GPU on each of 2 different nodes"]),
        ("--nodes=2", "train.epoch=2", ["did you mean 'train.epochs'"]),
        ("--nodes=0", "train.epochs=2", ["0 is less than 1"]),
    ],
)
def test_a_ray_job_explains_itself(
    options: str, override: str, parts: list[str], ray_cluster: str, tiny: Tiny, tmp_path: Path
) -> None:
    with job_of(tiny, tmp_path) as job:
        job.arguments.append(override)
        ray_train(job, ray_cluster, *options.split())
        assert job.end() == [2], job.said
        assert all(part in job.said for part in parts), job.said
        assert not job.folder.exists()


def test_a_submitted_job_needs_a_folder_that_lasts(ray_cluster: str, tiny: Tiny, tmp_path: Path) -> None:
    """`ray job submit --working-dir` runs in a copy, and says so to the driver in this way."""
    copy = {"runtime_env": {"working_dir": str(tiny.config.parent)}}
    with job_of(tiny, tmp_path) as job:
        job.arguments.append("run.dir=runs/run")
        ray_train(job, ray_cluster, "--nodes=2", RAY_JOB_CONFIG_JSON_ENV_VAR=json.dumps(copy))
        assert job.end() == [2], job.said
        assert "run.dir = 'runs/run' is relative to this job's copy" in job.said


def test_the_template_for_kubernetes_is_consistent() -> None:
    from launchers.ray_train import parser

    job = yaml.safe_load((ROOT / "launchers" / "templates" / "rayjob.yaml").read_text())["spec"]
    python, script, *words = shlex.split(job["entrypoint"])
    assert (python, Path(script).name) == ("python", "ray_train.py")
    asked = parser().parse_args(words)
    (workers,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert workers["replicas"] == asked.nodes
    assert int(limits["nvidia.com/gpu"]) == asked.ranks_per_node
    assert int(limits["cpu"]) == asked.ranks_per_node * asked.cpus_per_rank
