"""Checks and verdicts: one check for each row of the conformance list, one verdict for each check.

How severe a breach is, everywhere in here: a *failure* breaks a "MUST" of a standard, or a client that was seen to
break by it; a *warning* leaves every installer working, though slower, less safely, or less than the standard advises.

As JSON (`Diagnosis.to_json`), format 1:

```
{"format": 1, "kind": "index", "url", "verdict": "pass" | "warn" | "fail", "projects": {"listed", "looked_at"},
 "files", "requests", "bytes", "counts": {outcome: number},
 "checks": [{"id", "level", "asserts", "outcome", "evidence": [{"url", "seen", "outcome"}], "breaks", "fix"}]}
```

`breaks` and `fix` are empty for checks that neither warn nor fail.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mirror.doctor.values import shown
from mirror.model import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mirror.doctor.visit import Visit

FORMAT = 1
_EVIDENCE = 5
"""Sightings that a verdict shows; the rest is counted."""


class Outcome(Word):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - no password
    NOT_APPLICABLE = "not-applicable"
    WARN = "warn"
    FAIL = "fail"


SEVERITY = (Outcome.NOT_APPLICABLE, Outcome.PASS, Outcome.WARN, Outcome.FAIL)
"""From the least to the worst; a check is as bad as the worst that it saw."""


class Rank(Word):
    """Who asks for a row: the standard's MUST, SHOULD and MAY, or a client that breaks otherwise (R).

    Rows of MUST and R may fail; a SHOULD or MAY that is not heeded is a warning, and ends no run in an error.
    """

    MUST = "M"
    SHOULD = "S"
    REQUIRED = "R"
    MAY = "Y"


@dataclass(frozen=True, slots=True)
class Seen:
    """One sighting: what was seen where, and what that means."""

    outcome: Outcome
    url: str
    text: str


def ok(url: str, text: str) -> Seen:
    """A sighting that is as it should be."""
    return Seen(Outcome.PASS, url, text)


def warn(url: str, text: str) -> Seen:
    """A sighting that every installer survives."""
    return Seen(Outcome.WARN, url, text)


def fail(url: str, text: str) -> Seen:
    """A sighting that breaks a MUST or a client."""
    return Seen(Outcome.FAIL, url, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of the list, with the judge that decides it."""

    id: str
    """The row's, such as `U6`: U for URLs and transport, H for HTML, J for JSON, F for files."""
    rank: Rank
    asserts: str
    breaks: str
    """Which client breaks when it does not hold, and how."""
    fix: str
    judge: Callable[[Visit], Iterable[Seen]]
    """Sightings, good ones as well; none at all when the index offers nothing of the kind."""


def check(id: str, rank: str, asserts: str, *, breaks: str, fix: str) -> Callable[[Judge], Check]:
    """Make a check of a judge."""
    return lambda judge: Check(id=id, rank=Rank(rank), asserts=asserts, breaks=breaks, fix=fix, judge=judge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one check ended, and why."""

    check: Check
    outcome: Outcome
    evidence: tuple[Seen, ...]
    """The worst sightings; those of a verdict that is no breach show what it rests on."""
    more: int = 0
    """Sightings as bad as these that are not shown."""


def verdict(check: Check, visit: Visit) -> Verdict:
    """Let a check judge; what it stumbles over is a failure of what it looked at, and ends nothing."""
    seen = tuple(dict.fromkeys(_judged(check, visit)))
    outcome = max((each.outcome for each in seen), key=SEVERITY.index, default=Outcome.NOT_APPLICABLE)
    worst = [each for each in seen if each.outcome is outcome]
    evidence = tuple(Seen(outcome, shown(each.url), shown(each.text)) for each in worst[:_EVIDENCE])
    return Verdict(check=check, outcome=outcome, evidence=evidence, more=len(worst) - len(evidence))


def _judged(check: Check, visit: Visit) -> Iterator[Seen]:
    try:
        yield from check.judge(visit)
    except Exception as error:  # a host must not be able to hide all else that is wrong with it
        yield fail(visit.base, f"this cannot be judged: {type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a visit to an index found."""

    url: str
    """Of the project list, without credentials."""
    listed: int
    looked_at: int
    """Projects: listed, and visited."""
    files: int
    """Files that were asked for."""
    requests: int
    size: int
    """Bytes that came."""
    verdicts: tuple[Verdict, ...]
    """By the order of the list."""

    @property
    def counts(self) -> Counter[Outcome]:
        """Verdicts by outcome."""
        return Counter(each.outcome for each in self.verdicts)

    @property
    def outcome(self) -> Outcome:
        """The worst."""
        return max((each.outcome for each in self.verdicts), key=SEVERITY.index, default=Outcome.NOT_APPLICABLE)

    @property
    def failed(self) -> bool:
        """Whether anything breaks a MUST or a client."""
        return self.outcome is Outcome.FAIL

    def of(self, *outcomes: Outcome) -> tuple[Verdict, ...]:
        """The verdicts that ended so, the worst first."""
        ranked = sorted(self.verdicts, key=lambda each: -SEVERITY.index(each.outcome))
        return tuple(each for each in ranked if each.outcome in outcomes)

    @property
    def summary(self) -> str:
        """One line."""
        counts = self.counts
        parts = (
            f"{counts[Outcome.FAIL]} failed, {counts[Outcome.WARN]} warned, {counts[Outcome.PASS]} passed, "
            f"{counts[Outcome.NOT_APPLICABLE]} not applicable"
        )
        return (
            f"{self.url}: {parts}; {self.looked_at:,} of {self.listed:,} projects, {self.files:,} files, "
            f"{self.requests:,} requests, {self.size / 1e6:,.1f} MB"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data, format 1."""
        return {
            "format": FORMAT,
            "kind": "index",
            "url": self.url,
            "verdict": str(self.outcome),
            "projects": {"listed": self.listed, "looked_at": self.looked_at},
            "files": self.files,
            "requests": self.requests,
            "bytes": self.size,
            "counts": {str(outcome): self.counts[outcome] for outcome in SEVERITY},
            "checks": [_to_json(each) for each in self.verdicts],
        }


def _to_json(found: Verdict) -> dict[str, Any]:
    breach = found.outcome in (Outcome.WARN, Outcome.FAIL)
    return {
        "id": found.check.id,
        "level": str(found.check.rank),
        "asserts": found.check.asserts,
        "outcome": str(found.outcome),
        "evidence": [{"url": each.url, "seen": each.text, "outcome": str(each.outcome)} for each in found.evidence],
        "breaks": found.check.breaks if breach else "",
        "fix": found.check.fix if breach else "",
    }


def diagnose(checks: Iterable[Check], visit: Visit) -> Diagnosis:
    """Judge a visit by every check."""
    return Diagnosis(
        url=visit.base,
        listed=len(visit.names),
        looked_at=len(visit.projects),
        files=len(visit.files) + len(visit.heads),
        requests=visit.requests,
        size=visit.size,
        verdicts=tuple(verdict(each, visit) for each in checks),
    )


if TYPE_CHECKING:
    Judge = Callable[[Visit], Iterator[Seen]]
