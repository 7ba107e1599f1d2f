"""A published site as it was read back, and what its files are worth to an installer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from mirror.layout import artifact_key
from mirror.model import HOLES, Cell, Digest, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.coverage import Expectation
    from mirror.model import LockedFile
    from mirror.simple.page import PageFile


@dataclass(frozen=True, slots=True)
class Worth:
    """What a published file is worth."""

    reason: Reason
    """`covered`, `yanked`, `digest-mismatch` or `not-published`."""
    detail: str = ""
    listed: bool = True
    """Whether some page offers it, so that an installer may choose it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Everything about a site that decides what an installer gets there."""

    pages: Mapping[str, tuple[Mapping[str, PageFile], Mapping[str, PageFile]]]
    """By project: the files of the HTML page and those of the JSON page, by filename."""
    digests: Mapping[str, Digest]
    """sha256 of the bytes of each artifact that is really stored, by key."""
    others: Mapping[str, Digest] = field(default_factory=dict)
    """By key, for a file that a lock pins with another algorithm: that digest of the bytes that are stored."""
    recorded: frozenset[str] = frozenset()
    """Every key that the release or the manifest knows."""
    quarantined: frozenset[str] = frozenset()
    """Projects of whose files installers take none, whatever the page lists."""

    def judge(self, expectation: Expectation) -> Cell:
        """Find the file that an installer would take in this environment, or say why there is none."""
        if expectation.verdict is not None:
            return _cell(expectation, expectation.verdict, expectation.detail)
        passed_over = []
        for place, file in enumerate(expectation.candidates):
            worth = self.worth(expectation.package, file, expectation.python)
            if worth.reason.covered:
                return _cell(expectation, worth.reason, _chosen(expectation, place, worth), file)
            if worth.listed:
                # Installers take the best file that the page lists, so a good one behind it helps nobody.
                return _cell(expectation, worth.reason, worth.detail)
            passed_over.append(worth.detail)
        if passed_over:
            # An sdist does not make up for a wheel that should be there: it would be built where nobody expects it.
            reason = expectation.fallback if expectation.fallback in HOLES else Reason.NOT_PUBLISHED
            return _cell(expectation, reason, expectation.detail or passed_over[0])
        return self._without_wheel(expectation)

    def _without_wheel(self, expectation: Expectation) -> Cell:
        for file in expectation.sdists:
            worth = self.worth(expectation.package, file, expectation.python)
            if worth.reason.covered:
                return _cell(expectation, Reason.SDIST_ONLY, worth.detail, file)
            if worth.listed or artifact_key(file.filename) in self.recorded:
                return _cell(expectation, worth.reason, worth.detail)
        return _cell(expectation, expectation.fallback, expectation.detail)

    def worth(self, project: str, file: LockedFile, python: str) -> Worth:
        """Follow the chain from the lock's digest over both forms of the page to the bytes that are stored.

        What the page keeps from an installer with that Python, e.g. `3.11`, is worth nothing to it.
        """
        name, key = file.filename, artifact_key(file.filename)
        forms = [form[name] for form in self.pages.get(project, ()) if name in form]
        if not forms:
            return Worth(Reason.NOT_PUBLISHED, _unlisted(file), listed=False)
        if len(forms) == 1:
            return Worth(Reason.NOT_PUBLISHED, f"only one form of the page lists {name}")
        if key not in self.digests:
            return Worth(Reason.NOT_PUBLISHED, f"the page lists {name}, and it is not there")
        stored = self.digests[key] if file.digest.algorithm == "sha256" else self.others.get(key)
        if stored != file.digest:
            return Worth(Reason.DIGEST_MISMATCH, f"{name}: the lock pins {file.digest}, stored is {stored}")
        wrong = [form for form in forms if self.digests[key] not in form.digests]
        if wrong:
            stated = ", ".join(map(str, wrong[0].digests)) or "no digest"
            return Worth(Reason.DIGEST_MISMATCH, f"{name}: the page states {stated}, stored is {self.digests[key]}")
        if project in self.quarantined:
            why = "the page says that the project is quarantined, so installers take nothing of it"
            return Worth(Reason.NOT_PUBLISHED, why, listed=False)
        closed = next((form.requires_python for form in forms if not _admits(form.requires_python, python)), None)
        if closed is not None:
            return Worth(Reason.NOT_PUBLISHED, f"the page says that {name} requires Python {closed}", listed=False)
        yanked = next((form.yanked for form in forms if form.yanked is not None), None)
        if yanked is not None:
            return Worth(Reason.YANKED, yanked or "yanked without a reason")
        return Worth(Reason.COVERED)


@lru_cache(maxsize=4096)
def _admits(requires_python: str, python: str) -> bool:
    """Whether some patch release of a Python satisfies it; what is no specifier is passed over, as installers do."""
    try:
        specifiers = SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True
    return any(specifiers.contains(f"{python}.{patch}") for patch in range(100))


def _unlisted(file: LockedFile) -> str:
    return f"no page lists {file.filename}"


def _chosen(expectation: Expectation, place: int, worth: Worth) -> str:
    first = expectation.candidates[0].filename
    parts = [worth.detail, f"choice {place + 1}, for {first} is not published" if place else ""]
    return "; ".join(part for part in parts if part)


def _cell(expectation: Expectation, reason: Reason, detail: str = "", file: LockedFile | None = None) -> Cell:
    return Cell(
        lock=expectation.lock,
        package=expectation.package,
        version=expectation.version,
        target=expectation.target,
        python=expectation.python,
        reason=reason,
        filename=file.filename if file else "",
        detail=detail,
    )
