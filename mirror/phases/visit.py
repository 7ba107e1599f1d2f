"""Visit: read the site at the address that installers ask, and give every cell its reason from there.

`verify` looks into the store; between that and an installer stand a host, an edge function and caches. So everything is
asked for as installers ask: the project list and each project's page in both forms by `Accept`, every listed file by
HEAD, every sidecar, and a sample of the files, or all of them, to be digested. A file that is only looked at counts
with the digest that the pages state; one about which anything is odd is always read whole.

What is wrong with the site becomes a finding:

```
no-index          there is no project list at the address, and no project's page
missing           what a page lists or the manifest holds is not found there, or a page in one of its two forms
refused           the host answers neither "here" nor "not found"
altered           a file does not have the size or the bytes that a page states
metadata-differs  a sidecar is not the METADATA of its wheel
encoded           a file is sent compressed to a client that asked for it as it is: pip takes it for altered
unreadable-page   a page breaks the standard
null-value        a JSON page says null where an installer then refuses the whole page
wrong-type        a page is sent as something that installers pass over, or a file as a web page
forms-disagree    the HTML and the JSON of a page do not say the same
wrong-link        a page links a file elsewhere than to its place, or in a spelling that hosts understand differently
list-disagrees    a project list does not name exactly the projects that have pages
page-disagrees    a page does not say of its files what the manifest says
stale-page        the same, and the page comes from a cache, or the store behind it has another one by now
wrong-cache       pages may be kept for longer than a day, or files not at all
no-head           HEAD is not answered for a file
no-ranges         files cannot be read in parts
not-404           what does not exist is not answered with 404
wrong-redirect    an address in another spelling leads astray
state-public      the publisher's own state can be read
```

That a site does not answer, or wants to know who asks, is no finding but a `RemoteError`.
"""

from __future__ import annotations

import json as jsonlib
import re
import tempfile
import zlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from packaging.utils import canonicalize_name

from mirror.clients.conduct import (
    ABSENT,
    ACCEPT,
    FORMS,
    HTML,
    JSON,
    NO_METHOD,
    TYPES,
    WHO,
    cache_notes,
    length,
    odd_file,
    odd_page,
    told,
)
from mirror.compare import Fingerprint
from mirror.coverage import Coverage, Finding
from mirror.credentials import origin, redact, strip
from mirror.errors import IntegrityError, MirrorError, RemoteError
from mirror.files import hash_file
from mirror.inspection import (
    Findings,
    by_filename,
    claims,
    files_differ,
    forms_disagree,
    known_keys,
    lists_disagree,
    nulls,
    pages_disagree,
    some,
    wrong_links,
)
from mirror.layout import (
    FRONT_PAGE,
    PACKAGES,
    POINTER,
    SIMPLE,
    artifact_key,
    project_list_keys,
    project_page_keys,
)
from mirror.model import Digest, Level, Notice
from mirror.published import Published
from mirror.release import current
from mirror.simple import html, json
from mirror.simple.metadata import InvalidMetadata, read_metadata
from mirror.simple.page import PageError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from mirror.clients.base import Answer, Client
    from mirror.coverage import Expectation
    from mirror.inspection import Claim, Forms
    from mirror.model import Manifest
    from mirror.progress import Progress
    from mirror.release import Release
    from mirror.simple.page import ProjectPage
    from mirror.stores.base import Store

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

SAMPLE = 16
"""Files that are read whole when nobody says how many."""

_PARSERS = (html.parse, json.parse)
_LIST_PARSERS = (html.parse_list, json.parse_list)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_LARGEST_PAGE = 64 << 20
"""Bytes, unpacked."""


def visit(
    expectations: Sequence[Expectation],
    client: Client,
    url: str,
    progress: Progress,
    *,
    manifest: Manifest | None = None,
    store: Store | None = None,
    sample: int | None = SAMPLE,
    jobs: int = 16,
) -> Coverage:
    """Judge what is served at `url`, the address of the mirror or of its `simple/`, of what the locks pin.

    With `manifest` pages are held against what we know of each file; with `store` what is served is held against what
    lies behind it. `sample` files are read whole, and all with a `+` in their names; None reads every file. `client`
    has the credentials, if `url` names any. Raise `RemoteError` when the site cannot be reached, refuses us, or fails.
    """
    site = _Site(client=client, base=strip(base_of(url)), progress=progress, store=store, jobs=jobs)
    named = site.lists()
    wanted = {name for names in named for name in names or ()}
    wanted |= {artifact.project for artifact in manifest.artifacts} if manifest else set()
    wanted |= {expectation.package for expectation in expectations if expectation.verdict is None}
    pages = site.pages(sorted(wanted))
    if pages or named != (None, None):
        # Where there is no index at all, one finding says so; naming all that is missing would hide it.
        site.check_pages(pages, named, manifest)
        site.check_manners(sorted(pages))
        site.check_negotiation()
    else:
        site.findings.find("no-index", SIMPLE, f"there is no index at {urljoin(site.base, SIMPLE)}")
    advertised = claims(pages)
    files = _Files(site=site, advertised=advertised, algorithms=_other_algorithms(expectations))
    files.look(sample)
    published = Published(
        pages={name: by_filename(forms) for name, forms in pages.items()},
        digests={key: Digest("sha256", found.sha256) for key, found in files.found.items()},
        others=files.others,
        recorded=frozenset((*known_keys(manifest), *advertised)),
    )
    return Coverage(
        destination=site.base,
        release=site.release.id if site.release else "",
        cells=tuple(published.judge(expectation) for expectation in expectations),
        findings=site.findings.all,
        sizes={
            key.removeprefix(PACKAGES): found.size
            for key, found in files.found.items()
            if not key.endswith(".metadata")
        },
    )


def base_of(url: str) -> str:
    """The address of the mirror, with a slash at its end, from that or from the address of its `simple/`.

    Raise `MirrorError` for what is no address of a site.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise MirrorError(
            f"{redact(url)!r} is no address of a mirror", hint="write it as https://mirror.example/ or with its path"
        )
    path = parts.path.rstrip("/") + "/"
    return urlunsplit(parts._replace(path=path.removesuffix(SIMPLE) if path.endswith(f"/{SIMPLE}") else path))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What came for a page."""

    sha256: str
    cached: str
    """What its headers say of a cache; empty when it came from none."""


@dataclass(frozen=True, slots=True)
class _Sheet:
    """An answer to the question for a page in one form."""

    status: int
    form: int | None = None
    """What it is by its type; None for another type and for no page."""
    page: ProjectPage | None = None


@dataclass(kw_only=True)
class _Site:
    """One visit, which gathers what is wrong."""

    client: Client
    base: str
    progress: Progress
    store: Store | None
    jobs: int
    findings: Findings = field(default_factory=Findings)
    release: Release | None = None
    """What is current in the store."""
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _listed: dict[int, _Sheet] = field(default_factory=dict)
    """The project list, by the form that was asked for."""
    _odd: defaultdict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    # Reading

    def lists(self) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """The names in both forms of the project list; None for a list that is not there or cannot be read."""
        self._read_release()
        found: list[tuple[str, ...] | None] = [None, None]
        for asked, key in enumerate(project_list_keys()):
            answer = self._get(SIMPLE, asked)
            self._require(answer)
            if asked == HTML and answer.status == 200:
                # Behind a redirect everything else is asked where it led to.
                self.base = urljoin(answer.url, "../")
            form = self._form(key, answer)
            self._listed[asked] = _Sheet(answer.status, form)
            if form is not None:
                found[form] = self._names(key, form, answer)
        return found[HTML], found[JSON]

    def _names(self, key: str, form: int, answer: Answer) -> tuple[str, ...] | None:
        try:
            names = _LIST_PARSERS[form](self._body(key, answer))
        except PageError as error:
            self.findings.find("unreadable-page", key, str(error))
            return None
        bad = [name for name in names if not _NAME.fullmatch(name) or canonicalize_name(name) != name]
        if bad:
            self.findings.find("list-disagrees", key, f"it names {some(bad)}, which no project is called")
        return tuple(name for name in names if name not in bad)

    def pages(self, names: Sequence[str]) -> dict[str, Forms]:
        """The page of every project that has one, in both forms; where a host has one form only, that for both."""
        with self.progress.task("Reading pages", items=len(names), unit="projects") as task:

            def read(name: str) -> tuple[_Sheet, _Sheet]:
                sheets = self._sheet(name, HTML), self._sheet(name, JSON)
                task.advance(1, what=name)
                return sheets

            sheets = dict(zip(names, self.spread(read, names), strict=True))
        answers = {**sheets, "": (self._listed[HTML], self._listed[JSON])}
        offered = {sheet.form for pair in answers.values() for sheet in pair} - {None}
        for name, pair in answers.items():
            self._check_forms(project_page_keys(name) if name else project_list_keys(), pair, offered)
        return {
            name: _forms(pair) for name, pair in sheets.items() if not all(sheet.status in ABSENT for sheet in pair)
        }

    def _sheet(self, name: str, asked: int) -> _Sheet:
        key = project_page_keys(name)[asked]
        answer = self._get(f"{SIMPLE}{name}/", asked)
        if answer.status != 200:
            if answer.status not in ABSENT:
                self.findings.find("refused", key, f"the host answers {answer.status}{told(answer)}")
            return _Sheet(answer.status)
        form = self._form(key, answer)
        if form is None:
            return _Sheet(answer.status)
        try:
            body = self._body(key, answer)
            page = _PARSERS[form](body, answer.url, name)
        except PageError as error:
            self.findings.find("unreadable-page", key, str(error))
            return _Sheet(answer.status, form)
        if form == JSON:
            self.findings.add(nulls(key, body))
        return _Sheet(answer.status, form, page)

    def _check_forms(
        self, keys: tuple[str, str], sheets: tuple[_Sheet, _Sheet], offered: Container[int | None]
    ) -> None:
        """A page is there in every form that the host knows at all."""
        absent = [sheet.status in ABSENT for sheet in sheets]
        for asked, sheet in enumerate(sheets):
            other = sheet.form is not None and sheet.form != asked
            if asked in offered and not all(absent) and (absent[asked] or other):
                message = f"asked for {FORMS[asked]}, the host has none"
                self._blame((Finding("missing", keys[asked], message),))

    def check_negotiation(self) -> None:
        """Say so when the host has only one form."""
        forms = {sheet.form for sheet in self._listed.values()}
        if len(forms) == 1 and None not in forms:
            form = FORMS[forms.pop() or HTML]
            message = f"the host answers in {form} whatever is asked for, so it is judged by that alone"
            self.progress.notice(Notice(level=Level.NOTE, code="one-form", message=message, where=self.base))

    def _get(self, path: str, asked: int) -> Answer:
        headers = {"Accept": ACCEPT[asked], "Accept-Encoding": "gzip"}
        url = urljoin(self.base, path)
        return self.client.ask(url, headers=headers, follow=True, limit=_LARGEST_PAGE)

    def _form(self, key: str, answer: Answer) -> int | None:
        """Note what came, and say in which form it is, by its type alone as installers do."""
        self._seen[key] = _Seen(sha256(answer.body).hexdigest(), cache_notes(answer))
        if answer.status != 200:
            return None
        for code, message in odd_page(answer):
            self.odd(code, message, key)
        return TYPES.get(answer.media_type)

    def _body(self, key: str, answer: Answer) -> bytes:
        """A page's bytes, unpacked. Raise `PageError` for what cannot be."""
        encoding = answer.header("content-encoding").strip().lower()
        if encoding in ("", "identity"):
            return answer.body
        try:
            if encoding != "gzip":
                raise PageError(f"it is encoded as {encoding}, which was not asked for")
            body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(answer.body, _LARGEST_PAGE)
        except zlib.error as error:
            raise PageError(f"it is no gzip: {error}") from error
        self._seen[key] = replace(self._seen[key], sha256=sha256(body).hexdigest())
        return body

    def _require(self, answer: Answer) -> None:
        """Raise `RemoteError` unless the host says that there is an index, or that there is none."""
        if answer.status in WHO:
            raise RemoteError(
                f"{answer.url} answers {answer.status}: it wants other credentials, or any",
                hint="write them into BASE_URL or --url as https://user:password@host/, or into ~/.netrc",
            )
        if answer.status != 200 and answer.status not in ABSENT:
            raise RemoteError(f"{answer.url} answers {answer.status}", hint="try again when the site is well")

    def _read_release(self) -> None:
        if self.store is None:
            return
        try:
            found = current(self.store.read, self.store.name)
        except IntegrityError:
            return  # `verify` tells what is wrong with the store itself
        self.release = found.release if found else None

    # What is wrong

    def check_pages(
        self,
        pages: Mapping[str, Forms],
        named: tuple[tuple[str, ...] | None, tuple[str, ...] | None],
        manifest: Manifest | None,
    ) -> None:
        """Pages agree with each other, with the project list, with the manifest and with the store."""
        for name, forms in pages.items():
            self.findings.add(forms_disagree(name, forms))
        self.findings.add(wrong_links(pages, self.base))
        for key, names in zip(project_list_keys(), named, strict=True):
            self._blame(lists_disagree(key, names, pages))
        if all(sheet.status in ABSENT for sheet in self._listed.values()):
            self.findings.find("missing", project_list_keys()[HTML], "there is no project list")
        if manifest is not None:
            self._blame(pages_disagree(manifest, pages))
        self._check_release()

    def _blame(self, findings: Iterable[Finding]) -> None:
        """Take findings about pages in, and say when it is a cache that is to blame."""
        for finding in findings:
            if self._stale(finding.key):
                self.findings.find("stale-page", finding.key, finding.message + self._cached(finding.key))
            else:
                self.findings.add((finding,))

    def _stale(self, key: str) -> bool:
        seen = self._seen.get(key)
        if seen is None:
            return False
        if self.store is None:
            return bool(seen.cached)
        found = self.store.read(key)
        return sha256(found[0]).hexdigest() != seen.sha256 if found else bool(seen.cached)

    def _cached(self, key: str) -> str:
        seen = self._seen.get(key)
        return f" ({seen.cached})" if seen and seen.cached else ""

    def _check_release(self) -> None:
        """What is served has the bytes that the store's release records; the front page, too."""
        if self.release is None:
            return
        answer = self.client.ask(self.base, follow=True, limit=_LARGEST_PAGE)
        self._seen[FRONT_PAGE] = _Seen(sha256(answer.body).hexdigest(), cache_notes(answer))
        for key, seen in sorted(self._seen.items()):
            wanted = self.release.objects.get(key)
            if wanted is not None and wanted.sha256 != seen.sha256 and self._stale(key):
                message = f"release {self.release.id} has another page{self._cached(key)}"
                self.findings.find("stale-page", key, message)

    def check_manners(self, names: Sequence[str]) -> None:
        """What does not exist, and what is spelled in another way, is answered as installers need it."""
        absent = f"no-such-project-{sha256(''.join(names).encode()).hexdigest()[:8]}"
        for path in (f"{SIMPLE}{absent}/", f"{PACKAGES}{absent}-1.0.tar.gz"):
            answer = self.client.ask(urljoin(self.base, path), headers={"Accept": ACCEPT[JSON]}, follow=True)
            if answer.status not in ABSENT:
                why = "uv stops there instead of asking the next index" if answer.status in WHO else "it is not there"
                self.findings.find("not-404", path, f"the host answers {answer.status}: {why}")
        for name in names[:1]:
            self._check_spelling(f"{SIMPLE}{name}", name)
        for name in [name for name in names if name != _spelled(name)][:1]:
            self._check_spelling(f"{SIMPLE}{_spelled(name)}/", name)
        self._check_state()

    def _check_spelling(self, path: str, name: str) -> None:
        wanted = urljoin(self.base, f"{SIMPLE}{name}/")
        answer = self.client.ask(urljoin(self.base, path))
        location = urljoin(answer.url, answer.header("location"))
        if 300 <= answer.status < 400 and location != wanted:
            self.findings.find("wrong-redirect", path, f"it leads to {redact(location)}, not to {wanted}")
        elif answer.status == 200 and not path.endswith("/"):
            message = "it is a page, though its address has no slash at the end: every link on it leads astray"
            self.findings.find("wrong-redirect", path, message)

    def _check_state(self) -> None:
        answer = self.client.ask(urljoin(self.base, POINTER))
        try:
            readable = answer.status == 200 and isinstance(jsonlib.loads(answer.body), dict)
        except ValueError:
            readable = False  # a host that has a page for everything
        if readable:
            self.findings.find("state-public", POINTER, "it tells everybody what was ever published; do not serve it")

    def odd(self, code: str, message: str, key: str) -> None:
        """Note what may be true of many objects alike."""
        self._odd[code, message].append(key)

    def gather(self) -> None:
        """Make one finding of each oddity."""
        for (code, message), keys in sorted(self._odd.items()):
            first, *more = sorted(keys)
            self.findings.find(code, first, message + (f"; as of {len(more):,} more" if more else ""))

    def spread(self, act: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Several at once, in order; the first error ends it."""
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="visit") as threads:
            try:
                yield from threads.map(act, items)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading a file whole told of it."""

    fingerprint: Fingerprint
    metadata: str = ""
    """sha256 of a wheel's own METADATA, as hex."""
    other: Digest | None = None
    """In the algorithm by which a lock pins it, if that is another one."""


@dataclass(kw_only=True)
class _Files:
    """The files and sidecars that pages list."""

    site: _Site
    advertised: Mapping[str, Sequence[Claim]]
    algorithms: Mapping[str, str]
    """Of files that a lock pins by something else than sha256, by key."""
    found: dict[str, Fingerprint] = field(default_factory=dict)
    """What is there; of a file that was not read, the digest that its pages state."""
    others: dict[str, Digest] = field(default_factory=dict)

    def look(self, sample: int | None) -> None:
        """Ask for everything, read what is to be read, and compare it with what pages say."""
        # What lies on another host is no part of the mirror: the link to it was told, and nobody is sent there.
        own = {key: stated for key, stated in self.advertised.items() if all(map(self._ours, stated))}
        artifacts = [key for key in own if not key.endswith(".metadata")]
        doubtful = self._heads(artifacts)
        chosen = doubtful | self.algorithms.keys() & self.found.keys() | self._sample(sample)
        inside = self._read(sorted(chosen))
        self._sidecars([key for key in own if key.endswith(".metadata")], inside)
        self.site.findings.add(files_differ(own, self.found))
        self.site.gather()

    def _ours(self, claim: Claim) -> bool:
        return origin(claim.url) == origin(self.site.base)

    def _heads(self, keys: Sequence[str]) -> set[str]:
        """Ask for the head of every file; give those whose bytes must be seen before anything is said of them."""
        doubtful = set()
        with self.site.progress.task("Looking at files", items=len(keys), unit="files") as task:

            def look(key: str) -> list[Answer]:
                urls = dict.fromkeys(claim.url for claim in self.advertised[key])
                answers = [self.site.client.ask(url, method="HEAD", follow=True) for url in urls]
                task.advance(1, what=key)
                return answers

            for key, answers in zip(keys, self.site.spread(look, keys), strict=True):
                if any(answer.status in NO_METHOD for answer in answers):
                    self.site.odd("no-head", f"HEAD is answered with {answers[0].status}", key)
                    doubtful.add(key)
                elif all(self._there(key, answer) for answer in answers):
                    self._judge_head(key, answers, doubtful)
        return doubtful

    def _judge_head(self, key: str, answers: Sequence[Answer], doubtful: set[str]) -> None:
        for code, message in chain.from_iterable(map(odd_file, answers)):
            self.site.odd(code, message, key)
        if answers[0].header("accept-ranges").strip().lower() != "bytes":
            self.site.odd("no-ranges", "it says nothing of Accept-Ranges: bytes", key)
        stated = self.advertised[key]
        digests = frozenset(chain.from_iterable(claim.digests for claim in stated))
        sizes = {claim.size for claim in stated} - {None} | {length(answer) for answer in answers}
        size = next(iter(sizes), None)
        if len(digests) == 1 and len(sizes) == 1 and size is not None:
            self.found[key] = Fingerprint(next(iter(digests)), size)
        else:
            doubtful.add(key)

    def _there(self, key: str, answer: Answer) -> bool:
        """Whether it is; when not, that is told."""
        if answer.status in ABSENT:
            self.site.findings.find("missing", key, f"{answer.url} answers {answer.status}, and a page lists it")
        elif answer.status != 200:
            self.site.findings.find("refused", key, f"{answer.url} answers {answer.status}{told(answer)}")
        return answer.status == 200

    def _sample(self, count: int | None) -> set[str]:
        """Files to read: others whenever the pages change, the same ones as long as they do not."""
        known = [key for key in self.found if not key.endswith(".metadata")]
        if count is None:
            return set(known)
        seed = sha256()
        for key in sorted(known):
            seed.update(f"{key} {self.found[key].sha256}\n".encode())
        drawn = sorted(known, key=lambda key: sha256(seed.digest() + key.encode()).digest())
        return {*drawn[:count], *(key for key in known if "+" in key)}

    def _read(self, keys: Sequence[str]) -> dict[str, str]:
        """Read files whole; give the digests of the wheels' own METADATA, as hex."""
        inside = {}
        size = sum(self.found[key].size for key in keys if key in self.found)
        with (
            tempfile.TemporaryDirectory(prefix="mirror-") as folder,
            self.site.progress.task("Reading files", items=len(keys), size=size or None, unit="files") as task,
        ):

            def read(key: str) -> _Read | None:
                found = self._fetch(key, Path(folder))
                task.advance(1, found.fingerprint.size if found else 0, key)
                return found

            for key, result in zip(keys, self.site.spread(read, keys), strict=True):
                self.found.pop(key, None)
                if result is not None:
                    self.found[key] = result.fingerprint
                    inside[key] = result.metadata
                    self.others.update({key: result.other} if result.other else {})
        return inside

    def _fetch(self, key: str, folder: Path) -> _Read | None:
        path = folder / key.removeprefix(PACKAGES)
        try:
            with path.open("wb") as stream:
                answer = self.site.client.fetch(self.advertised[key][0].url, into=stream)
            if not self._there(key, answer):
                return None
            algorithm = self.algorithms.get(key)
            return _Read(
                Fingerprint(answer.sha256, answer.length),
                metadata=_metadata_inside(path),
                other=Digest(algorithm, hash_file(path, algorithm)) if algorithm else None,
            )
        finally:
            path.unlink(missing_ok=True)

    def _sidecars(self, keys: Sequence[str], inside: Mapping[str, str]) -> None:
        """Read every sidecar: they are small, and installers believe them before they see the wheel."""
        with self.site.progress.task("Reading metadata", items=len(keys), unit="files") as task:

            def read(key: str) -> Answer:
                answer = self.site.client.fetch(self.advertised[key][0].url)
                task.advance(1, answer.length, key)
                return answer

            for key, answer in zip(keys, self.site.spread(read, keys), strict=True):
                if not self._there(key, answer):
                    continue
                for code, message in odd_file(answer):
                    self.site.odd(code, message, key)
                self.found[key] = Fingerprint(answer.sha256, answer.length)
                own = inside.get(key.removesuffix(".metadata"))
                if own and own != answer.sha256:
                    message = f"the wheel's own METADATA is sha256:{own}, this is sha256:{answer.sha256}"
                    self.site.findings.find("metadata-differs", key, message)


def _forms(sheets: tuple[_Sheet, _Sheet]) -> Forms:
    as_html, as_json = sheets
    if as_html.form == as_json.form:
        # Whatever was asked for, one form came. Installers understand either, so one is as good as two.
        return as_html.page, as_html.page
    by_form = {sheet.form: sheet.page for sheet in sheets}
    return by_form.get(HTML), by_form.get(JSON)


def _metadata_inside(path: Path) -> str:
    """sha256 of a wheel's METADATA, as hex; empty for what is no wheel, or one that cannot be read."""
    if path.suffix != ".whl":
        return ""
    try:
        return sha256(read_metadata(path)).hexdigest()
    except InvalidMetadata:
        return ""


def _spelled(name: str) -> str:
    """Another spelling of a normalized name."""
    return name.replace("-", "_").title()


def _other_algorithms(expectations: Iterable[Expectation]) -> dict[str, str]:
    locked = chain.from_iterable((*expectation.candidates, *expectation.sdists) for expectation in expectations)
    return {artifact_key(file.filename): file.digest.algorithm for file in locked if file.digest.algorithm != "sha256"}
