"""What a run was: its settings, its data set, when and where it was started, and how it stands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.secrets import blotted_value
from jomold_dist.showing.reports.run_record import RunRecord
from jomold_dist.tables import value_text
from jomold_dist.wording import number_of

ENDS = {"finished": "finished", "failed": "failed", "preempted": "stopped on request"}
"""How runs end, by their states."""
DIGITS = 12  # of a digest or a commit


@dataclass(frozen=True)
class Setting:
    """A setting of a run that is not as by default, as texts; whether it decides the result."""

    name: str
    value: str
    default: str
    decides: bool


@dataclass(frozen=True)
class Start:
    """A start of a run, as texts; empty where its entry does not tell."""

    time: str
    ranks: str
    device: str
    hosts: str
    versions: str
    code: str
    command: str


def settings(config: Config) -> list[Setting]:
    """Those that are not as by default, the ones that decide the result first."""
    now, defaults = config.flat(), Config().flat()
    found = [
        Setting(name, _shown(name, value), _shown(name, defaults[name]), config.decides(name))
        for name, value in now.items()
        if value != defaults[name]
    ]
    return sorted(found, key=lambda setting: not setting.decides)


def data_facts(record: RunRecord) -> dict[str, str]:
    """The data set, as far as it is known."""
    if record.manifest is not None:
        return _of_manifest(record.manifest)
    if record.scores is None:
        return {}
    data = record.scores.data
    return {"name": data.name, "videos": "", "manifest": data.manifest[:DIGITS]}


def _of_manifest(manifest: Manifest) -> dict[str, str]:
    sizes = (f"{name} {' × '.join(map(str, spec.shape))}" for name, spec in manifest.features.items())
    splits = (f"{split.videos:,} {name}" for name, split in manifest.splits.items())
    seconds = manifest.segment_seconds
    return {
        "name": manifest.name,
        "videos": ", ".join(splits),
        "categories": f"{len(manifest.categories):,}",
        "segments": f"{manifest.segments} of {seconds:g} s a video",
        "features": ", ".join(sizes),
        "manifest": manifest.digest[:DIGITS],
    }


def starts(record: RunRecord) -> list[Start]:
    """Each start of the run, in their order."""
    return [_start(entry) for entry in record.starts if isinstance(entry, dict)]


def standing(record: RunRecord) -> str:
    """How the run ended, or that it has not."""
    state, when = str(record.status.get("state", "")), moment(record.status.get("time"))
    if state == "running":
        return f"not at its end: in stage {record.status.get('stage', 'unknown')} since {when}"
    if state not in ENDS:
        return "not known: it has no status.json that can be read"
    message = str(record.status.get("message", ""))
    return f"{ENDS[state]} on {when}" + (f": {message}" if message and state == "failed" else "")


def moment(time: Any) -> str:
    """A time of ISO 8601 as people read it; as it is where it is none."""
    try:
        return datetime.fromisoformat(str(time)).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return str(time or "an unknown time")


def _start(entry: Mapping[str, Any]) -> Start:
    ranks, command = entry.get("ranks"), entry.get("command")
    return Start(
        moment(entry.get("time")),
        number_of(ranks, "rank") if isinstance(ranks, int) else "",
        "; ".join(_devices(entry)),
        ", ".join(str(host.get("host", "")) for host in _mappings(entry.get("hosts"))),
        ", ".join(f"{name} {release}" for name, release in _mapping(entry.get("versions")).items()),
        _code(entry),
        shlex.join(map(str, command)) if isinstance(command, list) else "",
    )


def _devices(entry: Mapping[str, Any]) -> Iterator[str]:
    devices = [device for host in _mappings(entry.get("hosts")) for device in host.get("devices") or []]
    yield from dict.fromkeys(map(str, devices))


def _code(entry: Mapping[str, Any]) -> str:
    """The commit that the package's, or else the working directory's, checkout was at; else the code's digest."""
    git = _mapping(entry.get("git"))
    for name in ("package", "working_directory"):
        state = _mapping(git.get(name))
        if state.get("commit"):
            changed = state.get("changed_files")
            files = f", {number_of(changed, 'file')} changed" if isinstance(changed, int) and changed else ""
            branch = f" ({state['branch']}{files})" if state.get("branch") else files
            return f"commit {str(state['commit'])[:DIGITS]}{branch}"
    return f"code {str(entry['code'])[:DIGITS]}" if entry.get("code") else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _shown(name: str, value: Any) -> str:
    return blotted_value(name, value_text(value))
