"""Visit an index as its clients do, and judge it.

Bounded in every direction: projects are sampled, small files are preferred, pages, files and answers have a limit in
bytes, answers also in seconds, and a host is asked by a set number of threads. Bodies are kept of pages only.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from threading import Condition, Lock
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote, urljoin, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mirror import filenames
from mirror.clients.base import TooLarge
from mirror.credentials import strip
from mirror.doctor.check import diagnose
from mirror.doctor.rows import CHECKS
from mirror.doctor.values import beside, join, resolved, shown, split
from mirror.doctor.visit import File, Link, Look, Page, Project, Revalidation, Visit, list_names
from mirror.doctor.wire import (
    AS_ANYTHING,
    AS_HTML,
    AS_JSON,
    AS_LATEST,
    FROM_BROWSER,
    INSTALLERS,
    PAGE_LIMIT,
    REDIRECTS,
    Exchange,
)
from mirror.errors import MirrorError, RemoteError
from mirror.filenames import InvalidFilename
from mirror.samples import PROJECTS
from mirror.simple.metadata import InvalidMetadata, read_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mirror.clients.base import Answer, Client
    from mirror.doctor.check import Diagnosis
    from mirror.progress import Progress

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_CLOSELY = 5
"""Projects whose page is asked for in every way."""
_FILES = 3
"""Files of a project that are read: its smallest wheel, its smallest sdist, and one with a `+` in its name."""
_HEADS = 40
"""Other files of a project that are asked for by HEAD."""
_LARGEST = 16 << 20
"""Bytes of a file that is read."""
_FILES_ALTOGETHER = 256 << 20
"""Bytes of all files that are read."""
_SIDECAR = 4 << 20
"""Bytes of metadata that is read; the largest in the world has a tenth of that."""
_PAGE = 32 << 20
"""Bytes of a project's page, sent or unpacked."""
_PAGES = 256 << 20
"""Bytes of all pages, sent or unpacked; when so many came, no other project is begun."""
_REQUIRED = 10
"""Requirements of sampled files that are looked for beside the list."""
_PART = 100
"""Bytes asked for with `Range`."""
_REDIRECTS = 5
_SIMPLE = "simple/"


def doctor(
    url: str,
    client: Client,
    progress: Progress,
    *,
    sample: int | None = PROJECTS,
    jobs: int = 16,
    patience: float = 120.0,
) -> Diagnosis:
    """Visit the index at `url` (its base, or its project list at any prefix) and judge it.

    `sample` is the number of projects, spread over the list; None visits all. An answer that takes longer than
    `patience` (seconds) counts as none. Raise `MirrorError` when `url` is no address over http, `RemoteError` when the
    host does not answer, or has no project list there.
    """
    asking = _Asking(client, jobs, patience)
    base = _find(url, asking)
    return diagnose(CHECKS, asking.visit(base, sample, progress))


def address(url: str) -> str:
    """The address of an index as it was given, without query and with a slash at its end.

    Raise `MirrorError` for what is no address over http.
    """
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # What stands before an `@` may be a password, also where the scheme was forgotten.
        raise MirrorError(
            f"{shown(url).rpartition('@')[2]} is no address of an index",
            hint="name it like https://mirror.example/simple/",
        )
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/", "", ""))


def _find(url: str, asking: _Asking) -> str:
    """The URL of the project list: what was given, or `simple/` below it."""
    given = address(url)
    places = [given] if given.endswith(f"/{_SIMPLE}") else [given + _SIMPLE, given]
    answers = [asking.ask(place, headers=INSTALLERS["pip"], limit=PAGE_LIMIT) for place in places]
    pages = [Page(exchange=answer) for answer in answers]
    for wanted in (_is_list, _is_there):
        for place, page in zip(places, pages, strict=True):
            # A list of a type that nobody reads is still one, and is not looked for elsewhere: a front page has links.
            if wanted(page) or _is_unreadable(page):
                return place
    if all(answer.status == 0 for answer in answers):
        raise RemoteError(
            f"{strip(given)} does not answer: {shown(answers[0].trouble)}", hint="check the address and network"
        )
    refused = next((answer for answer in answers if answer.status in (401, 407)), None)
    if refused:
        raise RemoteError(
            f"{shown(refused.place)} wants to know who asks ({refused.status})",
            hint="write https://user:password@host/… or add the host to your netrc",
        )
    files = next((page for page in pages if page.links), None)
    if files:
        raise RemoteError(
            f"{shown(files.url)} is a page of files, and no index",
            hint="name the address of the list of projects above it",
        )
    said = ", ".join(f"{answer.url} {shown(answer.said)}" for answer in answers)
    raise RemoteError(f"there is no project list: {said}", hint="name the address that pip's --index-url has")


def _is_there(page: Page) -> bool:
    """Whether it may be a list that is broken, or empty; pages of files are none."""
    return page.exchange.status == 200 and len(page.links) <= len(set(list_names(page)))


def _is_unreadable(page: Page) -> bool:
    return page.exchange.status == 200 and page.html is None and page.document is None


def _is_list(page: Page) -> bool:
    if page.document is not None:
        return "projects" in page.data
    marked = bool(page.html and page.html.meta("pypi:repository-version"))
    return (marked or any(True for _ in list_names(page))) and not page.links


@dataclass
class _Budget:
    """Bytes that may still come. Several threads take of it before they know how many they need."""

    left: int
    _taken: int = 0
    """How many took, and have not told yet."""
    _told: Condition = field(default_factory=Condition)

    @contextmanager
    def some(self, most: int) -> Iterator[_Share]:
        """Up to `most` bytes; fewer only when no more are left and nobody will bring any back."""
        with self._told:
            self._told.wait_for(lambda: self.left >= most or not self._taken)
            share = _Share(min(most, self.left))
            self.left -= share.size
            self._taken += 1
        try:
            yield share
        finally:
            with self._told:
                self.left += share.size - share.spent
                self._taken -= 1
                self._told.notify_all()


@dataclass
class _Share:
    """Bytes of a budget, and how many of them were needed."""

    size: int
    spent: int = 0


@dataclass
class _Asking:
    """Asks, counts, and follows redirects as installers do."""

    client: Client
    jobs: int
    patience: float
    """Seconds for an answer; a host that sends a byte now and then would keep us for ever."""
    exchanges: list[Exchange] = field(default_factory=list)
    requests: int = 0
    size: int = 0
    pages: int = _PAGES
    """Bytes of pages that may still come, as sent or unpacked."""
    files: _Budget = field(default_factory=lambda: _Budget(_FILES_ALTOGETHER))
    _lock: Lock = field(default_factory=Lock)

    # One request

    def ask(
        self,
        url: str,
        *,
        limit: int,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        follow: bool = True,
    ) -> Exchange:
        """Ask for `url`. Whatever happens is told in the exchange, which has the last body only."""
        headers = dict(headers or {})
        hops: list[Answer] = []
        trouble, place = "", url
        for _ in range(_REDIRECTS):
            cut = False
            try:
                answer = self.client.ask(place, method=method, headers=headers, limit=limit, seconds=self.patience)
            except TooLarge as error:
                answer, cut = error.answer, True
            except RemoteError as error:
                trouble = error.message
                break
            hops = [*(replace(hop, body=b"") for hop in hops), answer]
            if not follow or answer.status not in REDIRECTS or not answer.header("location"):
                break
            place, trouble = _redirected(place, answer.header("location"))
            if trouble:
                break
        else:
            trouble = f"more than {_REDIRECTS} redirects"
        found = Exchange(url=strip(url), method=method, headers=headers, hops=tuple(hops), trouble=trouble, cut=cut)
        with self._lock:
            self.exchanges.append(found.without_bodies())
            self.requests += max(len(hops), 1)
            self.size += sum(hop.length for hop in hops)
        return found

    def page(self, url: str, *, headers: Mapping[str, str], follow: bool = True, limit: int = _PAGE) -> Exchange:
        """Ask for a page."""
        found = self.ask(url, headers=headers, follow=follow, limit=limit)
        if found.cut and found.status == 200:
            found = replace(found, trouble=f"larger than {limit >> 20} MiB")
        unpacked = found.body if found.status == 200 else None
        with self._lock:
            self.pages -= max(len(found.raw), len(unpacked or b""))
        return found

    def glance(self, url: str, *, headers: Mapping[str, str], follow: bool = True) -> Exchange:
        """Ask for a page that is only compared with others."""
        return self.page(url, headers=headers, follow=follow).light()

    def presence(self, url: str) -> tuple[Exchange, Exchange]:
        """What a file's host says to HEAD, and to a GET of the first byte where that says that it is not there."""
        head = self.ask(url, method="HEAD", limit=_PART)
        if head.there or not head.status:
            return head, head
        return head, self.ask(url, headers={"Range": "bytes=0-0"}, limit=_PART).without_bodies()

    def spread(self, act: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Do something for all, several at once, and keep the order."""
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="doctor") as threads:
            yield from threads.map(act, items)

    # The whole

    def visit(self, base: str, sample: int | None, progress: Progress) -> Visit:
        """See everything."""
        lists = [Page(exchange=self.page(base, headers=shape, limit=PAGE_LIMIT)) for shape in (AS_HTML, AS_JSON)]
        as_html, as_json = lists
        # Wrong for who reads one form only, but visited all the same.
        names = sorted({*list_names(as_html), *list_names(as_json)})
        chosen = _spread_over(names, len(names) if sample is None else sample)
        nobody = urljoin(base, f"no-such-project-{sha256(strip(base).encode()).hexdigest()[:12]}/")
        with progress.task("Visiting projects", items=len(chosen), unit="projects") as task:

            def one(place: int) -> Project | None:
                if self.pages <= 0:
                    return None
                project = self.project(base, chosen[place], closely=place in closely)
                task.advance(1, 0, project.name)
                return project

            closely = {chosen.index(name) for name in _spread_over(chosen, _CLOSELY)}
            visited = self.spread(one, range(len(chosen)))
            projects = tuple(project for project in visited if project is not None)
        read, glanced = _sampled(projects)
        with progress.task("Asking for files", items=len(read) + len(glanced), unit="files") as task:

            def closely_at(item: tuple[str, Link]) -> File:
                file = self.file(*item)
                task.advance(1, file.length, file.link.filename)
                return file

            def from_afar(item: tuple[str, Link]) -> tuple[str, Link, Exchange, Exchange | None]:
                name, link = item
                _, there = self.presence(link.url)
                sidecar = self.presence(beside(link.url, ".metadata"))[1] if link.sidecar is not None else None
                task.advance(1, 0, link.filename)
                return name, link, there, sidecar

            files = tuple(self.spread(closely_at, read))
            afar = tuple(self.spread(from_afar, glanced))
        unknown = {who: self.glance(nobody, headers=shape) for who, shape in INSTALLERS.items()}
        unlisted = _required(files) - set(names)
        missed = sorted(unlisted)[:_REQUIRED]
        return Visit(
            base=strip(base),
            as_html=as_html,
            as_json=as_json,
            bare=self.glance(base.rstrip("/"), headers=AS_HTML, follow=False) if split(base).path != "/" else None,
            unknown=unknown,
            projects=projects,
            files=files,
            heads=tuple((name, link, head) for name, link, head, _ in afar),
            sidecar_heads=tuple((link, sidecar) for _, link, _, sidecar in afar if sidecar is not None),
            revalidations=tuple(
                self.revalidations([*lists, *(page for each in projects if each.look for page in each.pages)])
            ),
            unlisted=tuple(
                zip(
                    missed,
                    self.spread(lambda name: self.glance(urljoin(base, f"{name}/"), headers=AS_HTML), missed),
                    strict=True,
                )
            ),
            requests=self.requests,
            size=self.size,
            exchanges=tuple(self.exchanges),
        )

    # One project

    def project(self, base: str, name: str, *, closely: bool) -> Project:
        """See the pages of a project."""
        url = urljoin(base, f"{quote(name, safe='')}/")
        as_html, as_json = (Page(exchange=self.page(url, headers=shape)) for shape in (AS_HTML, AS_JSON))
        look = self.look(base, name) if closely else None
        return Project(name=name, as_html=as_html, as_json=as_json, look=look)

    def look(self, base: str, name: str) -> Look:
        """Ask for a project's page in every way."""
        url = urljoin(base, f"{quote(name, safe='')}/")
        respelled = name.replace("-", "_").title()
        return Look(
            installers={who: self.glance(url, headers=shape) for who, shape in INSTALLERS.items()},
            anything=self.glance(url, headers=AS_ANYTHING),
            latest=self.glance(url, headers=AS_LATEST),
            bare=self.glance(url.rstrip("/"), headers=AS_HTML, follow=False),
            respelled=self.glance(urljoin(base, f"{respelled}/"), headers=AS_HTML) if respelled != name else None,
            repeated=self.glance(url, headers={**AS_HTML, **FROM_BROWSER}),
        )

    def revalidations(self, pages: Iterable[Page]) -> Iterator[Revalidation]:
        """Ask for pages again as one who has them, in each form that there is."""
        forms = {(page.url, page.exchange.media_type): page.exchange for page in pages if page.exchange.status == 200}

        def again(page: Exchange) -> Revalidation:
            etag = page.header("etag")
            headers = {**page.headers, "If-None-Match": etag}
            return Revalidation(page=page, answer=self.glance(page.place, headers=headers) if etag else None)

        return self.spread(again, forms.values())

    # One file

    def file(self, project: str, link: Link) -> File:
        """Ask for a file as installers do, and read it unless it is too large."""
        head, there = self.presence(link.url)
        whole = self.read(link, there)
        body = whole.raw if whole is not None and whole.status == 200 else b""
        requoted = _requoted(link.url)
        return File(
            project=project,
            link=link,
            head=head,
            there=there,
            whole=whole.without_bodies() if whole is not None else None,
            start=body[:_PART],
            sha256=sha256(body).hexdigest(),
            length=len(body),
            part=self.ask(link.url, headers={"Range": f"bytes=0-{_PART - 1}", **FROM_BROWSER}, limit=_PART)
            if body
            else None,
            requoted=self.presence(requoted)[1] if requoted != link.url else None,
            sidecar=self.ask(beside(link.url, ".metadata"), limit=_SIDECAR) if link.sidecar is not None else None,
            signature=self.ask(beside(link.url, ".asc"), limit=_PART).without_bodies() if link.signed else None,
            metadata=_metadata(link.filename, body) if link.wheel and body else None,
        )

    def read(self, link: Link, there: Exchange) -> Exchange | None:
        """The whole file; None when it is too large, or when so much was read already."""
        stated = link.size if link.size is not None else there.size
        if stated is not None and stated > _LARGEST:
            return None
        with self.files.some(_LARGEST) as share:
            if not share.size or (stated or 0) > share.size:
                return None
            whole = self.ask(link.url, limit=share.size)
            share.spent = min(sum(hop.length for hop in whole.hops), share.size)
        # Of one that told its size before, the host sent more than that; of any other nobody knew.
        return None if whole.cut and link.size is None else whole


def _redirected(url: str, location: str) -> tuple[str, str]:
    """Where a redirect leads, and why it is not followed if it is not."""
    target = resolved(url, location)
    scheme = split(join(url, location)).scheme
    if (scheme in ("http", "https") and not target) or not scheme:
        return url, f"redirects to {shown(location)!r}, which is no address"
    if not target or (scheme == "http" and url.startswith("https:")):
        return url, f"redirects to {scheme}, which is not followed"
    return target, ""


def _spread_over(names: Sequence[str], number: int) -> list[str]:
    """So many names, evenly spread over all of them."""
    if len(names) <= number:
        return list(names)
    return [names[place * len(names) // number] for place in range(number)]


def _sampled(projects: Sequence[Project]) -> tuple[list[tuple[str, Link]], list[tuple[str, Link]]]:
    """The files to read, and those to ask for by HEAD only."""
    read, glanced = [], []
    for project in projects:
        links = list({link.filename: link for page in project.pages for link in page.links}.values())
        by_size = sorted(links, key=lambda link: (link.size is None, link.size or 0, link.filename))
        kinds = (
            [link for link in by_size if link.wheel],
            [link for link in by_size if not link.wheel],
            [link for link in by_size if "+" in link.filename],
        )
        chosen = list({kind[0].filename: kind[0] for kind in kinds if kind}.values())[:_FILES]
        others = [link for link in by_size if link not in chosen]
        # Small projects are read whole: little is left to chance then.
        chosen += others[: _FILES - len(chosen)]
        read += [(project.name, link) for link in chosen]
        glanced += [(project.name, link) for link in others if link not in chosen][:_HEADS]
    return read, glanced


def _requoted(url: str) -> str:
    """The address as pip sends it: unquoted and quoted again."""
    parts = split(url)
    return urlunsplit(parts._replace(path=quote(unquote(parts.path))))


def _metadata(filename: str, body: bytes) -> bytes | None:
    """The core metadata inside a wheel; None when there is none that can be trusted."""
    with suppress(InvalidFilename, InvalidMetadata), tempfile.TemporaryDirectory(prefix="mirror-doctor-") as folder:
        # Names come from pages: only one that passed the allow-list becomes a path.
        path = Path(folder) / filenames.parse(filename).filename
        path.write_bytes(body)
        return read_metadata(path)
    return None


def _required(files: Iterable[File]) -> set[str]:
    """The projects that sampled wheels require without a condition."""
    found = set()
    for file in files:
        for text in file.fields.get_all("Requires-Dist", []):
            # Brackets in brackets are as deep as somebody likes.
            with suppress(InvalidRequirement, RecursionError):
                required = Requirement(str(text))
                if required.marker is None and required.url is None:
                    found.add(str(canonicalize_name(required.name)))
    return found
