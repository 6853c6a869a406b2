"""What is said of settings: their help, docs/settings.md and the schema for editors say the same, of every setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import test_imports
import yaml

from jomold_dist.commands import settings as settings_command
from jomold_dist.config import Config
from jomold_dist.config_values import Given, convert, schema
from jomold_dist.errors import ConfigError
from jomold_dist.settings_help import explain, help_texts, kind, overview, section_texts, show
from jomold_dist.settings_page import page
from jomold_dist.settings_schema import json_schema
from jomold_dist.tuning.config import Sweep

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
WIDTH = 110


def test_every_setting_and_every_section_has_a_text() -> None:
    texts, sections = help_texts(Sweep), section_texts(Sweep)
    assert list(texts) == list(schema(Sweep))
    assert set(sections) == {name.rpartition(".")[0] for name in texts} - {""}
    for name, text in (texts | sections).items():
        assert text.endswith("."), f"{name} has no docstring"
        assert not text.startswith(("RunConfig(", f"{name}(")), f"{name}: a docstring that dataclasses made"
        assert "(self" not in text
    assert all("Config(" not in text and "Labels(" not in text for text in sections.values())


def test_the_overview_names_each_section_once_and_what_is_in_none() -> None:
    text = overview(Config, WIDTH)
    begun = [line.split()[0] for line in text.splitlines() if not line.startswith("   ")]
    assert begun == ["method", "imports", "recipe", *section_texts(Config)]
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "sweep" in overview(Sweep, WIDTH)


@pytest.mark.parametrize("section", section_texts(Sweep))
def test_a_section_is_told_with_all_its_settings_as_the_page_tells_them(section: str) -> None:
    said = " ".join(explain(Sweep, [section], WIDTH).split())
    told, texts = page(), help_texts(Sweep)
    for name, setting in schema(Sweep).items():
        if name.startswith(f"{section}."):
            entry = f"{name}: {kind(setting)}; default {show(setting.default)}".replace("`", "")
            assert entry in said
            assert f"| `{name}` | {kind(setting)} | {show(setting.default)} |" in told
            assert texts[name] in said


def test_single_settings_and_several_topics() -> None:
    text = explain(Config, ["method", "loss.visual_smoothing", "train.epochs"], 200)
    heads = [block.splitlines()[0] for block in text.split("\n\n")]
    assert heads[0].startswith("method: han, static, jomold, ")
    assert heads[0].endswith("or module:Class; default jomold")
    assert heads[1:] == [
        "loss.visual_smoothing: number, 0.01 to 1; default 1.0, recipe released 0.9",
        "train.epochs: whole number ≥ 1; default 25",
    ]


def test_what_is_neither_section_nor_setting() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*'denosie' \(did you mean 'denoise'\?\).*'zebra'"):
        explain(Config, ["denosie", "run", "zebra"], WIDTH)
    with pytest.raises(ConfigError, match="'sweep'"):
        explain(Config, ["sweep"], WIDTH)


@pytest.mark.parametrize(
    "module",
    ["__main__", *(f"commands.{name}" for name in ("train", "start", "ray_train", "sweep", "settings"))],
)
def test_help_needs_no_torch(module: str) -> None:
    """What it imports at the top of files, and what those do in turn. The package itself is another test's."""
    seen: set[str] = set()
    waiting = [f"jomold_dist.{module}"]
    while waiting:
        name = waiting.pop()
        for found in test_imports.imported(test_imports.tree_of(name).body):
            assert found.partition(".")[0] not in ("torch", "mlflow", "ray", "deepspeed"), f"{name} imports {found}"
            parts = found.split(".")
            parents = {".".join(parts[:count]) for count in range(2, len(parts) + 1)} & test_imports.MODULES.keys()
            waiting += sorted(parents - seen)
            seen |= parents


# --- the schema for editors ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def editors() -> Any:
    found = json_schema(Sweep)
    jsonschema.Draft7Validator.check_schema(found)
    return jsonschema.Draft7Validator(found)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_editors_find_nothing_wrong_with_our_configs(editors: Any, path: Path) -> None:
    assert [error.message for error in editors.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("name", schema(Sweep))
def test_editors_refuse_what_a_command_refuses(editors: Any, name: str) -> None:
    setting = schema(Sweep)[name]
    for value in (None, True, -1, 0, 0.5, 1, 7, 10**9, "", "a", "han", "joint", [], ["a"], [1], [0.5], {}, {"a": 1}):
        text = str(value).lower() if isinstance(value, int | float) else None
        refused = convert(Given(value, "", text), setting)[1] is not None
        content: Any = value
        for part in reversed(name.split(".")):
            content = {part: content}
        if value not in ("", [""]):  # what is empty is said when it is read
            assert bool(list(editors.iter_errors(content))) == refused, f"{name}: {value!r}"


def test_editors_know_sections_base_and_texts(editors: Any) -> None:
    assert not list(editors.iter_errors({"base": "x.yaml", "train": None, "sweep": {"dir": "runs/x"}}))
    assert list(editors.iter_errors({"trian": {"epochs": 3}}))
    assert list(editors.iter_errors({"train": {"epohcs": 3}}))
    epochs = editors.schema["properties"]["train"]["properties"]["epochs"]
    assert epochs["description"] == help_texts()["train.epochs"]
    assert (epochs["default"], epochs["minimum"]) == (25, 1)


def test_the_command_prints_page_and_schema(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    for words, parse in (([], str), (["--schema"], json.loads)):
        monkeypatch.setattr("sys.argv", ["jomold settings", *words])
        assert settings_command.main() == 0
        assert parse(capsys.readouterr().out) == (json_schema(Sweep) if words else page() + "\n")
