"""Environment markers of locks, judged for any target (dependency specifiers, "Environment Markers").

A marker is parsed once into a small tree. Its answer is remembered per value of the variables that it mentions, so
judging thousands of packages for dozens of environments costs a few dictionary look-ups each. Version clauses are
judged by poetry-core, so that they mean here what they mean to the tool that wrote them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from poetry.core.version.markers import SingleMarker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packaging.utils import NormalizedName

_ALIASES = {
    "os.name": "os_name",
    "sys.platform": "sys_platform",
    "platform.version": "platform_version",
    "platform.machine": "platform_machine",
    "platform.python_implementation": "platform_python_implementation",
    "python_implementation": "platform_python_implementation",
}
_STRINGS = frozenset(
    {
        "os_name",
        "sys_platform",
        "platform_machine",
        "platform_python_implementation",
        "platform_system",
        "platform_version",
        "implementation_name",
    }
)
_VERSIONS = frozenset({"python_version", "python_full_version", "implementation_version", "platform_release"})
_FULL_VERSIONS = frozenset({"python_full_version", "implementation_version"})
_PYTHON = frozenset({"python_version", *_FULL_VERSIONS})
_MEMBERSHIP = ("in", "not in")

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>\() | (?P<close>\)) | (?P<bool>(?:and|or)\b)
      | (?P<op>===|==|!=|<=|>=|~=|<|>|not\s+in\b|in\b)
      | (?P<text>"[^"\\\x00-\x1f]*"|'[^'\\\x00-\x1f]*')
      | (?P<name>[A-Za-z_.]+)
    )\s*""",
    re.VERBOSE,
)
_DEEPEST = 50
_SEPARATOR = re.compile("[ ,|]+")


class InvalidMarker(ValueError):
    """A marker that breaks the grammar, or compares what cannot be compared."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One comparison of a variable with a text."""

    variable: str
    operator: str
    value: str
    swapped: bool = False
    """Whether the text stands on the left, as in `"arm" in platform_version`."""

    def holds(self, actual: str) -> bool:
        """Judge it for one value of its variable."""
        return _holds(self, actual)

    def __str__(self) -> str:
        quote = "'" if '"' in self.value else '"'
        text = f"{quote}{self.value}{quote}"
        left, right = (text, self.variable) if self.swapped else (self.variable, text)
        return f"{left} {self.operator} {right}"


@dataclass(frozen=True, slots=True)
class _Junction:
    """Several clauses joined by `and` or by `or`."""

    word: str
    parts: tuple[_Node, ...]

    def __str__(self) -> str:
        return f" {self.word} ".join(f"({part})" if isinstance(part, _Junction) else str(part) for part in self.parts)


_Node = bool | Atom | _Junction


class Marker:
    """A marker, ready to be judged many times; `parse` makes it, and equal texts share one."""

    __slots__ = ("_answers", "_node", "_without", "text", "variables")

    def __init__(self, node: _Node, text: str) -> None:
        self.text = text
        """As the lock spells it, or as this module prints it: empty for "always", `<empty>` for "never"."""
        self.variables = tuple(sorted({atom.variable for atom in _atoms(node)}))
        self._node = node
        self._answers: dict[tuple[str, ...], bool] = {}
        self._without: dict[frozenset[NormalizedName], Marker] = {}

    def __repr__(self) -> str:
        return f"Marker({self.text!r})"

    @property
    def always(self) -> bool:
        """Whether it holds everywhere, without a look at any variable."""
        return self._node is True

    @property
    def never(self) -> bool:
        """Whether it holds nowhere, without a look at any variable."""
        return self._node is False

    @property
    def mentions_extras(self) -> bool:
        """Whether it depends on the extras that are asked for."""
        return "extra" in self.variables

    @property
    def mentions_python(self) -> bool:
        """Whether it depends on the version of Python."""
        return not _PYTHON.isdisjoint(self.variables)

    def atoms(self) -> Iterator[Atom]:
        """Every comparison in it, from left to right."""
        return _atoms(self._node)

    def holds(self, variables: Mapping[str, str]) -> bool:
        """Judge it for one environment. Extras must be settled first, by `with_extras`."""
        if isinstance(self._node, bool):
            return self._node
        key = tuple([variables[name] for name in self.variables])
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = _judge(self._node, variables)
        return answer

    def with_extras(self, extras: frozenset[NormalizedName]) -> Marker:
        """The marker that is left once it is known which extras are asked for; several may be, all at once."""
        if not self.mentions_extras:
            return self
        known = self._without.get(extras)
        if known is None:
            node = _settle(self._node, extras)
            known = self._without[extras] = Marker(node, _print(node))
        return known

    def extras(self) -> frozenset[NormalizedName]:
        """Every extra that it names."""
        return frozenset(canonicalize_name(atom.value) for atom in self.atoms() if atom.variable == "extra")

    def complexity(self) -> int:
        """How many products its conjunctive and disjunctive normal forms take to write out, one from the other.

        Algebra on markers does just that, so this is what it costs; capped where it stops to matter.
        """
        return max(_product(form) for form in _normal_forms(self._node))

    def boundaries(self) -> Iterator[tuple[str, str]]:
        """The operator and version of every clause that can tell two patch releases of one Python minor apart."""
        return ((atom.operator, atom.value) for atom in self.atoms() if atom.variable in _FULL_VERSIONS)


@cache
def parse(text: str) -> Marker:
    """Read a marker; empty text and `*` hold always, `<empty>` never (poetry.lock). Raise `InvalidMarker`."""
    if text.strip() in ("", "*"):
        return ALWAYS
    if text.strip() == "<empty>":
        return NEVER
    return Marker(_Parser(text).parse(), text)


class _Parser:
    """Recursive descent over the grammar: `or` of `and` of comparisons and brackets."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split(text))
        self._next = 0

    def _split(self, text: str) -> Iterator[tuple[str, str]]:
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                raise InvalidMarker(f"cannot read {text[position : position + 20]!r} in the marker {text!r}")
            yield match.lastgroup, match[match.lastgroup]
            position = match.end()

    def parse(self) -> _Node:
        node = self._or(0)
        if self._next < len(self._tokens):
            raise self._wrong(self._tokens[self._next][1])
        return node

    def _or(self, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise InvalidMarker(f"the marker nests more than {_DEEPEST} brackets")
        parts = [self._and(depth)]
        while self._take("bool", "or"):
            parts.append(self._and(depth))
        return _join("or", parts)

    def _and(self, depth: int) -> _Node:
        parts = [self._clause(depth)]
        while self._take("bool", "and"):
            parts.append(self._clause(depth))
        return _join("and", parts)

    def _clause(self, depth: int) -> _Node:
        if self._take("open"):
            node = self._or(depth + 1)
            if not self._take("close"):
                raise self._wrong("a bracket that is never closed")
            return node
        left, operator, right = (self._pull() for _ in range(3))
        if operator[0] != "op" or {left[0], right[0]} != {"name", "text"}:
            raise self._wrong(f"{left[1]} {operator[1]} {right[1]}")
        return self._atom(left, " ".join(operator[1].split()), right)

    def _atom(self, left: tuple[str, str], operator: str, right: tuple[str, str]) -> Atom:
        swapped = left[0] == "text"
        name, text = (right, left) if swapped else (left, right)
        variable = _ALIASES.get(name[1], name[1])
        atom = Atom(variable, operator, text[1][1:-1], swapped)
        if swapped and operator not in _MEMBERSHIP:
            atom = Atom(variable, _MIRRORED.get(operator, operator), atom.value)
        _check(atom)
        return atom

    def _pull(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise self._wrong("its end")
        self._next += 1
        return self._tokens[self._next - 1]

    def _take(self, kind: str, value: str | None = None) -> bool:
        if self._next < len(self._tokens):
            found = self._tokens[self._next]
            if found[0] == kind and value in (None, found[1]):
                self._next += 1
                return True
        return False

    def _wrong(self, what: str) -> InvalidMarker:
        return InvalidMarker(f"the marker {self._text!r} cannot be read at {what}")


_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _check(atom: Atom) -> None:
    """Refuse a comparison that has no meaning, so that judging never fails."""
    known = atom.variable in _STRINGS or atom.variable in _VERSIONS or atom.variable == "extra"
    if not known:
        raise InvalidMarker(f"{atom.variable!r} is no marker variable")
    if atom.variable == "extra" and (atom.operator not in ("==", "!=") or not atom.value.strip()):
        raise InvalidMarker(f"an extra can only be compared with == and !=, not as in {str(atom)!r}")
    if atom.variable in _STRINGS and atom.operator not in ("==", "===", "!=", *_MEMBERSHIP):
        raise InvalidMarker(f"texts have no order: {str(atom)!r}")
    if atom.variable in _VERSIONS:
        _version_clause(atom)


@cache
def _version_clause(atom: Atom) -> SingleMarker | None:
    """The comparison as poetry-core judges it; None for a search in a text such as `"tegra" in platform_release`."""
    if atom.swapped:
        return None
    # implementation_version is a version as well (PEP 508: "a version comparison"); CPython's equals the full version.
    name = "python_full_version" if atom.variable == "implementation_version" else atom.variable
    try:
        return SingleMarker(name, f"{atom.operator} {atom.value}")
    except (ValueError, AssertionError) as error:
        raise InvalidMarker(f"no version can be compared as in {str(atom)!r}") from error


@cache
def _holds(atom: Atom, actual: str) -> bool:
    negated = atom.operator in ("!=", "not in")
    if atom.swapped:
        return (atom.value in actual) != negated
    clause = _version_clause(atom) if atom.variable in _VERSIONS else None
    if clause is not None:
        return clause.validate({clause.name: actual})
    if atom.operator in _MEMBERSHIP:
        # A list of words, as Poetry reads it: `platform_machine in "x86_64 AMD64"`.
        return (actual in _SEPARATOR.split(atom.value)) != negated
    return (actual == atom.value) != negated


def _atoms(node: _Node) -> Iterator[Atom]:
    if isinstance(node, Atom):
        yield node
    elif isinstance(node, _Junction):
        for part in node.parts:
            yield from _atoms(part)


def _judge(node: _Node, variables: Mapping[str, str]) -> bool:
    if isinstance(node, bool):
        return node
    if isinstance(node, Atom):
        return _holds(node, variables[node.variable])
    test = all if node.word == "and" else any
    return test(_judge(part, variables) for part in node.parts)


def _settle(node: _Node, extras: frozenset[NormalizedName]) -> _Node:
    if isinstance(node, Atom) and node.variable == "extra":
        return (canonicalize_name(node.value) in extras) == (node.operator == "==")
    if isinstance(node, _Junction):
        return _join(node.word, [_settle(part, extras) for part in node.parts])
    return node


def _join(word: str, parts: list[_Node]) -> _Node:
    """Join clauses, dropping what the known ones decide."""
    decisive = word == "or"
    if decisive in [part for part in parts if isinstance(part, bool)]:
        return decisive
    flat: dict[_Node, None] = {}
    for part in parts:
        if isinstance(part, bool):
            continue
        same = isinstance(part, _Junction) and part.word == word
        flat.update(dict.fromkeys(part.parts if same and isinstance(part, _Junction) else (part,)))
    if not flat:
        return not decisive
    return next(iter(flat)) if len(flat) == 1 else _Junction(word, tuple(flat))


_CAP = 10**6
_LONGEST_FORM = 64
_Form = list[int]
"""A normal form as the lengths of its terms."""


def _normal_forms(node: _Node) -> tuple[_Form, _Form]:
    """The disjunctive and the conjunctive normal form, cut off where they get long."""
    if isinstance(node, bool):
        return [], []
    if isinstance(node, Atom):
        return [1], [1]
    forms = [_normal_forms(part) for part in _merged(node)]
    disjunctive = node.word == "or"
    # Terms of the form that has the same word just add up, those of the other one are multiplied.
    added = [length for form in forms for length in form[0 if disjunctive else 1]]
    multiplied = [0]
    for form in forms:
        multiplied = [one + other for one in multiplied for other in form[1 if disjunctive else 0]][:_LONGEST_FORM]
    return (added, multiplied) if disjunctive else (multiplied, added)


def _merged(node: _Junction) -> list[_Node]:
    """The parts, where those that compare one variable with several texts count as one: algebra keeps them together."""
    operator = "==" if node.word == "or" else "!="
    kept: dict[object, _Node] = {}
    for part in node.parts:
        merges = isinstance(part, Atom) and part.operator == operator and part.variable in _STRINGS
        kept.setdefault(part.variable if merges and isinstance(part, Atom) else part, part)
    return list(kept.values())


def _product(form: _Form) -> int:
    if len(form) >= _LONGEST_FORM:
        return _CAP
    product = 1
    for length in form:
        product = min(product * length, _CAP)
    return product


def _print(node: _Node) -> str:
    if isinstance(node, bool):
        return "" if node else "<empty>"
    return str(node)


def every(*markers: Marker) -> Marker:
    """The marker that holds where all of these do."""
    return _combine("and", markers)


def some(*markers: Marker) -> Marker:
    """The marker that holds where at least one of these does."""
    return _combine("or", markers)


def _combine(word: str, markers: tuple[Marker, ...]) -> Marker:
    node = _join(word, [marker._node for marker in markers])
    return next((marker for marker in markers if marker._node is node), None) or Marker(node, _print(node))


ALWAYS = Marker(True, "")
NEVER = Marker(False, "<empty>")
