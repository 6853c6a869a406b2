"""The methods by their names. Classes, and torch with them, are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from jomold_dist.config import Config
from jomold_dist.errors import ConfigError, join_problems
from jomold_dist.models.registry import network_class
from jomold_dist.plugins import find_class, import_module

if TYPE_CHECKING:
    from jomold_dist.methods.base import Method

C = TypeVar("C", bound=Config)
M = TypeVar("M", bound="type[Method]")

METHODS = {
    "han": "jomold_dist.methods.han:Han",
    "static": "jomold_dist.methods.static:Static",
    "jomold": "jomold_dist.methods.jomold:Jomold",
    "coteaching-plus": "jomold_dist.methods.coteaching:CoteachingPlus",
    "jocor": "jomold_dist.methods.jocor:Jocor",
    "ma": "jomold_dist.methods.ma:Ma",
    "mixture": "jomold_dist.methods.mixture:Mixture",
    "cleaned": "jomold_dist.methods.cleaned:Cleaned",
    "true": "jomold_dist.methods.true:TruthTaught",
    "random": "jomold_dist.methods.random:Random",
    "large-loss": "jomold_dist.methods.large_loss:LargeLoss",
}


def method_class(name: str) -> type[Method]:
    """The method of a name, or of a user's `module:Class`. ConfigError."""
    from jomold_dist.methods.base import Method  # imports torch, which takes seconds

    return find_class(name, METHODS, Method, "method")  # type: ignore[type-abstract]


def checked(config: C, imports: Sequence[str] = ()) -> C:
    """The config with further modules to import, all of which are imported, once its method and network are found.
    ConfigError tells of all that are not."""
    config = replace(config, imports=tuple(dict.fromkeys([*config.imports, *imports])))
    problems: list[str] = []
    for find, name in (
        *((_import, module) for module in config.imports),
        (method_class, config.method),
        (network_class, config.model.network),
    ):
        try:
            find(name)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(join_problems(problems))
    return config


def _import(module: str) -> None:
    import_module(module, "imports (--import)")


def essential(config: Config) -> Config:
    """The config with what its method does not look at set to the defaults. As it is where the method's class does not
    say so itself (a parent's word is not taken: the class may look at more), or cannot be imported here."""
    try:
        method = method_class(config.method)
    except ConfigError:
        return config
    return method.essential(config) if "essential" in vars(method) else config


def register_method(name: str) -> Callable[[M], M]:
    """Decorates a method of your own, so that `method: name` finds it once its module is imported (`--import`)."""

    def register(cls: M) -> M:
        path = f"{cls.__module__}:{cls.__qualname__}"
        if METHODS.get(name, path) != path:
            raise ConfigError(f"{path} cannot be called {name!r}: that is {METHODS[name]}; take another name")
        METHODS[name] = path
        return cls

    return register
