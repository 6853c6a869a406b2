"""A JSON schema of config files, by which editors complete and check them while they are written.

It says what a setting's value may be, not which values go together: that is said when a config is read.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal

from jomold_dist.config_fields import Tree
from jomold_dist.config_values import Setting, schema
from jomold_dist.settings_help import CLASSES, help_texts, section_texts

DIALECT = "http://json-schema.org/draft-07/schema#"  # the one that editors' YAML servers know
BASE = {"type": "string", "description": "Another config file, relative to this one; what is given here wins over it."}


def json_schema(cls: type) -> dict[str, Any]:
    """The schema of the files of a config's class."""
    settings, texts, about = schema(cls), help_texts(cls), section_texts(cls)

    def section(of: type, prefix: str) -> dict[str, Any]:
        hints = typing.get_type_hints(of)
        found: dict[str, Any] = {}
        for item in dataclasses.fields(of):
            name = prefix + item.name
            if name in settings:
                found[item.name] = {"description": texts[name]} | _value(settings[name])
            else:
                inner = section(hints[item.name], f"{name}.")
                found[item.name] = {"description": about[name]} | inner | {"type": ["object", "null"]}
        return {"type": "object", "properties": found, "additionalProperties": False}

    whole = section(cls, "")
    whole["properties"]["base"] = BASE
    return {"$schema": DIALECT, "title": "jomold_dist: a config file", **whole, "type": ["object", "null"]}


def _value(setting: Setting) -> dict[str, Any]:
    """What `config_values.convert` takes, and the default."""
    hint, optional = setting.type, False
    if isinstance(hint, types.UnionType):
        optional = type(None) in typing.get_args(hint)
        kinds = [a for a in typing.get_args(hint) if a is not type(None)]
        hint = kinds[-1]  # of a text or a list of texts, which takes both
    found = _of_type(setting, hint)
    if optional:
        found = {"anyOf": [found, {"type": "null"}]}
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    return found | {"default": default}


def _of_type(setting: Setting, hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) is Literal:
        return {"enum": list(typing.get_args(hint))}
    if typing.get_origin(hint) is tuple:
        if typing.get_args(hint)[0] is str:
            item: dict[str, Any] = {"type": "string"}
            if setting.is_place:  # a folder may be called 2024
                several = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
                return {"anyOf": [{"type": ["string", "number"]}, several]}
            return {"anyOf": [item, {"type": "array", "items": item}]}
        item = {"type": "integer", "minimum": 0}
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}]}
    if hint is str:  # a folder may be called 2024, and a method true: YAML's types are no matter
        known = [{"enum": list(CLASSES[setting.name])}] if setting.name in CLASSES else []
        return {"anyOf": [*known, {"type": ["string", "number", *(["boolean"] if setting.is_word else [])]}]}
    found: dict[str, Any] = {"type": {bool: "boolean", int: "integer", float: "number", Tree: "object"}[hint]}
    if setting.bounds is not None and setting.bounds.low is not None:
        found["exclusiveMinimum" if setting.bounds.above else "minimum"] = setting.bounds.low
    if setting.bounds is not None and setting.bounds.high is not None:
        found["maximum"] = setting.bounds.high
    return found
