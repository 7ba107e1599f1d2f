"""Imports run downward only, and each dependency has one door.

Every import counts, also one inside a function or for types only: who names a thing depends on it.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(mirror.__file__).resolve().parent
PROJECT = PACKAGE.parent / "pyproject.toml"

ROOMS = {
    # From the ground up. A module lives in the first room that names it.
    "ground": ("mirror", "errors", "model"),
    "pure": (
        *("filenames", "targets", "layout", "compare", "credentials", "selection", "requirements_file", "coverage"),
        *("published", "inspection", "release", "locks", "locks.*", "simple", "simple.*", "cdn.paths", "cdn.ledger"),
        *("infra", "infra.blueprint", "infra.policy", "infra.edge", "infra.template", "infra.cost"),
        *("plain", "figures", "destination", "samples", "reports", "reports.*", "sbom", "changes"),
    ),
    "disk": ("files", "pool", "state", "workspace", "config_file"),
    "ports": (
        *("progress", "bar", "guard", "lease", "publication", "history", "*.base", "doctor", "doctor.*"),
        *("stores", "downloads", "upstream", "cdn", "clients", "clients.conduct", "installers", "phases"),
        *("outside", "outside.*"),
    ),
    "phases": ("phases.*",),
    "infra": ("infra.*",),
    "adapters": (
        *("stores.*", "downloads.*", "upstream.*", "cdn.*", "clients.*", "installers.*"),
        *("web", "connections", "serve", "ci", "git"),
    ),
    "pipeline": ("pipeline",),
    "roof": ("settings", "console"),
    "door": ("cli", "cli.*", "__main__"),
}

BELOW = {
    "ground": {"ground"},
    "pure": {"ground", "pure"},
    "disk": {"ground", "pure", "disk"},
    "ports": {"ground", "pure", "ports"},
    "phases": {"ground", "pure", "disk", "ports"},
    "infra": {"ground", "pure", "disk", "ports", "infra"},
    "adapters": {"ground", "pure", "disk", "ports", "adapters"},
    "pipeline": {"ground", "pure", "disk", "ports", "phases"},
    "roof": {"ground", "pure", "ports"},
    "door": set(ROOMS),
}

DOORS = {
    "tomli": ("locks.*",),
    "poetry": ("locks.*",),
    "urllib3": ("web", "connections", "stores.s3_connection", "stores.s3_transport"),
    "truststore": ("connections",),
    "pip": ("downloads.configuration",),
    "selectolax": ("simple.html",),
    "rich": ("console", "bar"),
    "rich_click": ("cli.*",),
    "click": ("cli.*",),
    "dotenv": ("settings", "config_file"),
    "starlette": ("serve",),
    "uvicorn": ("serve",),
    "boto3": ("cdn.cloudfront", "infra.aws"),
    "botocore": (
        *("stores.s3_client", "stores.s3_requests", "stores.s3_transport"),
        *("cdn.cloudfront", "infra.aws"),
    ),
    "cyclonedx": ("sbom",),
    "packageurl": ("sbom",),
    "filelock": ("stores.local", "stores.staging", "workspace"),
    "packaging": ("*",),
    "_typeshed": ("*",),
}

ENVIRONMENT = ("settings", "downloads.configuration", "ci")
"""Who may read the environment: our settings, how pip is configured, and the CI job that we are part of."""

CHILDREN = ("downloads.*", "installers.*", "infra.github", "git")
"""Who may start a process."""


@dataclass(frozen=True)
class Module:
    """A module, by its name below `mirror`, and what it says."""

    name: str
    tree: ast.Module

    @cached_property
    def room(self) -> str:
        """The first room that names it."""
        return next((room for room, patterns in ROOMS.items() if _matches(self.name, patterns)), "")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@cache
def modules() -> dict[str, Module]:
    """Every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "mirror"
        found[name] = Module(name, ast.parse(path.read_text("utf-8"), str(path)))
    return found


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module that is imported anywhere, with its line; of ours the name below `mirror`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, _below(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = _below(node.module or "")
            for alias in node.names:
                inner = alias.name if module == "mirror" else f"{module}.{alias.name}"
                yield node.lineno, inner if inner in modules() else module


def _below(name: str) -> str:
    return name.removeprefix("mirror.") if name.startswith("mirror.") else name


@cache
def own(module: Module) -> set[str]:
    """Name our modules that a module imports."""
    return {name for _, name in imported(module.tree) if name in modules()}


@cache
def foreign(module: Module) -> set[str]:
    """Name the packages that a module imports which are neither ours nor of the standard library."""
    roots = {name.partition(".")[0] for _, name in imported(module.tree) if name not in modules()}
    return roots - set(sys.stdlib_module_names)


def upward(module: Module) -> set[str]:
    """Name the imports that do not run downward, or that run from one phase to another."""
    names = {name for name in own(module) if modules()[name].room not in BELOW[module.room]}
    if module.room == "phases":
        names |= {name for name in own(module) if name != module.name and modules()[name].room == "phases"}
    return names


def through_the_wall(module: Module) -> set[str]:
    """Name the dependencies that a module imports though their door is elsewhere."""
    return {package for package in foreign(module) if not _matches(module.name, DOORS.get(package, ()))}


def world(module: Module) -> set[str]:
    """Name what a module reads of the environment, or starts, though that is the business of others."""
    names = {name for _, name in imported(module.tree)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    if not _matches(module.name, ENVIRONMENT):
        found |= names & {"os.environ", "os.environb", "os.getenv", "os.putenv"}
    if not _matches(module.name, CHILDREN):
        found |= names & {"subprocess", "os.system", "os.popen", "os.fork", "multiprocessing"}
    return found


each = pytest.mark.parametrize("name", modules())


@each
def test_every_module_has_a_room(name: str) -> None:
    assert modules()[name].room, f"{name}: say in ROOMS where it belongs"


@each
def test_imports_run_downward_only_and_phases_never_import_each_other(name: str) -> None:
    assert not upward(modules()[name]), f"{name} is in {modules()[name].room}"


@each
def test_each_dependency_has_one_door(name: str) -> None:
    assert not through_the_wall(modules()[name]), "say in DOORS where they belong"


@each
def test_only_their_doors_read_the_environment_and_start_processes(name: str) -> None:
    assert not world(modules()[name])


@pytest.mark.parametrize(
    ("rule", "name", "source", "found"),
    [
        pytest.param(upward, "model", "from mirror.filenames import parse", {"filenames"}, id="ground-up"),
        pytest.param(upward, "selection", "from mirror.files import write", {"files"}, id="pure-to-disk"),
        pytest.param(
            upward, "phases.plan", "from mirror.phases.sync import sync", {"phases.sync"}, id="phase-to-phase"
        ),
        pytest.param(upward, "phases.sync", "import mirror.stores.local", {"stores.local"}, id="phase-to-adapter"),
        pytest.param(upward, "phases.sync", "def f():\n import mirror.web", {"web"}, id="inside-a-function"),
        pytest.param(upward, "pipeline", "from mirror.stores import local", {"stores.local"}, id="pipeline-to-adapter"),
        pytest.param(upward, "phases.plan", "from mirror import console", {"console"}, id="phase-to-roof"),
        pytest.param(upward, "stores.local", "from mirror import pipeline", {"pipeline"}, id="adapter-to-pipeline"),
        pytest.param(upward, "phases.sync", "from mirror.stores.base import Store", set(), id="phase-to-port"),
        pytest.param(through_the_wall, "phases.plan", "import urllib3", {"urllib3"}, id="urllib3"),
        pytest.param(through_the_wall, "model", "from rich import print", {"rich"}, id="rich"),
        pytest.param(through_the_wall, "model", "import unheard_of.part", {"unheard_of"}, id="unknown"),
        pytest.param(through_the_wall, "console", "from rich import print", set(), id="through-its-door"),
        pytest.param(world, "phases.plan", "import os\nos.environ['A']", {"os.environ"}, id="environment"),
        pytest.param(world, "pipeline", "from os import getenv", {"os.getenv"}, id="getenv"),
        pytest.param(world, "phases.plan", "import subprocess", {"subprocess"}, id="child"),
        pytest.param(world, "downloads.pip", "import subprocess", set(), id="child-of-downloads"),
    ],
)
def test_the_rules_find_what_breaks_them(
    rule: Callable[[Module], set[str]], name: str, source: str, found: set[str]
) -> None:
    assert rule(Module(name, ast.parse(source))) == found


@each
def test_nobody_imports_relatively(name: str) -> None:
    relative = [node for node in ast.walk(modules()[name].tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert not relative


def test_only_the_command_line_picks_adapters() -> None:
    adapters = {name for name, module in modules().items() if module.room == "adapters"}
    users = {module.room for module in modules().values() if own(module) & adapters}
    assert users == {"adapters", "door"}


def test_no_module_needs_itself_to_be_loaded_first() -> None:
    """Imports at the top of modules have no cycle, so that each can be imported alone."""
    graph = {name: _at_the_top(module) for name, module in modules().items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def _at_the_top(module: Module) -> set[str]:
    statements: list[ast.stmt] = [node for node in module.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    # A package and its parts: `from mirror.simple import html` in a part of `simple` names the part.
    names = {name for _, name in imported(ast.Module(statements, [])) if name in modules()}
    return names - {parent for parent in names if module.name.startswith(f"{parent}.")}


def test_every_door_is_used() -> None:
    used = {package for module in modules().values() for package in foreign(module)}
    # `click` is what `rich_click` dresses; both have the same door, and one of them is used.
    assert set(DOORS) - used <= {"click", "rich_click"}
    assert used & {"click", "rich_click"}


def test_every_dependency_is_declared_or_comes_with_one_that_is() -> None:
    project = tomli.loads(PROJECT.read_text("utf-8"))["project"]
    declared = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    known = set(declared)
    for name in declared:
        known |= {canonicalize_name(_name(text)) for text in importlib.metadata.requires(name) or ()}
    distributions = importlib.metadata.packages_distributions()
    used = {package for module in modules().values() for package in foreign(module)} - {"_typeshed"}
    for package in sorted(used):
        providers = {canonicalize_name(provider) for provider in distributions[package]}
        assert providers & known, f"{package} is imported, and no dependency brings {sorted(providers)}"


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return match[0]
