"""The configs that come with the package, and how `--config` finds them by name."""

from __future__ import annotations

from pathlib import Path

from jomold_dist.errors import nearest
from jomold_dist.places import local_path

PACKAGE = Path(__file__).resolve().parent
SUFFIX = ".yaml"


def shipped_folder() -> Path:
    """Where they lie: in the installed package, or beside it in a checkout."""
    installed = PACKAGE / "configs"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def shipped_names() -> list[str]:
    """`llp`, `sweeps/table2b`, …: what `--config` takes wherever it is typed."""
    folder = shipped_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{SUFFIX}"))


def config_path(text: str) -> Path:
    """The file of `--config`, the type of that argument: a file of that path, or else a config of that name that comes
    with the package. Where there is neither, the path as it stands, so that reading it fails together with whatever
    else is wrong."""
    return _or_shipped(local_path(text), text)


def file_beside(path: Path, text: str) -> Path:
    """The config that the file of a path names: a file relative to it, or else, as for `--config`, one that comes with
    the package."""
    return _or_shipped(path.parent / Path(text).expanduser(), text)


def _or_shipped(path: Path, text: str) -> Path:
    name = text.removesuffix(SUFFIX)
    return path if path.is_file() or name not in shipped_names() else shipped_folder() / f"{name}{SUFFIX}"


def near_shipped(path: Path) -> str:
    """What to say behind a config that is not there: the name that was meant, or those that there are."""
    names = shipped_names()
    if name := nearest(path.with_suffix("").as_posix().removeprefix("configs/"), names):
        return name
    return f"; the configs that come with jomold_dist are {', '.join(names)}" if len(path.parts) == 1 else ""
