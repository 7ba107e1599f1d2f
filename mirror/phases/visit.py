"""Visit: read the site at the address that installers ask, and give every cell its reason from there.

`verify` looks into the store; between that and an installer stand a host, an edge function and caches. So everything is
asked for as installers ask: the project list and each project's page in both forms by `Accept`, every listed file by
HEAD, every sidecar, and a sample of the files, or all of them, to be digested. A file that is only looked at counts
with the digest that the pages state; one about which anything is odd is always read whole. Pages that are found fault
with are read once more before it is said, for a publish may have come in between.

What is wrong with the site becomes a finding:

```
no-index          there is no project list at the address, and no project's page
missing           what a page lists, or the manifest or the release holds, is not found there, or a page in one form
refused           the host answers neither "here" nor "not found", or not at all
altered           a file does not have the size or the bytes that a page states, or ends early
metadata-differs  a sidecar is not the METADATA of its wheel
encoded           a file is sent compressed to a client that asked for it as it is: pip takes it for altered
unreadable-page   a page breaks the standard, or ends early
null-value        a JSON page says null where an installer then refuses the whole page
old-metadata      a page offers metadata by a name that breaks old versions of pip
wrong-type        a page is sent as something that installers pass over, or a file as a web page
forms-disagree    who asks for HTML and who asks for JSON is not told the same
wrong-link        a page links a file or project elsewhere than to its place, or as hosts read it differently
list-disagrees    a project list does not name exactly the projects that have pages, each once
page-disagrees    a page does not say of its files what the manifest says, or the manifest has no such project
stale-page        the same, and the page comes from a cache, or the store behind it has another one by now
wrong-cache       caches keep pages for longer than a day, mix up their forms, or may not keep files
no-head           HEAD is not answered for a file, or states another size than GET sends
no-ranges         files cannot be read in parts
not-404           what does not exist is not answered with 404, or is looked for on another host
wrong-redirect    an address in another spelling leads astray
plain-http        it is plain http, on a host that is neither this machine nor one that pip trusts
state-public      the publisher's own state can be read
```

That a site does not answer, or wants to know who asks, is no finding but a `RemoteError`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from mirror.coverage import Coverage
from mirror.credentials import redact, strip
from mirror.errors import MirrorError
from mirror.inspection import by_filename, claims, known_keys, manifest_of, quarantined
from mirror.layout import PACKAGES, SIMPLE, artifact_key
from mirror.model import Digest, Level, Notice
from mirror.outside.behind import Behind
from mirror.outside.files import Files
from mirror.outside.manners import check_manners
from mirror.outside.pages import judge_pages, odd_pages, read_again, read_pages
from mirror.outside.site import Site
from mirror.published import Published
from mirror.samples import FILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mirror.clients.base import Client
    from mirror.coverage import Expectation
    from mirror.model import Manifest
    from mirror.outside.pages import Pages
    from mirror.progress import Progress
    from mirror.stores.base import Store

__all__ = ["base_of", "visit"]


def visit(
    expectations: Sequence[Expectation],
    client: Client,
    url: str,
    progress: Progress,
    *,
    manifest: Manifest | None = None,
    store: Store | None = None,
    sample: int | None = FILES,
    jobs: int = 16,
) -> Coverage:
    """Judge what is served at `url`, the address of the mirror or of its `simple/`, of what the locks pin.

    With `manifest` pages are held against what we know of each file; with `store` what is served is held against what
    lies behind it. `sample` files are read whole, and all with a `+` in their names; None reads every file. `client`
    has the credentials, if `url` names any. Raise `RemoteError` when the site cannot be reached, refuses us, or fails.
    """
    site = Site(client=client, base=strip(base_of(url)), progress=progress, jobs=jobs)
    behind = Behind.of(store)
    manifest = manifest_of(behind.release, manifest)
    pages = _judged_pages(site, _wanted(expectations, manifest), manifest, behind)
    if pages.exist:
        check_manners(site, sorted(pages.forms), behind)
    advertised = claims(pages.forms)
    files = Files(site=site, advertised=advertised, algorithms=_other_algorithms(expectations))
    files.look(sample)
    site.gather()
    published = Published(
        pages={name: by_filename(forms) for name, forms in pages.forms.items()},
        digests={key: Digest("sha256", found.sha256) for key, found in files.found.items()},
        others=files.others,
        recorded=frozenset((*known_keys(manifest), *advertised)),
        quarantined=quarantined(pages.forms),
    )
    return Coverage(
        destination=site.base,
        release=behind.release.id if behind.release else "",
        cells=tuple(published.judge(expectation) for expectation in expectations),
        findings=site.findings.all,
        sizes={
            key.removeprefix(PACKAGES): found.size
            for key, found in files.found.items()
            if not key.endswith(".metadata")
        },
    )


def _judged_pages(site: Site, wanted: Iterable[str], manifest: Manifest | None, behind: Behind) -> Pages:
    """Read every page, and note what is wrong with them."""
    pages = read_pages(site, wanted)
    findings = judge_pages(pages, manifest, behind)
    if findings:
        pages = read_again(site, pages, findings)
        findings = judge_pages(pages, manifest, behind)
    site.findings.add(findings)
    for code, message, key in odd_pages(pages):
        site.odd(code, message, key)
    if pages.only_form:
        message = f"the host answers in {pages.only_form} whatever is asked for, so it is judged by that alone"
        site.progress.notice(Notice(level=Level.NOTE, code="one-form", message=message, where=site.base))
    return pages


def _wanted(expectations: Iterable[Expectation], manifest: Manifest | None) -> set[str]:
    """The projects that should have pages, whatever the project list says."""
    known = {artifact.project for artifact in manifest.artifacts} if manifest else set()
    return known | {expectation.package for expectation in expectations if expectation.verdict is None}


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


def _other_algorithms(expectations: Iterable[Expectation]) -> dict[str, str]:
    locked = chain.from_iterable((*expectation.candidates, *expectation.sdists) for expectation in expectations)
    return {artifact_key(file.filename): file.digest.algorithm for file in locked if file.digest.algorithm != "sha256"}
