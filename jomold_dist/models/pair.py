"""Two networks of one form in one module: one engine, one optimizer, one checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jomold_dist.config import LossConfig
from jomold_dist.models.network import Network, Parsing


class Pair(Network):
    """Two networks that see the same videos; their outputs are a tuple of both's. The first one parses."""

    def __init__(self, first: Network, second: Network) -> None:
        super().__init__()
        self.networks = nn.ModuleList([first, second])
        self.modalities = first.modalities  # type: ignore[misc]
        self.own_terms, self.configured_terms = first.own_terms, first.configured_terms  # type: ignore[misc]
        self.zero3_problem = first.zero3_problem  # type: ignore[misc]
        self.gate = first.gate
        self.segment_threshold, self.video_threshold = first.segment_threshold, first.video_threshold

    @classmethod
    def of(cls, make: Callable[[], Network]) -> Pair:
        """Two networks made one after the other, so that their parameters differ."""
        return cls(make(), make())

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "compute_dtype":
            for network in self.networks:
                network.compute_dtype = value
        super().__setattr__(name, value)

    def form(self) -> dict[str, Any]:
        from jomold_dist.models.registry import form_of  # which knows this module

        return {"networks": [form_of(network) for network in self._both()]}

    @classmethod
    def from_form(cls, form: Mapping[str, Any]) -> Pair:
        from jomold_dist.models.registry import network_of

        first, second = (network_of(one) for one in form["networks"])
        return cls(first, second)

    def _both(self) -> tuple[Network, Network]:
        first, second = self.networks
        assert isinstance(first, Network)
        assert isinstance(second, Network)
        return first, second

    def begin(self, **features: Tensor) -> Any:
        return tuple(network.begin(**features) for network in self._both())

    def finish(self, begun: Any) -> Any:
        return tuple(network.finish(one) for network, one in zip(self._both(), begun, strict=True))

    def parsing(self, outputs: Any) -> Parsing:
        return self.parsings(outputs)[0]

    def parsings(self, outputs: Any) -> tuple[Parsing, Parsing]:
        """Both networks' parsings."""
        first, second = (network.parsing(one) for network, one in zip(self._both(), outputs, strict=True))
        return first, second

    def parse(self, **features: Tensor) -> Parsing:
        first, _ = self._both()
        return first.parse(**features)

    def terms(self, outputs: Any, loss: LossConfig) -> dict[str, Tensor]:
        """The sums of both networks' own terms."""
        one, other = (network.terms(o, loss) for network, o in zip(self._both(), outputs, strict=True))
        return {name: torch.add(term, other[name]) for name, term in one.items()}
