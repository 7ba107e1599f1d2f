"""The rows U: URLs, status codes and headers (PEP 503, 629, 691; RFC 9110, 9111)."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.utils import canonicalize_name

from mirror.doctor.check import Seen, check, fail, ok, warn
from mirror.doctor.values import number, resolved, split
from mirror.doctor.visit import list_names, project_of
from mirror.doctor.wire import HTML, OTHER_SITE, REDIRECTS, V1_HTML, V1_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.doctor.visit import File, Visit
    from mirror.doctor.wire import Exchange

FRESH = 600
"""Seconds for which a page may be used unasked; a new release is invisible to clients for as long."""
LASTING = 86400
"""Seconds; files never change, and who keeps them for less than a day might as well ask every time."""

_TYPES = (HTML, V1_HTML, V1_JSON)
_FILENAME = re.compile(r"filename\*?\s*=\s*(?:UTF-8''|\"?)([^\";]+)", re.IGNORECASE)


@check(
    "U1", "M", "the project list answers, and names every project exactly once",
    breaks="whoever searches or mirrors by the list misses or repeats projects; Poetry search, bandersnatch",
    fix="write the list anew from all projects, last of everything that is published",
)  # fmt: skip
def project_list(visit: Visit) -> Iterator[Seen]:
    """U1."""
    if not any(page.html or page.data for page in visit.lists):
        yield fail(visit.base, f"no project list: {visit.as_html.exchange.said}, {visit.as_html.exchange.media_type}")
    for page in visit.lists:
        names = Counter(list_names(page))
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            yield fail(page.url, f"named more than once: {', '.join(twice[:5])}")
        elif page.html or page.data:
            yield ok(page.url, f"{len(names)} projects")
    for name, exchange in visit.unlisted:
        if exchange.status == 200 and not visit.elsewhere(exchange):
            yield fail(exchange.place, f"{name} has a page, and the list does not name it")


@check(
    "U2", "M", "every listed project answers at its normalized name",
    breaks="pip, uv, Poetry: they ask for the normalized name only, and find nothing",
    fix='name the folder of each project by re.sub(r"[-_.]+", "-", name).lower()',
)  # fmt: skip
def project_pages(visit: Visit) -> Iterator[Seen]:
    """U2."""
    page = visit.as_html
    for anchor in page.html.anchors if page.html else ():
        name = project_of(anchor.href)
        if name != canonicalize_name(name):
            yield fail(page.url, f"{name} is listed at a name that is not normalized")
    for project in visit.projects:
        answers = [page.exchange for page in project.pages]
        best = next((each for each in answers if each.status == 200), answers[0])
        yield (ok if best.status == 200 else fail)(best.url, best.said)


@check(
    "U3", "M", "every URL that answers with an HTML page ends in a slash",
    breaks="relative links on such a page are resolved one level too high, and lead nowhere",
    fix="answer 301 to the address with the slash, and link to that",
)  # fmt: skip
def slashes(visit: Visit) -> Iterator[Seen]:
    """U3."""
    for page in (*visit.lists, *(page for project in visit.projects for page in project.pages)):
        if page.html:
            yield (ok if split(page.url).path.endswith("/") else fail)(page.url, "an HTML page")
    for exchange in _bare(visit):
        if exchange.status == 200 and exchange.media_type in (HTML, V1_HTML):
            yield fail(exchange.url, "an HTML page without the slash")


def _bare(visit: Visit) -> Iterator[Exchange]:
    if visit.bare is not None:
        yield visit.bare
    yield from (look.bare for _, look in visit.looks)


@check(
    "U4", "S", "an address without its slash redirects to the one with it",
    breaks="nobody who installs; people and proxies who leave the slash out find nothing",
    fix="301 to the address with the slash: index documents on a web server, a function at the edge of a CDN",
)  # fmt: skip
def without_slash(visit: Visit) -> Iterator[Seen]:
    """U4."""
    for exchange in _bare(visit):
        target = _target(exchange)
        right = unquote(target) == unquote(f"{exchange.url}/")
        yield (ok if right else warn)(exchange.url, f"{exchange.said}{f' to {target}' if target else ''}")


def _target(exchange: Exchange) -> str:
    """Where a redirect that was not followed leads to; empty for any other answer, and for no address."""
    moved = exchange.hops and exchange.hops[-1].status in REDIRECTS
    return resolved(exchange.place, exchange.header("location")) if moved else ""


@check(
    "U5", "Y", "another spelling of a project's name redirects to the normalized one",
    breaks="nobody who installs; people who type an address by hand find nothing",
    fix="301 to the normalized name",
)  # fmt: skip
def other_spelling(visit: Visit) -> Iterator[Seen]:
    """U5."""
    for _, look in visit.looks:
        if look.respelled is not None:
            redirected = len(look.respelled.hops) > 1
            yield (ok if redirected else warn)(look.respelled.url, look.respelled.said)


@check(
    "U6", "R", "an unknown project is 404",
    breaks="403: uv stops there and calls the requirement unsatisfiable; 200: pip, uv and Poetry read an error page as "
    "an index; 5xx: pip goes on to any other index in silence, uv and Poetry stop; forwarded to another index: whoever "
    "takes a name there that you use here only is installed from",
    fix="bucket: grant s3:ListBucket, so that S3 says 404; web server: no fallback page with status 200; "
    "switch off forwarding to an index that everybody may upload to",
)  # fmt: skip
def unknown_project(visit: Visit) -> Iterator[Seen]:
    """U6."""
    for who, exchange in visit.unknown.items():
        host = visit.elsewhere(exchange)
        if exchange.status == 404 and host:
            yield warn(exchange.url, f"unknown names are forwarded to {host}: {exchange.said} for {who}")
        else:
            yield (ok if exchange.status == 404 else fail)(exchange.url, f"{exchange.said} for {who}")


@check(
    "U7", "M", "pages say what they are: text/html, or one of the types of PEP 691",
    breaks="pip and pdm skip the page, uv stops; Poetry fails on application/json",
    fix=f"send HTML as text/html; charset=utf-8 and JSON as {V1_JSON}",
)  # fmt: skip
def content_types(visit: Visit) -> Iterator[Seen]:
    """U7."""
    pages = [*visit.lists, *(page for project in visit.projects for page in project.pages)]
    exchanges = [page.exchange for page in pages]
    exchanges += [exchange for _, look in visit.looks for exchange in (*look.installers.values(), look.anything)]
    for exchange in exchanges:
        if exchange.status == 200:
            stated = exchange.header("content-type") or "no Content-Type"
            yield (ok if exchange.media_type in _TYPES else fail)(exchange.place, stated)
    for file in visit.files:
        if file.head.status == 200 and not file.head.media_type:
            yield warn(file.head.place, "no Content-Type")


@check(
    "U8", "R", "text/html is pure ASCII, and sent with charset=utf-8",
    breaks="Poetry and others read text/html without a charset as ISO-8859-1: names and reasons are garbled",
    fix="write every other character as a numeric reference, and send charset=utf-8",
)  # fmt: skip
def ascii_pages(visit: Visit) -> Iterator[Seen]:
    """U8."""
    for page, _ in (*((page, page.html) for page in visit.lists if page.html), *visit.html_pages):
        plain = (page.exchange.body or b"").isascii()
        charset = "charset=utf-8" in page.exchange.header("content-type").lower().replace('"', "").replace(" ", "")
        if not plain and not charset:
            yield fail(page.url, "not ASCII, and sent without charset=utf-8")
        elif not plain:
            yield warn(page.url, "not ASCII, but sent with charset=utf-8")
        else:
            yield (ok if charset else warn)(page.url, page.exchange.header("content-type"))


@check(
    "U9", "R", "JSON for who prefers it, HTML for who does not, and Vary: Accept where that makes a difference",
    breaks="without JSON: no sizes, upload times or versions, so age limits of pip and uv do not work; without Vary: a "
    "cache hands one client the form that another asked for",
    fix="serve both forms and choose by Accept; send Vary: Accept",
)  # fmt: skip
def negotiation(visit: Visit) -> Iterator[Seen]:
    """U9."""
    for project in visit.projects:
        as_html, as_json = (page.exchange for page in project.pages)
        if as_html.status == as_json.status == 200:
            yield from _forms(as_html, as_json)
    for _, look in visit.looks:
        for who, exchange in {**look.installers, "a client that accepts anything": look.anything}.items():
            if exchange.status == 300:
                yield fail(exchange.place, f"300 for {who}")
        yield from _latest(look.latest)


def _latest(exchange: Exchange) -> Iterator[Seen]:
    if exchange.media_type.startswith("application/vnd.pypi.simple.latest"):
        yield fail(exchange.place, f"{exchange.media_type} is answered with its own name, not with a version")
    elif exchange.status == 200:
        yield ok(exchange.place, "latest+json is answered with a version")
    elif exchange.status == 300 or exchange.status >= 500:
        yield warn(exchange.place, f"{exchange.said} for latest+json")


def _forms(as_html: Exchange, as_json: Exchange) -> Iterator[Seen]:
    if as_html.media_type == as_json.media_type:
        form = "JSON" if as_html.media_type == V1_JSON else "HTML"
        yield warn(as_html.place, f"{form} only, whoever asks")
    elif as_html.place == as_json.place:
        varied = {part.strip() for part in as_html.header("vary").lower().split(",")}
        varied &= {part.strip() for part in as_json.header("vary").lower().split(",")}
        stated = as_html.header("vary") or "absent"
        yield (ok if varied & {"accept", "*"} else warn)(as_html.place, f"both forms, Vary: {stated}")
    else:
        yield ok(as_html.place, "both forms")


@check(
    "U11", "R", "everything is served over https, or on this machine",
    breaks="pip ignores an index over plain http unless the host is trusted; whoever listens can change what is sent",
    fix="serve over TLS, and link to https only",
)  # fmt: skip
def encrypted(visit: Visit) -> Iterator[Seen]:
    """U11."""
    yield (ok if _safe(visit.base) else fail)(visit.base, split(visit.base).scheme)
    for project in visit.projects:
        for link in project.links:
            if not _safe(link.url):
                yield fail(project.as_html.url, f"links to {link.url}")
    for exchange in visit.exchanges:
        for hop in exchange.hops:
            if not _safe(hop.url) and hop.url != visit.base:
                yield fail(hop.url, "over plain http")
        if not _safe(_target(exchange)):
            yield fail(exchange.place, f"redirects to {_target(exchange)}")


def _safe(url: str) -> bool:
    parts = split(url)
    host = parts.hostname or ""
    if parts.scheme != "http":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@check(
    "U12", "R", "files know HEAD and Range, and tell their length",
    breaks="wrong ranges: uv and Poetry read broken metadata; refused ones: they fetch whole wheels to resolve, and a "
    "broken download starts anew",
    fix="a web server that knows ranges; a function or worker must hand Range, HEAD and Content-Length through",
)  # fmt: skip
def ranges(visit: Visit) -> Iterator[Seen]:
    """U12."""
    for file in visit.files:
        whole = file.whole
        if whole is None or whole.status != 200 or whole.cut or whole.coding:
            # Lengths and ranges of a compressed file are the matter of U13.
            continue
        yield from _head(file.head, file.length)
        if not whole.header("content-length"):
            yield warn(whole.place, "no Content-Length")
        if file.part is not None:
            yield from _part(file.part, file)


def _head(head: Exchange, length: int) -> Iterator[Seen]:
    if head.status != 200:
        # uv goes on without it after these.
        yield (warn if head.status in (400, 403, 404, 405, 501) else fail)(head.url, f"HEAD: {head.said}")
    elif head.header("content-length") not in ("", str(length)):
        yield fail(head.place, f"HEAD tells {head.header('content-length')} bytes, GET sends {length}")
    else:
        yield (ok if head.header("content-length") else warn)(
            head.place, f"HEAD: Content-Length {head.header('content-length') or 'absent'}"
        )


def _part(part: Exchange, file: File) -> Iterator[Seen]:
    if part.status == 206:
        stated = part.header("content-range")
        right = file.start.startswith(part.raw) and stated == f"bytes 0-{len(part.raw) - 1}/{file.length}"
        yield (ok if right and part.raw else fail)(part.place, f"206, Content-Range: {stated or 'absent'}")
        if "bytes" not in part.header("accept-ranges"):
            yield warn(part.place, "ranges are answered, and not announced by Accept-Ranges")
    elif part.status == 200:
        announced = part.header("accept-ranges").lower() == "bytes"
        yield (fail if announced else warn)(
            part.place, "Range is not heeded" + (", though Accept-Ranges says it is" if announced else "")
        )
    else:
        yield fail(part.place, f"Range: {part.said}")


@check(
    "U13", "R", "files and metadata are sent as they are, without Content-Encoding, to who asks for identity",
    breaks="pip hashes what it receives: a compressed wheel or .metadata is a hash mismatch; uv, Poetry and pdm unpack",
    fix="never store a file compressed; switch compression off for files",
)  # fmt: skip
def encodings(visit: Visit) -> Iterator[Seen]:
    """U13."""
    for file in visit.files:
        for sent in (file.whole, file.sidecar, file.signature):
            if sent is not None and sent.status == 200:
                yield (fail if sent.coding else ok)(sent.place, f"Content-Encoding: {sent.coding or 'none'}")
    for exchange in _page_exchanges(visit):
        coding = exchange.coding
        accepted = exchange.headers.get("Accept-Encoding", "")
        if exchange.status == 200 and coding and coding not in accepted:
            known = coding in ("gzip", "x-gzip", "deflate")
            yield (warn if known else fail)(exchange.place, f"a page in {coding}, which was not asked for")


def _page_exchanges(visit: Visit) -> Iterator[Exchange]:
    for page in (*visit.lists, *(page for project in visit.projects for page in project.pages)):
        yield page.exchange
    for _, look in visit.looks:
        yield from look.installers.values()


@check(
    "U14", "R", "pages carry an ETag, and are 304 while it holds",
    breaks="without an ETag pip and Poetry fetch every page anew in every run; 304 for a page that changed: everybody "
    "keeps the old one",
    fix="let the web server or store send ETags, and hand If-None-Match through",
)  # fmt: skip
def validators(visit: Visit) -> Iterator[Seen]:
    """U14."""
    for each in visit.revalidations:
        page, answer, kind = each.page, each.answer, each.page.media_type
        if answer is None:
            said = "Last-Modified only" if page.header("last-modified") else "no validator"
            yield warn(page.place, f"{kind}: {said}")
        elif answer.status == 304:
            yield ok(page.place, f"{kind}: ETag {page.header('etag')}, then 304")
        else:
            usable = answer.status == 200
            yield (warn if usable else fail)(answer.place, f"{kind}, If-None-Match: {answer.said}")


@check(
    "U15", "R", "pages are fresh for ten minutes at most, files for long",
    breaks="pip 26.2 and later and uv use a page as long as it says: a new release, or a yank, is not seen",
    fix="Cache-Control: max-age=600 for pages; public, max-age=31536000, immutable for files and metadata",
)  # fmt: skip
def freshness(visit: Visit) -> Iterator[Seen]:
    """U15."""
    for exchange in _page_exchanges(visit):
        if exchange.status == 200:
            yield from _page_freshness(exchange)
    for file in visit.files:
        for sent in (file.whole, file.sidecar):
            if sent is not None and sent.status == 200:
                stated = sent.header("cache-control")
                age = _max_age(stated)
                lasting = age is not None and age >= LASTING and "no-store" not in stated
                yield (ok if lasting else warn)(sent.place, f"a file, Cache-Control: {stated or 'absent'}")


def _page_freshness(exchange: Exchange) -> Iterator[Seen]:
    stated = exchange.header("cache-control").lower()
    age, old = _max_age(stated), number(exchange.header("age").strip())
    if any(word in stated for word in ("no-store", "no-cache")):
        yield ok(exchange.place, f"Cache-Control: {stated}")
    elif age is None:
        yield warn(exchange.place, f"a page, Cache-Control: {stated or 'absent'}")
    else:
        yield (ok if age <= FRESH and "immutable" not in stated else fail)(
            exchange.place, f"a page, Cache-Control: {stated}"
        )
    shared = _max_age(stated, "s-maxage")
    limit = shared if shared is not None else age
    if old is not None and limit is not None and old > limit + (_max_age(stated, "stale-while-revalidate") or 0):
        yield fail(exchange.place, f"a cache sent a page of {old} seconds ago, fresh for {limit}")


def _max_age(stated: str, name: str = "max-age") -> int | None:
    match = re.search(rf"(?:^|[\s,]){name}\s*=\s*\"?(\d{{1,12}})", stated, re.IGNORECASE | re.ASCII)
    return int(match[1]) if match else None


@check(
    "U16", "R", "pages and files may be read by scripts of other sites",
    breaks="installers in browsers (micropip, Pyodide, JupyterLite) are refused by the browser",
    fix="send Access-Control-Allow-Origin: *; leave it if nobody installs in browsers",
)  # fmt: skip
def cross_origin(visit: Visit) -> Iterator[Seen]:
    """U16."""
    pages = [look.repeated for _, look in visit.looks]
    for exchange in (*pages, *(file.part for file in visit.files if file.part)):
        if exchange.there:
            stated = exchange.header("access-control-allow-origin")
            say = ok if stated in ("*", OTHER_SITE) else warn
            yield say(exchange.place, f"Access-Control-Allow-Origin: {stated or 'absent'}")


@check(
    "U17", "R", "no Content-Disposition on files",
    breaks="pip takes the filename from it and not from the URL: another name is another file, or none",
    fix="take the header away",
)  # fmt: skip
def disposition(visit: Visit) -> Iterator[Seen]:
    """U17."""
    for file in visit.files:
        if file.whole is None or file.whole.status != 200:
            continue
        stated = file.whole.header("content-disposition")
        match = _FILENAME.search(stated)
        if not stated:
            yield ok(file.whole.place, "absent")
        else:
            same = match is None or match[1].strip() == file.link.filename
            yield (warn if same else fail)(file.whole.place, f"Content-Disposition: {stated}")


CHECKS = (
    *(project_list, project_pages, slashes, without_slash, other_spelling, unknown_project, content_types),
    *(ascii_pages, negotiation, encrypted, ranges, encodings, validators, freshness, cross_origin, disposition),
)
"""U1 to U17 but U10, which is a choice of the host's and leaves nothing to judge."""
