"""PURE: rankings beyond one optimizer batch: among the labels of the last steps, and among those of the whole split.

Both use Algorithm 1 as it is (`removal.py`): only what is ranked together grows.

Legend: N labels ("rows"), C categories, K columns, S steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from jomold_dist.denoising.removal import Extremes, Rows, Rule, find_extremes, remove_rows


class Window:
    """The rows of the last optimizer steps. With room for one step, it is the batch alone."""

    def __init__(self, steps: int) -> None:
        """Room for `steps` ≥ 1 steps, the one that is being ranked among them."""
        self._past: deque[Rows] = deque(maxlen=steps - 1)

    @staticmethod
    def most_bytes(steps: int, rows: int, columns: int) -> int:
        """The memory that it takes, with so many rows a step, padding included."""
        return (steps - 1) * rows * (8 + 8 + 4 * columns + 1)

    def add(self, rows: Rows) -> None:
        """The rows of a step that was taken; those of the oldest step make room."""
        self._past.append(rows)

    def find_extremes(self, rows: Rows, audio_ratio: Tensor, visual_ratio: Tensor) -> Extremes:
        """A batch's rows among those of the window: bool (2, N) each, of the batch. Of n labels of a category in the
        window, the k = trunc(ratio × n) are looked at. The order is (loss, step, position)."""
        steps = [*self._past, rows]
        window = Rows(*(torch.cat(columns) for columns in zip(*steps, strict=True)))
        batch = slice(len(window.position) - len(rows.position), None)
        return Extremes(*(mask[:, batch] for mask in find_extremes(window, audio_ratio, visual_ratio)))

    def state(self) -> dict[str, np.ndarray]:
        """What brings it back: a row a label, without padding, so that it is the same at any number of ranks."""
        kept = [Rows(*(column[rows.valid] for column in rows)) for rows in self._past]
        state = {"sizes": np.array([len(rows.position) for rows in kept], dtype=np.int64)}  # (S,)
        for name in ("position", "category", "columns") if kept else ():
            state[name] = torch.cat([getattr(rows, name) for rows in kept]).cpu().numpy()
        return state

    def load_state(self, state: Mapping[str, np.ndarray], device: torch.device) -> None:
        """The inverse of `state`."""
        self._past.clear()
        if not len(sizes := state["sizes"].tolist()):
            return
        columns = [torch.from_numpy(state[name]).to(device) for name in ("position", "category", "columns")]
        for position, category, numbers in zip(*(column.split(sizes) for column in columns), strict=True):
            self._past.append(Rows(position, category, numbers, torch.ones_like(position, dtype=torch.bool)))


class LabelLosses:
    """The losses of every label of a split in both modalities, summed over epochs: 20 bytes a label.

    A label's number is category × videos of the split + video, so that in ascending order the labels of a category
    stand together by video, as `Rows` want them. Sums are float32 and grow epoch by epoch: what is summed does not
    depend on the order in which an epoch's labels come.
    """

    def __init__(self) -> None:
        self._label = np.zeros(0, dtype=np.int64)  # (N,) ascending
        self._sum = np.zeros((0, 2), dtype=np.float32)
        self._epochs = np.zeros(0, dtype=np.int32)  # in how many the label had a loss

    def add(self, label: np.ndarray, losses: np.ndarray) -> None:
        """Losses float32 (n, 2) of labels int64 (n,), which may be of a part of an epoch, but of one epoch only: a
        label has one loss in it."""
        order = label.argsort()
        label, losses = label[order], losses[order]
        known, place = _find(label, self._label)
        self._sum[place[known]] += losses[known]
        self._epochs[place[known]] += 1
        if not known.all():
            at, new = place[~known], ~known
            self._label = np.insert(self._label, at, label[new])
            self._sum = np.insert(self._sum, at, losses[new], axis=0)
            self._epochs = np.insert(self._epochs, at, 1)

    def remove(
        self, videos: int, audio_ratio: Tensor, visual_ratio: Tensor, rule: Rule
    ) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the labels that Algorithm 1 removes from audio and from visual targets, ascending, by their
        mean losses among all labels of the split's so many videos; ratios float64 (C,) on the CPU. Equal means are
        ordered by video. A category is ranked at a time, to need little more memory than the table."""
        bounds = self._label.searchsorted(np.arange(len(audio_ratio) + 1) * videos).tolist()
        removed: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for category, (start, stop) in enumerate(pairwise(bounds)):
            part, own = slice(start, stop), slice(category, category + 1)
            mean = torch.from_numpy(self._sum[part] / self._epochs[part, None].astype(np.float32))
            order, nothing = torch.arange(stop - start), torch.zeros(stop - start, dtype=torch.int64)
            rows = Rows(order, nothing, mean, nothing == 0)
            for found, mask in zip(removed, remove_rows(rows, audio_ratio[own], visual_ratio[own], rule), strict=True):
                found.append(self._label[part][mask.numpy()])
        audio, visual = (np.concatenate(found) for found in removed)
        return audio, visual

    def state(self) -> dict[str, np.ndarray]:
        """What brings it back."""
        return {"label": self._label, "sum": self._sum, "epochs": self._epochs}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        self._label, self._sum, self._epochs = (state[name].copy() for name in ("label", "sum", "epochs"))


def are_among(label: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Which numbers (n,) are among ascending ones (N,): bool (n,)."""
    return _find(label, ascending)[0]


def _find(label: np.ndarray, ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each number (n,) is among ascending ones (N,), and where it is, or would have to be put."""
    place = ascending.searchsorted(label)
    known = np.zeros(len(label), dtype=bool)
    inside = place < len(ascending)
    known[inside] = ascending[place[inside]] == label[inside]
    return known, place
