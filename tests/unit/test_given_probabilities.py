"""Labels judged by anybody's probabilities: what is read, what is refused, and what is found in made-up ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from jomold_dist.cleaning.given_probabilities import Probabilities, judge, read_probabilities
from jomold_dist.cleaning.judged import Rule
from jomold_dist.cleaning.quality import against_confidence
from jomold_dist.cleaning.summary import cautions
from jomold_dist.data.packing.video_labels import VideoLabels, lists_of_rows
from jomold_dist.errors import DataError
from jomold_dist.evaluation.event_files import Events
from jomold_dist.labels import CategorySet

VIDEOS, CATEGORIES = 600, CategorySet(("Speech", "Dog", "Cello", "Rare"))


def world(seed: int = 0) -> tuple[Probabilities, VideoLabels, np.ndarray]:
    """Logits of a model that has not learnt the labels, labels with their truth, and what is there (N, 2, C)."""
    draws = np.random.default_rng(seed)
    labels = draws.random((VIDEOS, 4)) < (0.5, 0.2, 0.15, 0.005)
    labels[np.arange(VIDEOS), draws.integers(0, 3, VIDEOS)] = True
    heard = labels & (draws.random(labels.shape) < 0.97)
    seen = labels & (~heard | (draws.random(labels.shape) < (0.3, 0.8, 0.8, 0.8)))
    there = np.stack([heard, seen], axis=1)
    logits = draws.normal(-4, 1, (2, VIDEOS, 4)) + np.where(there.swapaxes(0, 1), draws.normal(4, 1, (2, VIDEOS, 4)), 0)
    names = np.array([f"video{n:06d}_{n}_{n + 10}" for n in range(VIDEOS)])
    keys = np.array([name[:11] for name in names.tolist()], dtype="S")
    given = Probabilities(names, CATEGORIES, logits.astype(np.float32))
    return given, VideoLabels(keys, lists_of_rows(labels), None, lists_of_rows(there)), there


def test_noise_is_found_and_the_truth_is_of_the_same_labels() -> None:
    given, labels, there = world()
    found, notes = judge(given, labels, CATEGORIES)
    assert notes == []
    assert found.there is not None
    for row in range(0, len(found), 37):
        video = int(found.keys[row][5:])
        assert found.there[:, row].tolist() == there[video, :, found.category[row]].tolist()
        assert found.evidence["logit"][:, row].tolist() == given.logits[:, video, found.category[row]].tolist()
    (at,) = against_confidence(found.confidence[1], ~found.there[1], (0.9,))
    assert at.told > 100
    assert (at.precision or 0) > 0.9
    assert (at.recall or 0) > 0.6
    assert found.rare.tolist() == [3]
    assert not Rule(0.5).told(found)[:, found.category == 3].any()
    (note,) = cautions(found, Rule(0.5))
    assert "fewer than 20 labels" in note
    assert note.endswith(": Rare")
    assert np.isfinite(found.presence).all()


def test_the_order_of_videos_and_categories_is_the_files_own() -> None:
    given, labels, _ = world()
    turned = CategorySet(CATEGORIES.names[::-1])
    other = Probabilities(given.names[::-1], turned, given.logits[:, ::-1, ::-1])
    one, same = (judge(some, labels, CATEGORIES)[0] for some in (given, other))
    np.testing.assert_array_equal(one.presence, same.presence)
    assert one.keys.tolist() == same.keys.tolist()


def test_labels_without_probabilities_stay_and_others_are_told() -> None:
    given, labels, _ = world()
    part = Probabilities(given.names[:500], CATEGORIES, given.logits[:, :500])
    found, notes = judge(part, labels, CATEGORIES)
    assert len(set(found.keys.tolist())) == 500
    assert any("does not have 100 labelled videos" in note for note in notes)
    few = Probabilities(given.names[:200], CATEGORIES, given.logits[:, :200])
    with pytest.raises(DataError, match="600 labelled videos, --probabilities has 200; its names: video000000_0_10"):
        judge(few, labels, CATEGORIES)
    with pytest.raises(DataError, match="categories that --probabilities has not: Owl"):
        judge(given, labels, CategorySet((*CATEGORIES.names[:3], "Owl")))


@pytest.mark.parametrize(("labels", "videos"), [(1, 1), (1, 3), (3, 5)])
def test_a_handful_of_labels_breaks_nothing(labels: int, videos: int) -> None:
    rows = np.zeros((videos, 2), dtype=bool)
    rows[:labels, 0] = True
    keys = np.array([f"k{n}" for n in range(videos)])
    given = Probabilities(keys, CategorySet(("a", "b")), np.full((2, videos, 2), -3, dtype=np.float32))
    found, _ = judge(given, VideoLabels(keys.astype("S"), lists_of_rows(rows)), given.categories)
    assert len(found) == labels
    assert ((found.presence >= 0) & (found.presence <= 1)).all()
    assert found.there is None


def arrays(**changed: Any) -> dict[str, np.ndarray]:
    """What a file of two videos and three categories holds."""
    both = {"audio": np.full((2, 3), 0.25, np.float32), "visual": np.full((2, 3), 0.75, np.float32)}
    return {"filename": np.array(["a", "b"]), "categories": np.array(["x", "y", "z"]), **both} | changed


def test_probabilities_become_logits_and_logits_stay(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "p.npz", **arrays(audio=np.array([[0.25, 1.0, 0.0]] * 2), visual=np.array([[2.0, -1.0, 0.5]] * 2))
    )
    found = read_probabilities(tmp_path / "p.npz")
    assert found.logits.dtype == np.float32
    assert found.logits[0, 0].tolist() == pytest.approx([-np.log(3), 16.118, -16.118], abs=1e-3)
    assert found.logits[1, 0].tolist() == [2.0, -1.0, 0.5]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"audio": np.zeros((2, 2), np.float32)}, r"audio is float32 of shape \(2, 2\), expected fractions \(2, 3\)"),
        ({"visual": np.full((2, 3), np.nan)}, "visual holds NaN or infinity, for instance of a"),
        ({"audio": np.array([[0.5] * 3, [0.5, 0.5, np.inf]])}, "audio holds NaN or infinity, for instance of b"),
        ({"filename": np.array(["a", "a"])}, "names videos twice: a"),
        ({"categories": np.array(["x", "y", "x"])}, "names categories twice: x"),
        ({"audio": np.zeros((2, 3), np.int64)}, "audio is int64"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(changed: dict[str, np.ndarray], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **arrays(**changed))
    with pytest.raises(DataError, match=said):
        read_probabilities(tmp_path / "p.npz")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        read_probabilities(tmp_path / "p.npz")
    (tmp_path / "p.npz").write_text("filename")
    with pytest.raises(DataError, match="is damaged"):
        read_probabilities(tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", filename=np.array(["a"]), probability=np.zeros(1))
    with pytest.raises(DataError, match="has no categories, audio, visual; it needs filename"):
        read_probabilities(tmp_path / "p.npz")


@pytest.mark.parametrize("form", [".npz", ".parquet"])
def test_predictions_are_read_back(form: str, tmp_path: Path) -> None:
    """What predict writes is what --probabilities reads, and the table of the same has the same numbers."""
    draws = torch.Generator().manual_seed(0)
    segments, videos = torch.rand(5, 4, 2, 4, generator=draws), torch.rand(5, 2, 4, generator=draws)
    events = segments.permute(2, 0, 3, 1) > 0.5
    collected = Events(CATEGORIES, 2.0, form)
    for first, end in ((0, 3), (3, 5)):
        names = [f"v{n}" for n in range(first, end)]
        collected.add(names, *events[:, first:end], segments[first:end], videos[first:end])
    path = tmp_path / f"events{form}"
    collected.write(path)
    if form == ".npz":
        found = read_probabilities(path)
        assert found.names.tolist() == [f"v{n}" for n in range(5)]
        np.testing.assert_allclose(found.logits.swapaxes(0, 1), torch.logit(videos).numpy(), rtol=1e-5, atol=1e-5)
        return
    table = pq.read_table(path)
    assert float((table.schema.metadata or {})[b"segment_seconds"]) == 2.0
    rows = table.to_pylist()
    assert len(rows) == 5 * 2 * 4
    for row in rows:
        video, modality = int(row["filename"][1:]), ("audio", "visual").index(row["modality"])
        category = CATEGORIES.index(row["category"])
        assert row["probability"] == videos[video, modality, category].item()
        assert row["segments"] == segments[video, :, modality, category].tolist()
        assert row["events"] == events[modality, video, category].tolist()
