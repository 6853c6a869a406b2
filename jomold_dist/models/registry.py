"""The networks by their names, and building one for a data set. Classes, and torch with them, are imported when
they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jomold_dist.config import ModelConfig
from jomold_dist.errors import ConfigError
from jomold_dist.plugins import find_class, path_of

if TYPE_CHECKING:
    from jomold_dist.data.format.manifest import Manifest
    from jomold_dist.models.network import Network

NETWORKS = {
    "han": "jomold_dist.models.han:HybridAttentionNetwork",
    "talnet": "jomold_dist.models.talnet:TalNet",
    "stpn": "jomold_dist.models.stpn:Stpn",
    "cmcs": "jomold_dist.models.cmcs:Cmcs",
    "ave": "jomold_dist.models.ave:Ave",
    "avsdn": "jomold_dist.models.avsdn:Avsdn",
}
KINDS = {**NETWORKS, "pair": "jomold_dist.models.pair:Pair"}
"""Those that a file of weights may hold: a pair is made by methods, not asked for."""


def network_class(name: str) -> type[Network]:
    """The network of a name, or of a user's `module:Class`. ConfigError."""
    return _find(name, NETWORKS, "model.network")


def build_network(model: ModelConfig, manifest: Manifest, cross_modal: bool = True) -> Network:
    """A network as configured, for a data set's categories and features, with fresh parameters from torch's default
    generator. Without cross-modal attention, where it has any, unless `cross_modal`. ConfigError if the data set lacks
    a feature that it needs."""
    network = network_class(model.network)
    if lacking := [name for name in network.needs if name not in manifest.features]:
        able = [name for name in NETWORKS if set(network_class(name).needs) <= manifest.features.keys()]
        raise ConfigError(
            f"model.network = {model.network!r} needs {' and '.join(network.needs)}, and the data set has no "
            f"{lacking[0]}; take {' or '.join(able)}, or add the feature to the data set"
        )
    return network.build(model, manifest, cross_modal)


def form_of(network: Network) -> dict[str, Any]:
    """What `network_of` builds it from again, as JSON."""
    return {"kind": path_of(type(network), KINDS), **network.form()}


def network_of(form: Mapping[str, Any]) -> Network:
    """The network of a form, with parameters of no meaning. ValueError, TypeError or KeyError for what is no form.

    A file of weights may come from anywhere: a network that is not ours must have been imported by whoever reads it.
    """
    kind = str(form["kind"])
    if kind not in KINDS and kind.partition(":")[0] not in sys.modules:
        raise LookupError(
            f"its network is {kind!r}, which is not of jomold_dist; import {kind.partition(':')[0]!r} first (the "
            "commands do with --import)"
        )
    arguments = {name: value for name, value in form.items() if name != "kind"}
    return _find(kind, KINDS, "network").from_form(arguments)


def _find(name: str, known: Mapping[str, str], setting: str) -> type[Network]:
    from jomold_dist.models.network import Network  # imports torch, which takes seconds

    return find_class(name, known, Network, setting)  # type: ignore[type-abstract]


def modules_of(form: Mapping[str, Any]) -> list[str]:
    """The modules of a form's networks that are not of jomold_dist."""
    kinds = [str(one.get("kind")) for one in (form, *form.get("networks", ()))]  # a pair's
    return sorted({kind.partition(":")[0] for kind in kinds if kind not in KINDS and ":" in kind})
