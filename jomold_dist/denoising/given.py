"""What callers hand to the public functions, looked at before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor


def check_given(labels: Tensor, **others: Tensor) -> None:
    """What is said of each video and category, and labels, all (videos, categories).

    TypeError for what is no dense tensor of real numbers. ValueError for shapes that do not fit, and for labels other
    than 0 and 1, of any type.
    """
    values = {**others, "labels": labels}
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must be a tensor, not {type(value).__name__}; torch.from_numpy makes one of an array"
            )
        if value.layout != torch.strided or value.is_complex():
            raise TypeError(f"{name} must be a dense tensor of real numbers, not one of {value.layout}, {value.dtype}")
    if labels.dim() != 2 or any(value.shape != labels.shape for value in others.values()):
        shapes = [f"{name} {tuple(value.shape)}" for name, value in values.items()]
        raise ValueError(f"{', '.join(shapes[:-1])} and {shapes[-1]} must have one shape (videos, categories)")
    wrong = (labels != 0) & (labels != 1)  # also true for NaN
    if wrong.any():
        video, category = wrong.nonzero()[0].tolist()
        seen = labels[video, category].item()
        raise ValueError(f"the label of video {video} in category {category} is {seen:g}; labels are 0 or 1")
