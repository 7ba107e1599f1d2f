"""What a machine has, or lacks, to make and publish a mirror.

As JSON (`Checkup.to_json`), format 1:

```
{"format": 1, "kind": "machine", "verdict": "pass" | "warn" | "fail", "lines": [{"subject", "outcome", "seen", "fix"}]}
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from packaging.specifiers import SpecifierSet

from mirror.doctor.check import SEVERITY, Outcome
from mirror.doctor.visit import list_names
from mirror.errors import MirrorError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mirror.doctor.visit import Page

FORMAT = 1
PYTHONS = SpecifierSet(">=3.10,<3.15")
PIPS = SpecifierSet(">=25.1")
"""What we run on; `pyproject.toml` says the same, and a test compares them."""
ROOM = 1 << 30
"""Bytes that should be free where it is not known yet how many will be needed."""
SPARE = 100 << 20
"""Bytes that should be free besides what is downloaded: pages, state, and what others write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was looked at."""

    subject: str
    outcome: Outcome
    seen: str
    fix: str = ""
    """What to do about it; empty when all is well."""
    exit_code: int = 0
    """What a run ends in because of it; 0 when it is no failure."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.seen}"


def good(subject: str, seen: str) -> Line:
    """All is well."""
    return Line(subject=subject, outcome=Outcome.PASS, seen=seen)


def doubtful(subject: str, seen: str, fix: str) -> Line:
    """A mirror can be made, but something should be known, or mended."""
    return Line(subject=subject, outcome=Outcome.WARN, seen=seen, fix=fix)


def broken(subject: str, error: MirrorError) -> Line:
    """A mirror cannot be made, or not be published."""
    return Line(
        subject=subject, outcome=Outcome.FAIL, seen=error.message, fix=error.hint, exit_code=type(error).exit_code
    )


@dataclass(frozen=True, slots=True)
class Checkup:
    """Everything that was looked at."""

    lines: tuple[Line, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst."""
        return max((line.outcome for line in self.lines), key=SEVERITY.index, default=Outcome.PASS)

    @property
    def exit_code(self) -> int:
        """Of the failure that weighs most; 0 without one."""
        return max((line.exit_code for line in self.lines), default=0)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data, format 1."""
        return {
            "format": FORMAT,
            "kind": "machine",
            "verdict": str(self.outcome),
            "lines": [
                {"subject": line.subject, "outcome": str(line.outcome), "seen": line.seen, "fix": line.fix}
                for line in self.lines
            ],
        }


def judge_versions(python: str, pip: str) -> tuple[Line, ...]:
    """Whether our Python and our pip are of versions that we know."""
    wanted = (
        ("Python", python, PYTHONS, "run mirror with a Python of these versions"),
        ("pip", pip, PIPS, "python -m pip install --upgrade pip, in the environment that mirror runs in"),
    )
    return tuple(
        good(subject, found)
        if known.contains(found, prereleases=True)
        else broken(subject, MirrorError(f"{found}, where {known} is needed", hint=fix))
        for subject, found, known, fix in wanted
    )


def judge_room(place: str, free: int, needed: int | None) -> Line:
    """Whether the disk has room: bytes free, and bytes that the last plan wants and that are not there yet."""
    said = f"{free / 1e9:,.1f} GB free in {place}"
    if needed is not None:
        said += f", {needed / 1e9:,.1f} GB to download"
    if free >= (ROOM if needed is None else needed + SPARE):
        return good("Disk", said)
    return doubtful("Disk", said, "free some space, or choose another place with --work-dir")


def judge_index(name: str, pages: Iterable[Page]) -> Line:
    """Whether an index answers like one: the first page that is one is enough. Raise `RemoteError` when it refuses."""
    statuses = []
    for page in pages:
        status = page.exchange.status
        if status in (401, 407):
            raise RemoteError(
                f"{name} wants to know who asks ({status})",
                hint="put user and password into pip's index-url, netrc or keyring",
            )
        if status >= 500:
            raise RemoteError(f"{name} answers {status}", hint="try again later, or name another INDEX_URL")
        if page.links or any(True for _ in list_names(page)):
            return good("Index", f"{name} answers")
        statuses.append(status)
    if set(statuses) == {403}:
        raise RemoteError(f"{name} refuses (403)", hint="ask for the right to read it, or name another INDEX_URL")
    said = ", ".join(str(status) for status in dict.fromkeys(statuses))
    return doubtful(
        "Index", f"{name} answers ({said}), but with no page of an index",
        "check the address, which mostly ends in simple/; behind a login, put user and password into it or into netrc",
    )  # fmt: skip


class Abilities(Protocol):
    """What was seen of a bucket's host."""

    @property
    def conditions(self) -> bool:
        """Whether two publishers at once are kept apart."""

    @property
    def lists(self) -> bool:
        """Whether we may list it."""


def judge_bucket(name: str, found: Abilities) -> Line:
    """Whether a bucket's host does what publishing safely takes."""
    if not found.conditions:
        return doubtful(name, str(found), "the store ignores conditions: publish to it from one place at a time")
    if not found.lists:
        return doubtful(name, str(found), "allow s3:ListBucket: without it what is missing looks forbidden (403)")
    return good(name, str(found))
