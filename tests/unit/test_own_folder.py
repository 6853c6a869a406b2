"""A folder where others may write too: what is packed there is led nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from jomold_dist.data.packing.own_folder import check_own_folder
from jomold_dist.data.packing.workplace import beside
from jomold_dist.errors import DataError
from tests.other_user import NOBODY, as_nobody, common_folder, needs_root


@pytest.fixture
def common() -> Iterator[Path]:
    with common_folder(0o1777) as folder:
        yield folder


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_nobody_else_s(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        workplace = beside(tmp_path / "set")
    finally:
        os.umask(before)
    assert stat.S_IMODE(workplace.folder.stat().st_mode) == 0o700
    workplace.close(keep=False)


@pytest.mark.parametrize("name", ["own", "own/set"])
def test_no_link_is_followed(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match=rf"/{name} is a link, and a data set is packed in a folder of its own"):
        check_own_folder(tmp_path / "own", "set")
    assert not list((tmp_path / "mine").iterdir())


@needs_root
@pytest.mark.parametrize("name", ["own", "own/set"])
def test_what_another_user_has_made_is_not_taken(name: str, common: Path) -> None:
    (common / "own").mkdir(exist_ok=True)
    os.chown(common / "own", NOBODY, NOBODY)
    (common / name).mkdir(exist_ok=True, mode=0o777)
    os.chown(common / name, 12345, 12345)
    with pytest.raises(DataError, match=rf"{name} is another user's.*have it removed, or choose another --out"):
        as_nobody(lambda: check_own_folder(common / "own", "set"))
    os.chown(common / name, NOBODY, NOBODY)
    as_nobody(lambda: check_own_folder(common / "own", "set"))


@pytest.mark.parametrize("name", ["own", "own/set"])
def test_what_everybody_may_write_is_not_taken(name: str, tmp_path: Path) -> None:
    """A set of a group's may be gone on with: its folder is usually open to the group."""
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name).chmod(0o775)
    check_own_folder(tmp_path / "own", "set")
    (tmp_path / name).chmod(0o777)
    with pytest.raises(DataError, match=rf"everybody may write in .*/{name}, where a data set is packed"):
        check_own_folder(tmp_path / "own", "set")
