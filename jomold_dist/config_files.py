"""Reading a config: YAML files on top of each other, then overrides, then the recipe. All problems are reported."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

import yaml

from jomold_dist.config import Config
from jomold_dist.config_fields import Tree
from jomold_dist.config_values import Given, Setting, convert, schema
from jomold_dist.errors import ConfigError, join_problems, nearest
from jomold_dist.recipes import RECIPES
from jomold_dist.secrets import ELSEWHERE, blotted, blotted_value, problem_of_uri, secret_names

C = TypeVar("C", bound=Config)

NO_TEXTS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool")

TRACKING_ELSEWHERE = (
    "name and password are taken from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole address from "
    "MLFLOW_TRACKING_URI"
)


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The config of a file with `section.key=value` overrides on top.

    A file may name another one, relative to itself, as `base:`; its own settings win. ConfigError lists every problem
    found. Which methods and networks there are is not known here: see `methods/registry.py`.
    """
    return load_as(Config, path, overrides)


def load_as(cls: type[C], path: Path | None, overrides: Sequence[str] = (), under: Path | None = None) -> C:
    """As `load_config`, for a config with further sections. A file `under` the other one gives what that does not."""
    problems: list[str] = []
    given: dict[str, Given] = {}
    settings = schema(cls)
    sections = {name.rsplit(".", 1)[0] for name in settings if "." in name}
    for file in (under, path):
        if file is not None:
            given |= _read_file(Path(file), sections, problems, ())
    trees = [name for name, setting in settings.items() if setting.type is Tree]
    for text in overrides:
        for name, item in _read_override(text, settings, problems).items():
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
        value, problem = convert(item, settings[name])
        if problem:
            problems.append(f"{item.where}: {name} = {blotted_value(name, repr(item.value))} {problem}")
        else:
            values[name] = value
    recipe = values.get("recipe", Config.recipe)
    for name, value in RECIPES.get(recipe, {}).items():
        if name not in given:
            values[name] = value(values) if callable(value) else value
    config: C = _build(cls, "", values)
    problems += _contradictions(config, given) + _secrets(config) + _names(config)
    if problems:
        raise ConfigError(blotted(join_problems(problems)))
    return config


def _secrets(config: Config) -> list[str]:
    """Settings that hold what no run folder may hold."""
    found = [
        problem_of_uri("data.shards", config.data.shards, query=False),
        problem_of_uri("tracking.uri", config.tracking.uri or "", TRACKING_ELSEWHERE),
    ]
    trees = {
        "data.storage": config.data.storage,
        "deepspeed.extra": config.deepspeed.extra,
        "model.options": config.model.options,
    }
    for section, tree in trees.items():
        found += [f"{section}.{name} is written into the run's folder; {ELSEWHERE}" for name in secret_names(tree)[:1]]
    return [problem for problem in found if problem]


def _names(config: Config) -> list[str]:
    """Names that MLflow would refuse, and only when the run has ended."""
    name = config.tracking.register_model
    if name is None or (name.strip() and not set(name) & set("/:")):
        return []
    return [f"tracking.register_model = {name!r} must be a name without / and :"]


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
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        problems.append(f"config file {path} is not valid YAML: {_without_excerpt(error)}")
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


def _read_override(text: str, settings: Mapping[str, Setting], problems: list[str]) -> dict[str, Given]:
    name, equals, value = text.partition("=")
    name, where = name.strip(), f"override {name + equals + blotted_value(name, value)!r}"
    if not equals or not name:
        problems.append(f"{where} is not of the form section.key=value")
        return {}
    is_text = name in settings and settings[name].is_text
    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
        if is_text and _is_plain(node):
            return {name: Given(value.strip(), where)}
        scalar = node.value if isinstance(node, yaml.ScalarNode) else None
        return {name: Given("" if node is None else _construct(node), where, scalar)}
    except (yaml.YAMLError, ValueError) as error:
        if is_text and "!!" not in value:
            return {name: Given(value.strip(), where)}
        problems.append(f"{where}: the value is not valid YAML: {_without_excerpt(error)}")
        return {}


def _is_plain(node: yaml.Node | None) -> bool:
    """Whether the words of an override are a text as they stand: `runs/try #1` and `a: b` too, but neither null nor
    true or false, nor a quoted text, nor a list or mapping in brackets."""
    if isinstance(node, yaml.ScalarNode):
        return node.style is None and node.tag not in NO_TEXTS
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _grown(tree: Given | None, path: list[str], item: Given) -> Given:
    """The mapping with one more value inside, or what it was if that is no mapping."""
    if tree is not None and not isinstance(tree.value, dict):
        return tree
    inner = None if tree is None else tree.value.get(path[0])
    value = item.value
    if len(path) > 1:
        value = _grown(Given(inner, "") if isinstance(inner, dict) else None, path[1:], item).value
    return Given({**({} if tree is None else tree.value), path[0]: value}, item.where)


def _without_excerpt(error: Exception) -> str:
    """What is wrong with a YAML text and where, in a line. The excerpt that PyYAML adds may hold a password."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return f"{error.problem or error.context}{where}"


def _construct(node: yaml.Node) -> Any:
    """The plain value of a YAML node. ValueError with one line if it has none (an unknown tag, a 13th month)."""
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"not a plain value: {' '.join(str(error).split())}") from None


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
