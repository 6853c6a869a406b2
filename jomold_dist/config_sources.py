"""What config files and overrides give: each setting with its value, where it stands, and what is wrong there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import yaml

from jomold_dist.config_values import Given, Setting
from jomold_dist.secrets import blotted_value
from jomold_dist.shipped import file_beside, near_shipped

MOST_VALUES = 10_000  # of a setting
NO_TEXTS = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool")
OVERRIDE = "override"


def read_file(
    path: Path, sections: Set[str], problems: list[str], above: tuple[Path, ...] = (), named: Given | None = None
) -> dict[str, Given]:
    """Every setting that a file and the files under it give; what is wrong with them goes to `problems`. `above` are
    the files that lead here by their `base:`, `named` is the last one's."""
    named_in = "" if named is None else f"{named.where}: base = {named.value!r}: "
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        hint = (_near_file(path) or near_shipped(path if named is None else Path(named.value))) if missing else ""
        problems.append(f"{named_in}config file {path}: {error.strerror or error}{hint}")
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
    _walk(node, "", path, sections, given, problems, "base " if above else "")
    base = given.pop("base", None)
    if base is None:
        return given
    if not isinstance(base.value, str) or not base.value:
        problems.append(f"{base.where}: base = {base.value!r} must name a config file")
        return given
    base_path = file_beside(path, base.value)
    if base_path.resolve() in (p.resolve() for p in (*above, path)):
        problems.append(f"{base.where}: base = {base.value!r} leads back to itself")
        return given
    return read_file(base_path, sections, problems, (*above, path), base) | given


def _near_file(path: Path) -> str:
    """A hint at a config file with nearly this name: beside it, or in a folder of nearly its folder's name."""
    there = path.parent.is_dir()
    folders = [path.parent] if there else [one for one in _entries(path.parent.parent) if one.is_dir()]
    files = [file for folder in folders for file in _entries(folder) if file.suffix in (".yaml", ".yml")]
    parts = 1 if there else 2  # what all of them begin with would make any two alike
    names = {"/".join(file.parts[-parts:]): file for file in files}
    close = difflib.get_close_matches("/".join(path.parts[-parts:]), names, n=1)
    return f" (did you mean {str(names[close[0]])!r}?)" if close else ""


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # a hint is no reason to fail
        return []


def _walk(
    node: yaml.MappingNode,
    prefix: str,
    path: Path,
    sections: Set[str],
    given: dict[str, Given],
    problems: list[str],
    role: str,
) -> None:
    """Adds the settings below a YAML node to `given`. Only sections are gone into: a file may refer to itself."""
    for key_node, value_node in node.value:
        name = prefix + (key_node.value if isinstance(key_node, yaml.ScalarNode) else "?")
        where = f"{path}:{key_node.start_mark.line + 1}"
        if isinstance(value_node, yaml.MappingNode) and name in sections:
            _walk(value_node, f"{name}.", path, sections, given, problems, role)
            continue
        try:
            value = _construct(value_node)
        except ValueError as error:
            problems.append(f"{where}: {name}: {error}")
            continue
        if name in given:
            problems.append(f"{where}: {name} is given twice in this file (first at {given[name].where})")
        elif value is not None or name not in sections:  # a section without content is no setting
            text = value_node.value if isinstance(value_node, yaml.ScalarNode) else None
            given[name] = Given(value, where, text, f"{role}{where}")


def read_override(text: str, settings: Mapping[str, Setting], problems: list[str]) -> dict[str, Given]:
    """The setting that `section.key=value` gives, or one inside a free mapping; what is wrong goes to `problems`."""
    name, equals, value = text.partition("=")
    name, where = name.strip(), f"override {name + equals + blotted_value(name, value)!r}"
    if not equals or not name:
        problems.append(f"{where} is not of the form section.key=value")
        return {}
    is_text = name in settings and settings[name].is_text
    try:
        node = yaml.compose(value, Loader=yaml.SafeLoader)
        if is_text and _is_plain(node):
            return {name: Given(value.strip(), where, origin=OVERRIDE)}
        scalar = node.value if isinstance(node, yaml.ScalarNode) else None
        return {name: Given("" if node is None else _construct(node), where, scalar, OVERRIDE)}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if is_text and "!!" not in value:
            return {name: Given(value.strip(), where, origin=OVERRIDE)}
        problems.append(f"{where}: the value is not valid YAML: {_without_excerpt(error)}")
        return {}


def _is_plain(node: yaml.Node | None) -> bool:
    """Whether the words of an override are a text as they stand: `runs/try #1` and `a: b` too, but neither null nor
    true or false, nor a quoted text, nor a list or mapping in brackets."""
    if isinstance(node, yaml.ScalarNode):
        return node.style is None and node.tag not in NO_TEXTS
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def grown(tree: Given | None, path: list[str], item: Given) -> Given:
    """The mapping with one more value inside, or what it was if that is no mapping."""
    if tree is not None and not isinstance(tree.value, dict):
        return tree
    inner = None if tree is None else tree.value.get(path[0])
    value = item.value
    if len(path) > 1:
        value = grown(Given(inner, "") if isinstance(inner, dict) else None, path[1:], item).value
    origin = item.origin if tree is None or tree.origin.endswith(item.origin) else f"{tree.origin}, {item.origin}"
    return Given({**({} if tree is None else tree.value), path[0]: value}, item.where, origin=origin)


def _without_excerpt(error: Exception) -> str:
    """What is wrong with a YAML text and where, in a line. The excerpt that PyYAML adds may hold a password."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return f"{error.problem or error.context}{where}"


def _size(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """The number of values in a node's, as often as aliases bring them. `known` are the nodes that were counted."""
    if node not in known:
        known[node] = 1  # one that holds itself ends here, and is refused for it later
        inner = [part for item in node.value for part in item] if isinstance(node, yaml.MappingNode) else node.value
        known[node] += sum(_size(part, known) for part in inner) if not isinstance(node, yaml.ScalarNode) else 0
    return known[node]


def _construct(node: yaml.Node) -> Any:
    """The plain value of a YAML node. ValueError with one line if it has none (an unknown tag, a 13th month), or one
    that aliases make large."""
    if _size(node, {}) > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES} values")
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"not a plain value: {' '.join(str(error).split())}") from None
