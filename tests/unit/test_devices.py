"""Where ranks compute: the same for all of them, whatever the scheduler shows each."""

from __future__ import annotations

from dataclasses import asdict, replace
from json import dumps, loads

import pytest
import torch

from jomold_dist.distributed.devices import Choice, Sight, choose, device_of, from_json, look
from jomold_dist.errors import ConfigError


def node(host: str, first_rank: int, gpus: list[tuple[str, ...]], wanted: str | None = "auto") -> list[Sight]:
    """The ranks of a node, each with the GPUs that it sees."""
    return [Sight(first_rank + n, host, n, len(gpus), wanted, own) for n, own in enumerate(gpus)]


BOTH = ("a", "b")


def test_every_rank_takes_a_gpu_of_its_own() -> None:
    sights = node("one", 0, [BOTH, BOTH]) + node("two", 2, [BOTH, BOTH])
    assert choose(sights) == Choice("cuda")
    assert [device_of(s, Choice("cuda")) for s in sights] == [torch.device("cuda", n) for n in (0, 1, 0, 1)]


def test_ranks_that_are_shown_one_gpu_each_use_it() -> None:
    sights = node("one", 0, [("a",), ("b",)])
    assert choose(sights) == Choice("cuda")
    assert [device_of(s, Choice("cuda")) for s in sights] == [torch.device("cuda", 0)] * 2


def test_without_any_gpu_all_compute_on_cpus() -> None:
    sights = node("one", 0, [(), ()])
    assert choose(sights) == Choice("cpu")
    assert device_of(sights[1], Choice("cpu")) == torch.device("cpu")


def test_gpus_that_stay_idle_are_told() -> None:
    for shown in ([("a",), ("a",)], [BOTH, BOTH, BOTH]):
        choice = choose(node("one", 0, shown))
        assert choice.kind == "cpu"
        assert f"rank 0 on one sees {len(shown[0])} GPUs for {len(shown)} ranks" in choice.why


def test_a_node_whose_driver_has_failed_is_named() -> None:
    sights = node("good", 0, [BOTH, BOTH]) + node("bad", 2, [(), ()])
    with pytest.raises(ConfigError, match=r"only 2 of 4 ranks have a GPU.*rank 2 on bad sees 0 GPUs for 2 ranks.*cpu"):
        choose(sights)


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_rank_that_cannot_look_tells_all(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> None:
        raise RuntimeError("CUDA error: out of memory\nCompile with ...")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    blind = look(2, 0, 1, wanted)
    assert from_json(loads(dumps(asdict(blind)))) == blind
    said = rf"1 of 3 ranks cannot look.*rank 2 on {blind.host}: RuntimeError: CUDA error: out of memory Compile.*cpu"
    with pytest.raises(ConfigError, match=said):
        choose([*node("one", 0, [BOTH, BOTH], wanted), blind])
    assert choose([look(2, 0, 1, "cpu")]) == Choice("cpu")


def test_wanted_gpus_that_are_missing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'cuda' needs a GPU of its own.*rank 0 on one sees 1 GPUs for 2 ranks"):
        choose(node("one", 0, [("a",), ("a",)], "cuda"))
    assert choose(node("one", 0, [BOTH, BOTH], "cuda")) == Choice("cuda")


def test_ranks_with_other_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'cpu' on some ranks and 'cuda' on others"):
        choose(node("one", 0, [("a",)], "cuda") + node("two", 1, [()], "cpu"))


def test_a_rank_without_settings_meets_the_others_on_cpus() -> None:
    sights = node("one", 0, [BOTH, BOTH], "cuda")
    assert choose([sights[0], replace(sights[1], wanted=None, gpus=())]) == Choice("cpu")


def test_sights_travel_as_json() -> None:
    sight = node("one", 0, [BOTH])[0]
    assert from_json(loads(dumps(asdict(sight)))) == sight
