"""The learning rate of each step."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from pathlib import Path

import pytest

from jomold_dist.config import Config, TrainConfig
from jomold_dist.errors import RunFolderError
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.schedule import learning_rate

GRID = list(itertools.product((1, 2, 7, 25), (1, 3, 79), (0.0, 0.5, 1.0, 2.5)))  # epochs, steps, epochs of warm-up


def rates(steps: int, **train: object) -> list[float]:
    config = TrainConfig(**train)  # type: ignore[arg-type]
    return [learning_rate(config, step, steps) for step in range(config.epochs * steps)]


@pytest.mark.parametrize("decay", [0.25, 0.1, 1.0])
@pytest.mark.parametrize("every", [1, 6, 100])
def test_by_default_the_rate_decays_every_few_epochs_and_is_the_same_within_one(decay: float, every: int) -> None:
    found = rates(5, epochs=25, lr_decay=decay, lr_decay_epochs=every)
    assert found == [5e-4 * decay ** (epoch // every) for epoch in range(25) for _ in range(5)]  # bit for bit


@pytest.mark.parametrize(("epochs", "steps", "warmup"), GRID)
def test_every_schedule_warms_up_and_stays_within_the_full_rate(epochs: int, steps: int, warmup: float) -> None:
    for schedule in ("step", "cosine", "constant"):
        plain = rates(steps, epochs=epochs, schedule=schedule)
        found = rates(steps, epochs=epochs, schedule=schedule, lr_warmup_epochs=warmup)
        assert all(0 < rate <= 5e-4 for rate in found), schedule
        for step, rate in enumerate(found):
            if step + 1 >= warmup * steps and schedule != "cosine":
                assert rate == plain[step]
            if step + 1 < warmup * steps:
                assert rate <= (step + 1) / (warmup * steps) * 5e-4 * (1 + 1e-12)


@pytest.mark.parametrize(("epochs", "steps", "warmup"), GRID)
def test_a_cosine_falls_from_the_full_rate_to_nearly_nothing(epochs: int, steps: int, warmup: float) -> None:
    found = rates(steps, epochs=epochs, schedule="cosine", lr_warmup_epochs=warmup)
    after = [rate for step, rate in enumerate(found) if step >= warmup * steps]
    assert after == sorted(after, reverse=True)
    if len(after) > 20:
        assert after[0] > 0.99 * 5e-4
        assert after[-1] < 0.01 * 5e-4
        assert after[len(after) // 2] == pytest.approx(2.5e-4, rel=0.1)


def test_a_constant_rate_stays() -> None:
    assert set(rates(3, epochs=30, schedule="constant")) == {5e-4}


def test_the_number_of_epochs_decides_where_it_is_in_every_rate(tmp_path: Path) -> None:
    """A run that has grown under a cosine is another training than one that was as long from its start."""

    def config(**train: object) -> Config:
        return Config(train=TrainConfig(**train))  # type: ignore[arg-type]

    for schedule in ("step", "cosine", "constant"):
        short, longer = config(schedule=schedule, epochs=10), config(schedule=schedule, epochs=25)
        same = rates(4, epochs=10, schedule=schedule) == rates(4, epochs=25, schedule=schedule)[:40]
        assert (short.digest == longer.digest) == same
        folder = RunFolder(tmp_path / schedule)
        with folder.claimed(short, "0"):
            pass
        with nullcontext() if same else pytest.raises(RunFolderError) as refused:
            folder.check(longer, "0")
        if refused is not None:
            assert "train.epochs was 10 and is 25 (with train.schedule = cosine, each learning" in str(refused.value)
