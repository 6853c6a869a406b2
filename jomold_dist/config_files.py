"""Reading a config: YAML files on top of each other, then overrides, then the recipe. All problems are reported."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml

from jomold_dist.config import RECIPES, Bounds, Config, DataConfig, Tree
from jomold_dist.errors import ConfigError, join_problems, nearest

C = TypeVar("C", bound=Config)

SECRET = re.compile("key|secret|token|passw|auth|credential|cookie", re.IGNORECASE)
PASSWORD = re.compile(r"://[^/@\s]*@")


@dataclass(frozen=True)
class Setting:
    """One setting of the schema: dotted name, type, default, bounds."""

    name: str
    type: Any
    default: Any
    bounds: Bounds | None


@dataclass(frozen=True)
class Given:
    """A value that somebody gave, where, and as which text it was written (None for lists)."""

    value: Any
    where: str
    text: str | None = None


def schema(cls: type = Config, prefix: str = "") -> dict[str, Setting]:
    """Every setting by its dotted name."""
    settings: dict[str, Setting] = {}
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        hint, name = hints[item.name], prefix + item.name
        if dataclasses.is_dataclass(hint):
            settings |= schema(typing.cast(type, hint), f"{name}.")
        else:
            settings[name] = Setting(name, hint, item.default, item.metadata.get("bounds"))
    return settings


def load_config(
    path: Path | None, overrides: Sequence[str] = (), choices: Mapping[str, Iterable[str]] | None = None
) -> Config:
    """The config of a file with `section.key=value` overrides on top.

    A file may name another one, relative to itself, as `base:`; its own settings win. `choices` limits settings whose
    values the schema cannot know (the registered methods). ConfigError lists every problem found.
    """
    return load_as(Config, path, overrides, choices)


def load_as(
    cls: type[C], path: Path | None, overrides: Sequence[str] = (), choices: Mapping[str, Iterable[str]] | None = None
) -> C:
    """As `load_config`, for a config with further sections."""
    problems: list[str] = []
    given: dict[str, Given] = {}
    settings = schema(cls)
    sections = {name.rsplit(".", 1)[0] for name in settings if "." in name}
    if path is not None:
        given |= _read_file(Path(path), sections, problems, ())
    trees = [name for name, setting in settings.items() if setting.type is Tree]
    for text in overrides:
        for name, item in _read_override(text, problems).items():
            tree = next((tree for tree in trees if name.startswith(f"{tree}.")), None)
            if tree is None:
                given[name] = item
            else:
                given[tree] = _grown(given.get(tree), name.removeprefix(f"{tree}.").split("."), item)
    values: dict[str, Any] = {}
    for name, item in given.items():
        if name not in settings:
            hint = " (it is a section)" if name in sections else nearest(name, [*settings, *sorted(sections)])
            problems.append(f"{item.where}: unknown setting {name!r}{hint}")
            continue
        value, problem = _convert(item, settings[name], (choices or {}).get(name))
        if problem:
            problems.append(f"{item.where}: {name} = {item.value!r} {problem}")
        else:
            values[name] = value
    recipe = values.get("recipe", Config.recipe)
    for name, value in RECIPES.get(recipe, {}).items():
        if name not in given:
            values[name] = value(values) if callable(value) else value
    config: C = _build(cls, "", values)
    problems += _contradictions(config, given) + _secrets(config.data)
    if problems:
        raise ConfigError(PASSWORD.sub("://***@", join_problems(problems)))
    return config


def problem_of_place(url: str) -> str | None:
    """What is wrong with a data set's URL that holds credentials: it would be written into run folders and MLflow."""
    scheme, separator, _ = url.partition("://")
    parts = urlsplit(url) if separator else None
    if parts is None or (parts.username is None and parts.password is None and not parts.query):
        return None
    return (
        f"data.shards = '{scheme}://…' must not hold a name, password or signature, as it is written into the run's "
        "folder; give credentials as the storage's own tools take them (environment, configuration file)"
    )


def _names(tree: Mapping[str, Any]) -> Iterable[str]:
    """All keys of a mapping and of those inside it, dotted."""
    for key, value in tree.items():
        yield key
        if isinstance(value, dict):
            yield from (f"{key}.{below}" for below in _names(value))


def _secrets(data: DataConfig) -> list[str]:
    """Settings that hold what no run folder may hold."""
    found = [problem] if (problem := problem_of_place(data.shards)) else []
    names = [name for name in _names(data.storage) if SECRET.search(name)]
    if names:
        found.append(
            f"data.storage.{names[0]} is written into the run's folder; give credentials as the storage's own tools "
            "take them (environment, configuration file)"
        )
    return found


def dump_config(config: Config) -> str:
    """The resolved config as YAML that `load_config` reads back to the same config."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return yaml.safe_dump(
        plain(dataclasses.asdict(config)), sort_keys=False
    )  # ASCII: the reader changes some line ends


def _contradictions(config: Config, given: Mapping[str, Given]) -> list[str]:
    """Settings that are fine alone and wrong together."""
    denoise, problems = config.denoise, []
    for kind, name in (("constant", "ratio_constant"), ("file", "ratio_file")):
        value = getattr(denoise, name)
        refused = f"denoise.{name}" in given and given[f"denoise.{name}"].value is not None
        if denoise.ratios == kind and value is None and not refused:  # a refused value is reported already
            problems.append(f"denoise.ratios = {kind!r} needs denoise.{name}")
        if denoise.ratios != kind and value is not None:
            problems.append(f"denoise.{name} is given but denoise.ratios = {denoise.ratios!r}; set it to {kind!r}")
    static = denoise.static_labels
    if config.method == "static" and not (static.audio or static.visual):
        problems.append(
            "method = 'static' removes denoise.static_labels, and none are set; "
            "for example denoise.static_labels.visual=[Speech]"
        )
    if config.train.engine == "deepspeed" and config.train.precision == "float64":
        problems.append("train.precision = 'float64' needs train.engine = 'ddp': DeepSpeed has no float64")
    if config.deepspeed.extra:
        from jomold_dist.distributed.deepspeed_config import problems_of_extra  # imports DeepSpeed, which takes seconds

        problems += problems_of_extra(config)
    return problems


def _read_file(
    path: Path, sections: Set[str], problems: list[str], above: tuple[Path, ...], named_in: str = ""
) -> dict[str, Given]:
    """Every setting that a file and the files under it give. `named_in` is the place of the `base:` that led here."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        problems.append(f"{named_in}config file {path}: {error.strerror or error}")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"config file {path} is not valid YAML: {' '.join(str(error).split())}")
        return {}
    given: dict[str, Given] = {}
    if node is None:
        return given
    if not isinstance(node, yaml.MappingNode):
        problems.append(f"config file {path} must hold settings (`section:` and `key: value` lines)")
        return {}
    _walk(node, "", path, sections, given, problems)
    base = given.pop("base", None)
    if base is None:
        return given
    if not isinstance(base.value, str) or not base.value:
        problems.append(f"{base.where}: base = {base.value!r} must name a config file")
        return given
    base_path = path.parent / base.value
    if base_path.resolve() in (p.resolve() for p in (*above, path)):
        problems.append(f"{base.where}: base = {base.value!r} leads back to itself")
        return given
    named_in = f"{base.where}: base = {base.value!r}: "
    return _read_file(base_path, sections, problems, (*above, path), named_in) | given


def _walk(
    node: yaml.MappingNode, prefix: str, path: Path, sections: Set[str], given: dict[str, Given], problems: list[str]
) -> None:
    """Adds the settings below a YAML node to `given`. Only sections are gone into: a file may refer to itself."""
    for key_node, value_node in node.value:
        name = prefix + (key_node.value if isinstance(key_node, yaml.ScalarNode) else "?")
        where = f"{path}:{key_node.start_mark.line + 1}"
        if isinstance(value_node, yaml.MappingNode) and name in sections:
            _walk(value_node, f"{name}.", path, sections, given, problems)
            continue
        try:
            value = _construct(value_node)
        except ValueError as error:
            problems.append(f"{where}: {name}: {error}")
            continue
        if name in given:
            problems.append(f"{where}: {name} is given twice in this file (first at {given[name].where})")
        elif value is not None or name not in sections:  # a section without content is no setting
            given[name] = Given(value, where, value_node.value if isinstance(value_node, yaml.ScalarNode) else None)


def _read_override(text: str, problems: list[str]) -> dict[str, Given]:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        problems.append(f"override {text!r} is not of the form section.key=value")
        return {}
    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
        scalar = node.value if isinstance(node, yaml.ScalarNode) else None
        return {name: Given("" if node is None else _construct(node), f"override {text!r}", scalar)}
    except (yaml.YAMLError, ValueError) as error:
        problems.append(f"override {text!r}: the value is not valid YAML: {' '.join(str(error).split())}")
        return {}


def _grown(tree: Given | None, path: list[str], item: Given) -> Given:
    """The mapping with one more value inside, or what it was if that is no mapping."""
    if tree is not None and not isinstance(tree.value, dict):
        return tree
    inner = None if tree is None else tree.value.get(path[0])
    value = item.value
    if len(path) > 1:
        value = _grown(Given(inner, "") if isinstance(inner, dict) else None, path[1:], item).value
    return Given({**({} if tree is None else tree.value), path[0]: value}, item.where)


def _construct(node: yaml.Node) -> Any:
    """The plain value of a YAML node. ValueError with one line if it has none (an unknown tag, a 13th month)."""
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"not a plain value: {' '.join(str(error).split())}") from None


def _convert(given: Given, setting: Setting, choices: Iterable[str] | None) -> tuple[Any, str | None]:
    """The value in the setting's type, or what is wrong with it."""
    hint, optional = setting.type, False
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint, optional = next(a for a in typing.get_args(hint) if a is not type(None)), True
    if given.value is None:
        return (None, None) if optional else (None, "must have a value")
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
    if choices is not None:
        value, problem = _convert_choice(given.value, tuple(choices))
    elif typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        value, problem = _convert_names(given.value) if item is str else _convert_numbers(given.value)
    elif hint is Tree:
        value, problem = _convert_tree(given.value)
    elif hint is str:
        value, problem = _convert_text(given)
    elif hint is bool:
        value, problem = (given.value, None) if isinstance(given.value, bool) else (None, "must be true or false")
    else:
        value, problem = _convert_number(given.value, hint, setting.bounds)
    return (value, f"{problem}, or null" if optional else problem) if problem else (value, None)


def _convert_choice(value: Any, allowed: tuple[Any, ...]) -> tuple[Any, str | None]:
    """Texts or whole numbers; `true` is no 1."""
    if any(type(value) is type(one) and value == one for one in allowed):
        return value, None
    names = [str(one) for one in allowed]
    return None, f"must be one of {', '.join(names)}{nearest(str(value), names)}"


def _convert_tree(value: Any) -> tuple[Any, str | None]:
    try:
        if isinstance(value, dict) and json.loads(json.dumps(value, allow_nan=False)) == value:  # keys are texts
            return Tree(value), None
    except (TypeError, ValueError, RecursionError):  # a date, infinity, a mapping that holds itself
        pass
    return None, "must be a mapping (`key: value` lines) of texts, numbers, true, false, null and lists"


def _convert_names(value: Any) -> tuple[Any, str | None]:
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and all(isinstance(i, str) and i for i in items):
        return tuple(items), None
    return None, "must be a list of names"


def _convert_numbers(value: Any) -> tuple[Any, str | None]:
    items = value if isinstance(value, list) else [value]
    if items and all(type(i) is int and i >= 0 for i in items) and len(set(items)) == len(items):
        return tuple(items), None
    return None, "must be a list of different whole numbers, 0 or greater"


def _convert_text(given: Given) -> tuple[Any, str | None]:
    """A folder may be called 2024 or 2024-05-01, which YAML reads as a number or a date."""
    value = given.value
    if given.text and not isinstance(value, str | bool):
        value = given.text
    return (value, None) if isinstance(value, str) and value else (None, "must be a text")


def _convert_number(value: Any, kind: type, bounds: Bounds | None) -> tuple[Any, str | None]:
    if isinstance(value, str) and kind is float:
        try:  # YAML 1.1 reads 5e-4 as a text
            value = float(value)
        except ValueError:
            return None, "must be a number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, "must be a whole number" if kind is int else "must be a number"
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number beyond float64
        finite = False
    if not finite:
        return None, "must be a finite number"
    if kind is int:
        if value != int(value):
            return None, "must be a whole number"
        value = int(value)
    problem = bounds.problem(value) if bounds else None
    return (None, problem) if problem else (kind(value), None)


def _build(cls: Any, prefix: str, values: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(cls)
    arguments = {}
    for item in dataclasses.fields(cls):
        name = prefix + item.name
        if dataclasses.is_dataclass(hints[item.name]):
            arguments[item.name] = _build(hints[item.name], f"{name}.", values)
        elif name in values:
            arguments[item.name] = values[name]
    return cls(**arguments)
