"""Credentials are refused where they would be written, and never repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from jomold_dist.config_files import load_config
from jomold_dist.errors import ConfigError
from jomold_dist.secrets import blotted, blotted_value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("to postgresql://me:pw@host/db and http://host/a@b", "to postgresql://***@host/db and http://host/a@b"),
        ("http://me:p@w@host/x", "http://***@host/x"),
        ("http://me:p/w@host/x", "http://***@host/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("s3://bucket/folder@2/x", "s3://bucket/folder@2/x"),
        (
            "https://host/x?X-Amz-Expires=9&X-Amz-Signature=abc&X-Amz-Credential=d/e&z=1",
            "https://host/x?X-Amz-Expires=9&X-Amz-Signature=***&X-Amz-Credential=***&z=1",
        ),
        ("https://host/x?sv=1&sig=a%2Fb: HTTP 403", "https://host/x?sv=1&sig=*** HTTP 403"),
        ("abfs://data@account.dfs.core.windows.net/x", "abfs://data@account.dfs.core.windows.net/x"),
        ("abfs://data:pw@account.dfs.core.windows.net/x", "abfs://***@account.dfs.core.windows.net/x"),
        ("cannot reach proxy anna:s3cret@host:3128", "cannot reach proxy ***@host:3128"),
        ("no URI: key=value, a@b", "no URI: key=value, a@b"),
    ],
)
def test_blotted(text: str, wanted: str) -> None:
    assert blotted(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{note: 'token: a b', n: 3}", "{note: 'token: ***', n: 3}"),
        ("{secret: 'a b c', n: 3}", "{secret: ***, n: 3}"),
        ("{secret: 'it''s, d', n: 3}", "{secret: ***, n: 3}"),
        ('{"secret": "a\\"b, c", "n": 3}', '{"secret": ***, "n": 3}'),
        ("{secret: 'a b", "{secret: ***"),
        ("{secret: it's, n: 3}", "{secret: ***, n: 3}"),
        ("{api-key-id: a b, n: 3}", "{api-key-id: ***, n: 3}"),
        ("Authorization: Bearer abc", "Authorization: ***"),
        ("secrets: {a: b, c: d}", "secrets: ***"),
        ("secret: |\n  a\n", "secret: ***"),
        ("{n: 3, names: [a, 'b c']}", "{n: 3, names: [a, 'b c']}"),
    ],
)
def test_what_names_of_secrets_have_inside_a_value(text: str, wanted: str) -> None:
    assert blotted_value("note", text) == wanted
    assert blotted_value("note", wanted) == wanted


SETTINGS = {
    "a data set's URL": "data.shards=https://anna:s3cret@host/set",
    "a signed URL": "data.shards=https://host/set?X-Amz-Signature=s3cret",
    "a password with slashes": "data.shards=https://anna:s3cret/s3cret@host/set",
    "MLflow's address": "tracking.uri=http://anna:s3cret@host:5000",
    "MLflow's database": "tracking.uri=postgresql://anna:s3cret@host/mlflow",
    "an option of the storage": "data.storage.secret=s3cret",
    "an option inside another": "data.storage={client_kwargs: {aws_session_token: s3cret}}",
    "an option's address, inside another": "data.storage={client_kwargs: {endpoint_url: 'https://anna:s3cret@host'}}",
    "an option's addresses": "data.storage={proxies: ['http://anna:s3cret@host']}",
    "a name of a user": "data.storage={username: s3cret}",
    "a short password": "data.storage={client_kwargs: {pwd: s3cret}}",
    "a password at Azure": "data.shards=abfs://data:s3cret@account.dfs.core.windows.net/set",
    "an option's address": "data.storage.endpoint_url=http://anna:s3cret@host",
    "DeepSpeed's monitor": "deepspeed.extra.comet={api_key: s3cret}",
    "an unknown setting": "data.shard=https://anna:s3cret@host/set",
    "an unknown setting of a secret's name": "tracking.password=s3cret",
    "no valid YAML": "data.storage={secret: s3cret",
    "no mapping": "data.storage=[secret: s3cret]",
    "no form": "https://anna:s3cret@host/set",
}


@pytest.mark.parametrize("how", SETTINGS)
def test_settings_that_hold_credentials_are_refused_and_not_repeated(how: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [SETTINGS[how]])
    assert "s3cret" not in str(caught.value)
    name, _, value = SETTINGS[how].partition("=")
    if name in ("data.shards", "tracking.uri"):
        file = tmp_path / "config.yaml"
        section, _, key = name.partition(".")
        file.write_text(f"{section}:\n  {key}: {value}\n")
        with pytest.raises(ConfigError, match="must not hold a name, password or signature") as caught:
            load_config(file)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        "data.storage={anon: true}",
        "tracking.uri=postgresql://host/mlflow?sslmode=require",
        "data.shards=s3://b/a@2/set",
        "data.shards=abfs://data@account.dfs.core.windows.net/set",
        "data.shards=abfss://data@account.dfs.core.windows.net/set",
    ],
)
def test_what_is_no_secret_is_taken(setting: str) -> None:
    load_config(None, [setting])
