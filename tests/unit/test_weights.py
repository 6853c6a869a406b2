from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from jomold_dist.errors import DataError, UnreadableError
from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork
from jomold_dist.models.registry import form_of
from jomold_dist.models.weights import WeightsInfo, load_model, read_info, save_model, save_tensors
from tests.unreadable import unreadable

SIZES = FeatureSizes(audio=6, frames=8, motion=None)


def info_of(network: HybridAttentionNetwork) -> WeightsInfo:
    return WeightsInfo(("a", "b"), 4, 1.0, SIZES, form_of(network), {"epoch": "3"})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    network = HybridAttentionNetwork(num_classes=2, feature_sizes=SIZES, layers=2, temperature=0.3)
    save_model(tmp_path / "model.safetensors", network, info_of(network))
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_as_it_was(tmp_path: Path, dtype: torch.dtype) -> None:
    network = HybridAttentionNetwork(num_classes=2, feature_sizes=SIZES, layers=2, temperature=0.3).to(dtype).eval()
    save_model(tmp_path / "m.safetensors", network, info_of(network))
    again = load_model(tmp_path / "m.safetensors")
    features = torch.rand(3, 4, 6, dtype=dtype), torch.rand(3, 4, 8, dtype=dtype)
    for one, other in zip(network(*features), again(*features), strict=True):
        assert torch.equal(one, other)
    assert read_info(tmp_path / "m.safetensors") == info_of(network)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_damaged_files_are_named(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        metadata, state = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    lacking = {k: v for k, v in state.items() if k != "event_head.bias"}
    for tensors, notes, message in (
        (lacking, metadata, "is damaged: .*event_head.bias"),
        (state, metadata | {"network": "{"}, "is damaged"),
        (state, metadata | {"categories": '["a", "b", "c"]'}, "is damaged: a network of 2 categories, and names of 3"),
        (state, {}, "was not written by jomold_dist"),
    ):
        save_file(tensors, saved, notes)
        with pytest.raises(DataError, match=message) as error:
            load_model(saved)
        assert str(saved) in str(error.value)
    saved.write_bytes(saved.read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged"):
        load_model(saved)
    saved.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_info(saved)
    saved.mkdir()
    with pytest.raises(DataError, match="is no file of weights"):
        read_info(saved)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_is_not_called_damaged(saved: Path, number: int) -> None:
    for read in (read_info, load_model):
        with unreadable(saved, number), pytest.raises(UnreadableError, match=os.strerror(number)) as error:
            read(saved)
        assert str(saved) in str(error.value)


def test_a_file_whose_owner_keeps_it_to_himself(tmp_path: Path) -> None:
    """For safetensors there is no such file."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.safetensors"
        save_file({"a": torch.zeros(2)}, path)
        path.parent.chmod(0o755)
        path.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(UnreadableError, match=f"{path} cannot be read: Permission denied"):
                read_info(path)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o027, 0o077])
def test_files_have_the_mode_of_the_umask(tmp_path: Path, umask: int) -> None:
    network = HybridAttentionNetwork(num_classes=2, feature_sizes=SIZES)
    before = os.umask(umask)
    try:
        save_model(tmp_path / "model.safetensors", network, info_of(network))
        save_tensors(tmp_path / "optimizer.safetensors", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "model.safetensors": 0o666 & ~umask,
        "optimizer.safetensors": 0o666 & ~umask,
    }
