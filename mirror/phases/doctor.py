"""Visit an index as its clients do, and judge it.

Bounded in every direction: projects are sampled, small files are preferred, bytes and requests have a limit, and a
host is asked by a set number of threads.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mirror import filenames
from mirror.credentials import redact, strip
from mirror.doctor.check import SAMPLE, diagnose
from mirror.doctor.rows import CHECKS
from mirror.doctor.visit import File, Link, Look, Page, Project, Visit, list_names
from mirror.doctor.wire import (
    AS_ANYTHING,
    AS_HTML,
    AS_JSON,
    AS_LATEST,
    INSTALLERS,
    PAGE_LIMIT,
    Exchange,
)
from mirror.errors import MirrorError, RemoteError
from mirror.filenames import InvalidFilename
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
_ALTOGETHER = 256 << 20
"""Bytes of all files that are read."""
_REQUIRED = 10
"""Requirements of sampled files that are looked for beside the list."""
_PART = 100
"""Bytes asked for with `Range`."""
_REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)
_SIMPLE = "simple/"


def doctor(url: str, client: Client, progress: Progress, *, sample: int | None = SAMPLE, jobs: int = 16) -> Diagnosis:
    """Visit the index at `url` (its base, or its project list at any prefix) and judge it.

    `sample` is the number of projects, spread over the list; None visits all. Raise `MirrorError` when `url` is no
    address over http, `RemoteError` when the host does not answer, or has no project list there.
    """
    asking = _Asking(client, jobs)
    base = _find(url, asking)
    return diagnose(CHECKS, asking.visit(base, sample, progress))


def _find(url: str, asking: _Asking) -> str:
    """The URL of the project list: what was given, or `simple/` below it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MirrorError(
            f"{redact(url)} is no address of an index", hint="name it like https://mirror.example/simple/"
        )
    given = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/", "", ""))
    places = [given] if given.endswith(f"/{_SIMPLE}") else [given + _SIMPLE, given]
    answers = [asking.ask(place, headers=INSTALLERS["pip"]) for place in places]
    if all(answer.status == 0 for answer in answers):
        raise RemoteError(f"{strip(given)} does not answer: {answers[0].trouble}", hint="check the address and network")
    refused = next((answer for answer in answers if answer.status in (401, 407)), None)
    if refused:
        raise RemoteError(
            f"{refused.place} wants to know who asks ({refused.status})",
            hint="write https://user:password@host/… or add the host to your netrc",
        )
    pages = [Page(exchange=answer) for answer in answers]
    for wanted in (_is_list, _is_there):
        for place, page in zip(places, pages, strict=True):
            # A list of a type that nobody reads is still one, and is not looked for elsewhere: a front page has links.
            if wanted(page) or _is_unreadable(page):
                return place
    said = ", ".join(f"{answer.url} {answer.said}" for answer in answers)
    raise RemoteError(f"there is no project list: {said}", hint="name the address that pip's --index-url has")


def _is_there(page: Page) -> bool:
    return page.exchange.status == 200


def _is_unreadable(page: Page) -> bool:
    return _is_there(page) and page.html is None and page.document is None


def _is_list(page: Page) -> bool:
    if page.document is not None:
        return "projects" in page.data
    marked = bool(page.html and page.html.meta("pypi:repository-version"))
    return (marked or any(True for _ in list_names(page))) and not page.links


@dataclass
class _Asking:
    """Asks, counts, and follows redirects as installers do."""

    client: Client
    jobs: int
    exchanges: list[Exchange] = field(default_factory=list)
    requests: int = 0
    size: int = 0
    budget: int = _ALTOGETHER
    _lock: Lock = field(default_factory=Lock)

    # One request

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        follow: bool = True,
        limit: int = PAGE_LIMIT,
    ) -> Exchange:
        """Ask for `url`. Whatever happens is told in the exchange."""
        headers = dict(headers or {})
        hops: list[Answer] = []
        trouble, place = "", url
        for _ in range(_REDIRECTS):
            try:
                answer = self.client.ask(place, method=method, headers=headers, limit=limit)
            except RemoteError as error:
                trouble = error.message
                break
            hops.append(answer)
            if not follow or answer.status not in _MOVED or not answer.header("location"):
                break
            place, trouble = _redirected(place, answer.header("location"))
            if trouble:
                break
        else:
            trouble = f"more than {_REDIRECTS} redirects"
        found = Exchange(url=strip(url), method=method, headers=headers, hops=tuple(hops), trouble=trouble)
        with self._lock:
            self.exchanges.append(found)
            self.requests += max(len(hops), 1)
            self.size += sum(hop.length for hop in hops)
        return found

    def spread(self, act: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Do something for all, several at once, and keep the order."""
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="doctor") as threads:
            yield from threads.map(act, items)

    # The whole

    def visit(self, base: str, sample: int | None, progress: Progress) -> Visit:
        """See everything."""
        as_html, as_json = (Page(exchange=self.ask(base, headers=shape)) for shape in (AS_HTML, AS_JSON))
        # Wrong for who reads one form only, but visited all the same.
        names = sorted({*list_names(as_html), *list_names(as_json)})
        chosen = _spread_over(names, len(names) if sample is None else sample)
        nobody = urljoin(base, f"no-such-project-{sha256(strip(base).encode()).hexdigest()[:12]}/")
        with progress.task("Visiting projects", items=len(chosen), unit="projects") as task:

            def one(place: int) -> Project:
                project = self.project(base, chosen[place], closely=place in closely)
                task.advance(1, 0, project.name)
                return project

            closely = {chosen.index(name) for name in _spread_over(chosen, _CLOSELY)}
            projects = tuple(self.spread(one, range(len(chosen))))
        read, glanced = _sampled(projects)
        with progress.task("Asking for files", items=len(read) + len(glanced), unit="files") as task:

            def closely_at(item: tuple[str, Link]) -> File:
                file = self.file(*item)
                task.advance(1, file.length, file.link.filename)
                return file

            def from_afar(item: tuple[str, Link]) -> tuple[str, Link, Exchange, Exchange | None]:
                name, link = item
                head = self.ask(link.url, method="HEAD")
                sidecar = self.ask(_sidecar_url(link), method="HEAD") if link.sidecar is not None else None
                task.advance(1, 0, link.filename)
                return name, link, head, sidecar

            files = tuple(self.spread(closely_at, read))
            afar = tuple(self.spread(from_afar, glanced))
        unknown = {who: self.ask(nobody, headers=shape) for who, shape in INSTALLERS.items()}
        unlisted = _required(files) - set(names)
        missed = sorted(unlisted)[:_REQUIRED]
        return Visit(
            base=strip(base),
            as_html=as_html,
            as_json=as_json,
            bare=self.ask(base.rstrip("/"), headers=AS_HTML, follow=False) if urlsplit(base).path != "/" else None,
            unknown=unknown,
            projects=projects,
            files=files,
            heads=tuple((name, link, head) for name, link, head, _ in afar),
            sidecar_heads=tuple((link, sidecar) for _, link, _, sidecar in afar if sidecar is not None),
            unlisted=tuple(
                zip(missed, self.spread(lambda name: self.ask(urljoin(base, f"{name}/")), missed), strict=True)
            ),
            requests=self.requests,
            size=self.size,
            exchanges=tuple(self.exchanges),
        )

    # One project

    def project(self, base: str, name: str, *, closely: bool) -> Project:
        """See the pages of a project."""
        url = urljoin(base, f"{quote(name, safe='')}/")
        as_html, as_json = (Page(exchange=self.ask(url, headers=shape)) for shape in (AS_HTML, AS_JSON))
        look = self.look(base, name, as_html.exchange) if closely else None
        return Project(name=name, as_html=as_html, as_json=as_json, look=look)

    def look(self, base: str, name: str, page: Exchange) -> Look:
        """Ask for a project's page in every way."""
        url = urljoin(base, f"{quote(name, safe='')}/")
        etag = page.header("etag")
        respelled = name.replace("-", "_").title()
        return Look(
            installers={who: self.ask(url, headers=shape) for who, shape in INSTALLERS.items()},
            anything=self.ask(url, headers=AS_ANYTHING),
            latest=self.ask(url, headers=AS_LATEST),
            bare=self.ask(url.rstrip("/"), headers=AS_HTML, follow=False),
            respelled=self.ask(urljoin(base, f"{respelled}/"), headers=AS_HTML) if respelled != name else None,
            repeated=self.ask(url, headers=AS_HTML),
            unchanged=self.ask(page.place, headers={**AS_HTML, "If-None-Match": etag}) if etag else None,
        )

    # One file

    def file(self, project: str, link: Link) -> File:
        """Ask for a file as installers do, and read it unless it is too large."""
        head = self.ask(link.url, method="HEAD")
        stated = head.header("content-length")
        size = link.size if link.size is not None else int(stated) if stated.isdigit() else 0
        whole = self.ask(link.url, limit=_LARGEST) if self._afford(size) else None
        body = whole.raw if whole is not None and whole.status == 200 else b""
        requoted = _requoted(link.url)
        return File(
            project=project,
            link=link,
            head=head,
            whole=whole,
            sha256=sha256(body).hexdigest(),
            length=len(body),
            part=self.ask(link.url, headers={"Range": f"bytes=0-{_PART - 1}"}, limit=_LARGEST) if body else None,
            requoted=self.ask(requoted, method="HEAD") if requoted != link.url else None,
            sidecar=self.ask(_sidecar_url(link)) if link.sidecar is not None else None,
            signature=self.ask(_beside(link.url, ".asc")) if link.signed else None,
            metadata=_metadata(link.filename, body) if link.wheel and body else None,
        )

    def _afford(self, size: int) -> bool:
        with self._lock:
            if size > min(_LARGEST, self.budget):
                return False
            self.budget -= size
            return True


def _redirected(url: str, location: str) -> tuple[str, str]:
    """Where a redirect leads, and why it is not followed if it is not."""
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        return url, f"redirects to {redact(location)!r}, which is no address"
    if scheme not in ("http", "https") or (scheme == "http" and url.startswith("https:")):
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


def _beside(url: str, suffix: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + suffix))


def _sidecar_url(link: Link) -> str:
    return _beside(link.url, ".metadata")


def _requoted(url: str) -> str:
    """The address as pip sends it: unquoted and quoted again."""
    parts = urlsplit(url)
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
        headers = BytesHeaderParser().parsebytes(file.metadata or b"")
        for text in headers.get_all("Requires-Dist", []):
            with suppress(InvalidRequirement):
                required = Requirement(str(text))
                if required.marker is None and required.url is None:
                    found.add(str(canonicalize_name(required.name)))
    return found
