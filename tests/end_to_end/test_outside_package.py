"""A network and a method in a file of somebody's, outside the package: trained on two ranks, resumed, and used."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Tiny
from launchers_help import ENVIRONMENT, ROOT, command

MODULE = '''
"""A linear network of both modalities, and a method that forgets the labels of the largest audio losses, and counts the
videos that it has learnt from."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from jomold_dist.distributed.world import sum_over_ranks
from jomold_dist.methods.base import Choice, Mask, Method, Targets
from jomold_dist.methods.registry import register_method
from jomold_dist.models.network import FeatureSizes, Network, Parsing
from jomold_dist.training.trained import Trained


class Outputs(NamedTuple):
    segments: Tensor  # (B, T, 2, C)
    spread: Tensor  # (B,)


class Linear(Network):
    own_terms = ("spread",)

    def __init__(self, num_classes: int, feature_sizes: FeatureSizes, scale: float = 1.0) -> None:
        super().__init__()
        self.arguments = {"num_classes": num_classes, "feature_sizes": vars(feature_sizes), "scale": scale}
        self.audio = nn.Linear(feature_sizes.audio, num_classes)
        self.frames = nn.Linear(feature_sizes.frames, num_classes)

    def form(self) -> dict[str, Any]:
        return self.arguments

    def finish(self, begun: dict[str, Tensor]) -> Outputs:
        audio = begun["audio"].to(self.audio.weight.dtype)
        frames = begun["frames"].to(self.audio.weight.dtype).unflatten(1, (audio.shape[1], -1)).mean(2)
        segments = torch.stack([self.audio(audio), self.frames(frames)], dim=2).sigmoid()
        return Outputs(segments, segments.flatten(1).var(1))

    def parsing(self, outputs: Outputs) -> Parsing:
        audio, visual = outputs.segments.amax(1).unbind(1)
        return Parsing((audio + visual) / 2, audio, visual, outputs.segments)

    def terms(self, outputs: Outputs, loss: Any) -> dict[str, Tensor]:
        return {"spread": outputs.spread}


@register_method("quietest")
class Quietest(Method):
    columns = 1
    masks = (Mask("loud", 0),)
    removes = True
    both_modalities = True
    seen = 0  # of this rank, since all ranks' were counted together; of rank 0, also those

    @classmethod
    def stages(cls, config: Any) -> tuple[Trained, ...]:
        return (Trained("train", cls),)

    def score(self, network: Network, begun: Any, outputs: Any) -> tuple[Tensor, ...]:
        return network.rank(begun, False)

    def columns_of(self, *scored: Tensor) -> Tensor:
        return -scored[0].log().unsqueeze(1)

    def choose(self, rows: Any, moment: Any) -> Choice:
        loudest = rows.columns[:, 0].masked_fill(~rows.valid, -torch.inf).argsort(stable=True)[-2:]
        audio = torch.zeros_like(rows.valid).index_fill(0, loudest, True)
        candidates = torch.zeros(1, len(self.manifest.categories), dtype=torch.int64)
        return Choice(audio.unsqueeze(0), candidates)

    def targets(self, batch: Any, labels: Tensor, removed: Tensor, moment: Any) -> tuple[Targets, ...]:
        return super().targets(batch, labels, torch.cat([removed, torch.zeros_like(removed)]), moment)

    def remember(self, batch: Any, columns: Tensor, rows: Any, moment: Any) -> None:
        assert len(columns) == int(batch.labels.sum())
        self.seen += len(batch.keys)

    def state(self, world: Any) -> dict[str, np.ndarray]:
        total = int(sum_over_ranks(torch.tensor(self.seen), world))
        self.seen = total if world.is_main else 0
        return {"seen": np.array(total)}

    def load_state(self, state: Any, world: Any) -> None:
        self.seen = int(state["seen"]) if world.is_main else 0
'''


def start(folder: Path, *words: str | Path, launcher: str = "deepspeed") -> subprocess.CompletedProcess[str]:
    """A command of somebody who works where the module lies."""
    script, *arguments = words
    return subprocess.run(
        command(launcher, str(script), *arguments),
        env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_it_trains_resumes_and_predicts(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    run = tmp_path / "run"
    settings = (
        "--config", tiny.config, f"run.dir={run}", "--import", "mine", "method=quietest",
        "model.network=mine:Linear", "model.options={scale: 2.0}", "train.precision=float32",
        "train.engine=deepspeed", "deepspeed.zero_stage=2",
    )  # fmt: skip
    first = start(tmp_path, "train", *settings, "train.epochs=1")
    assert first.returncode == 0, first.stderr
    done = start(tmp_path, "train", *settings)
    assert done.returncode == 0, done.stderr
    assert "going on in epoch 2, after step 0 of 3" in done.stderr + done.stdout
    total = json.loads((run / "removals.json").read_text())["total"]
    assert {name: (entry["modality"], entry["removed"]) for name, entry in total.items()} == {
        "loud": ("audio", 2 * 3 * 2)
    }
    assert {row["modality"] for row in csv.DictReader((run / "removed_labels.csv").open())} == {"loud"}
    assert ", loud " in done.stdout
    newest = max((run / "checkpoints").glob("model-*"))
    assert np.load(newest / "memory.npz")["seen"] == 2 * len(tiny.videos["train"])
    tool = [sys.executable, str(ROOT / "tools" / "compare_runs.py"), str(run)]
    compared = subprocess.run(tool, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert compared.returncode == 0, compared.stderr
    assert ", loud " in compared.stdout
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert all("train/loss_spread" in line for line in history)

    used = start(
        tmp_path, "predict", "--run", run, "--shards", tiny.shards, "--out", tmp_path / "e.csv", launcher="python"
    )
    assert used.returncode == 0, used.stderr
    assert (tmp_path / "e.csv").stat().st_size

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lost = start(elsewhere, "evaluate", "--run", run, launcher="python")
    assert lost.returncode == 2
    assert "'mine' cannot be imported" in lost.stderr
    assert "PYTHONPATH" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_the_example_of_the_readme_runs(tiny: Tiny, tmp_path: Path) -> None:
    blocks = (ROOT / "README.md").read_text().split("```python\n# ignore_removed.py\n")[1:]
    (tmp_path / "ignore_removed.py").write_text(blocks[0].split("```")[0])
    settings = ("method=ignore_removed:IgnoreRemoved", "train.epochs=1", "estimator.epochs=1")
    run = tmp_path / "run"
    found = start(tmp_path, "train", "--config", tiny.config, f"run.dir={run}", *settings, launcher="python")
    assert found.returncode == 0, found.stderr
    assert json.loads((run / "removals.json").read_text())["total"]["visual"]["removed"] > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("class Mine: pass", "'Mine' in {file} is no Method"),
        ("x = 1 / 0", "'mine' cannot be imported: ZeroDivisionError: division by zero ({file}:1)"),
        ("import sys; sys.exit(3)", "'mine' cannot be imported: SystemExit: 3 ({file}:1)"),
        ("", "there is no class 'Mine' in {file}"),
    ],
)
def test_what_is_wrong_with_it_is_one_message(content: str, message: str, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(content)
    found = start(
        tmp_path, "train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}", "method=mine:Mine", launcher="python"
    )
    assert found.returncode == 2
    assert message.format(file=os.path.realpath(tmp_path / "mine.py")) in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "run").exists()
