"""The dependency graph of a lock, walked for one concrete environment (locks section 1.8).

Locks before 2.1 record edges, not conditions: what an environment installs is what it reaches. Which of several
locked releases of one name it reaches depends on everything that asks for the name, so the walk of the *full* set
pins the releases first, as a fixpoint, and every narrower walk keeps to those pins.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mirror.errors import LockError
from mirror.locks import constraints
from mirror.locks.markers import ALWAYS, NEVER, Marker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from packaging.utils import NormalizedName

    from mirror.model import Digest, LockedPackage

    Extras = frozenset[NormalizedName]

UNSAFE = frozenset({"setuptools", "distribute", "pip", "wheel"})
"""Names that Poetry before 1.2 left out of its locks."""

_PASSES = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One requirement of a package, or of the project itself."""

    name: NormalizedName
    constraint: str = "*"
    marker: Marker = ALWAYS
    wants: Extras = frozenset()
    """The extras that it asks for of `name`."""
    optional: bool = False
    within: Extras = frozenset()
    """The extras of the owner that bring it in when it is optional."""
    origin: str = ""
    """URL or path of a direct reference."""
    index: str = ""
    """Name of the source that the project wants it from."""

    def condition(self, extras: Extras) -> Marker:
        """When it counts, for an owner of whom these extras are asked."""
        # Newer locks name the extra in the marker: `A or extra == "x"` counts where A holds, without the extra too.
        if self.marker.mentions_extras:
            return self.marker.with_extras(extras)
        return NEVER if self.optional and self.within.isdisjoint(extras) else self.marker

    def __str__(self) -> str:
        wants = f"[{','.join(sorted(self.wants))}]" if self.wants else ""
        return f"{self.name}{wants} ({self.constraint})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A locked package with what only reading the lock needs to know of it."""

    package: LockedPackage
    python: str
    """Its own Python constraint, in Poetry's syntax."""
    marker: Marker = ALWAYS
    """Locks of 1.0 and older state one for the package as a whole."""
    conditions: Mapping[NormalizedName, Marker] = field(default_factory=dict)
    """Locks of 2.1 and newer: when each group installs it."""
    edges: tuple[Edge, ...] = ()
    digests: tuple[Digest, ...] = ()
    """The strong digest of every file that the lock names for it, whatever its kind; sorted."""

    def fits(self, python: str) -> bool:
        """Whether it allows a Python version."""
        return constraints.allows_python(self.python, python)

    def meets(self, edge: Edge) -> bool:
        """Whether it is what a requirement asks for."""
        source = self.package.source
        if edge.origin:
            return source.direct
        if edge.index and source.reference and source.reference != edge.index:
            return False
        return source.direct or constraints.allows(edge.constraint, str(self.package.version))


Reached = frozenset[Entry]


@dataclass(frozen=True, eq=False)
class Graph:
    """Every locked package, and what the project asks for in each of its groups."""

    entries: tuple[Entry, ...]
    roots: Mapping[NormalizedName, tuple[Edge, ...]]
    """The project's requirements by group."""
    project: NormalizedName | None = None
    """Its own name: a project that requires itself asks for nothing new."""

    @cached_property
    def by_name(self) -> Mapping[NormalizedName, tuple[Entry, ...]]:
        """The locked releases of each name, the newest first."""
        found: dict[NormalizedName, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            found[entry.package.name].append(entry)
        for candidates in found.values():
            candidates.sort(key=lambda entry: entry.package.version, reverse=True)
        return {name: tuple(candidates) for name, candidates in found.items()}

    def foreign(self, edge: Edge) -> bool:
        """Whether a requirement is for something other than the project itself."""
        return edge.name != self.project or edge.name in self.by_name

    def starts(self, groups: Iterable[NormalizedName]) -> Iterator[Edge]:
        """The project's requirements in some groups."""
        return (edge for group in groups for edge in self.roots.get(group, ()) if self.foreign(edge))

    def reachable(self, groups: Iterable[NormalizedName], extras: Extras) -> frozenset[NormalizedName]:
        """Every name that some environment might reach: nothing but extras is judged."""
        names: set[NormalizedName] = set()

        def choose(edge: Edge) -> tuple[Entry, ...]:
            names.add(edge.name)
            return self.by_name.get(edge.name, ())

        self._spread(groups, extras, lambda marker: not marker.never, choose)
        return frozenset(names)

    def walk(self, groups: Iterable[NormalizedName], extras: Extras, variables: Mapping[str, str]) -> Walk:
        """Walk for one environment, as far as every group and extra goes, to pin releases for narrower walks.

        Raise `LockError` when a requirement that counts there is met by no locked package.
        """
        pins: dict[NormalizedName, Entry] = {}
        asked: dict[NormalizedName, dict[Edge, None]] = {}
        for _ in range(_PASSES):
            asked = self._asked(groups, extras, variables, pins)
            chosen = {name: found for name, edges in asked.items() if (found := self._best(edges, variables))}
            if chosen == pins:
                break
            pins = chosen
        else:
            raise LockError(
                f"the requirements of the lock never settle on one release for {_place(variables)}",
                hint="run `poetry lock` again with the newest Poetry",
            )
        for name, edges in asked.items():
            self._refuse_unmet(name, edges, pins.get(name), variables)
        return Walk(self, pins, variables)

    def _asked(
        self,
        groups: Iterable[NormalizedName],
        extras: Extras,
        variables: Mapping[str, str],
        pins: Mapping[NormalizedName, Entry],
    ) -> dict[NormalizedName, dict[Edge, None]]:
        """Every requirement that counts, by name, as long as names stand for the releases in `pins`."""
        asked: dict[NormalizedName, dict[Edge, None]] = {}

        def choose(edge: Edge) -> tuple[Entry, ...]:
            candidates = [entry for entry in self.by_name.get(edge.name, ()) if entry.marker.holds(variables)]
            if self.by_name.get(edge.name) and not candidates:
                return ()  # locked, but not for this environment
            asked.setdefault(edge.name, {})[edge] = None
            pinned = pins.get(edge.name) or self._best({edge: None}, variables)
            return (pinned,) if pinned else ()

        self._spread(groups, extras, lambda marker: marker.holds(variables), choose)
        return asked

    def _best(self, edges: Iterable[Edge], variables: Mapping[str, str]) -> Entry | None:
        """The newest release that meets the most of the requirements; in the end it must meet all."""
        python = variables["python_full_version"]
        wanted = tuple(edges)
        candidates = self.by_name.get(wanted[0].name, ())
        fitting = [entry for entry in candidates if entry.marker.holds(variables) and entry.fits(python)]
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        return max(fitting, key=lambda entry: sum(_meets(entry, edge, fitting) for edge in wanted))

    def _refuse_unmet(
        self, name: NormalizedName, edges: Iterable[Edge], pin: Entry | None, variables: Mapping[str, str]
    ) -> None:
        if pin is None and name in UNSAFE and name not in self.by_name:
            return
        for edge in edges:
            if pin is None or not pin.meets(edge):
                locked = ", ".join(str(entry.package.version) for entry in self.by_name.get(name, ())) or "nothing"
                raise LockError(
                    f"no locked release meets {edge}, which {self._owner(edge)} requires for {_place(variables)};"
                    f" locked: {locked}",
                    hint="run `poetry lock` again; the lock contradicts itself",
                )

    def _owner(self, edge: Edge) -> str:
        owners = (str(entry.package) for entry in self.entries if any(edge is own for own in entry.edges))
        return next(owners, "the project")

    def _spread(
        self,
        groups: Iterable[NormalizedName],
        extras: Extras,
        counts: Callable[[Marker], bool],
        choose: Callable[[Edge], tuple[Entry, ...]],
    ) -> None:
        """Follow every requirement that counts, from the project outward; `choose` says where each one leads."""
        waiting = deque(edge for edge in self.starts(groups) if counts(edge.condition(extras)))
        known: dict[Entry, Extras] = {}
        while waiting:
            edge = waiting.popleft()
            for entry in choose(edge):
                before = known.get(entry)
                if before is not None and edge.wants <= before:
                    continue
                known[entry] = asked = edge.wants | (before or frozenset())
                waiting.extend(own for own in entry.edges if self.foreign(own) and counts(own.condition(asked)))


@dataclass(frozen=True, eq=False)
class Walk:
    """A full walk for one environment: which release each name stands for there."""

    graph: Graph
    pins: Mapping[NormalizedName, Entry]
    variables: Mapping[str, str]

    def reached(self, groups: Iterable[NormalizedName], extras: Extras) -> Reached:
        """What some groups and extras install, with the releases of the full walk."""
        found: set[Entry] = set()

        def choose(edge: Edge) -> tuple[Entry, ...]:
            entry = self.pins.get(edge.name)
            if entry is None:
                return ()
            found.add(entry)
            return (entry,)

        self.graph._spread(groups, extras, lambda marker: marker.holds(self.variables), choose)
        return frozenset(found)


def holes(
    graph: Graph, selected: Reached, groups: Iterable[NormalizedName], extras: Extras, variables: Mapping[str, str]
) -> Reached:
    """What the selected packages require and the lock's own conditions leave out (defect D2).

    A name of which any release is selected is no hole, whatever its version: conditions rule over edges there.
    """
    by_name = {entry.package.name: entry for entry in selected}
    python = variables["python_full_version"]
    missing: set[Entry] = set()

    def choose(edge: Edge) -> tuple[Entry, ...]:
        if edge.name in by_name:
            return (by_name[edge.name],)
        fitting = [entry for entry in graph.by_name.get(edge.name, ()) if entry.fits(python) and entry.meets(edge)]
        if fitting:
            missing.add(fitting[0])
        return tuple(fitting[:1])

    graph._spread(groups, extras, lambda marker: marker.holds(variables), choose)
    return frozenset(missing)


def _meets(entry: Entry, edge: Edge, candidates: list[Entry]) -> bool:
    if edge.origin and any(edge.origin == other.package.source.url for other in candidates):
        return entry.package.source.url == edge.origin
    if edge.index and any(edge.index == other.package.source.reference for other in candidates):
        # One release locked from two indexes: the one of the index that the project names is meant.
        return entry.package.source.reference == edge.index and entry.meets(edge)
    return entry.meets(edge)


def _place(variables: Mapping[str, str]) -> str:
    return f"{variables['sys_platform']} {variables['platform_machine']}, Python {variables['python_full_version']}"
