"""Rooms and who may use whom: imports go one way, pure modules stay pure, and a module is one idea."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "jomold_dist"
MOST_LINES = 300

# What a room may import beside itself and the modules at the top of the package. A method's base and the registry are
# low: training is written against them. Methods themselves are high: they put training's stages together.
ROOMS: dict[str, set[str]] = {
    "simulation": set(),
    "evaluation": set(),
    "distributed": set(),
    "data, format": set(),
    "data, reading": {"data, format"},
    "data, checking": {"data, format", "data, reading"},
    "data, packing": {"data, format", "data, reading"},
    "data, looking": {"data, format", "data, reading"},
    "extraction, media": set(),
    "extraction, encoding": {"data, format", "extraction, media"},
    "extraction, jobs": {"data, format", "extraction, media", "extraction, encoding"},
    "models": {"data, format"},
    "denoising": {"models", "distributed"},
    "methods, low": {"data, format", "data, reading", "models", "denoising"},
    "training": {
        *("data, format", "data, reading", "data, checking"),
        *("models", "denoising", "distributed", "evaluation", "methods, low"),
    },
    "methods": {"data, format", "data, reading", "models", "denoising", "distributed", "methods, low", "training"},
    "cleaning": {
        *("data, format", "data, reading", "data, packing"),
        *("models", "denoising", "distributed", "evaluation", "methods, low", "training"),
    },
    "comparing": {"data, format", "data, reading", "denoising", "methods, low", "training"},
    "showing, pages": set(),
    "showing, timelines": {
        *("data, format", "data, reading", "data, looking", "showing, pages"),
        *("extraction, media", "extraction, encoding", "extraction, jobs"),
        *("models", "denoising", "distributed", "evaluation", "methods, low", "training", "comparing"),
    },
    "showing, reports": {
        *("data, format", "data, reading", "showing, pages", "showing, timelines", "cleaning", "comparing"),
        *("models", "denoising", "distributed", "evaluation", "methods, low", "training"),
    },
    "tracking": {
        *("data, format", "data, reading", "models", "distributed", "evaluation", "training", "showing, reports"),
    },
    "tuning": {
        *("data, format", "data, reading", "denoising", "models", "methods", "methods, low"),
        *("tracking", "training", "comparing"),
    },
    "commands": {
        *("simulation", "evaluation", "distributed", "denoising", "models", "methods, low"),
        *("data, format", "data, reading", "data, checking", "data, packing", "data, looking"),
        *("training", "tracking", "comparing", "tuning", "cleaning"),
        *("extraction, media", "extraction, encoding", "extraction, jobs"),
        *("showing, pages", "showing, timelines", "showing, reports"),
    },
}

# Folders that are rooms of rooms, and in which of them their own page counts.
SUITES = {"data": "format", "extraction": "media", "showing": "pages"}
LOW_METHODS = {"jomold_dist.methods.base", "jomold_dist.methods.registry"}

# Modules at the top that use rooms. The others use none, and so any room may use them.
FRONT: dict[str, set[str]] = {
    "jomold_dist.config_command": {"distributed", "methods, low"},
    "jomold_dist.config_files": {"distributed"},
    "jomold_dist.launching": {"distributed"},
    "jomold_dist.stopping": {"distributed"},
    "jomold_dist.ray_nodes": {"tracking"},
    "jomold_dist.settings_help": {"methods, low", "models"},
    "jomold_dist.settings_page": {"tuning"},
}

# Modules that only compute: no files, no processes, no groups of them.
PURE = {
    "jomold_dist.data.reading.plan",
    "jomold_dist.data.reading.shares",
    "jomold_dist.denoising.draws",
    "jomold_dist.denoising.evidence",
    "jomold_dist.denoising.given",
    "jomold_dist.denoising.label_probabilities",
    "jomold_dist.denoising.mixture",
    "jomold_dist.denoising.memory",
    "jomold_dist.denoising.ranking",
    "jomold_dist.denoising.reach",
    "jomold_dist.denoising.refinement",
    "jomold_dist.denoising.removal",
    "jomold_dist.denoising.small_loss",
    "jomold_dist.denoising.warmup",
    "jomold_dist.models.losses",
    "jomold_dist.palette",
}
PURE_MAY_IMPORT = PURE | {"jomold_dist.config", "jomold_dist.errors", "jomold_dist.labels"}
IMPURE = {"os", "io", "pathlib", "shutil", "tempfile", "socket", "subprocess", "threading", "multiprocessing", "json"}
IMPURE |= {"concurrent", "logging", "urllib", "fsspec", "safetensors", "yaml", "torch.distributed"}

# Libraries that are large, optional or of one place's concern, and where they may be imported.
OWNERS: dict[str, set[str]] = {
    "mlflow": {"jomold_dist.tracking"},
    "ray": {
        *("jomold_dist.ray_cluster", "jomold_dist.ray_nodes", "jomold_dist.tuning.schedule"),
        "jomold_dist.extraction.jobs.ray_extraction",
    },
    "deepspeed": {"jomold_dist.distributed.deepspeed_config", "jomold_dist.distributed.deepspeed_engine"},
    "matplotlib": {"jomold_dist.figures"},
    "jinja2": {"jomold_dist.showing.pages.page"},
    "markupsafe": {"jomold_dist.showing"},
    "optuna": {"jomold_dist.tuning.space"},
    "transformers": {"jomold_dist.extraction.encoding.pretrained"},
    "torchvision": {"jomold_dist.extraction.encoding.torchvision_encoders"},
    "huggingface_hub": {"jomold_dist.extraction.encoding.model_files"},
    "av": {"jomold_dist.extraction"},
    "fsspec": {"jomold_dist.data.reading.remote"},
    "pyarrow": {
        *("jomold_dist.training.label_table", "jomold_dist.data.packing.input_tables"),
        *("jomold_dist.cleaning.label_list", "jomold_dist.evaluation.probability_files"),
        *("jomold_dist.data.packing.table_files", "jomold_dist.data.packing.table_features"),
        "jomold_dist.data.packing.foreign_labels",
    },
}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from nodes(child)


def imported(found: Iterable[ast.AST]) -> set[str]:
    """What these nodes import: modules of ours as such, and others by their dotted names."""
    names: set[str] = set()
    for node in found:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports by a relative name"
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= parts & MODULES.keys()
            if not parts <= MODULES.keys():
                names.add(str(node.module))
    return names


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports at any place in it."""
    return frozenset(imported(nodes(tree_of(module))))


def own_imports(module: str) -> list[str]:
    return sorted(name for name in imports(module) if name in MODULES and name != module)


def room_of(module: str) -> str | None:
    """The room of a module, None for one at the top of the package."""
    parts = module.split(".")
    if module in LOW_METHODS:
        return "methods, low"
    if len(parts) > 1 and parts[1] in SUITES:
        return f"{parts[1]}, {parts[2] if len(parts) > 2 else SUITES[parts[1]]}"
    folder = len(parts) > 2 or (len(parts) == 2 and MODULES[module].name == "__init__.py")
    return parts[1] if folder else None


def is_in(name: str, owners: set[str]) -> bool:
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


def test_every_folder_is_a_room_that_is_known() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == {room.partition(",")[0] for room in ROOMS}
    for suite in SUITES:
        rooms = {path.name for path in (PACKAGE / suite).iterdir() if (path / "__init__.py").exists()}
        assert {f"{suite}, {name}" for name in rooms} == {room for room in ROOMS if room.startswith(f"{suite}, ")}
    assert set(FRONT) | PURE | LOW_METHODS <= set(MODULES)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if room_of(module) == room
        for name in own_imports(module)
        if room_of(name) not in {room, None} | ROOMS[room]
    ]
    assert wrong == []


def test_rooms_are_in_an_order() -> None:
    below: set[str] = set()
    for room, others in ROOMS.items():
        assert others <= below, f"{room} stands before what it imports"
        below.add(room)


def test_what_all_rooms_may_use_uses_none_of_them() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        if room_of(module) is None
        for name in own_imports(module)
        if room_of(name) not in {None} | FRONT.get(module, set())
    ]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """At the top of a file; an import inside a function may look back, for it runs when both are there."""
    at_top = {module: imported(tree_of(module).body) & MODULES.keys() for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        for name in sorted(at_top[module]):
            visit(name, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


def test_pure_modules_say_so_and_import_nothing_that_is_not() -> None:
    said = {module for module in MODULES if (ast.get_docstring(tree_of(module)) or "").startswith("PURE:")}
    wrong = [
        f"{module} imports {name}"
        for module in sorted(PURE | said)
        for name in sorted(imports(module))
        if is_in(name, IMPURE) or (name.startswith("jomold_dist") and name not in PURE_MAY_IMPORT | said)
    ]
    assert wrong == []


@pytest.mark.parametrize("room", ["data, format", "data, checking", "data, packing", "data, looking"])
def test_who_packs_and_checks_data_needs_no_torch(room: str) -> None:
    """Neither by itself nor by way of what it imports; torch takes seconds and hundreds of megabytes."""
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in done:
            return
        done.add(module)
        found = imports(module)
        assert not any(is_in(name, {"torch"}) for name in found), " -> ".join([*path, module, "torch"])
        for name in own_imports(module):
            visit(name, (*path, module))

    for module in MODULES:
        if room_of(module) == room:
            visit(module, ())


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_where_it_is_at_home(library: str) -> None:
    users = {module for module in MODULES if any(is_in(name, {library}) for name in imports(module))}
    assert users, f"{library} is not used; take it out of the list"
    assert [module for module in sorted(users) if not is_in(module, OWNERS[library])] == []


def test_a_module_is_short() -> None:
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    assert [module for module in MODULES if not ast.get_docstring(tree_of(module))] == []
