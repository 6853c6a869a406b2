"""launchers/ray_train.py on a Ray cluster of two nodes, both of which are on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from clusters_help import Job, job_of
from conftest import Finished, Tiny
from launchers_help import ENVIRONMENT, ROOT, command, processes_naming

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
    """The process that started `jomold start` with this word: an actor."""
    processes = [psutil.Process(pid) for pid in processes_naming(job.folder)]
    (found,) = [p for p in processes if word in p.cmdline() and p.cmdline()[3] == "start"]
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
        assert "run.dir = 'runs/run': relative to this job's copy" in job.said


def test_a_submitted_sweep_needs_a_folder_that_lasts(ray_cluster: str, tiny: Tiny, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "sweep.yaml").write_text(
        yaml.safe_dump({"base": str(tiny.config), "sweep": {"variants": {"han": {"method": "han"}}}})
    )
    job = json.dumps({"runtime_env": {"working_dir": str(copy)}})
    done = subprocess.run(
        command("python", "sweep", "--config", "sweep.yaml"),
        cwd=copy,
        env=ENVIRONMENT | {"RAY_ADDRESS": ray_cluster, "RAY_JOB_CONFIG_JSON_ENV_VAR": job},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert f"error: sweep.dir {copy}/runs/sweeps/sweep is in this job's copy of the working directory" in done.stderr
    assert [path.name for path in copy.iterdir()] == ["sweep.yaml"]


def test_a_run_is_recorded_where_the_command_was_started(ray_cluster: str, tiny: Tiny, tmp_path: Path) -> None:
    """With a URI that is relative to the command's folder, and that the nodes' environment does not have."""
    with job_of(tiny, tmp_path) as job:
        job.arguments += ["tracking.enabled=true", "method=han"]
        ray_train(
            job, ray_cluster, "--nodes=1", MLFLOW_TRACKING_URI=f"sqlite:///{os.path.relpath(tmp_path, ROOT)}/m.db"
        )
        assert job.end() == [0], job.said
        notes = json.loads((job.folder / "mlflow.json").read_text())
        assert notes["uri"] == f"sqlite:///{tmp_path}/m.db"


def test_a_node_that_lacks_a_package_is_told(ray_cluster: str, tiny: Tiny, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "safetensors"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('there is no such thing here')")
    environment = {"runtime_env": {"env_vars": {"PYTHONPATH": str(broken.parent)}}}
    with job_of(tiny, tmp_path) as job:
        ray_train(job, ray_cluster, "--nodes=2", RAY_JOB_CONFIG_JSON_ENV_VAR=json.dumps(environment))
        assert job.end() == [1], job.said
        assert "error: the ranks cannot be started: ImportError: there is no such thing here" in job.said
        assert "Traceback" not in job.said


ONE_NODE = """
import sys
from pathlib import Path
import ray
from jomold_dist.ray_cluster import joined_cluster
from jomold_dist.ray_nodes import Node, Signals, follow
from jomold_dist.config_files import load_config
file, run, port = sys.argv[1:]
torchrun = ["--nnodes=1", "--nproc-per-node=1", "--node-rank=0", "--master-addr=127.0.0.1", f"--master-port={port}"]
signals = Signals()
with joined_cluster():
    actor = ray.remote(Node).remote()
    ray.get(actor.start.remote(Path(file).read_text(), run, torchrun, {}))
    sys.exit(follow([actor], signals, load_config(Path(file))))
"""


def test_a_port_that_is_taken_meanwhile_is_told(ray_cluster: str, tiny: Tiny, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        words = [str(tiny.config), str(tmp_path / "run"), str(taken.getsockname()[1])]
        done = subprocess.run(
            [sys.executable, "-c", ONE_NODE, *words],
            env=ENVIRONMENT | {"RAY_ADDRESS": ray_cluster},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1, done.stderr
    assert "error: a port that was free has been taken in the meantime; the same command takes another" in done.stderr


def test_the_template_for_kubernetes_is_consistent() -> None:
    from jomold_dist.commands.ray_train import parser

    job = yaml.safe_load((ROOT / "launchers" / "templates" / "rayjob.yaml").read_text())["spec"]
    program, name, *words = shlex.split(job["entrypoint"])
    assert (program, name) == ("jomold", "ray-train")
    asked = parser().parse_args(words)
    (workers,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert workers["replicas"] == asked.nodes
    assert int(limits["nvidia.com/gpu"]) == asked.ranks_per_node
    assert int(limits["cpu"]) == asked.ranks_per_node * asked.cpus_per_rank
