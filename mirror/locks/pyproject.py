"""What a project asks for: groups, extras and sources of its pyproject.toml (locks section 1.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from mirror.locks import constraints, markers
from mirror.locks.problems import Problems, Table
from mirror.locks.walk import Edge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAIN = canonicalize_name("main")
_DEV = canonicalize_name("dev")
_DEFAULT_SOURCE = "pypi"
_REPLACING = ("primary", "default")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSource:
    """A simple index that the project names (`[[tool.poetry.source]]`)."""

    name: str
    url: str
    priority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A pyproject.toml as far as its lock depends on it."""

    name: NormalizedName | None = None
    groups: Mapping[NormalizedName, tuple[Edge, ...]] = field(default_factory=dict)
    extras: Mapping[NormalizedName, tuple[NormalizedName, ...]] = field(default_factory=dict)
    """The names that each extra brings in."""
    sources: tuple[IndexSource, ...] = ()

    @property
    def primary_index(self) -> str:
        """The index that stands in the place of the default one; empty when the default one stays.

        Poetry drops the default index as soon as a primary source is named, unless that is listed as a source itself.
        """
        if any(source.name.lower() == _DEFAULT_SOURCE for source in self.sources):
            return ""
        ordered = sorted(self.sources, key=lambda source: source.priority != "default")
        return next((source.url for source in ordered if source.priority in _REPLACING), "")


def read(data: Mapping[str, Any], problems: Problems) -> Project:
    """Read the tables of a pyproject.toml; what cannot be understood goes to `problems` as an error."""
    top = Table(data, problems, key="")
    project, poetry = top.table("project"), top.table("tool").table("poetry")
    extras = _extras(project, poetry)
    groups: dict[NormalizedName, list[Edge]] = {MAIN: list(_main(project, poetry, extras))}
    includes: dict[NormalizedName, list[NormalizedName]] = {}
    _add_standard_groups(top.table("dependency-groups"), groups, includes)
    _add_poetry_groups(poetry, groups, includes)
    name = project.text("name", "") or poetry.text("name", "")
    return Project(
        name=canonicalize_name(name) if name else None,
        groups={group: tuple(_included(group, groups, includes)) for group in groups},
        extras={extra: tuple(names) for extra, names in extras.items()},
        sources=tuple(_sources(poetry)),
    )


def _extras(project: Table, poetry: Table) -> dict[NormalizedName, list[NormalizedName]]:
    found: dict[NormalizedName, list[NormalizedName]] = {}
    optional = project.table("optional-dependencies")
    for extra in optional:
        edges = [_standard_edge(optional, text) for text in optional.texts(extra)]
        found[canonicalize_name(extra)] = [edge.name for edge in edges if edge]
    if not _standard(project):
        legacy = poetry.table("extras")
        for extra in legacy:
            found[canonicalize_name(extra)] = [canonicalize_name(name) for name in legacy.texts(extra)]
    return found


def _standard(project: Table) -> bool:
    return "dependencies" in project or "optional-dependencies" in project


def _main(project: Table, poetry: Table, extras: Mapping[NormalizedName, list[NormalizedName]]) -> Iterator[Edge]:
    stated = [edge for text in project.texts("dependencies") if (edge := _standard_edge(project, text))]
    optional = project.table("optional-dependencies")
    for extra in optional:
        within = frozenset({canonicalize_name(extra)})
        edges = (_standard_edge(optional, text, within) for text in optional.texts(extra))
        stated.extend(edge for edge in edges if edge)
    yield from stated
    # Beside [project], the Poetry table only adds sources to what is stated there, unless the rest is dynamic.
    known = {edge.name for edge in stated}
    dynamic = {"dependencies", "optional-dependencies"}.intersection(project.texts("dynamic"))
    for edge in _poetry_edges(poetry.table("dependencies"), extras):
        if not _standard(project) or (dynamic and edge.name not in known):
            yield edge


def _standard_edge(table: Table, text: str, within: frozenset[NormalizedName] = frozenset()) -> Edge | None:
    """Read a PEP 508 requirement."""
    try:
        requirement = Requirement(text)
        marker = markers.parse(str(requirement.marker or ""))
        constraint = str(requirement.specifier) or "*"
        constraints.parse(constraint)
    except (InvalidRequirement, markers.InvalidMarker, constraints.InvalidConstraint) as error:
        table.error("bad-requirement", f"the requirement {text!r} cannot be read: {error}")
        return None
    return Edge(
        name=canonicalize_name(requirement.name),
        constraint=constraint,
        marker=marker,
        wants=frozenset(canonicalize_name(extra) for extra in requirement.extras),
        optional=bool(within),
        within=within,
        origin=requirement.url or "",
    )


def _poetry_edges(table: Table, extras: Mapping[NormalizedName, list[NormalizedName]] | None = None) -> Iterator[Edge]:
    for name in table:
        if name.lower() == "python":
            continue
        normalized = _normalized(table, name)
        if normalized is None:
            continue
        within = frozenset(extra for extra, names in (extras or {}).items() if normalized in names)
        value = table.raw(name)
        for item in value if isinstance(value, list) else [value]:
            if (edge := poetry_edge(table, normalized, item, within)) is not None:
                yield edge


def poetry_edge(
    table: Table, name: NormalizedName, value: object, within: frozenset[NormalizedName] = frozenset()
) -> Edge | None:
    """Read one requirement in Poetry's form, a constraint or a table; None when it is wrong, which `table` is told."""
    if isinstance(value, str):
        value = {"version": value}
    if not isinstance(value, dict):
        table.error("wrong-type", f"`{table.at(name)}` is neither a constraint nor a table")
        return None
    item = table.child(value, name)
    constraint = item.text("version", "*") or "*"
    origin = next((item.text(key, "") for key in ("git", "url", "path", "file") if key in item), "")
    try:
        constraints.parse(constraint)
        marker = markers.every(
            markers.parse(item.text("markers", "")),
            markers.parse(constraints.python_marker(item.text("python", "*"))),
            markers.parse(_platform_marker(item.text("platform", "*"))),
        )
    except (markers.InvalidMarker, constraints.InvalidConstraint) as error:
        item.error("bad-requirement", f"the requirement of {name} cannot be read: {error}")
        return None
    return Edge(
        name=name,
        constraint=constraint,
        marker=marker,
        wants=frozenset(canonicalize_name(extra) for extra in item.texts("extras")),
        optional=item.flag("optional"),
        within=within,
        origin=origin,
        index=item.text("source", ""),
    )


def _platform_marker(text: str) -> str:
    """The marker for the `platform` key, such as `darwin`, `!=win32` or `linux || darwin`."""
    if text.strip() in ("", "*"):
        return ""
    clauses = []
    for part in text.split("||"):
        name = part.strip()
        operator, value = ("!=", name[2:].strip()) if name.startswith("!=") else ("==", name.lstrip("= "))
        clauses.append(f'sys_platform {operator} "{value}"')
    return " or ".join(clauses)


def _add_standard_groups(
    table: Table, groups: dict[NormalizedName, list[Edge]], includes: dict[NormalizedName, list[NormalizedName]]
) -> None:
    """Add `[dependency-groups]` (PEP 735)."""
    for group in table:
        edges = groups.setdefault(canonicalize_name(group), [])
        items = table.raw(group)
        if not isinstance(items, list):
            table.error("wrong-type", f"`{table.at(group)}` is no array")
            continue
        for item in items:
            if isinstance(item, str):
                edges.extend(edge for edge in [_standard_edge(table, item)] if edge)
            elif isinstance(item, dict) and isinstance(item.get("include-group"), str):
                included = includes.setdefault(canonicalize_name(group), [])
                included.append(canonicalize_name(item["include-group"]))
            else:
                table.error("wrong-type", f"`{table.at(group)}` holds {item!r}, which is no requirement")


def _add_poetry_groups(
    poetry: Table, groups: dict[NormalizedName, list[Edge]], includes: dict[NormalizedName, list[NormalizedName]]
) -> None:
    tables = poetry.table("group")
    for group in tables:
        name = canonicalize_name(group)
        table = tables.table(group)
        edges = groups.setdefault(name, [])
        known = {edge.name for edge in edges}
        edges.extend(edge for edge in _poetry_edges(table.table("dependencies")) if edge.name not in known)
        included = [canonicalize_name(other) for other in table.texts("include-groups")]
        if included:
            includes.setdefault(name, []).extend(included)
    if "dev-dependencies" in poetry:
        groups.setdefault(_DEV, []).extend(_poetry_edges(poetry.table("dev-dependencies")))


def _included(
    group: NormalizedName,
    groups: Mapping[NormalizedName, list[Edge]],
    includes: Mapping[NormalizedName, list[NormalizedName]],
) -> Iterable[Edge]:
    """The requirements of a group and of every group that it includes, each group once."""
    waiting, seen = [group], {group}
    while waiting:
        current = waiting.pop()
        yield from groups.get(current, ())
        new = [other for other in includes.get(current, ()) if other not in seen]
        seen.update(new)
        waiting.extend(new)


def _sources(poetry: Table) -> Iterator[IndexSource]:
    for table in poetry.tables("source"):
        priority = table.text("priority", "")
        if not priority:  # the flags of Poetry before 1.5
            priority = "default" if table.flag("default") else "secondary" if table.flag("secondary") else "primary"
        yield IndexSource(name=table.text("name"), url=table.text("url", ""), priority=priority.lower())


def _normalized(table: Table, name: str) -> NormalizedName | None:
    try:
        return canonicalize_name(name, validate=True)
    except InvalidName:
        table.error("bad-name", f"{name!r} is no project name")
        return None
