"""Names of classes that a config gives: ours by a short name, anybody's as `module:Class`."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping
from typing import TypeVar

from jomold_dist.errors import ConfigError, UserError, nearest

T = TypeVar("T")


def import_module(module: str, named_in: str) -> None:
    """Import a module that the user has named; it may lie in the working directory. ConfigError tells why it cannot be
    imported."""
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        importlib.import_module(module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            where = f". It is looked for in {here} and in the folders of PYTHONPATH"
        else:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = "" if isinstance(error, SyntaxError) else f" ({last.filename}:{last.lineno})"
        raise ConfigError(f"{named_in}: {module!r} cannot be imported: {said}{where}") from error


def find_class(name: str, known: Mapping[str, str], base: type[T], setting: str) -> type[T]:
    """The class of a name in `known` (name -> `module:Class`), or of such a path itself. ConfigError."""
    path = known.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(
            f"{setting} = {name!r} must be one of {', '.join(known)}, or module:Class of your own{nearest(name, known)}"
        )
    import_module(module, f"{setting} = {name!r}")
    found = getattr(sys.modules[module], attribute, None)
    if not isinstance(found, type) or not issubclass(found, base):
        file = sys.modules[module].__file__
        if found is None:
            raise ConfigError(f"{setting} = {name!r}: there is no class {attribute!r} in {file}")
        raise ConfigError(f"{setting} = {name!r}: {attribute!r} in {file} is no {base.__name__}")
    if lacking := sorted(getattr(found, "__abstractmethods__", ())):
        raise ConfigError(f"{setting} = {name!r}: {attribute!r} lacks {' and '.join(lacking)}, see {base.__module__}")
    return found


def path_of(cls: type, known: Mapping[str, str]) -> str:
    """The name under which a class is found again."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, value in known.items() if value == path), path)
