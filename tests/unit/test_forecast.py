"""What a run would do, against what loaders, files and plans really do."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jomold_dist.config import Config, DataConfig, DeepSpeedConfig, DenoiseConfig, TrainConfig
from jomold_dist.config_methods import EstimatorConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.reading.folds import folds_of
from jomold_dist.data.reading.loader import Loader
from jomold_dist.data.reading.resident import ResidentSplit, resident_bytes
from jomold_dist.denoising.exchange import own_rows, pack_rows, row_capacity, sent_bytes
from jomold_dist.denoising.label_probabilities import LabelProbabilities
from jomold_dist.denoising.removal import Rows
from jomold_dist.distributed.signals import Ask
from jomold_dist.models.registry import build_network
from jomold_dist.training.forecast import MemoryForecast, forecast
from jomold_dist.training.forecast_report import amount, forecast_report
from tests.shard_fixtures import write_dataset

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("forecast") / "set"
    return folder, write_dataset(folder, {"train": 600, "val": 5, "test": 9}, frames=400, videos_per_shard=40)[0]


def make_config(streams: int = 12, batch: int = 48, **train: object) -> Config:
    return Config(
        data=DataConfig(streams=streams, block=4, threads=2),
        train=replace(TrainConfig(batch_size=batch), **train),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("ranks", "rank"), [(1, 0), (2, 1), (6, 0)])
@pytest.mark.parametrize("resident", [False, True])
def test_read_ahead_is_what_a_loader_holds(
    manifest: tuple[Path, Manifest], ranks: int, rank: int, resident: bool, tmp_path: Path
) -> None:
    config = make_config()
    config = replace(config, data=replace(config.data, resident=resident))
    told = forecast(config, manifest[1], ranks).memory.read_ahead
    with Loader(
        *manifest, "train", batch_size=48, rank=rank, world=ranks, seed=0, streams=12, block=4, threads=2,
        resident=resident, cache=tmp_path,
    ) as loader:  # fmt: skip
        tracemalloc.start()
        for _ in loader.epoch(0):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert 0.4 * told < peak < told + 500_000  # beside the records: the plan, labels, keys


def test_resident_bytes_are_those_of_the_files(manifest: tuple[Path, Manifest], tmp_path: Path) -> None:
    for split in SPLITS:
        ResidentSplit(*manifest, split, tmp_path).close()
        files = [path for folder in tmp_path.glob(f"*-{split}") for path in folder.iterdir() if path.suffix != ".json"]
        assert sum(path.stat().st_size for path in files) == resident_bytes(manifest[1], split)


def test_what_ranks_read(manifest: tuple[Path, Manifest]) -> None:
    found = forecast(make_config(), manifest[1], 6)
    assert (found.videos_per_epoch, found.videos_per_step) == (100, 8)
    assert found.bytes_per_epoch == 100 * manifest[1].split("train").record.bytes
    assert found.bytes_per_step == 8 * manifest[1].split("train").record.bytes
    assert found.data_set == sum(path.stat().st_size for path in manifest[0].rglob("*.tar"))
    assert found.shards_of_pass == 3  # 100 videos, with shards of 40
    assert found.bytes_of_validation == manifest[1].split("val").record.bytes
    small = forecast(make_config(batch=10_000), manifest[1], 6)
    assert (small.videos_per_step, small.stages[0].steps_per_epoch) == (100, 1)


def test_an_estimator_of_another_batch_size_has_its_own_steps(manifest: tuple[Path, Manifest]) -> None:
    config = replace(make_config(batch=24), estimator=EstimatorConfig(batch_size=100))
    found = forecast(config, manifest[1], 1)
    assert {s.name: s.steps_per_epoch for s in found.stages} == {
        "estimator": 6, "noise_ratios": 6, "train": 25, "evaluation": 1
    }  # fmt: skip
    assert found.stages[0].sent == forecast(make_config(batch=100), manifest[1], 1).stages[0].sent
    both = [forecast(replace(config, method=method), manifest[1], 1) for method in ("han", "jomold")]
    assert both[0].memory.read_ahead < both[1].memory.read_ahead


@pytest.mark.parametrize("sums", [0, 1, 7])
@pytest.mark.parametrize("columns", [0, 1, 2, 3, 6])
def test_sent_bytes_are_those_of_the_packed_rows(columns: int, sums: int) -> None:
    capacity = row_capacity(25, 4, 7)
    assert capacity == 49
    nothing = torch.zeros(0, dtype=torch.int64)
    own = own_rows(torch.zeros(0, 3, dtype=torch.bool), nothing, capacity)
    values = torch.zeros(capacity, columns) if columns else None
    told = torch.zeros(sums, dtype=torch.float64)
    message = pack_rows(own, values, nothing.bool(), nothing, told, ask=Ask.NOTHING)
    assert message.nbytes == sent_bytes(capacity, columns, sums)


def memory_of(manifest: Manifest, ranks: int, stage: int | None = None, **train: object) -> MemoryForecast:
    config = make_config(**train)  # type: ignore[arg-type]
    if stage is not None:
        deepspeed = DeepSpeedConfig(zero_stage=stage)  # type: ignore[arg-type]
        config = replace(config, train=replace(config.train, engine="deepspeed"), deepspeed=deepspeed)
    return forecast(config, manifest, ranks).memory


def test_what_jomold_keeps_across_steps(manifest: tuple[Path, Manifest]) -> None:
    found = {}
    for scope in ("batch", "window", "dataset"):
        config = replace(make_config(), denoise=DenoiseConfig(scope=scope, window_steps=5))  # type: ignore[arg-type]
        found[scope] = forecast(config, manifest[1], 4)
        assert ("kept by the method" in forecast_report(found[scope], config, manifest[1])) == (scope != "batch")
    train = manifest[1].split("train")
    rows = 4 * row_capacity(48, 4, train.max_labels)
    whole = torch.zeros(rows, dtype=torch.int64)
    step = Rows(whole, whole, torch.zeros(rows, 2), whole > 0)
    kept = {scope: each.memory.kept for scope, each in found.items()}
    assert kept == {"batch": 0, "window": 4 * sum(c.nbytes for c in step), "dataset": 122 * int(train.positives.sum())}
    sent = {scope: each.stages[-2].sent for scope, each in found.items()}
    assert sent["dataset"] == 80 < sent["batch"] == sent["window"]  # a header with seven sums, and no rows


@pytest.mark.parametrize("method", ["mixture", "jomold"])
def test_what_probabilities_of_labels_take(method: str, manifest: tuple[Path, Manifest]) -> None:
    config = replace(make_config(), method=method, denoise=DenoiseConfig(ratios="mixture"))
    found, train = forecast(config, manifest[1], 4), manifest[1].split("train")
    labels = int(train.positives.sum())
    first = np.zeros(train.videos + 1, dtype=np.int64)
    held = LabelProbabilities(first, np.zeros((labels, 2), dtype=np.float32))
    assert found.memory.kept == (first.nbytes + held.probability.nbytes if method == "mixture" else 0)
    (last,) = (stage for stage in found.stages if stage.name == "presence")
    folds = [int(fold.count(np.array(train.videos))) for fold in folds_of(train.videos, 2)]
    assert last.steps == sum(-(-fold // config.estimator_batch_size) for fold in folds)


def test_memory_of_parameters_and_optimizer(manifest: tuple[Path, Manifest]) -> None:
    network = build_network(Config().model, manifest[1])
    size = sum(p.nbytes for p in network.parameters())
    optimizer = torch.optim.Adam(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = sum(tensor.nbytes for entry in optimizer.state.values() for tensor in entry.values())
    plain = memory_of(manifest[1], 4)
    assert (plain.parameters, plain.gradients, plain.optimizer) == (size, size, state)
    assert memory_of(manifest[1], 4, precision="float64").parameters == 2 * size
    assert memory_of(manifest[1], 4, precision="bf16").parameters == size  # parameters stay float32
    assert memory_of(manifest[1], 4, optimizer="sgd").optimizer == 0


def test_zero_shares_out_stage_by_stage(manifest: tuple[Path, Manifest]) -> None:
    plain = memory_of(manifest[1], 4)
    zero = [memory_of(manifest[1], 4, stage) for stage in range(4)]
    assert zero[0] == plain
    share = -(-plain.parameters // 4)
    assert all(found.optimizer == -(-plain.optimizer // 4) + share for found in zero[1:])
    assert [found.gradients for found in zero] == [plain.gradients] * 2 + [share] * 2
    assert [found.parameters for found in zero] == [plain.parameters] * 3 + [share]


def test_report_tells_of_caches_only_where_there_are_any(manifest: tuple[Path, Manifest]) -> None:
    for shards, resident in (("data/llp", False), ("s3://bucket/llp", True)):
        config = replace(Config(), data=DataConfig(shards=shards, resident=resident))
        text = forecast_report(forecast(config, manifest[1], 1), config, manifest[1])
        assert ("cache of a node" in text) == resident
        assert ("resident files" in text) == resident


@pytest.mark.parametrize(("method", "told"), [("jomold", True), ("jocor", True), ("random", False), ("han", False)])
def test_report_tells_what_a_batch_reaches_where_that_decides(
    method: str, told: bool, manifest: tuple[Path, Manifest]
) -> None:
    config = replace(Config(), method=method)
    text = forecast_report(forecast(config, manifest[1], 1), config, manifest[1])
    assert ("noisy categories that the ranking reaches" in text) == told


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (15_728_656, "15.7 MB"), (126_480_000_000, "126 GB")]
)
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text
