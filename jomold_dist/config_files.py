"""A config of what files, overrides and the recipe give, each with its origin. All problems are reported."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from jomold_dist.config import Config
from jomold_dist.config_fields import Tree
from jomold_dist.config_sources import grown, read_file, read_override
from jomold_dist.config_values import Given, Setting, convert, near_setting, schema
from jomold_dist.errors import ConfigError, join_problems
from jomold_dist.recipes import RECIPES
from jomold_dist.secrets import ELSEWHERE, blotted, blotted_value, problem_of_uri, secret_names

C = TypeVar("C", bound=Config)

SWEEP = "sweep"  # the command, and the section that is its own

TRACKING_ELSEWHERE = (
    "name and password are taken from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole address from "
    "MLFLOW_TRACKING_URI"
)


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The config of a file with `section.key=value` overrides on top.

    A file may name another one, relative to itself or one that comes with the package, as `base:`; its own settings
    win. ConfigError lists every problem found. Which methods and networks there are is not known here: see
    `methods/registry.py`.
    """
    return resolve(Config, path, overrides).config


@dataclass(frozen=True)
class Resolved(Generic[C]):
    """A config, and where each of its settings comes from, by dotted name. A setting without an origin is at its
    default."""

    config: C
    origins: Mapping[str, str]


def resolve(cls: type[C], path: Path | None, overrides: Sequence[str] = (), under: Path | None = None) -> Resolved[C]:
    """As `load_config`, for a config that may have further sections, with the origins. A file `under` the other one
    gives what that does not."""
    problems: list[str] = []
    settings = schema(cls)
    given = _given(settings, [file for file in (under, path) if file is not None], overrides, problems)
    sections = _sections(settings)
    values: dict[str, Any] = {}
    for name, item in given.items():
        if name not in settings:
            problems.append(f"{item.where}: {_unknown(name, settings, sections)}")
            continue
        value, problem = convert(item, settings[name])
        if problem:
            problems.append(f"{item.where}: {name} = {blotted_value(name, repr(item.value))} {problem}")
        else:
            values[name] = value
    origins = {name: given[name].origin for name in values}
    recipe = values.get("recipe", Config.recipe)
    for name, value in RECIPES.get(recipe, {}).items():
        if name not in given:
            values[name] = value(values) if callable(value) else value
            origins[name] = f"recipe {recipe}"
    config: C = _build(cls, "", values)
    problems += _contradictions(config, given) + _secrets(config) + _names(config)
    if problems:
        raise ConfigError(blotted(join_problems(problems)))
    return Resolved(config, origins)


def _given(
    settings: Mapping[str, Setting], files: Sequence[Path], overrides: Sequence[str], problems: list[str]
) -> dict[str, Given]:
    """What files give, later ones on top, and overrides on top of them."""
    given: dict[str, Given] = {}
    for file in files:
        given |= read_file(Path(file), _sections(settings), problems)
    trees = [name for name, setting in settings.items() if setting.type is Tree]
    for text in overrides:
        for name, item in read_override(text, settings, problems).items():
            tree = next((tree for tree in trees if name.startswith(f"{tree}.")), None)
            if tree is None:
                given[name] = item
            else:
                given[tree] = grown(given.get(tree), name.removeprefix(f"{tree}.").split("."), item)
    return given


def _sections(settings: Iterable[str]) -> set[str]:
    return {name.rsplit(".", 1)[0] for name in settings if "." in name}


def _unknown(name: str, settings: Mapping[str, Setting], sections: Set[str]) -> str:
    """What to say of a name that is no setting's."""
    if name.partition(".")[0] == SWEEP and SWEEP not in sections:
        return f"the section {SWEEP!r} is for `jomold {SWEEP}`; the config of a single run has none"
    hint = " (it is a section)" if name in sections else near_setting(name, settings, sorted(sections))
    return f"unknown setting {name!r}{hint}"


def _secrets(config: Config) -> list[str]:
    """Settings that hold what no run folder may hold."""
    found = [
        *(problem_of_uri("data.shards", place, query=False) for place in config.data.places),
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
    if config.method == "cleaned" and denoise.cleaned_labels is None:
        problems.append(
            "method = 'cleaned' trains on the labels of denoise.cleaned_labels, and none is set; "
            "jomold labels RUN --apply DIR writes such a table"
        )
    if config.train.engine == "deepspeed" and config.train.precision == "float64":
        problems.append("train.precision = 'float64' needs train.engine = 'ddp': DeepSpeed has no float64")
    if config.deepspeed.extra:
        from jomold_dist.distributed.deepspeed_config import problems_of_extra  # imports DeepSpeed, which takes seconds

        problems += problems_of_extra(config)
    return problems


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
