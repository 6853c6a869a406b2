"""Configs: what is refused and how it is said, files on top of files, recipes, the way to YAML and back, the digest."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import re
import typing
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jomold_dist.config import Config
from jomold_dist.config_fields import Tree
from jomold_dist.config_files import Resolved, dump_config, load_config
from jomold_dist.config_printing import explained
from jomold_dist.config_roles import FREE, FREE_SECTIONS
from jomold_dist.config_values import Setting, schema
from jomold_dist.errors import ConfigError, UserError
from jomold_dist.methods.registry import checked
from jomold_dist.recipes import RECIPES
from jomold_dist.secrets import blotted


def write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, *overrides: str) -> str:
    """The message with which a config is refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


# --- reading -------------------------------------------------------------------------------------------------------


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(None) == Config()
    assert load_config(write(tmp_path, "")) == Config()
    assert load_config(write(tmp_path, "# only a comment\ntrain:\n")) == Config()


def test_file_and_overrides(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "method: static\ntrain:\n  epochs: 3\n  learning_rate: 5e-4\n"
        "denoise:\n  static_labels:\n    visual: [Speech]\n",
    )
    config = load_config(path, ["train.epochs=7", "train.epochs=8", "train.clip_grad_norm=1", "run.seed=3"])
    assert config.method == "static"
    assert config.train.epochs == 8  # the last one wins
    assert config.train.learning_rate == 5e-4
    assert config.train.clip_grad_norm == 1.0
    assert isinstance(config.train.clip_grad_norm, float)
    assert config.denoise.static_labels.visual == ("Speech",)


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("train.learning_rate=1e-3", "train.learning_rate", 1e-3),
        ("train.epochs=4.0", "train.epochs", 4),
        ("denoise.warmup_epochs=null", "denoise.warmup_epochs", None),
        ("denoise.warmup_epochs=2", "denoise.warmup_epochs", 2.0),
        ("data.resident=true", "data.resident", True),
        ("run.dir=2024", "run.dir", "2024"),
        ("run.dir=2024-05-01", "run.dir", "2024-05-01"),
        ("run.dir=2024-13-45", "run.dir", "2024-13-45"),
        ("run.dir=a=b", "run.dir", "a=b"),
        ("run.dir=runs/try #1", "run.dir", "runs/try #1"),
        ("run.dir='runs/try #1'", "run.dir", "runs/try #1"),
        ("run.dir=a: b", "run.dir", "a: b"),
        ("run.dir=@home/[x]", "run.dir", "@home/[x]"),
        ("run.dir=- x", "run.dir", "- x"),
        ("train.epochs=4 # a comment", "train.epochs", 4),
        ("data.cache=null", "data.cache", None),
        ("tracking.name=It's 100 %", "tracking.name", "It's 100 %"),
        (" run.dir = runs/a", "run.dir", "runs/a"),
        ("denoise.static_labels.visual=Speech", "denoise.static_labels.visual", ["Speech"]),
        ("denoise.static_labels.visual=[Speech, Dog]", "denoise.static_labels.visual", ["Speech", "Dog"]),
        ("denoise.static_labels.audio=[]", "denoise.static_labels.audio", []),
        ("tracking.uri=http://host:5000", "tracking.uri", "http://host:5000"),
        ("deepspeed.zero_stage=3", "deepspeed.zero_stage", 3),
        ("deepspeed.extra={}", "deepspeed.extra", Tree()),
        ("deepspeed.extra={wall_clock_breakdown: true}", "deepspeed.extra", Tree(wall_clock_breakdown=True)),
    ],
)
def test_overrides_are_read_in_the_settings_type(override: str, name: str, value: Any) -> None:
    found = load_config(None, [override]).flat()[name]
    assert found == value
    assert type(found) is type(value)


# --- refusing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epohcs=3", "unknown setting 'train.epohcs' (did you mean 'train.epochs'?)"),
        ("epochs=3", "unknown setting 'epochs' (did you mean 'train.epochs'?)"),
        ("rule=intra", "unknown setting 'rule' (did you mean 'denoise.rule'?)"),
        ("train.rule=intra", "unknown setting 'train.rule' (did you mean 'denoise.rule'?)"),
        ("train.lr=1", "unknown setting 'train.lr' (did you mean 'train.learning_rate'?)"),
        ("model.keep_predictions=true", "(did you mean 'estimator.keep_predictions'?)"),
        ("zzz=3", "unknown setting 'zzz'"),
        ("train=3", "unknown setting 'train' (it is a section)"),
        ("train={epochs: 3}", "unknown setting 'train' (it is a section)"),
        ("base=other.yaml", "unknown setting 'base'"),
        ("train.epochs", "is not of the form section.key=value"),
        ("=3", "is not of the form section.key=value"),
        ("--train.epochs=3", "unknown setting '--train.epochs' (did you mean 'train.epochs'?)"),
        ("train.epochs=", "train.epochs = '' must be a whole number"),
        ("train.epochs=[1", "the value is not valid YAML"),
        ("train.epochs=2024-13-45", "the value is not valid YAML"),
        ("train.epochs=!!python/name:os.system", "the value is not valid YAML"),
        ("run.dir={a: b}", "run.dir = {'a': 'b'} must be a text"),
        ("run.dir=~no-such-account/x", "there is no account 'no-such-account'"),
        ("train.epochs=0", "train.epochs = 0 must be at least 1"),
        ("train.epochs=-1", "train.epochs = -1 must be at least 1"),
        ("train.epochs=1.5", "train.epochs = 1.5 must be a whole number"),
        ("train.epochs=ten", "train.epochs = 'ten' must be a whole number"),
        ("train.epochs=true", "train.epochs = True must be a whole number"),
        ("train.epochs=null", "train.epochs = None must have a value"),
        ("train.epochs={a: 1}", "must be a whole number"),
        (f"train.epochs=1{'0' * 400}", "must be a finite number"),
        ("run.seed=-1", "run.seed = -1 must be at least 0"),
        ("run.seed=4294967296", "run.seed = 4294967296 must be at most 4294967295"),
        ("train.learning_rate=0", "train.learning_rate = 0 must be greater than 0"),
        ("train.learning_rate=nan", "must be a finite number"),
        ("train.learning_rate=.inf", "must be a finite number"),
        ("train.learning_rate=fast", "train.learning_rate = 'fast' must be a number"),
        ("denoise.ratio_constant=1.5", "denoise.ratio_constant = 1.5 must be at most 1, or null"),
        ("denoise.warmup_epochs=none", "denoise.warmup_epochs = 'none' must be a number, or null"),
        ("model.classifier_dropout=1", "model.classifier_dropout = 1 must be at most 0.99"),
        ("loss.audio=-0.5", "loss.audio = -0.5 must be at least 0"),
        ("train.precision=bf61", "must be one of float32, bf16, float16, float64 (did you mean 'bf16'?)"),
        ("denoise.rule=[joint]", "must be one of joint, intra"),
        ("deepspeed.zero_stage=4", "deepspeed.zero_stage = 4 must be one of 0, 1, 2, 3"),
        ("deepspeed.zero_stage=true", "must be one of 0, 1, 2, 3"),
        ("deepspeed.zero_stage='1'", "must be one of 0, 1, 2, 3"),
        ("deepspeed.extra=3", "deepspeed.extra = 3 must be a mapping"),
        ("deepspeed.extra=null", "must have a value"),
        ("deepspeed.extra={1: 2}", "must be a mapping"),
        ("deepspeed.extra={a: 2024-05-01}", "must be a mapping"),
        ("deepspeed.extra={a: .inf}", "must be a mapping"),
        ("recipe=relased", "must be one of paper, released (did you mean 'released'?)"),
        ("train.selection=segment_typ", "(did you mean 'segment_type'?)"),
        ("data.resident=1", "data.resident = 1 must be true or false"),
        ("data.resident=maybe", "data.resident = 'maybe' must be true or false"),
        ("data.cache=false", "data.cache = False must be a text, or null"),
        ("run.dir=[a]", "run.dir = ['a'] must be a text"),
        ("run.dir=", "run.dir = '' must be a text"),
        ("run.dir=null", "run.dir = None must have a value"),
        ("denoise.static_labels.visual=[1]", "must be a list of names"),
        ("denoise.static_labels.visual=", "must be a list of names"),
        ("denoise.static_labels.visual={Speech: 1}", "must be a list of names"),
    ],
)
def test_refused_overrides(override: str, message: str) -> None:
    found = refusal(None, override)
    assert found.startswith(f"override {override!r}")
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("train:\n  epohcs: 3\n", 2, "unknown setting 'train.epohcs' (did you mean 'train.epochs'?)"),
        ("trian:\n  epochs: 3\n", 1, "unknown setting 'trian' (did you mean 'train'?)"),
        ("method: han\n\ntrain: 3\n", 3, "unknown setting 'train' (it is a section)"),
        ("train:\n  epochs:\n    a: 3\n", 2, "train.epochs = {'a': 3} must be a whole number"),
        ("train:\n  batch_size: 0\n", 2, "train.batch_size = 0 must be at least 1"),
        ("train:\n  epochs: 3\n  epochs: 4\n", 3, "train.epochs is given twice in this file (first at {path}:2)"),
        ("train:\n  epochs: 3\ndata:\n\ntrain:\n  epochs: 3\n", 6, "train.epochs is given twice"),
        ("run:\n  dir: !!python/object:os.x {}\n", 2, "run.dir: not a plain value"),
        ("run:\n  dir: 2024-13-45\n", 2, "run.dir: not a plain value"),
        ("? [a, b]\n: 3\n", 1, "unknown setting '?'"),
        ("base: 3\n", 1, "base = 3 must name a config file"),
        (
            "method: han\nbase: nowhere.yaml\n",
            2,
            "base = 'nowhere.yaml': config file {folder}/nowhere.yaml: No such file",
        ),
        ("base: run.yaml\n", 1, "base = 'run.yaml' leads back to itself"),
        ("train: &train\n  inner: *train\n", 2, "train.inner: not a plain value"),
    ],
)
def test_refused_files_name_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, text)
    found = refusal(path)
    assert found.startswith(f"{path}:{line}: "), found
    assert message.replace("{path}", str(path)).replace("{folder}", str(tmp_path)) in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "must hold settings"),
        (b"just words\n", "must hold settings"),
        (b"train: [1\n", "is not valid YAML"),
        (b"train:\n\tepochs: 3\n", "is not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "is not valid YAML"),
        (b"method: \xff\xfe\n", "is not valid YAML"),
        (b"run: " + b"[" * 5000, "is not valid YAML"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    found = refusal(path)
    assert found.startswith(f"config file {path}")
    assert message in found


@pytest.mark.parametrize("setting", ["data: {{storage: {{{}}}}}", "run: {{seed: [{}]}}"])
def test_aliases_that_become_very_many_values(setting: str, tmp_path: Path) -> None:
    """Ten lists, each of ten times the one before: some hundred bytes, and ten thousand million values."""
    lists = ["a: &a [1, 1]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdefghij"))]
    path = tmp_path / "run.yaml"
    path.write_text(setting.format(", ".join(lists)))
    assert "it holds more than 10000 values" in refusal(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.yaml")
    assert "directory" in refusal(tmp_path).lower()


def test_a_missing_file_is_told_with_one_of_nearly_its_name(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    path = write(tmp_path / "configs", "base: bsae.yaml\n", "video.yaml")
    write(tmp_path / "configs", "", "base.yaml")
    for asked in ("configs/vidoe.yaml", "configs/video", "config/video.yaml", "configs/video.yml"):
        assert refusal(tmp_path / asked).endswith(f"(did you mean {str(path)!r}?)")
    assert refusal(path).endswith(f"(did you mean {str(path.with_name('base.yaml'))!r}?)")
    assert "did you mean" not in refusal(tmp_path / "nowhere" / "at" / "all.yaml")
    assert "did you mean" not in refusal(Path("/"))


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    base = write(tmp_path, "model:\n  layer: 2\n", "base.yaml")
    path = write(tmp_path, "base: base.yaml\ntrain:\n  epochs: 0\n  precision: half\nrun:\n  seed: x\nrun: 3\n")
    lines = refusal(path, "loss.audio=-1", "oops").splitlines()
    assert lines[0] == "7 problems:"
    assert [line.split(": ")[0] for line in lines[1:]] == [
        "  - override 'oops' is not of the form section.key=value",
        f"  - {base}:2",
        f"  - {path}:3",
        f"  - {path}:4",
        f"  - {path}:6",
        f"  - {path}:7",
        "  - override 'loss.audio=-1'",
    ]


def test_long_lists_of_problems_end_with_a_count() -> None:
    lines = refusal(None, *(f"unknown{i}=1" for i in range(30))).splitlines()
    assert lines[0] == "30 problems:"
    assert lines[-1].endswith("and 10 more")


def test_a_method_may_be_called_true(tmp_path: Path) -> None:
    assert load_config(None, ["method=true"]).method == "true"
    assert load_config(write(tmp_path, "method: true\n")).method == "true"
    assert "tracking.experiment = True must be a text" in refusal(None, "tracking.experiment=true")


def test_methods_networks_and_modules_that_are_not_there_are_told_together() -> None:
    assert checked(load_config(None, ["method=han"]), ["json"]).imports == ("json",)
    names = ["method=jomlod", "model.network=os:path", "imports=[no_such_module]"]
    with pytest.raises(ConfigError) as caught:
        checked(load_config(None, names))
    message = str(caught.value)
    assert "method = 'jomlod' must be one of han, static, jomold" in message
    assert "(did you mean 'jomold'?)" in message
    assert "model.network = 'os:path': 'path' in" in message
    assert "is no Network" in message
    assert "imports (--import): 'no_such_module' cannot be imported: ModuleNotFoundError" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["denoise.ratios=constant"], "denoise.ratios = 'constant' needs denoise.ratio_constant"),
        (["denoise.ratios=constant", "denoise.ratio_constant=null"], "needs denoise.ratio_constant"),
        (["denoise.ratios=file"], "denoise.ratios = 'file' needs denoise.ratio_file"),
        (["denoise.ratio_constant=0.1"], "denoise.ratio_constant is given but denoise.ratios = 'estimated'"),
        (["denoise.ratio_file=a.npz"], "denoise.ratio_file is given but denoise.ratios = 'estimated'"),
        (["train.engine=deepspeed", "train.precision=float64"], "'float64' needs train.engine = 'ddp'"),
        (["method=static"], "method = 'static' removes denoise.static_labels, and none are set"),
    ],
)
def test_contradictions(overrides: list[str], message: str) -> None:
    assert message in refusal(None, *overrides)


def test_a_refused_value_is_reported_once() -> None:
    assert refusal(None, "denoise.ratios=constant", "denoise.ratio_constant=2") == (
        "override 'denoise.ratio_constant=2': denoise.ratio_constant = 2 must be at most 1, or null"
    )


def test_config_errors_are_user_errors() -> None:
    assert issubclass(ConfigError, UserError)


# --- a free mapping --------------------------------------------------------------------------------------------------


def test_overrides_reach_into_a_free_mapping(tmp_path: Path) -> None:
    text = "deepspeed:\n  extra:\n    comms_logger: {enabled: true, verbose: true}\n    dump_state: false\n"
    path = write(tmp_path, text)
    verbose, state = "deepspeed.extra.comms_logger.verbose=false", "deepspeed.extra.dump_state=true"
    config = load_config(path, [verbose, state])
    assert config.deepspeed.extra == {"comms_logger": {"enabled": True, "verbose": False}, "dump_state": True}
    assert load_config(path).deepspeed.extra["comms_logger"]["verbose"] is True
    assert load_config(None, [state]).deepspeed.extra == {"dump_state": True}
    assert load_config(path, [verbose, "deepspeed.extra={}"]).deepspeed.extra == {}
    assert "must be a mapping" in refusal(None, "deepspeed.extra=3", state)


def test_a_config_with_a_free_mapping_is_hashable_and_has_one_setting_for_it(tmp_path: Path) -> None:
    config = load_config(None, ["deepspeed.extra.comms_logger.enabled=true"])
    assert hash(config) == hash(load_config(None, ["deepspeed.extra={comms_logger: {enabled: true}}"]))
    assert config.flat()["deepspeed.extra"] == {"comms_logger": {"enabled": True}}
    assert set(config.flat()) == set(schema())
    assert load_config(write(tmp_path, dump_config(config))) == config
    assert pickle.loads(pickle.dumps(config)) == config


# --- files on top of each other ------------------------------------------------------------------------------------


def test_base_chain_is_relative_to_each_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, "train:\n  epochs: 1\n  batch_size: 1\n  learning_rate: 0.1\n", "bottom.yaml")
    write(tmp_path, "base: ../bottom.yaml\ntrain:\n  epochs: 2\n  batch_size: 2\n", "deep/middle.yaml")
    top = write(tmp_path, "base: deep/middle.yaml\ntrain:\n  epochs: 3\n", "top.yaml")
    train = load_config(top).train
    assert (train.epochs, train.batch_size, train.learning_rate) == (3, 2, 0.1)


def test_base_loop_through_another_name(tmp_path: Path) -> None:
    first = write(tmp_path, "base: second.yaml\n", "first.yaml")
    second = write(tmp_path, "method: han\nbase: ./first.yaml\n", "second.yaml")
    assert refusal(first) == f"{second}:2: base = './first.yaml' leads back to itself"


# --- recipes -------------------------------------------------------------------------------------------------------


def test_recipe_paper_is_the_defaults() -> None:
    assert load_config(None, ["recipe=paper"]) == Config()


def test_recipe_released_fills_what_is_not_given(tmp_path: Path) -> None:
    changed = {
        "recipe": "released",
        "denoise.warmup": "released",
        "denoise.ranking_dropout": True,
        "denoise.visual_scale": 0.95,
        "denoise.mean_batch_size": 128,
        "loss.visual_smoothing": 0.9,
        "train.selection": "event_audio",
        "train.selection_ties": "last",
    }
    assert load_config(None, ["recipe=released"]).flat() == Config().flat() | changed
    assert load_config(write(tmp_path, "recipe: released\n")).flat() == Config().flat() | changed
    # ... also where the file names another recipe than the override
    assert load_config(write(tmp_path, "recipe: released\n"), ["recipe=paper"]) == Config()


def test_given_settings_win_over_the_recipe(tmp_path: Path) -> None:
    write(tmp_path, "loss:\n  visual_smoothing: 0.8\n", "base.yaml")
    path = write(tmp_path, "base: base.yaml\nrecipe: released\ndenoise:\n  warmup: linear\n")
    config = load_config(path, ["denoise.visual_scale=1", "train.batch_size=64", "train.selection=event_type"])
    assert config.denoise.warmup == "linear"  # equal to the default, and still given
    assert config.denoise.visual_scale == 1.0
    assert config.loss.visual_smoothing == 0.8
    assert config.train.selection == "event_type"
    assert config.denoise.mean_batch_size == 64  # follows the batch size
    assert config.denoise.ranking_dropout is True
    assert load_config(path, ["denoise.mean_batch_size=null"]).denoise.mean_batch_size is None
    assert load_config(path, ["denoise.mean_batch_size=32"]).denoise.mean_batch_size == 32


def test_recipes_name_settings_and_allowed_values() -> None:
    assert set(RECIPES) == set(typing.get_args(typing.get_type_hints(Config)["recipe"]))
    for name in RECIPES:
        load_config(None, [f"recipe={name}"])
        assert set(RECIPES[name]) <= set(schema())


# --- the schema ----------------------------------------------------------------------------------------------------


def test_defaults_are_allowed_and_of_their_type(tmp_path: Path) -> None:
    path = write(tmp_path, dump_config(Config()))
    assert load_config(path) == Config()
    for name, setting in schema().items():
        kinds = typing.get_args(setting.type) or (setting.type,)
        if float in kinds and setting.default is not None:
            assert type(setting.default) is float, f"{name}: the digest tells 1 from 1.0"


# --- to YAML and back ----------------------------------------------------------------------------------------------


def values_of(setting: Setting) -> st.SearchStrategy[Any]:
    """Allowed values of a setting."""
    kinds = typing.get_args(setting.type)
    optional = type(None) in kinds
    kind = next(k for k in kinds if k is not type(None)) if kinds and (setting.is_text or optional) else setting.type
    names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
    values: st.SearchStrategy[Any]
    if typing.get_origin(kind) is Literal:
        values = st.sampled_from(typing.get_args(kind))
    elif typing.get_origin(kind) is tuple:
        values = st.lists(names, max_size=3).map(tuple)
    elif kind is Tree:
        values = st.just(Tree()) | st.just(Tree(steps_per_print=7, csv_monitor={"enabled": False, "job_name": "a"}))
    elif kind is bool:
        values = st.booleans()
    elif kind is str:
        values = names.filter(lambda text: not text.startswith("~")) if setting.is_place else names  # it is expanded
        if len(kinds) > 1 and not optional:
            values |= st.lists(values, min_size=2, max_size=3, unique=True).map(tuple)
    else:
        low = setting.bounds.low if setting.bounds and setting.bounds.low is not None else 0
        high = setting.bounds.high if setting.bounds and setting.bounds.high is not None else 10**6
        above = bool(setting.bounds and setting.bounds.above)
        values = st.integers(int(low), int(high)) if kind is int else st.floats(low, high, exclude_min=above)
    return values | st.none() if optional else values


def consistent(values: dict[str, Any]) -> dict[str, Any]:
    """The values without the contradictions that `load_config` refuses."""
    ratios = values.get("denoise.ratios", "estimated")
    for kind, name, default in (("constant", "denoise.ratio_constant", 0.5), ("file", "denoise.ratio_file", "r.npz")):
        values[name] = (values.get(name) or default) if ratios == kind else None
    if values.get("train.precision") == "float64":
        values["train.engine"] = "ddp"
    if values.get("method") == "static":
        values["denoise.static_labels.visual"] = ("Speech",)
    name = values.get("tracking.register_model")
    if name is not None and (not name.strip() or set(name) & set("/:")):
        values["tracking.register_model"] = "parser"
    return values


def build(cls: Any, values: dict[str, Any], prefix: str = "") -> Any:
    hints = typing.get_type_hints(cls)
    arguments = {}
    for item in dataclasses.fields(cls):
        name = prefix + item.name
        if dataclasses.is_dataclass(hints[item.name]):
            arguments[item.name] = build(hints[item.name], values, f"{name}.")
        elif name in values:
            arguments[item.name] = values[name]
    return cls(**arguments)


configs = (
    st.fixed_dictionaries({}, optional={name: values_of(s) for name, s in schema().items()})
    .map(consistent)
    .map(lambda values: build(Config, values))
)


@settings(max_examples=60)
@given(config=configs)
def test_a_dumped_config_loads_to_the_same(config: Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("dump"), dump_config(config))
    again = load_config(path)
    assert again == config
    assert again.digest == config.digest
    assert dump_config(again) == path.read_text(encoding="utf-8")


@settings(max_examples=60)
@given(config=configs)
@example(config=build(Config, {"tracking.name": "a\nb  # c", "model.options": Tree({"a\nb": ["\n", "c: d", "5e-4"]})}))
def test_a_printed_config_loads_to_the_same(config: Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = dump_config(config)
    assume(blotted(text) == text)  # by chance
    path = write(tmp_path_factory.mktemp("print"), explained(Resolved(config, {}), "a title"))
    assert load_config(path) == config
    assert all(
        "  # default" in line or line.endswith(":") for line in path.read_text(encoding="utf-8").splitlines()[1:]
    )


@settings(max_examples=100)
@given(name=st.sampled_from(sorted(schema())), text=st.text(max_size=20))
def test_any_override_is_read_or_refused(name: str, text: str) -> None:
    with contextlib.suppress(ConfigError):  # and no other exception
        assert isinstance(load_config(None, [f"{name}={text}"]), Config)


# --- the digest ----------------------------------------------------------------------------------------------------

FREE_SETTINGS = sorted(n for n in schema() if n in FREE or n.startswith(FREE_SECTIONS))


def another(setting: Setting) -> Any:
    """An allowed value that is not the default; None where there is none."""
    kinds = typing.get_args(setting.type)
    kind = next((k for k in kinds if k is not type(None)), setting.type) if type(None) in kinds else setting.type
    if typing.get_origin(kind) is Literal:
        return next((v for v in typing.get_args(kind) if v != setting.default), None)
    if typing.get_origin(kind) is tuple:
        return ("Dog",)
    if kind is Tree:
        return Tree(steps_per_print=7)
    if kind is bool:
        return not setting.default
    if kind is str:
        return "other"
    return 2 if kind is int and setting.default != 2 else 3 if kind is int else 0.75


@pytest.mark.parametrize("name", sorted(name for name, setting in schema().items() if another(setting) is not None))
def test_digest_depends_on_what_decides_the_result(name: str) -> None:
    changed = build(Config, {name: another(schema()[name])})
    assert changed != Config()
    assert (changed.digest == Config().digest) == (name in FREE_SETTINGS)


def test_digest_leaves_out_what_the_design_says() -> None:
    named = {"train.engine", "train.micro_batch_size", "data.resident", "train.epochs"}
    assert named | {n for n in schema() if n.startswith("tracking.")} <= set(FREE_SETTINGS)
    assert set(schema()) >= FREE
    assert re.fullmatch("[0-9a-f]{64}", Config().digest)
