"""Scaling the loss for float16, whose smallest gradients would otherwise become 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

FIRST, LEAST, MOST = 2.0**15, 2.0**-10, 2.0**24
GROW_AFTER = 1000  # steps without overflow


class LossScale:
    """Multiplies the loss, and divides every parameter's gradient again before anybody else sees it.

    The division is a hook on the parameter, ahead of the engine's reduction: parameters and their gradients are
    float32, so that no engine needs to know of the scale. It is halved when a gradient overflows, and doubled after
    GROW_AFTER steps without; powers of two lose no bit.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.value = FIRST
        self._good = 0
        for parameter in parameters:
            if parameter.requires_grad:
                parameter.register_hook(self._unscale)

    def scale(self, loss: Tensor) -> Tensor:
        return loss * self.value

    def _unscale(self, gradient: Tensor) -> Tensor:
        return gradient / self.value

    def good_step(self) -> None:
        """After a step whose gradient was finite."""
        self._good += 1
        if self._good >= GROW_AFTER:
            self.value, self._good = min(2 * self.value, MOST), 0

    def overflow(self) -> bool:
        """After a gradient that was not finite: whether a smaller scale, which is now set, can be the remedy."""
        self._good = 0
        if self.value <= LEAST:
            return False
        self.value /= 2
        return True

    def state(self) -> dict[str, Any]:
        return {"value": self.value, "good": self._good}

    def load_state(self, state: dict[str, Any]) -> None:
        self.value, self._good = float(state["value"]), int(state["good"])
