"""Places of data sets: through proxies, and what is said of places that are none."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from jomold_dist.config import DataConfig, Tree
from jomold_dist.data.reading import remote
from jomold_dist.data.reading.source import default_cache, read_manifest, source_of
from jomold_dist.errors import ConfigError, DataError
from tests.servers import serving
from tests.shard_fixtures import write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("source") / "set"
    write_dataset(place, {"train": 9})
    return place


def digest(place: str, **options: object) -> str:
    return read_manifest(source_of(DataConfig(shards=place, attempts=1, **options))).digest  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_proxy_of_the_environment_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(folder) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert digest("http://data.example") == read_manifest(folder).digest
        asked = dict(proxy.hosts)
        assert set(asked) == {"data.example"}
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        digest(proxy.url)
        assert proxy.hosts == asked


def test_the_proxy_is_left_where_the_options_say_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(folder) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        with pytest.raises(DataError, match="could not be read in 1 attempts"):
            digest(server.url)
        assert len(digest(server.url, storage=Tree(client_kwargs=Tree(trust_env=False)))) == 64


@pytest.mark.parametrize("proxy", ["me:s3cret@127.0.0.1:9", "http://me:s3cret@127.0.0.1:9", "nonsense"])
def test_a_proxy_that_cannot_be_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(
        DataError, match=r"could not be read in 1 attempts, lastly: \w+ .*127.0.0.1|URL\w* nonsense"
    ) as error:
        digest("http://data.example")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("name", ["manifest.json", "train/shard-000000.tar"])
def test_a_file_in_the_place_of_a_folder(name: str, folder: Path) -> None:
    for place in (f"{folder}/{name}", f"file://{folder}/{name}"):
        with pytest.raises(
            DataError, match=rf"^{folder}/{name} is a file; give the folder that holds manifest.json .*, here {folder}$"
        ):
            digest(place)
    with serving(folder) as server, pytest.raises(DataError, match=f"{name} is a file's; give the URL of the folder"):
        digest(f"{server.url}/{name}")


def test_places_that_are_folders_and_places_that_are_nothing(folder: Path, tmp_path: Path) -> None:
    for place in (str(folder), f"{folder}/", f"{folder}/../set", f"file://{folder}"):
        assert digest(place) == read_manifest(folder).digest
    (tmp_path / "alone.tar").touch()
    with pytest.raises(
        DataError, match=r"alone.tar is a file; give the folder that holds manifest.json and the shards"
    ):
        digest(f"{tmp_path}/alone.tar")
    for place in (tmp_path / "none", tmp_path / "alone.tar" / "deeper"):
        with pytest.raises(DataError, match=f"the shards' folder {place} does not exist; make one with"):
            digest(str(place))
    with pytest.raises(DataError, match=f"{tmp_path} holds no manifest.json"):
        digest(str(tmp_path))


def test_an_account_without_a_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's number without a line in /etc/passwd."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with serving(folder) as server:
        with pytest.raises(ConfigError, match=r"no home folder .*; set data.cache \(or XDG_CACHE_HOME\)"):
            digest(server.url)
        assert len(digest(server.url, cache=f"{folder.parent}/cache")) == 64
        monkeypatch.setenv("XDG_CACHE_HOME", f"{folder.parent}/other")
        assert default_cache() == folder.parent / "other" / "jomold_dist"
        assert len(digest(server.url)) == 64
