"""Plan: for each environment and locked package the one file to hold, or the reason why there is none."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from mirror import filenames
from mirror.credentials import redact
from mirror.errors import IntegrityError
from mirror.model import Cell, Level, Notice, Origin, Plan, PlannedFile, Reason, TargetCoverage
from mirror.selection import SdistPolicy
from mirror.targets import NOARCH
from mirror.upstream.base import Offer, Want

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.locks.base import Lock
    from mirror.model import LockedFile, LockedPackage, ProjectStatus
    from mirror.progress import Progress
    from mirror.selection import Selection
    from mirror.upstream.base import Upstream

_NOTHING = Offer()


def plan(
    selections: Sequence[Selection],
    upstream: Upstream,
    held: Container[str],
    progress: Progress,
    *,
    sdists: SdistPolicy = SdistPolicy.FALLBACK,
) -> Plan:
    """Choose a file for every selection, from what the indexes offer and what the pool holds already.

    `held` are the filenames in the pool: a file that upstream has withdrawn stays mirrored. Raise `IntegrityError`
    when two environments may install different bytes under one filename (standards F3), or two files differ in upper
    and lower case only (standards section 5.2), `RemoteError` as `Upstream.read` does.
    """
    _refuse_two_digests(selections)
    wants = _wants(selections)
    offers = upstream.read(wants, progress)
    choice = _Choice(offers=offers, held=held, sdists=sdists)
    cells = tuple(choice.decide(selection) for selection in selections)
    _refuse_two_spellings(choice.files)
    uses = _uses(cells)
    return Plan(
        files=tuple(replace(choice.files[name], cells=uses.get(name, ())) for name in sorted(choice.files)),
        cells=cells,
        statuses=_statuses(offers),
        notices=_notices(wants, offers, choice),
        locks=tuple(sorted({selection.lock.digest for selection in selections})),
        origins=_origins(selections),
        coverage=tuple(_coverage(target, group) for target, group in _by_target(cells).items()),
    )


def _uses(cells: Iterable[Cell]) -> dict[str, tuple[tuple[str, int], ...]]:
    """How many cells of each target use a file, by filename."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for cell in cells:
        if cell.filename:
            counts[cell.filename][cell.target] += 1
    return {filename: tuple(sorted(targets.items())) for filename, targets in counts.items()}


def _origins(selections: Iterable[Selection]) -> tuple[Origin, ...]:
    # By identity: a lock is a value, and a large one to hash.
    wanted: dict[int, tuple[Lock, set[LockedPackage]]] = {}
    for selection in selections:
        _, packages = wanted.setdefault(id(selection.lock), (selection.lock, set()))
        if selection.verdict is None:
            packages.add(selection.package)
    found = [
        Origin(digest=lock.digest, file=lock.path.name, project=lock.project, packages=len(packages))
        for lock, packages in wanted.values()
    ]
    return tuple(sorted(found, key=attrgetter("project", "file", "digest", "packages")))


def _by_target(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    targets: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        targets[cell.target].append(cell)
    return targets


def _coverage(target: str, cells: Sequence[Cell]) -> TargetCoverage:
    reasons = Counter(cell.reason for cell in cells)
    return TargetCoverage(
        target=target,
        pythons=tuple(dict.fromkeys(cell.python for cell in cells)),
        wanted=sum(count for reason, count in reasons.items() if not reason.excluded),
        wheels=sum(count for reason, count in reasons.items() if reason.covered),
        sdists=sum(cell.reason is Reason.SDIST_ONLY and cell.filename != "" for cell in cells),
        direct=reasons[Reason.DIRECT],
    )


def _refuse_two_digests(selections: Sequence[Selection]) -> None:
    # Only of what some environment accepts: two indexes may offer one release in different builds for each platform.
    agreed: dict[str, LockedFile] = {}
    for selection in selections:
        for file in (*selection.wheels, *selection.sdists) if selection.verdict is None else ():
            other = agreed.setdefault(file.filename, file)
            if other.digest != file.digest:
                raise IntegrityError(
                    f"{file.filename} is pinned with two digests: {other.digest} and {file.digest}",
                    hint="a mirror holds one build of a filename: change one lock, or mirror them to two destinations",
                )


def _refuse_two_spellings(planned: Iterable[str]) -> None:
    spellings: dict[str, str] = {}
    for filename in planned:
        other = spellings.setdefault(filename.casefold(), filename)
        if other != filename:
            raise IntegrityError(
                f"{other} and {filename} differ in upper and lower case only",
                hint="many file systems hold only one of them: lock the project again, or mirror them separately",
            )


def _wants(selections: Sequence[Selection]) -> tuple[Want, ...]:
    wanted: defaultdict[tuple[NormalizedName, str], dict[str, LockedFile]] = defaultdict(dict)
    # Two locks may call one index by two names; one of them suffices to look for its credentials.
    names: dict[tuple[NormalizedName, str], str] = {}
    for package in dict.fromkeys(selection.package for selection in selections if selection.verdict is None):
        key = (package.name, package.source.url)
        names.setdefault(key, package.source.reference)
        wanted[key].update((file.filename, file) for file in package.files)
    return tuple(
        Want(project=key[0], index=key[1], name=names[key], files=tuple(files[name] for name in sorted(files)))
        for key, files in sorted(wanted.items())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What is offered and held, and the files chosen so far."""

    offers: Mapping[tuple[NormalizedName, str], Offer]
    held: Container[str]
    sdists: SdistPolicy
    files: dict[str, PlannedFile] = field(default_factory=dict)

    def decide(self, selection: Selection) -> Cell:
        """Settle one cell, and add the file that it needs."""
        if selection.verdict is not None:
            return _cell(selection, selection.verdict, detail=_excuse(selection))
        offer = self.offers.get((selection.package.name, selection.package.source.url), _NOTHING)
        archive = next((file for file in selection.sdists if self._available(file, offer)), None)
        if archive and (self.sdists is SdistPolicy.ALWAYS or self._falls_back(selection)):
            self._add(selection, archive, offer)
        if not selection.wheels:
            return self._without_wheel(selection, archive, offer)
        wheel = next((file for file in selection.wheels if self._available(file, offer)), None)
        if wheel is None:
            reason, detail = _unavailable(selection.wheels[0], offer)
            return _cell(selection, reason, detail=detail)
        self._add(selection, wheel, offer)
        yanked = self.files[wheel.filename].yanked
        if yanked is not None:
            return _cell(selection, Reason.YANKED, wheel, yanked or "yanked without a reason")
        return _cell(selection, Reason.COVERED, wheel)

    def _without_wheel(self, selection: Selection, archive: LockedFile | None, offer: Offer) -> Cell:
        if self.sdists is SdistPolicy.NEVER or not selection.sdists:
            return _cell(selection, selection.shortfall, detail=_no_wheel(selection))
        if archive is None:
            reason, detail = _unavailable(selection.sdists[0], offer)
            return _cell(selection, reason, detail=detail)
        return _cell(selection, selection.shortfall, archive, _no_wheel(selection))

    def _falls_back(self, selection: Selection) -> bool:
        return self.sdists is SdistPolicy.FALLBACK and not selection.wheels

    def _available(self, file: LockedFile, offer: Offer) -> bool:
        return file.filename in offer.files or file.filename in self.held or offer.by_name

    def _add(self, selection: Selection, file: LockedFile, offer: Offer) -> None:
        if file.filename in self.files:
            return
        page_file = offer.files.get(file.filename)
        self.files[file.filename] = PlannedFile(
            filename=file.filename,
            project=selection.package.name,
            version=str(selection.package.version),
            digest=file.digest,
            home=_home(file, selection),
            python=selection.environment.python,
            url=page_file.url if page_file else "",
            index=offer.indexes.get(file.filename, ""),
            size=page_file.size if page_file else None,
            upload_time=page_file.upload_time if page_file else "",
            requires_python=page_file.requires_python if page_file else "",
            yanked=page_file.yanked if page_file else None,
        )


def _home(file: LockedFile, selection: Selection) -> str:
    parsed = filenames.parse(file.filename) if file.filename.endswith(".whl") else None
    if isinstance(parsed, filenames.Wheel) and not parsed.universal:
        return selection.environment.target.name
    return NOARCH


def _cell(selection: Selection, reason: Reason, file: LockedFile | None = None, detail: str = "") -> Cell:
    return Cell(
        lock=selection.lock.label,
        package=selection.package.name,
        version=str(selection.package.version),
        target=selection.environment.target.name,
        python=selection.environment.python,
        reason=reason,
        filename=file.filename if file else "",
        detail=detail,
    )


def _excuse(selection: Selection) -> str:
    if selection.verdict is Reason.DIRECT:
        source = selection.package.source
        return f"a {source.kind} reference, which no index serves: {redact(source.url)}"
    return ""


def _no_wheel(selection: Selection) -> str:
    if selection.sdists:
        return "the release has an sdist but no wheel that this environment accepts"
    return "the release has neither a wheel that this environment accepts nor an sdist"


def _unavailable(file: LockedFile, offer: Offer) -> tuple[Reason, str]:
    if offer.problem:
        return Reason.DOWNLOAD_FAILED, offer.problem
    if file.filename in offer.mismatched:
        stated = offer.mismatched[file.filename]
        return Reason.DIGEST_MISMATCH, f"{file.filename}: the lock pins {file.digest}, the index states {stated}"
    return Reason.NOT_OFFERED, f"{file.filename} is locked, but the index no longer lists it"


def _statuses(
    offers: Mapping[tuple[NormalizedName, str], Offer],
) -> tuple[tuple[NormalizedName, ProjectStatus], ...]:
    # A project of two indexes has the status that the first states: the default one, whose key is empty.
    stated: dict[NormalizedName, ProjectStatus] = {}
    for (project, _), offer in sorted(offers.items(), key=lambda entry: entry[0]):
        if offer.status.status != "active":
            stated.setdefault(project, offer.status)
    return tuple(sorted(stated.items(), key=lambda entry: entry[0]))


def _notices(
    wants: Sequence[Want], offers: Mapping[tuple[NormalizedName, str], Offer], choice: _Choice
) -> tuple[Notice, ...]:
    notices = []
    for file in choice.files.values():
        if file.yanked is not None:
            reason = f": {file.yanked}" if file.yanked else ""
            notices.append(_warning("yanked", f"{file.filename} is yanked{reason}", file.project))
    for want in wants:
        offer = offers.get((want.project, want.index), _NOTHING)
        if offer.problem:
            notices.append(_warning("upstream", offer.problem, want.project))
        if offer.status.status != "active":
            reason = f": {offer.status.reason}" if offer.status.reason else ""
            notices.append(_warning("status", f"the project is {offer.status.status} upstream{reason}", want.project))
    return tuple(notices)


def _warning(code: str, message: str, package: str) -> Notice:
    return Notice(level=Level.WARNING, code=code, message=message, package=package)
