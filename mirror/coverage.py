"""Coverage: one cell for every locked package in every environment, with the reason why it has a file or none.

As JSON (`Coverage.to_json`), format 1. Cells, findings and reasons are sorted, targets and installs stand in the order
in which they were asked for, so that two reports can be compared line by line:

```
{"format": 1, "destination", "release", "verified", "percent", "policy": [reason],
 "targets": [{"target", "cells", "covered", "percent", "yanked", "sdist_only", "direct", "excluded", "holes",
              "files", "size"}],
 "failures": [cell], "findings": [{"code", "key", "message"}],
 "installs": [{"lock", "target", "python", "version", "installer", "packages", "left_out", "complaint"}],
 "cells": [{"lock", "package", "version", "target", "python", "reason", "filename", "detail"}]}
```
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mirror import filenames
from mirror.errors import MirrorError
from mirror.layout import PACKAGES
from mirror.model import HOLES, Cell, Reason
from mirror.targets import NOARCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.utils import NormalizedName

    from mirror.model import LockedFile

FORMAT = 1

POLICY = HOLES | {Reason.YANKED, Reason.SDIST_ONLY, Reason.DIRECT}
"""What may be called a failure: all but what is covered without a doubt, and what is not wanted."""

ADVICE = {
    Reason.NO_WHEEL: "lock a release that has a wheel for it, or leave it out with --targets or --python",
    Reason.NOT_OFFERED: "lock a release that the index has, or name an index that has this one with INDEX_URL",
    Reason.DIGEST_MISMATCH: "install none of these before you know what changed: the lock, the index or the disk",
    Reason.DOWNLOAD_FAILED: "mend what is said there and run `mirror refresh` again; what is here is not fetched again",
    Reason.NOT_PUBLISHED: "run `mirror refresh`, which publishes what the lock pins",
    Reason.YANKED: "lock a release that is not yanked",
    Reason.SDIST_ONLY: "lock a release that has a wheel, or let installers build the sdist and take it out of FAIL_ON",
    Reason.DIRECT: "publish it to an index and lock it from there, or take it out of FAIL_ON",
}
"""What to do about each reason that can be a failure."""

INSTALL_FAILED = "install-failed"
"""The code of the finding that an installer's dry run failed."""

_FINDING_ADVICE = {
    "no-release": "run `mirror refresh`, which publishes what the lock pins",
    "no-index": "check the address, and that the host serves what `mirror refresh` published",
    "refused": "let the host give what pages list to whoever may read them, and 404 where there is nothing",
    "stale-page": "make the cache forget it: with `mirror invalidate --all` in CloudFront, with a purge in another",
    "encoded": "let the host and its CDN send what lies below packages/ as it is, never compressed",
    "wrong-type": (
        "let the host send the types that belong to what is published: text/html and "
        "application/vnd.pypi.simple.v1+json for pages, application/octet-stream for files"
    ),
    "wrong-cache": (
        "let the host send Cache-Control: max-age=600 with pages, and Vary: Accept where it chooses their form by "
        "that, and a year, immutable, with files"
    ),
    "no-head": "let the host answer HEAD as it answers GET, with the same Content-Length",
    "no-ranges": "let the host answer ranges below packages/, for uv and Poetry read parts of wheels",
    "not-404": (
        "let the host answer 404, without a fallback to another index; a bucket does that for readers who may list it "
        "(s3:ListBucket)"
    ),
    "wrong-redirect": "let the host redirect to the normalized name with a slash at its end, or answer 404",
    "plain-http": "serve it over https, or let pip trust the host, here and wherever it is used: global.trusted-host",
    "state-public": "keep the host from serving what lies below .mirror/",
    INSTALL_FAILED: "read what the installer says last; `mirror verify` alone tells whether a file is missing",
}
_SITE_ADVICE = (
    "run `mirror sync --check-remote`, which repairs what is missing or differs; "
    "if it stays, something between the store and its readers changes it"
)
_ARTIFACT_ADVICE = (
    "find out what changed a file that never changes; remove it by hand, then run `mirror sync --check-remote`, "
    "which puts the right one there"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a mirror should have for one locked package in one environment; the question that `plan` asked, too."""

    lock: str
    """The lock's path as the user named it."""
    package: NormalizedName
    version: str
    target: str
    python: str
    candidates: tuple[LockedFile, ...] = ()
    """Every locked wheel that the environment accepts, best first."""
    sdists: tuple[LockedFile, ...] = ()
    """Every locked sdist, preferred first."""
    verdict: Reason | None = None
    """`excluded-by-marker`, `excluded-by-python` or `direct`; None when a file is wanted."""
    fallback: Reason = Reason.NOT_PUBLISHED
    """Why there is no file if none is published, as far as the earlier phases know."""
    detail: str = ""
    """What `fallback` has to say."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something wrong with the published site that is no cell's own."""

    code: str
    """A short stable slug such as `forms-disagree`."""
    key: str
    """The place in the store; for a dry run that failed its environment, installer and lock."""
    message: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.code == "altered" and self.key.startswith(PACKAGES):
            return _ARTIFACT_ADVICE
        return _FINDING_ADVICE.get(self.code, _SITE_ADVICE)

    def __str__(self) -> str:
        return f"{self.code} {self.key}: {self.message}" if self.key else f"{self.code}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What one locked release lacks for one reason, in all the environments where it does."""

    lock: str
    """The lock's path as the user named it."""
    package: NormalizedName
    version: str
    reason: Reason
    cells: tuple[Cell, ...]
    """At least one."""

    @property
    def places(self) -> str:
        """The environments, as flags name them: `linux-x86_64 3.11,3.12, macos-arm64 3.12`."""
        pythons: dict[str, dict[str, None]] = {}
        for cell in self.cells:
            pythons.setdefault(cell.target, {})[cell.python] = None
        return ", ".join(f"{target} {','.join(minors)}" for target, minors in pythons.items())

    @property
    def detail(self) -> str:
        """What the first cell has to say, and how many others say something else; empty when none says anything."""
        details = list(dict.fromkeys(cell.detail for cell in self.cells if cell.detail))
        if not details:
            return ""
        return details[0] + (f"; {len(details) - 1} more like that" if len(details) > 1 else "")

    @property
    def advice(self) -> str:
        """What to do about it; empty for a reason that is never a failure."""
        return ADVICE.get(self.reason, "")


def problems(cells: Iterable[Cell]) -> tuple[Problem, ...]:
    """Gather cells by lock, release and reason, in the order in which each is met first."""
    grouped: dict[tuple[str, NormalizedName, str, Reason], list[Cell]] = {}
    for cell in cells:
        grouped.setdefault((cell.lock, cell.package, cell.version, cell.reason), []).append(cell)
    return tuple(
        Problem(lock=lock, package=package, version=version, reason=reason, cells=tuple(group))
        for (lock, package, version, reason), group in grouped.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """An installer's dry run of everything that a lock installs in one environment."""

    lock: str
    target: str
    python: str
    version: str
    """The patch release of Python for which markers were judged."""
    installer: str
    """With its version, e.g. `pip 26.3`."""
    packages: int
    left_out: tuple[str, ...] = ()
    """`name==version` of what has no wheel there, and is not tried."""
    complaint: str = ""
    """The installer's last words; empty when all was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The count of one target's cells."""

    target: str
    cells: int
    covered: int
    """With `yanked`."""
    yanked: int
    sdist_only: int
    direct: int
    excluded: int
    holes: int
    files: int
    """Different files that the cells use; in a platform's row only those built for a platform."""
    size: int
    """Bytes of those files."""

    @property
    def wanted(self) -> int:
        """Cells that are not excluded."""
        return self.cells - self.excluded

    @property
    def percent(self) -> float:
        """Covered cells of those that are wanted; 100 when there is none."""
        return 100 * self.covered / self.wanted if self.wanted else 100.0


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a published mirror offers of what the locks pin."""

    destination: str
    """The store's name."""
    release: str
    """Id of the release that is current there; empty when nothing was published."""
    cells: tuple[Cell, ...]
    findings: tuple[Finding, ...]
    sizes: Mapping[str, int]
    """Bytes of each published artifact, by filename."""
    installs: tuple[Install, ...] = ()
    """What installers said, when they were asked."""

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """A row for each target, in the order of the cells, and one for the files that all of them share.

        The row `noarch` counts wheels tagged `any` and sdists, and each package and Python that uses one, once.
        """
        targets = dict.fromkeys(cell.target for cell in self.cells)
        rows = [self._row(name, [cell for cell in self.cells if cell.target == name]) for name in targets]
        shared = {
            (cell.lock, cell.package, cell.version, cell.python): cell
            for cell in self.cells
            if cell.filename and _shared(cell.filename)
        }
        return (*rows, self._row(NOARCH, shared.values())) if rows else ()

    @cached_property
    def total(self) -> Row:
        """All cells and all files that they use."""
        return self._row("all", self.cells)

    @property
    def published(self) -> bool:
        """Whether anything was found there at all."""
        return bool(self.release or self.sizes or any(cell.filename for cell in self.cells))

    @property
    def percent(self) -> float:
        """Covered cells of those that are not excluded; 100 when there is none."""
        return self.total.percent

    @property
    def summary(self) -> str:
        """The result in one sentence, without a full stop."""
        total = self.total
        parts = [
            f"{total.covered:,} of {total.wanted:,} cells covered ({floored(total.percent)} %)",
            f"{total.files:,} file{'s' * (total.files != 1)}",
        ]
        counts = {"sdist only": total.sdist_only, "direct": total.direct, "yanked": total.yanked, "holes": total.holes}
        parts += [
            f"{count:,} {what if count > 1 else what.removesuffix('s')}" for what, count in counts.items() if count
        ]
        if self.installs:
            good = sum(not install.complaint for install in self.installs)
            parts.append(f"{good:,} of {len(self.installs):,} dry runs of installers succeeded")
        if self.findings:
            parts.append(f"{len(self.findings):,} finding{'s' * (len(self.findings) > 1)} on the site")
        return f"{self.destination}: {', '.join(parts)}"

    def failures(self, policy: frozenset[Reason] = HOLES) -> tuple[Cell, ...]:
        """The cells that break the policy."""
        return tuple(cell for cell in self.cells if cell.reason in policy)

    def verified(self, policy: frozenset[Reason] = HOLES) -> bool:
        """Whether no cell breaks the policy and nothing is wrong with the site."""
        return not self.findings and not self.failures(policy)

    def to_json(self, policy: frozenset[Reason] = HOLES) -> dict[str, Any]:
        """The whole report, ready for `json.dumps`; the module says what it holds."""
        failures = self.failures(policy)
        return {
            "format": FORMAT,
            "destination": self.destination,
            "release": self.release,
            "verified": not failures and not self.findings,
            "percent": float(floored(self.percent)),
            "policy": sorted(policy),
            "targets": [{**asdict(row), "percent": float(floored(row.percent))} for row in self.rows],
            "failures": _plain(failures),
            "findings": [asdict(finding) for finding in sorted(self.findings)],
            "installs": [asdict(install) for install in self.installs],
            "cells": _plain(self.cells),
        }

    def _row(self, target: str, cells: Iterable[Cell]) -> Row:
        cells = tuple(cells)
        reasons = [cell.reason for cell in cells]
        used = {cell.filename for cell in cells if cell.filename}
        if target not in (NOARCH, "all"):
            used = {filename for filename in used if not _shared(filename)}
        return Row(
            target=target,
            cells=len(cells),
            covered=sum(reason.covered for reason in reasons),
            yanked=reasons.count(Reason.YANKED),
            sdist_only=reasons.count(Reason.SDIST_ONLY),
            direct=reasons.count(Reason.DIRECT),
            excluded=sum(reason.excluded for reason in reasons),
            holes=sum(reason in HOLES for reason in reasons),
            files=len(used),
            size=sum(self.sizes.get(filename, 0) for filename in used),
        )


def parse_policy(text: str) -> frozenset[Reason]:
    """Read `no-wheel,not-offered`, what `--fail-on` takes; `none` and nothing mean that no cell is a failure.

    Raise `MirrorError` for a word that is no reason to fail.
    """
    words = {word.strip() for word in text.split(",")} - {"", "none"}
    unknown = sorted(words - POLICY)
    if unknown:
        raise MirrorError(
            f"{unknown[0]!r} is no reason to fail on",
            hint=f"choose from {', '.join(sorted(POLICY))}, separated by commas, or none",
        )
    return frozenset(Reason(word) for word in words)


def _shared(filename: str) -> bool:
    parsed = filenames.parse(filename) if filename.endswith(".whl") else None
    return parsed.universal if isinstance(parsed, filenames.Wheel) else True


def floored(percent: float) -> str:
    """One decimal, cut and not rounded: 100.0 is said of nothing that lacks a cell."""
    return f"{int(percent * 10) / 10:.1f}"


def _plain(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    # Cells are flat; `asdict` would look into every word of thousands of them.
    names = [field.name for field in fields(Cell)]
    return [{name: getattr(cell, name) for name in names} for cell in sorted(cells, key=_place)]


def _place(cell: Cell) -> tuple[str, ...]:
    return cell.lock, cell.package, cell.version, cell.target, cell.python
