"""One optimizer batch gives the same removals, gradients and parameters however it is split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import STEPS, plain_config, take_steps, videos
from ranks import run_ranks

from jomold_dist.config import DenoiseConfig
from jomold_dist.config_methods import LargeLossConfig, MixtureConfig, SmallLossConfig, StaticLabels
from jomold_dist.distributed.world import World, open_world

KINDS = ("plain", "lonely", "ties")
SPLITS = {1: (24,), 2: (12, 4), 4: (3,), 3: (8,)}  # ranks -> micro-batches: 1×24×1, 2×12×1, 2×4×3, 4×3×2, 3×8×1


def small_loss(method: str, **settings: Any) -> dict[str, Any]:
    return {"method": method, "small_loss": SmallLossConfig(gradual_epochs=1.0, **settings)}


def scope(name: str, **settings: Any) -> dict[str, Any]:
    return {"denoise": replace(plain_config().denoise, scope=name, **settings)}


METHODS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> kind of batches, settings
    "han-original": ("lonely", {"method": "han", "model": replace(plain_config().model, gate="video")}),
    "static": (
        "lonely",
        {"method": "static", "denoise": DenoiseConfig(static_labels=StaticLabels(("b",), ("a", "c")))},
    ),
    "coteaching-plus": ("ties", small_loss("coteaching-plus", agreeing="keep")),
    "coteaching-plus-dropping": ("lonely", small_loss("coteaching-plus", agreeing="drop")),
    "coteaching": ("plain", small_loss("coteaching-plus", agreeing="rank")),
    "jocor": ("ties", small_loss("jocor")),
    "ma": ("lonely", {"method": "ma", "loss": replace(plain_config().loss, contrastive_form="sum_of_logs")}),
    "random": ("plain", {"method": "random"}),  # and `true`, which only marks other labels
    "mixture": ("lonely", {"method": "mixture"}),
    "mixture-soft": ("plain", {"method": "mixture", "mixture": MixtureConfig(targets="soft")}),
    "jomold-window": ("ties", scope("window", window_steps=2)),
    "jomold-window-intra": ("lonely", scope("window", rule="intra", window_steps=9)),
    "jomold-dataset": ("lonely", scope("dataset")),
    "jomold-dataset-intra": ("ties", scope("dataset", rule="intra")),
    "large-loss": ("ties", {"method": "large-loss", "large_loss": LargeLossConfig(0.3, 0.2, 0.3)}),
}
CASES = [*KINDS, *METHODS]


def every_case(world: World, micro_batches: tuple[int, ...]) -> dict[tuple[int, str], dict[str, Any]]:
    found = {(micro, kind): summed(take_steps(world, micro, kind)) for micro in micro_batches for kind in KINDS}
    for name, (kind, settings) in METHODS.items():
        for micro in micro_batches:
            taken = {"epochs": 2} if "dataset" in name else {"first": len(STEPS)}
            found[micro, name] = summed(take_steps(world, micro, kind, settings=settings, **taken))
    return found


def summed(found: dict[str, Any]) -> dict[str, Any]:
    """Sums of a few hundred neighbours for gradients and parameters, of which there would be gigabytes."""

    def sums(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(values, (0, -len(values) % 250)).view(-1, 250).sum(1)

    return found | {"gradients": [sums(g) for g in found["gradients"]], "parameters": sums(found["parameters"])}


@pytest.fixture(scope="module")
def one_rank() -> dict[str, dict[str, Any]]:
    with open_world("cpu") as world:
        return {case: found for (_, case), found in every_case(world, SPLITS[1]).items()}


def all_removed(ranks: list[dict[str, Any]], step: int) -> list[tuple[str, int, int]]:
    return sorted(label for rank in ranks for label in rank["removed"][step])


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_split_of_a_batch_gives_the_same_step(
    size: int, one_rank: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    results = run_ranks(every_case, size, tmp_path, SPLITS[size], timeout=300)
    assert {case for _, case in results[0]} == set(CASES)
    for micro, case in results[0]:
        whole, ranks = one_rank[case], [r[micro, case] for r in results]
        for step in range(3):
            assert all_removed(ranks, step) == all_removed([whole], step), (micro, case, step)
            for rank in ranks:
                error = (rank["gradients"][step] - whole["gradients"][step]).norm() / whole["gradients"][step].norm()
                assert float(error) < 1e-12, (micro, case, step)
        for name, kept in whole["kept"].items():
            if kept.dtype == np.int64:  # positions, categories, numbers of labels
                np.testing.assert_array_equal(ranks[0]["kept"][name], kept)
        for rank in ranks:
            tolerance = 1e-11 * (10 if "dataset" in case else 1)  # after twice as many steps
            torch.testing.assert_close(rank["parameters"], whole["parameters"], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("case", [case for case in CASES if case != "han-original"])
def test_something_is_taken_out_of_every_mask(case: str, one_rank: dict[str, dict[str, Any]]) -> None:
    masks = {mask for step in range(3) for _, mask, _ in one_rank[case]["removed"][step]}
    assert masks == set(range(4 if case.startswith("coteaching") else 2))


@pytest.mark.parametrize("name", ["window", "dataset"])
def test_of_a_skipped_step_nothing_is_kept(name: str) -> None:
    train = replace(plain_config().train, non_finite="skip", precision="float64")
    with open_world("cpu") as world:
        kept = take_steps(world, 24, poison=30, settings=scope(name) | {"train": train})["kept"]  # the second step
    labels = videos("plain")[1]
    if name == "window":
        assert kept["sizes"].tolist() == [int(labels[start:stop].sum()) for start, stop in (STEPS[0], STEPS[2])]
    else:
        assert set(kept["label"] % 67) == {n for n in range(67) if labels[n].any()} - set(range(*STEPS[1]))
        assert (kept["epochs"] == 1).all()


def poisoned(world: World) -> str:
    try:
        take_steps(world, 12, poison=30)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def test_a_value_that_is_not_finite_stops_every_rank_with_the_video_named(tmp_path: Path) -> None:
    messages = run_ranks(poisoned, 2, tmp_path)
    assert messages[0] == messages[1]
    assert messages[0].startswith("NonFiniteError: step 1: features of video video30 are not finite")
