"""Credentials: where they may not be given, and how they are kept out of what is written and said.

What a config holds is written into run folders and MLflow. Credentials are therefore taken where the storage's or the
server's own tools take them, from the environment or their configuration files, and never from a setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

SECRET = re.compile("key|secret|token|passw|pwd|auth|credential|cookie|header|signature", re.IGNORECASE)
USER = re.compile(r"(.*[.])?(username|user_name|login)", re.IGNORECASE)
ELSEWHERE = "give credentials as the storage's own tools take them (environment, configuration file)"

# A password may hold slashes, by mistake; and a path that was made of an address has but one of its two.
# In Azure's addresses a container stands where others have a user.
_AZURE = "".join(rf"(?<!{scheme}:{slashes})" for scheme in ("abfs", "abfss") for slashes in ("/", "//"))
_PASSWORDS = re.compile(rf"(:/{{1,2}})(?:[^\s/@]*:\S*@|{_AZURE}[^\s/]*@)")
_BARE = re.compile(r"(?<![\w*])[^\s/@:]+:[^\s/@]+@")  # a name and a password before a host without a scheme
_SIGNATURES = re.compile(rf"([?&;][^=&;\s]*(?:{SECRET.pattern}|sig)[^=&;\s]*=)[^&;\s'\"]+", re.IGNORECASE)
_NAME = rf"""\b[\w.-]*(?:{SECRET.pattern})[\w-]*['"]?\s*[:=]\s*"""
# The value behind a name, in YAML, JSON or a program: quoted; nested, in brackets or as a block, which hides the rest;
# or plain, up to what ends it, which may stand inside it where a letter follows.
_QUOTED = r""""(?:\\.|[^"\\])*(?:"|\Z)|'(?:''|[^'])*(?:'|\Z)"""
_PLAIN = r"""(?:[^,}\]'"\n]|[,}\]'"](?=\w))+"""
_NAMED = re.compile(rf"({_NAME})(?:{_QUOTED}|[{{\[(|>].*|{_PLAIN})", re.IGNORECASE | re.DOTALL)


def blotted(text: str) -> str:
    """The text with the user and password of every address in it blotted out, and the signatures behind it."""
    return _SIGNATURES.sub(r"\1***", _BARE.sub("***@", _PASSWORDS.sub(r"\1***@", text)))


def blotted_value(name: str, value: str) -> str:
    """As `blotted`, for the text of a setting's value: all of it goes if the setting's name is that of a secret, and
    what such names have inside it."""
    return "***" if SECRET.search(name) else _NAMED.sub(r"\1***", blotted(value))


def problem_of_uri(setting: str, uri: str, elsewhere: str = ELSEWHERE, query: bool = True) -> str | None:
    """What is wrong with a setting's URI that holds credentials, without repeating them. Without `query`, any query is
    taken for a signature."""
    scheme, separator, rest = uri.partition("://")
    if blotted(uri) == uri and (query or not separator or "?" not in rest):
        return None
    return (
        f"{setting} = '{scheme}://…' must not hold a name, password or signature, as it is written into the run's "
        f"folder; {elsewhere}"
    )


def secret_names(tree: Mapping[str, Any]) -> list[str]:
    """The dotted names in a free mapping of settings that hold credentials by their name, or by their value a URI that
    does."""
    return [
        name
        for name, value in _items(tree)
        if SECRET.search(name) or USER.fullmatch(name) or blotted(str(value)) != str(value)
    ]


def _items(tree: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """All keys of a mapping and of those inside it, dotted, with their values; nothing for the value of a mapping."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield key, ""
            yield from ((f"{key}.{below}", inner) for below, inner in _items(value))
        else:
            yield key, value
