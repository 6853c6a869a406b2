"""The network behind a path, also of a run that goes on training meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from jomold_dist.errors import DataError, UnreadableError
from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork
from jomold_dist.models.registry import form_of
from jomold_dist.models.weights import WeightsInfo, save_model
from jomold_dist.training import checkpoint
from jomold_dist.training.checkpoint import Checkpoint, check_checkpoint, checkpoint_name, write_checkpoint
from jomold_dist.training.loading import find_weights, load_found
from tests.unreadable import unreadable

SIZES = FeatureSizes(audio=2, frames=3, motion=None)


@pytest.fixture(scope="module")
def network() -> HybridAttentionNetwork:
    return HybridAttentionNetwork(num_classes=1, feature_sizes=SIZES)


def write(folder: Path, epoch: int, network: HybridAttentionNetwork) -> Path:
    info = WeightsInfo(("a",), 2, 1.0, SIZES, form_of(network), {"epoch": str(epoch)})
    content = Checkpoint(network.state_dict(), None, {}, {}, {}, {"owner": {}})
    name = checkpoint_name("model", epoch, 0)
    return write_checkpoint(folder / "checkpoints", name, content, lambda path, w: save_model(path, network, info, w))


@pytest.mark.parametrize("stale", [False, True])
def test_a_checkpoint_that_is_removed_while_it_is_looked_at(
    stale: bool, tmp_path: Path, network: HybridAttentionNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run has written the next one. A network file system may call the old one's files stale."""
    old = write(tmp_path, 1, network)

    def check(place: Path) -> frozenset[str]:
        if place == old:
            write(tmp_path, 2, network)
            shutil.rmtree(old)
            if stale:
                raise UnreadableError(os.strerror(errno.ESTALE))
        return check_checkpoint(place)

    monkeypatch.setattr(checkpoint, "check_checkpoint", check)
    _, info, weights = load_found(tmp_path)
    assert info.notes == {"epoch": "2"}
    assert weights == tmp_path / "checkpoints" / checkpoint_name("model", 2, 0) / "model.safetensors"


def test_what_cannot_be_read_is_not_called_absent(tmp_path: Path, network: HybridAttentionNetwork) -> None:
    place = write(tmp_path, 1, network)
    for path, broken in ((tmp_path, place / "model.safetensors"), (place, place / "state.json")):
        with unreadable(broken, errno.EACCES), pytest.raises(UnreadableError, match="Permission denied") as error:
            load_found(path)
        assert str(broken) in str(error.value)
    assert find_weights(place / "model.safetensors") == place / "model.safetensors"
    for path in (tmp_path / "none", tmp_path / "none" / "below"):
        with pytest.raises(DataError, match="is no weights file, checkpoint or run folder with a model in it"):
            load_found(path)
