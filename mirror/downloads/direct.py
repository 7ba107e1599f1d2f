"""Files fetched by ourselves: sdists, which pip would build, and whatever pip declines to judge.

Streamed, digested on the way, taken up again where a connection broke, and never under their own name before they
are whole (standards section 5.5).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mirror.credentials import redact
from mirror.downloads.crew import Crew
from mirror.errors import MirrorError, RemoteError
from mirror.files import DigestCache, hash_file
from mirror.model import Failure, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from threading import Event
    from typing import BinaryIO

    from mirror.downloads.base import Arrival, Arrivals
    from mirror.downloads.configuration import Configuration
    from mirror.model import PlannedFile
    from mirror.progress import Task
    from mirror.web import Reply, Web

_CHUNK = 1 << 20
_WORKERS = 8
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_GONE = (404, 410)
_REFUSED = (401, 403, 407)


class _Wrong(Exception):
    """The file cannot be had; carries the failure."""

    def __init__(self, file: PlannedFile, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(filename=file.filename, reason=reason, detail=redact(detail))


@dataclass(slots=True)
class _Part:
    """What is here of a file so far."""

    path: Path
    stream: BinaryIO
    digest: hashlib._Hash
    stopped: Event
    """Nobody waits for the file any more."""
    size: int = 0
    validator: str = ""
    """ETag or Last-Modified of the answer that began it; empty when the rest cannot be asked for."""
    encoding: str = ""
    counted: int = 0
    """Bytes that progress was told of; what is fetched twice counts once."""


class DirectDownloader:
    """Fetch files over HTTP, or copy them from `file:` URLs, several at once."""

    def __init__(
        self, configuration: Configuration, digests: DigestCache | None = None, *, workers: int = _WORKERS
    ) -> None:
        """Reach hosts as pip is configured to; digests found while writing are left in `digests`."""
        self._configuration = configuration
        self._digests = digests or DigestCache()
        self._workers = workers

    @cached_property
    def _web(self) -> Web:
        # A run that finds everything in the pool does not pay for importing the client, 0.1 s.
        from mirror.web import Web  # noqa: PLC0415

        configuration = self._configuration
        network = configuration.settings.network
        return Web(network, configuration.credentials, configuration.environ, self._workers)

    def fetch(self, files: Sequence[PlannedFile], staging: Path, task: Task) -> Arrivals:
        """Begin to fetch `files`; see `Downloader`."""
        crew: Crew[Arrival] = Crew(self._workers)
        for file in sorted(files, key=lambda file: -(file.size or 0)):
            crew.add(_Errand(self, crew, file, staging, task))
        return crew.sealed()

    def bring(self, file: PlannedFile, staging: Path, task: Task, crew: Crew[Arrival]) -> Path | Failure:
        """Fetch one file into a new folder below `staging`. Raise `MirrorError` when the disk refuses."""
        if not file.url:
            detail = "no index that can be read offers it; lock again, or give the index's credentials in netrc"
            return Failure(filename=file.filename, reason=Reason.NOT_OFFERED, detail=detail)
        task.advance(what=file.filename)
        try:
            with _writing(file.filename):
                staging.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(dir=staging, prefix="direct-"))
            part = folder / f"{file.filename}.part"
            if urlsplit(file.url).scheme == "file":
                self._copy(file, part, task, crew)
            else:
                self._download(file, part, task, crew)
            with _writing(file.filename):
                return part.rename(folder / file.filename)
        except _Wrong as wrong:
            return wrong.failure

    def _copy(self, file: PlannedFile, path: Path, task: Task, crew: Crew[Arrival]) -> None:
        source = Path(url2pathname(urlsplit(file.url).path))
        try:
            stream = source.open("rb")
        except FileNotFoundError as error:
            raise _Wrong(file, Reason.NOT_OFFERED, f"the page lists it, but there is no {source}") from error
        except OSError as error:
            raise _Wrong(file, Reason.DOWNLOAD_FAILED, f"cannot read {source}: {error.strerror}") from error
        with stream, _opened(file, path, crew) as part:
            self._append(file, part, _pieces(file, stream), task)
            self._check(file, part)

    def _download(self, file: PlannedFile, path: Path, task: Task, crew: Crew[Arrival]) -> None:
        attempts = 1 + self._configuration.settings.network.retries
        with _opened(file, path, crew) as part:
            for attempt in range(attempts):
                if attempt:
                    crew.stopped.wait(self._web.delay(attempt))
                try:
                    self._ask(file, part, task)
                    break
                except RemoteError as error:
                    problem = error
            else:
                known = f" of {file.size}" if file.size else ""
                got = f"truncated: {part.size}{known} bytes came in {attempts} attempts; " if part.size else ""
                detail = f"{got}{problem}; run again to try again"
                raise _Wrong(file, Reason.DOWNLOAD_FAILED, detail) from problem
            self._check(file, part)

    def _ask(self, file: PlannedFile, part: _Part, task: Task) -> None:
        """Fetch what is missing. Raise `RemoteError` when it did not all come and asking again may help."""
        # A server that packs what we asked for as it is would make us keep, and digest, other bytes (standards U13).
        headers = {"Accept-Encoding": "identity"}
        if part.size and part.validator:
            # If-Range: the rest is only sent when it is the rest of the same bytes (RFC 9110 section 13.1.5).
            headers |= {"Range": f"bytes={part.size}-", "If-Range": part.validator}
        with self._web.request("GET", file.url, headers) as reply:
            _refuse(file, reply)
            if not _continues(reply, part):
                _begin_again(file, part, reply)
            self._append(file, part, reply.chunks(), task)
        if file.size is not None and part.size < file.size and not part.encoding:
            raise RemoteError(f"{reply.url} ended after {part.size} of {file.size} bytes")

    def _append(self, file: PlannedFile, part: _Part, pieces: Iterable[bytes | memoryview], task: Task) -> None:
        for piece in pieces:
            if part.stopped.is_set():
                raise _Wrong(file, Reason.DOWNLOAD_FAILED, "stopped; run again to go on")
            with _writing(file.filename):
                part.stream.write(piece)
            part.digest.update(piece)
            part.size += len(piece)
            if part.size > part.counted:
                task.advance(size=part.size - part.counted)
                part.counted = part.size
            if file.size is not None and part.size > file.size and not part.encoding:
                detail = f"more than the {file.size} bytes that the index states; {_OTHER_BYTES}"
                raise _Wrong(file, Reason.DIGEST_MISMATCH, detail)

    def _check(self, file: PlannedFile, part: _Part) -> None:
        with _writing(file.filename):
            part.stream.flush()
        found = part.digest.hexdigest()
        if found != file.digest.hex and part.encoding:
            found = _unpack(file, part)
        if found != file.digest.hex:
            algorithm = file.digest.algorithm
            detail = f"the lock pins {file.digest}, the bytes are {algorithm}:{found}; {_OTHER_BYTES}"
            raise _Wrong(file, Reason.DIGEST_MISMATCH, detail)
        self._digests.record(part.path, found, file.digest.algorithm)


_OTHER_BYTES = "the index serves other bytes than were locked: find out why before you lock again"


class _Errand:
    """One file for one worker."""

    def __init__(
        self, downloader: DirectDownloader, crew: Crew[Arrival], file: PlannedFile, staging: Path, task: Task
    ) -> None:
        self._bring = downloader.bring
        self._crew = crew
        self._file = file
        self._staging = staging
        self._task = task

    def __call__(self) -> None:
        self._crew.give((self._file, self._bring(self._file, self._staging, self._task, self._crew)))


@contextlib.contextmanager
def _writing(filename: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MirrorError(
            f"cannot write {filename}: {error.strerror or error}",
            hint="free some space or choose another --work-dir; what is complete is kept, run again to go on",
        ) from error


def _pieces(file: PlannedFile, stream: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := stream.read(_CHUNK):
            yield piece
    except OSError as error:
        raise _Wrong(file, Reason.DOWNLOAD_FAILED, f"cannot read {file.url}: {error.strerror}") from error


@contextlib.contextmanager
def _opened(file: PlannedFile, path: Path, crew: Crew[Arrival]) -> Iterator[_Part]:
    with _writing(file.filename):
        stream = path.open("wb", buffering=0)
    with stream:
        yield _Part(path=path, stream=stream, digest=hashlib.new(file.digest.algorithm), stopped=crew.stopped)


def _refuse(file: PlannedFile, reply: Reply) -> None:
    """Raise for a status that is no file: for good, or as `RemoteError` when asking again may help."""
    if reply.status in _GONE:
        detail = f"{reply.url} answers {reply.status}: upstream has removed it; lock another release, or file"
        raise _Wrong(file, Reason.NOT_OFFERED, detail)
    if reply.status in _REFUSED:
        detail = f"{reply.url} answers {reply.status}: give the host's credentials in netrc or in pip's index-url"
        raise _Wrong(file, Reason.DOWNLOAD_FAILED, detail)
    if reply.status not in (200, 206, 416):
        detail = f"{reply.url} answers {reply.status}"
        if reply.status >= 500 or reply.status == 429:
            # The retries inside the request are used up.
            detail += "; try again later"
        raise _Wrong(file, Reason.DOWNLOAD_FAILED, detail)


def _continues(reply: Reply, part: _Part) -> bool:
    match = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
    return reply.status == 206 and match is not None and int(match[1]) == part.size and part.size > 0


def _begin_again(file: PlannedFile, part: _Part, reply: Reply) -> None:
    with _writing(file.filename):
        part.stream.seek(0)
        part.stream.truncate()
    part.digest = hashlib.new(file.digest.algorithm)
    part.size, part.validator = 0, ""
    if reply.status != 200:
        raise RemoteError(f"{reply.url} answers {reply.status} with another range than was asked for")
    etag = reply.headers.get("ETag", "")
    # "A client MUST NOT generate an If-Range header field containing an entity tag that is marked as weak."
    part.validator = reply.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
    part.encoding = reply.headers.get("Content-Encoding", "").strip().lower()


def _unpack(file: PlannedFile, part: _Part) -> str:
    """Undo a `Content-Encoding` that nobody asked for, and return the digest of what was inside.

    The bytes as sent were tried first: hosts put this header on a `.tar.gz` that is sent as it is, too.
    """
    if part.encoding not in ("gzip", "x-gzip", "deflate"):
        return part.digest.hexdigest()
    unpacked = part.path.with_suffix(".unpacked")
    # 32: zlib finds out by itself whether it reads gzip or zlib (zlib manual, inflateInit2).
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    limit = file.size or _LARGEST_UNPACKED
    with _writing(file.filename), part.path.open("rb") as source, unpacked.open("wb") as target:
        size = 0
        try:
            while piece := source.read(_CHUNK):
                while piece and size <= limit:
                    size += target.write(decoder.decompress(piece, _CHUNK))
                    piece = decoder.unconsumed_tail
        except zlib.error:
            return part.digest.hexdigest()
    with _writing(file.filename):
        unpacked.replace(part.path)
    return hash_file(part.path, file.digest.algorithm)


_LARGEST_UNPACKED = 4 << 30
