"""Files of a run folder, and of a user, that hold other than they say: one message, and no more memory than their
bytes account for."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jomold_dist import reading
from jomold_dist.denoising.noise_ratio import Predictions, read_noise_ratios, read_predictions, write_predictions
from jomold_dist.errors import DataError
from jomold_dist.reading import parse_json, read_arrays, read_json

NAMES = ("Speech", "Car", "Dog")


def ratios(path: Path) -> object:
    return read_noise_ratios(path, NAMES)


def write_samples(folder: Path) -> dict[str, Callable[[Path], object]]:
    """Files, by name, and what reads each."""
    columns = [torch.rand(4, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    write_predictions(folder / "predictions.npz", Predictions(torch.tensor([0, 1, 2, 0]), *columns))
    content: dict[str, Any] = {"audio": [0.5, 0.25, 1.0], "visual": [0.0, 0.125, 0.75], "categories": list(NAMES)}
    np.savez(folder / "ratios.npz", **content)
    np.savez_compressed(folder / "compressed.npz", **content)
    (folder / "ratios.json").write_text(json.dumps(content))
    of_ratios = ("ratios.npz", "compressed.npz", "ratios.json")
    return {"predictions.npz": read_predictions, **dict.fromkeys(of_ratios, ratios)}


def test_no_flipped_bit_is_more_than_a_message(tmp_path: Path) -> None:
    for name, read in write_samples(tmp_path).items():
        path, draw, said = tmp_path / name, random.Random(0), list[str]()
        whole = path.read_bytes()
        read(path)
        for _ in range(500):
            content = bytearray(whole)
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
            try:
                read(path)
            except DataError as error:
                said.append(str(error))
        assert len(said) > 250, name
        assert all(str(path) in text and "may be good" not in text for text in said)


def npy_header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue()


def archive(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


BOMBS: dict[str, dict[str, bytes]] = {
    "zeros": {"audio": npy_header((1 << 24,)) + bytes(8 << 24)},
    "a header that asks for more than there is": {"audio": npy_header((1 << 44,)) + bytes(80)},
    "a header that asks for less": {"audio": npy_header((1,)) + bytes(32 << 20)},
    "many small ones": {f"a{number}": npy_header((1 << 20,)) + bytes(8 << 20) for number in range(16)},
    "objects": {"audio": npy_header((3,), "|O") + bytes(24)},
    "a shape below zero": {"audio": npy_header((-1,)) + bytes(8)},
    "another version": {"audio": b"\x93NUMPY\x09\x00" + bytes(80)},
    "no array": {"audio": b"x" * 200},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_archive_is_looked_at_before_it_is_inflated(bomb: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "ratios.npz", **BOMBS[bomb])
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"^noise-ratio file {path} is damaged: "):
        ratios(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_what_is_not_compressed_may_be_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROOM", 4096)
    arrays = {
        "large": np.arange(1 << 16),
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "texts": np.array(["x", "ä"]),
        "one": np.array(7),
        "none": np.zeros((0, 3), np.float32),
    }
    np.savez(tmp_path / "file.npz", **arrays)  # type: ignore[arg-type]
    found = read_arrays(tmp_path / "file.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable


def test_json_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_JSON", 100)
    (tmp_path / "file.json").write_text(json.dumps("x" * 98))
    assert len(read_json(tmp_path / "file.json")) == 98
    (tmp_path / "file.json").write_text(json.dumps("x" * 99))
    with pytest.raises(ValueError, match="it has more than 100 bytes"):
        read_json(tmp_path / "file.json")
    for text in ("[" * 200_000, '{"a":' * 200_000, "", "{", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)
