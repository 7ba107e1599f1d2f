"""The files and sidecars that a site's pages list: asked for by HEAD, read whole where that is due, and compared."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.clients.conduct import ABSENT, length, odd_file, ranged, said
from mirror.compare import Fingerprint
from mirror.credentials import origin
from mirror.errors import MirrorError
from mirror.inspection import files_differ
from mirror.layout import PACKAGES
from mirror.model import Digest, Level, Notice
from mirror.samples import FILES
from mirror.simple.metadata import InvalidMetadata, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from mirror.clients.base import Answer
    from mirror.inspection import Claim
    from mirror.outside.site import Site

_FIRST_BYTE = {"Range": "bytes=0-0"}
_MOST_FOR_A_BYTE = 1 << 16
"""Bytes that are read of an answer of which one was asked for."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading a file whole told of it."""

    answer: Answer
    metadata: str = ""
    """sha256 of a wheel's own METADATA, as hex."""
    other: Digest | None = None
    """In the algorithm by which a lock pins it, if that is another one."""


@dataclass(kw_only=True)
class Files:
    """The files and sidecars that pages list."""

    site: Site
    advertised: Mapping[str, Sequence[Claim]]
    algorithms: Mapping[str, str]
    """Of files that a lock pins by something else than sha256, by key."""
    found: dict[str, Fingerprint] = field(default_factory=dict)
    """What is there; of a file that was not read, the digest that its pages state."""
    others: dict[str, Digest] = field(default_factory=dict)
    """By key: digests in the `algorithms`."""
    _heads: dict[str, list[Answer]] = field(default_factory=dict)

    def look(self, sample: int | None) -> None:
        """Ask for everything, read what is to be read, and compare it with what pages say.

        Raise `MirrorError` when there is no room on this disk for a wheel.
        """
        # What is linked elsewhere is no part of the mirror: the link to it was told, and nobody is sent there.
        own = {key: stated for key, stated in self.advertised.items() if all(map(self._ours, stated))}
        artifacts = [key for key in own if not key.endswith(".metadata")]
        doubtful = self._look_at(artifacts)
        drawn = self._drawn()
        pinned_otherwise = self.algorithms.keys() & self.found.keys()
        chosen = {*drawn[:sample], *(key for key in drawn if "+" in key), *pinned_otherwise}
        inside = self._read(sorted(doubtful | chosen))
        self._try_ranges(drawn[: FILES if sample is None else sample])
        self._read_sidecars([key for key in own if key.endswith(".metadata")], inside)
        # Of what is not there it was told why.
        self.site.findings.add(files_differ({key: own[key] for key in own if key in self.found}, self.found))

    def _ours(self, claim: Claim) -> bool:
        return origin(claim.url) == origin(self.site.base)

    def _urls(self, key: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(claim.url for claim in self.advertised[key]))

    def _look_at(self, keys: Sequence[str]) -> set[str]:
        """Ask for the head of every file; give those whose bytes must be seen before anything is said of them."""
        with self.site.progress.task("Looking at files", items=len(keys), unit="files") as task:

            def look(key: str) -> list[Answer]:
                answers = [self.site.ask(url, method="HEAD") for url in self._urls(key)]
                task.advance(1, what=key)
                return answers

            self._heads = dict(zip(keys, self.site.spread(look, keys), strict=True))
        self._tell_elsewhere()
        doubtful = set()
        for key, answers in self._heads.items():
            fingerprint = self._by_head(key, answers)
            if fingerprint is None:
                doubtful.add(key)
            else:
                self.found[key] = fingerprint
        there = [key for key in doubtful if not all(answer.status in ABSENT for answer in self._heads[key])]
        if there:
            message = f"files that are read whole, since HEAD leaves doubts: {len(there):,} of {len(keys):,}"
            self.site.progress.notice(Notice(level=Level.NOTE, code="read-whole", message=message))
        return doubtful

    def _by_head(self, key: str, answers: Sequence[Answer]) -> Fingerprint | None:
        """What the pages and the heads say of a file, if they agree; whether a file is there, GET alone decides."""
        if any(answer.status != 200 for answer in answers):
            return None
        for answer in answers:
            self._judge(key, answer)
        stated = self.advertised[key]
        digests = frozenset(chain.from_iterable(claim.digests or () for claim in stated))
        sizes = {claim.size for claim in stated} - {None} | {length(answer) for answer in answers}
        size = next(iter(sizes), None)
        return Fingerprint(next(iter(digests)), size) if len(digests) == len(sizes) == 1 and size is not None else None

    def _judge(self, key: str, answer: Answer) -> None:
        for code, message in odd_file(answer):
            self.site.odd(code, message, key)
        if not ranged(answer) and not key.endswith(".metadata"):
            self.site.odd("no-ranges", "it says nothing of Accept-Ranges: bytes", key)

    def _tell_elsewhere(self) -> None:
        """Say which hosts the files really come from: the mirror is no better than they are."""
        answers = chain.from_iterable(self._heads.values())
        hosts = Counter(origin(answer.url)[:2] for answer in answers if origin(answer.url) != origin(self.site.base))
        for (scheme, host), count in sorted(hosts.items()):
            message = f"{count:,} files are sent by {scheme}://{host}, to which this host redirects"
            notice = Notice(level=Level.WARNING, code="sent-elsewhere", message=message, where=self.site.base)
            self.site.progress.notice(notice)

    def _drawn(self) -> list[str]:
        """The files, in an order that changes whenever the pages do, and only then: a sample takes the first."""
        known = sorted(self.found)
        seed = sha256()
        for key in known:
            seed.update(f"{key} {self.found[key].sha256}\n".encode())
        return sorted(known, key=lambda key: sha256(seed.digest() + key.encode()).digest())

    def _there(self, key: str, answer: Answer) -> bool:
        """Whether it is; when not, that is told."""
        if answer.status in ABSENT:
            self.site.findings.find("missing", key, f"{said(answer)}, and a page lists it")
        elif answer.cut:
            self.site.findings.find("altered", key, f"it ends early: {said(answer)}")
        elif answer.status != 200:
            self.site.findings.find("refused", key, said(answer))
        return answer.status == 200

    def _read(self, keys: Sequence[str]) -> dict[str, str]:
        """Read files whole; give the digests of the wheels' own METADATA, as hex."""
        inside = {}
        size = sum(self.found[key].size for key in keys if key in self.found)
        with (
            _scratch() as folder,
            self.site.progress.task("Reading files", items=len(keys), size=size or None, unit="files") as task,
        ):

            def read(key: str) -> list[_Read]:
                reads = [self._fetch(key, url, folder) for url in self._urls(key)]
                task.advance(1, reads[0].answer.length, key)
                return reads

            for key, reads in zip(keys, self.site.spread(read, keys), strict=True):
                self.found.pop(key, None)
                if all(self._there(key, read.answer) for read in reads):
                    self._take(key, reads[0])
                    inside[key] = reads[0].metadata
        return inside

    def _take(self, key: str, read: _Read) -> None:
        self.found[key] = Fingerprint(read.answer.sha256, read.answer.length)
        self.others.update({key: read.other} if read.other else {})
        self._judge(key, read.answer)
        for head in self._heads[key]:
            if head.status != 200:
                self.site.odd("no-head", f"GET is answered, and HEAD is not: {head.status or 'no answer'}", key)
            elif length(head) != read.answer.length:
                stated = "no length" if length(head) is None else "another length than GET sends"
                self.site.odd("no-head", f"HEAD states {stated}", key)

    def _fetch(self, key: str, url: str, folder: Path) -> _Read:
        path = folder / key.removeprefix(PACKAGES)
        with _on_disk(path) if path.suffix == ".whl" else nullcontext() as stream:
            sink = _Sink(stream, self.algorithms.get(key))
            answer = self.site.fetch(url, sink.begin)
            metadata = _metadata_inside(path, stream) if stream else ""
        return _Read(answer, metadata=metadata, other=sink.digest)

    def _try_ranges(self, keys: Sequence[str]) -> None:
        """Ask for the first byte of some files: what a host says of ranges and what it does are two things."""

        def first(key: str) -> Answer:
            return self.site.ask(self._urls(key)[0], headers=_FIRST_BYTE, limit=_MOST_FOR_A_BYTE)

        able = [key for key in keys if key in self.found and all(map(ranged, self._heads[key]))]
        for key, answer in zip(able, self.site.spread(first, able), strict=True):
            stated = answer.header("content-range").strip()
            if answer.status != 206 or stated not in (f"bytes 0-0/{self.found[key].size}", "bytes 0-0/*"):
                self.site.odd(
                    "no-ranges", "it says Accept-Ranges: bytes, and asked for one it sends something else", key
                )

    def _read_sidecars(self, keys: Sequence[str], inside: Mapping[str, str]) -> None:
        """Read every sidecar: they are small, and installers believe them before they see the wheel."""
        with self.site.progress.task("Reading metadata", items=len(keys), unit="files") as task:

            def read(key: str) -> Answer:
                answer = self.site.fetch(self._urls(key)[0])
                task.advance(1, answer.length, key)
                return answer

            for key, answer in zip(keys, self.site.spread(read, keys), strict=True):
                if not self._there(key, answer):
                    continue
                self._judge(key, answer)
                self.found[key] = Fingerprint(answer.sha256, answer.length)
                own = inside.get(key.removesuffix(".metadata"))
                if own and own != answer.sha256:
                    message = f"the wheel's own METADATA is sha256:{own}, this is sha256:{answer.sha256}"
                    self.site.findings.find("metadata-differs", key, message)


class _Sink:
    """Where a file's bytes go: of a wheel to disk, to be looked into, and into the digest by which a lock pins it."""

    def __init__(self, stream: BinaryIO | None, algorithm: str | None) -> None:
        self._stream = stream
        self._algorithm = algorithm
        self._digest = hashlib.new(algorithm) if algorithm else None

    def begin(self) -> _Sink:
        """Forget what was written."""
        if self._stream is not None:
            self._stream.seek(0)
            self._stream.truncate()
        self._digest = hashlib.new(self._algorithm) if self._algorithm else None
        return self

    def write(self, chunk: memoryview) -> None:
        if self._stream is not None:
            self._stream.write(chunk)
        if self._digest is not None:
            self._digest.update(chunk)

    @property
    def digest(self) -> Digest | None:
        """In the algorithm that was asked for."""
        return Digest(self._digest.name, self._digest.hexdigest()) if self._digest is not None else None


@contextmanager
def _on_disk(path: Path) -> Iterator[BinaryIO]:
    """A file to write and to read by its name, which goes with the block. Raise `MirrorError` when the disk refuses."""
    try:
        with path.open("wb") as stream:
            yield stream
    except OSError as error:
        raise _no_room(path.parent.parent, error) from error
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _scratch() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="mirror-")
    except OSError as error:
        raise _no_room(tempfile.tempdir or "the folder for temporary files", error) from error
    with folder as name:
        yield Path(name)


def _no_room(where: object, error: OSError) -> MirrorError:
    return MirrorError(
        f"cannot write to {where}: {error.strerror or error}",
        hint="free some space, for a wheel is kept while it is looked into; TMPDIR names another place",
    )


def _metadata_inside(path: Path, stream: BinaryIO) -> str:
    """sha256 of a wheel's METADATA, as hex; empty for one that cannot be read."""
    stream.flush()
    try:
        return sha256(read_metadata(path)).hexdigest()
    except InvalidMetadata:
        return ""
