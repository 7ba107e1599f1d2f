"""The pages of a site, read in both forms as installers ask for them, and what is wrong with them.

Reading and judging are apart, so that pages in dispute can be read once more: a publish may come in between.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from packaging.utils import is_normalized_name

from mirror.clients.conduct import (
    ABSENT,
    ACCEPT,
    FORMS,
    HTML,
    JSON,
    TYPES,
    WHO,
    cache_notes,
    odd_page,
    said,
    varies,
)
from mirror.coverage import Finding
from mirror.errors import RemoteError
from mirror.inspection import (
    forms_disagree,
    lists_astray,
    lists_disagree,
    nulls,
    old_metadata,
    pages_disagree,
    some,
    wrong_links,
)
from mirror.layout import SIMPLE, project_list_keys, project_page_keys
from mirror.simple import html, json
from mirror.simple.page import PageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mirror.clients.base import Answer
    from mirror.inspection import Forms
    from mirror.model import Manifest
    from mirror.outside.behind import Behind
    from mirror.outside.site import Site
    from mirror.simple.page import ProjectPage

LARGEST_PAGE = 64 << 20
"""Bytes, unpacked."""

_PARSERS = (html.parse, json.parse)
_LIST_PARSERS = (html.parse_list, json.parse_list)
_GZIP = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What came when a page was asked for in one form."""

    key: str
    """The page's key in the form that was asked for."""
    stored: str
    """Its key in the form that came: a host that knows one form answers in that."""
    answer: Answer
    """Without its body."""
    form: int | None = None
    """What came, by its type alone, as installers go; None for another type and for no page."""
    sha256: str = ""
    """Of the page, unpacked; hex."""
    page: ProjectPage | None = None
    names: tuple[str, ...] | None = None
    """Of the project list."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with this page by itself."""

    @property
    def absent(self) -> bool:
        """Whether the host said that there is no such page."""
        return self.answer.status in ABSENT

    @property
    def cached(self) -> str:
        """What its headers say of a cache; empty when it came from none."""
        return cache_notes(self.answer)


Sheets = tuple[Sheet, Sheet]
"""The answers to who asks for HTML and to who asks for JSON."""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """The project list and the projects' pages as they were read."""

    base: str
    listed: Sheets
    projects: Mapping[str, Sheets]
    """Of every project that was asked for."""

    @cached_property
    def forms(self) -> Mapping[str, Forms]:
        """What came of every project that has a page, for who asks for HTML and for who asks for JSON."""
        return {
            name: (as_html.page, as_json.page)
            for name, (as_html, as_json) in self.projects.items()
            if not (as_html.absent and as_json.absent)
        }

    @property
    def names(self) -> frozenset[str]:
        """Every project that a list names."""
        return frozenset(chain.from_iterable(sheet.names or () for sheet in self.listed))

    @property
    def exist(self) -> bool:
        """Whether there is an index at all."""
        return bool(self.forms) or any(sheet.names is not None for sheet in self.listed)

    @property
    def sheets(self) -> Iterator[Sheet]:
        """Every answer, those for the project list first."""
        return chain(self.listed, chain.from_iterable(self.projects.values()))

    @property
    def only_form(self) -> str:
        """The name of the one form that the host knows; empty when it has both, or none."""
        forms = {sheet.form for sheet in self.listed}
        form = next(iter(forms)) if len(forms) == 1 else None
        return "" if form is None else FORMS[form]


# Reading


def read_pages(site: Site, names: Iterable[str]) -> Pages:
    """Read the project list and the pages of all that it names, and of `names`.

    Where the list is redirected everything else of the site is asked where that led to. Raise `RemoteError` when the
    host wants to know who asks, or fails.
    """
    listed = _read_list(site)
    pages = Pages(base=site.base, listed=listed, projects={})
    wanted = sorted({*names, *pages.names})
    return Pages(base=site.base, listed=listed, projects=_read_projects(site, wanted))


def read_again(site: Site, pages: Pages, findings: Iterable[Finding]) -> Pages:
    """The pages with those that findings are about read once more, and with what the list names by now."""
    disputed = {finding.key.removeprefix(SIMPLE).partition("/")[0] for finding in findings}
    disputed |= pages.names.symmetric_difference(pages.forms)
    listed = _read_list(site)
    named = Pages(base=site.base, listed=listed, projects={}).names
    wanted = sorted((pages.projects.keys() & disputed) | (named - pages.projects.keys()))
    return Pages(base=site.base, listed=listed, projects={**pages.projects, **_read_projects(site, wanted)})


def _read_list(site: Site) -> Sheets:
    as_html = _get(site, SIMPLE, HTML)
    _require(as_html)
    if as_html.status == 200:
        site.base = urljoin(as_html.url, "../")
    as_json = _get(site, SIMPLE, JSON)
    _require(as_json)
    keys = project_list_keys()
    return _list_sheet(keys, HTML, as_html, site.base), _list_sheet(keys, JSON, as_json, site.base)


def _require(answer: Answer) -> None:
    if answer.status in WHO:
        raise RemoteError(
            f"{answer.url} answers {answer.status}: it wants other credentials, or any",
            hint="write them into BASE_URL or --url as https://user:password@host/, or into ~/.netrc",
        )
    if answer.status not in (0, 200, *ABSENT):
        raise RemoteError(f"{answer.url} answers {answer.status}", hint="try again when the site is well")


def _read_projects(site: Site, names: Sequence[str]) -> dict[str, Sheets]:
    with site.progress.task("Reading pages", items=len(names), unit="projects") as task:

        def read(name: str) -> Sheets:
            keys, path = project_page_keys(name), f"{SIMPLE}{name}/"
            sheets = (
                _project_sheet(keys, HTML, _get(site, path, HTML), name),
                _project_sheet(keys, JSON, _get(site, path, JSON), name),
            )
            task.advance(1, what=name)
            return sheets

        return dict(zip(names, site.spread(read, names), strict=True))


def _get(site: Site, path: str, asked: int) -> Answer:
    headers = {"Accept": ACCEPT[asked], "Accept-Encoding": "gzip"}
    return site.ask(path, headers=headers, limit=LARGEST_PAGE)


def _project_sheet(keys: tuple[str, str], asked: int, answer: Answer, name: str) -> Sheet:
    sheet, body = _opened(keys, asked, answer)
    if body is None or sheet.form is None:
        return sheet
    try:
        page = _PARSERS[sheet.form](body, answer.url, name)
    except PageError as error:
        return _unreadable(sheet, str(error))
    findings = (*old_metadata(sheet.key, body), *(nulls(sheet.key, body) if sheet.form == JSON else ()))
    return replace(sheet, page=page, findings=findings)


def _list_sheet(keys: tuple[str, str], asked: int, answer: Answer, base: str) -> Sheet:
    sheet, body = _opened(keys, asked, answer)
    if body is None or sheet.form is None:
        return sheet
    try:
        named = _LIST_PARSERS[sheet.form](body)
        links = html.list_links(body, answer.url) if sheet.form == HTML else ()
        astray = tuple(lists_astray(sheet.key, links, base))
    except PageError as error:
        return _unreadable(sheet, str(error))
    names = tuple(filter(is_normalized_name, named))
    bad = [name for name in named if not is_normalized_name(name)]
    message = f"it names {some(bad)}, which no project is called"
    return replace(
        sheet, names=names, findings=(*astray, *((Finding("list-disagrees", sheet.key, message),) if bad else ()))
    )


def _opened(keys: tuple[str, str], asked: int, answer: Answer) -> tuple[Sheet, bytes | None]:
    """What an answer is, and the page's bytes; None for what is no page."""
    form = TYPES.get(answer.media_type) if answer.status == 200 else None
    stored = keys[asked if form is None else form]
    sheet = Sheet(key=keys[asked], stored=stored, answer=replace(answer, body=b""), form=form)
    if answer.cut:
        return _unreadable(sheet, said(answer)), None
    if answer.status != 200:
        refused = () if sheet.absent else (Finding("refused", sheet.key, said(answer)),)
        return replace(sheet, findings=refused), None
    try:
        body = unpacked(answer)
    except PageError as error:
        return _unreadable(sheet, str(error)), None
    return replace(sheet, sha256=sha256(body).hexdigest()), body


def _unreadable(sheet: Sheet, why: str) -> Sheet:
    return replace(sheet, findings=(Finding("unreadable-page", sheet.key, why),))


def unpacked(answer: Answer) -> bytes:
    """A page's bytes. Raise `PageError` for an encoding other than gzip (RFC 1952), which is all that was asked for."""
    encoding = answer.header("content-encoding").strip().lower()
    if encoding in ("", "identity"):
        return answer.body
    if encoding != "gzip":
        raise PageError(f"it is encoded as {encoding}, which was not asked for")
    parts, packed, left = [], answer.body, LARGEST_PAGE
    while packed:
        member = zlib.decompressobj(_GZIP)
        try:
            parts.append(member.decompress(packed, left))
        except zlib.error as error:
            raise PageError(f"it is no gzip: {error}") from error
        left -= len(parts[-1])
        if left <= 0:
            raise PageError(f"it is larger than {LARGEST_PAGE:,} bytes")
        if not member.eof:
            raise PageError("its gzip ends before its end")
        packed = member.unused_data
    return b"".join(parts)


# What is wrong


def judge_pages(pages: Pages, manifest: Manifest | None, behind: Behind) -> tuple[Finding, ...]:
    """Pages agree with each other, with the project list, with the manifest, and with what lies behind them."""
    own = chain.from_iterable(sheet.findings for sheet in pages.sheets)
    if not pages.exist:
        # Naming all that is missing would hide that there is nothing.
        return (Finding("no-index", SIMPLE, f"there is no index at {urljoin(pages.base, SIMPLE)}"), *own)
    blame = _Blame(pages, behind)
    return (
        *own,
        *wrong_links(pages.forms, pages.base),
        *blame(_forms_missing(pages)),
        *blame(chain.from_iterable(forms_disagree(name, forms) for name, forms in pages.forms.items())),
        *blame(chain.from_iterable(lists_disagree(sheet.key, sheet.names, pages.forms) for sheet in pages.listed)),
        *blame(pages_disagree(manifest, pages.forms) if manifest else ()),
        *_unlike_release(pages, behind),
    )


def odd_pages(pages: Pages) -> Iterator[tuple[str, str, str]]:
    """What is odd about how pages are sent, which may be true of many alike: (code, message, key)."""
    for sheet in pages.sheets:
        if sheet.answer.status == 200:
            yield from ((code, message, sheet.key) for code, message in odd_page(sheet.answer))
    for as_html, as_json in (pages.listed, *pages.projects.values()):
        chosen = None not in (as_html.form, as_json.form) and as_html.form != as_json.form
        same = as_html.answer.url == as_json.answer.url
        if chosen and same and not (varies(as_html.answer) and varies(as_json.answer)):
            message = "it comes in two forms without Vary: Accept, so a cache hands one to who asked for the other"
            yield "wrong-cache", message, as_html.key


def _forms_missing(pages: Pages) -> Iterator[Finding]:
    """A page is there in every form that the host knows at all."""
    offered = {sheet.form for sheet in pages.sheets}
    for pair in (pages.listed, *pages.projects.values()):
        if all(sheet.absent for sheet in pair):
            continue
        for asked, sheet in enumerate(pair):
            other = sheet.form is not None and sheet.form != asked
            if sheet.absent or (other and asked in offered):
                yield Finding("missing", sheet.key, f"asked for {FORMS[asked]}, the host has none")
    if all(sheet.absent for sheet in pages.listed):
        yield Finding("missing", pages.listed[HTML].key, "there is no project list")


class _Blame:
    """Says of findings about pages when it is a cache that is to blame."""

    def __init__(self, pages: Pages, behind: Behind) -> None:
        self._pairs = {sheet.key: pair for pair in (pages.listed, *pages.projects.values()) for sheet in pair}
        self._behind = behind

    def __call__(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        for finding in findings:
            stale = self._stale(finding)
            yield from (_stale(sheet, finding.message) for sheet in stale)
            if not stale:
                yield finding

    def _stale(self, finding: Finding) -> list[Sheet]:
        pair = self._pairs.get(finding.key, ())
        stale = [sheet for sheet in pair if is_stale(sheet, self._behind)]
        if finding.code != "forms-disagree":
            return [sheet for sheet in stale if sheet.key == finding.key]
        # The stale one is wrong, whichever is named; who cannot look behind two cached ones cannot tell.
        return stale if len(stale) == 1 or self._behind.store else []


def is_stale(sheet: Sheet, behind: Behind) -> bool:
    """Whether a page is not the one that the store has by now; where that is not known, whether a cache sent it."""
    if behind.store is None or not sheet.sha256:
        return bool(sheet.cached)
    return behind.differs(sheet.stored, sheet.sha256)


def _stale(sheet: Sheet, message: str) -> Finding:
    return Finding("stale-page", sheet.key, message + (f" ({sheet.cached})" if sheet.cached else ""))


def _unlike_release(pages: Pages, behind: Behind) -> Iterator[Finding]:
    """What is served has the bytes that the store's release records."""
    for sheet in pages.sheets:
        recorded = behind.recorded(sheet.stored)
        if not recorded or behind.release is None:
            continue
        if sheet.absent:
            yield Finding("missing", sheet.key, f"release {behind.release.id} has it")
        elif sheet.sha256 not in ("", recorded) and is_stale(sheet, behind):
            yield _stale(sheet, f"release {behind.release.id} has another page")
