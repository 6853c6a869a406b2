"""The wheel away from a checkout: installed beside its dependencies, and used in an empty folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from wheel_help import ROOT, Installed

SMALL = ("estimator.epochs=1", "train.epochs=1", "train.batch_size=8", "distributed.device=cpu")
SHARDS = "data/quickstart/speech-neutral"  # where the config `quickstart` looks for them


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    installed = Installed(tmp_path_factory.mktemp("wheel"))
    installed.run("jomold", "simulate", "--scenario", "speech-neutral", "--videos", "16", "--out", SHARDS)
    return installed


LOOK = """
import sys, json, jomold_dist
from jomold_dist.shipped import shipped_names
found = {"torch": "torch" in sys.modules, "file": jomold_dist.__file__, "version": jomold_dist.__version__,
         "path": sys.path, "configs": shipped_names(), "used": jomold_dist.warmup_factor.__module__}
print(json.dumps(found))
"""


def test_what_is_imported_is_what_was_installed(wheel: Installed) -> None:
    found = json.loads(wheel.run("python", "-c", LOOK))
    assert Path(found["file"]).is_relative_to(wheel.libraries)
    assert not [place for place in found["path"] if place and Path(place).is_relative_to(ROOT) and ".venv" not in place]
    assert found["version"] == "0.1.0"
    assert not found["torch"]
    assert found["used"] == "jomold_dist.denoising.warmup"
    files = [path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")]
    assert found["configs"] == sorted(str(path.with_suffix("")) for path in files)
    assert wheel.run("jomold", "--version").startswith("jomold_dist 0.1.0, torch 2.")


def test_what_decodes_and_encodes_comes_with_the_extra_alone(wheel: Installed) -> None:
    (metadata,) = wheel.libraries.glob("jomold_dist-*.dist-info/METADATA")
    needed = re.findall(r"^Requires-Dist: ([\w.-]+)[^;\n]*(?:; (.*))?$", metadata.read_text(), re.MULTILINE)
    assert "torch" in {name for name, condition in needed if not condition}
    heavy = {name: condition for name, condition in needed if name in ("av", "transformers", "torchvision")}
    assert {"av", "transformers"} <= heavy.keys()
    assert {re.sub(r"[\s'\"]", "", condition) for condition in heavy.values()} == {"extra==extract"}


def test_training_scores_and_comparisons(wheel: Installed) -> None:
    """Each launcher by itself; what a sweep starts below goes through `jomold start`."""
    train = ("jomold_dist", "train", "--config", "quickstart")
    wheel.run("deepspeed", "--num_gpus=1", "--module", *train, "method=han", "run.dir=runs/han", *SMALL)
    quiet = ("run.dir=runs/jomold", "tracking.enabled=false", *SMALL)
    said = wheel.run("torchrun", "--standalone", "--nproc-per-node=2", "-m", *train, *quiet)
    assert "2 ranks" in said
    report = (wheel.folder / "runs/jomold/report.html").read_text()  # of templates that lie in the wheel
    assert "Simulated data" in report
    assert report.count('class="tl"') == 8
    assert "F-scores on test in percent, simulated data" in said
    wheel.run("jomold", "evaluate", "--run", "runs/jomold", "--split", "val")
    assert (wheel.folder / "runs/jomold/scores_val.json").exists()
    table = wheel.run("jomold", "compare", "runs/han", "runs/jomold")
    assert "| han" in table
    assert "| jomold" in table


def test_a_sweep(wheel: Installed) -> None:
    rows = ("sweep.seeds=[0]", "sweep.controls={}", "sweep.variants={han: {method: han}}", "tracking.enabled=false")
    wheel.run("jomold", "sweep", "--config", "sweeps/table2c", f"data.shards={SHARDS}", *rows, *SMALL)
    assert "| han" in (wheel.folder / "runs/sweeps/table2c/table.md").read_text()


@pytest.mark.slow
def test_the_quickstart(wheel: Installed) -> None:
    said = wheel.run("jomold", "quickstart", "--videos", "24", "--scenario", "llp")
    assert "$ jomold start deepspeed --quiet --num_gpus 2" in said
    assert "One seed on simulated data: no claim." in said
    assert (wheel.folder / "runs/quickstart/llp/true/scores.json").exists()
