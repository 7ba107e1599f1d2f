"""Project pages over HTTP or from `file:` trees, read once per project and remembered.

JSON is preferred and HTML understood, as pip does it (standards section 2.1). What is fresh is not asked for again;
what is stale is asked for with its ETag.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mirror.credentials import redact, strip
from mirror.errors import RemoteError
from mirror.model import Level, Notice, ProjectStatus
from mirror.simple import html, json
from mirror.simple.page import PageError
from mirror.upstream.base import Offer
from mirror.upstream.record import Record, Records, freshness, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.downloads.configuration import Configuration
    from mirror.model import Digest, LockedFile
    from mirror.progress import Progress, Task
    from mirror.simple.page import PageFile, ProjectPage
    from mirror.upstream.base import Want
    from mirror.web import Reply, Web

_ACCEPT = ", ".join(
    (
        "application/vnd.pypi.simple.v1+json",
        "application/vnd.pypi.simple.v1+html;q=0.1",
        "text/html;q=0.01",
    )
)
# Standards U7: pip, uv and pdm take no other type for JSON, so whoever sends one is no index.
_PARSERS: Mapping[str, Callable[..., ProjectPage]] = {
    "application/vnd.pypi.simple.v1+json": json.parse,
    "application/vnd.pypi.simple.v1+html": html.parse,
    "text/html": html.parse,
}
_LARGEST_PAGE = 256 << 20
"""Bytes; the largest real pages, of projects with daily builds, have about 30 MB."""
_ABSENT = (404, 410)
_REFUSED = (401, 403)


class _Refused(RemoteError):
    """The index wants to know who we are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What one index says of one project."""

    record: Record | None = None
    problem: str = ""
    refused: bool = False


_UNCHECKED = Notice(
    level=Level.WARNING, code="offline", message="offline: what was yanked or withdrawn since could not be checked"
)


class HttpUpstream:
    """The indexes that pip is configured to use, and those that locks name."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        cache: Path,
        offline: bool = False,
        jobs: int = 16,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Remember pages in the file `cache`; ask `jobs` pages at once, or none at all when `offline`."""
        self._configuration = configuration
        self._cache = cache
        self._offline = offline
        self._jobs = jobs
        self._now = now

    @cached_property
    def _records(self) -> Records:
        return Records(self._cache)

    @cached_property
    def _web(self) -> Web:
        # A run whose pages are all fresh does not pay for importing the client, 0.1 s.
        from mirror.web import Web  # noqa: PLC0415

        configuration = self._configuration
        network = configuration.settings.network
        return Web(network, configuration.credentials, configuration.environ, self._jobs)

    def read(self, wants: Sequence[Want], progress: Progress) -> Mapping[tuple[NormalizedName, str], Offer]:
        """Answer each want from the main index, and from the next ones what the earlier ones lack; see `Upstream`."""
        for want in wants:
            if want.index:
                self._configuration.credentials.learn(want.index, want.name)
        asking = tuple(_merged(wants).values())
        with progress.task("Reading indexes", items=len(asking), unit="pages") as task:
            offers = self._read_all(asking, task)
        self._records.save(self._now())
        if self._offline:
            progress.notice(_UNCHECKED)
        else:
            _refuse_nothing(offers)
        return offers

    def _read_all(self, wants: Sequence[Want], task: Task) -> dict[tuple[NormalizedName, str], Offer]:
        if not wants:
            return {}
        with ThreadPoolExecutor(max_workers=self._jobs, thread_name_prefix="index") as pool:
            try:
                offers = list(pool.map(lambda want: self._offer(want, task), wants))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {(want.project, want.index): offer for want, offer in zip(wants, offers, strict=True)}

    def _offer(self, want: Want, task: Task) -> Offer:
        indexes = (want.index,) if want.index else self._configuration.settings.indexes
        join = _Join(want=want)
        for index in indexes:
            if not join.missing:
                break
            join.add(index, self._ask(index, want.project, tuple(file.filename for file in want.files)))
        if not indexes:
            join.refused = True
            join.problems.append("pip is configured to use no index (no-index); files are asked of pip by name")
        task.advance(items=1, what=want.project)
        return join.offer()

    def _ask(self, index: str, project: str, names: tuple[str, ...]) -> _Answer:
        """What an index says of a project: from what is kept when that is fresh, or when there is no other way."""
        page = f"{strip(index).rstrip('/')}/{project}/"
        key = strip(index).rstrip("/")
        if urlsplit(index).scheme == "file":
            return self._open(page, project, names)
        kept = self._records.get(key, project)
        knows = kept is not None and kept.knows(names)
        if kept is not None and knows and (self._offline or kept.fresh(self._now())):
            return _Answer(record=kept)
        if self._offline:
            return _Answer(record=kept, problem=f"offline, and what is kept of {page} says nothing of some files")
        try:
            record = self._fetch(page, project, names, kept, knows=knows)
        except _Refused as error:
            return _Answer(problem=str(error), refused=True)
        except (RemoteError, PageError) as error:
            # What was read earlier is still the best that is known; that it is old is said.
            old = "; what was read of it earlier is used" if kept else ""
            return _Answer(record=kept, problem=f"{redact(str(error))}{old}")
        self._records.put(key, project, record)
        return _Answer(record=record)

    def _fetch(self, page: str, project: str, names: tuple[str, ...], kept: Record | None, *, knows: bool) -> Record:
        """Ask for a page. Raise `RemoteError` or `PageError` for anything but a page or "not found"."""
        if self._web.plain_text_refused(page):
            raise RemoteError(f"{page} is plain http; if that host is to be believed, name it in pip's trusted-host")
        headers = {"Accept": _ACCEPT}
        if kept is not None and knows and kept.etag:
            headers["If-None-Match"] = kept.etag
        reply, body = self._get(page, headers)
        now = self._now()
        if reply.status == 304 and kept is not None:
            return kept.renewed(now, reply.headers)
        if reply.status in _ABSENT:
            # Standards U6; nothing else says that there is no such project (DESIGN rule 4).
            return Record(fetched=now, freshness=freshness(reply.headers), present=False)
        if reply.status in _REFUSED:
            raise _Refused(f"{page} answers {reply.status}: give the index's credentials in netrc or in its URL")
        if reply.status != 200:
            raise RemoteError(f"{page} answers {reply.status}")
        known = {*names, *(kept.files if kept else ())}
        parsed = _parsed(reply.headers.get("Content-Type", ""), body, reply.url, project, known)
        return Record(
            fetched=now,
            freshness=freshness(reply.headers),
            etag=reply.headers.get("ETag", ""),
            status=ProjectStatus(status=parsed.status, reason=parsed.status_reason),
            files=listed(_reachable(parsed.files), known),
        )

    def _get(self, page: str, headers: Mapping[str, str]) -> tuple[Reply, bytes]:
        """An answer with its whole body; a body that breaks off is asked for again."""
        for attempt in range(1, 1 + self._configuration.settings.network.retries):
            try:
                return self._get_once(page, headers)
            except self._interrupted:
                time.sleep(self._web.delay(attempt))
        return self._get_once(page, headers)

    def _get_once(self, page: str, headers: Mapping[str, str]) -> tuple[Reply, bytes]:
        with self._web.request("GET", page, headers) as reply:
            return reply, reply.body(_LARGEST_PAGE)

    @cached_property
    def _interrupted(self) -> type[RemoteError]:
        from mirror.web import Interrupted  # noqa: PLC0415 - as above

        return Interrupted

    def _open(self, page: str, project: str, names: tuple[str, ...]) -> _Answer:
        """Read a page of a `file:` tree: HTML under the name that pip and uv look for (standards section 2.6)."""
        folder = Path(url2pathname(urlsplit(page).path))
        try:
            if not folder.parent.is_dir():
                return _Answer(problem=f"there is no index in {folder.parent}")
            body = (folder / "index.html").read_bytes()
            parsed = html.parse(body, f"{page}index.html", project, frozenset(names))
        except (FileNotFoundError, NotADirectoryError):
            return _Answer(record=Record(fetched=self._now(), present=False))
        except OSError as error:
            return _Answer(problem=f"cannot read {folder}: {error.strerror}")
        except PageError as error:
            return _Answer(problem=f"{page}: {error}")
        status = ProjectStatus(status=parsed.status, reason=parsed.status_reason)
        return _Answer(record=Record(fetched=self._now(), status=status, files=listed(parsed.files, names)))


@dataclass(slots=True)
class _Join:
    """One want, and what the indexes asked so far have for it."""

    want: Want
    files: dict[str, PageFile] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)
    mismatched: dict[str, Digest] = field(default_factory=dict)
    status: ProjectStatus | None = None
    problems: list[str] = field(default_factory=list)
    refused: bool = False

    @property
    def missing(self) -> list[LockedFile]:
        return [file for file in self.want.files if file.filename not in self.files]

    def add(self, index: str, answer: _Answer) -> None:
        """Take what an index has of what the ones before it lack."""
        self.refused |= answer.refused
        if answer.problem:
            self.problems.append(answer.problem)
        if answer.record is None or not answer.record.present:
            return
        if self.status is None:
            self.status = answer.record.status
        for locked in self.missing:
            for file in answer.record.files.get(locked.filename, ()):
                stated = next((digest for digest in file.digests if digest.algorithm == locked.digest.algorithm), None)
                if stated is None or stated == locked.digest:
                    self.files[locked.filename] = file
                    self.indexes[locked.filename] = strip(index)
                    break
                self.mismatched[locked.filename] = stated

    def offer(self) -> Offer:
        missing = [file.filename for file in self.missing]
        by_name = self.refused and bool(missing)
        if by_name and self.want.index:
            self.indexes |= dict.fromkeys(missing, strip(self.want.index))
        return Offer(
            files=self.files,
            indexes=self.indexes,
            mismatched={name: digest for name, digest in self.mismatched.items() if name not in self.files},
            status=self.status or ProjectStatus(),
            problem="; ".join(self.problems),
            by_name=by_name,
        )


def _merged(wants: Sequence[Want]) -> dict[tuple[NormalizedName, str], Want]:
    """One want per project and index, with the files of all that ask the same."""
    merged: dict[tuple[NormalizedName, str], Want] = {}
    for want in wants:
        key = (want.project, want.index)
        before = merged.get(key)
        merged[key] = replace(want, files=tuple(dict.fromkeys((*before.files, *want.files)))) if before else want
    return merged


def _parsed(content_type: str, body: bytes, url: str, project: str, known: Container[str]) -> ProjectPage:
    """Read a page by its type. Raise `RemoteError` for another type, `PageError` for what is no page."""
    kind = content_type.partition(";")[0].strip().lower()
    parser = _PARSERS.get(kind)
    if parser is None:
        raise RemoteError(f"{url} is {kind or 'of no type'}, not a simple index's JSON or HTML")
    try:
        return parser(body, url, project, known)
    except PageError as error:
        raise PageError(f"{url}: {error}") from error


def _reachable(files: Sequence[PageFile]) -> Iterator[PageFile]:
    """Leave out links into this machine's own files, where a page from elsewhere has no business."""
    return (file for file in files if urlsplit(file.url).scheme in ("http", "https"))


def _refuse_nothing(offers: Mapping[tuple[NormalizedName, str], Offer]) -> None:
    """Raise `RemoteError` when not a single page could be read."""
    problems = [offer.problem for offer in offers.values() if offer.problem and not offer.files and not offer.by_name]
    if problems and len(problems) == len(offers):
        raise RemoteError(f"no index could be read: {problems[0]}", hint="see: python -m pip config list")
