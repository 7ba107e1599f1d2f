"""The rows H: pages as HTML (PEP 503, 592, 629, 658, 714, 740, 792; frozen at 1.4 by PEP 833)."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from mirror.doctor.check import Seen, check, fail, ok, warn
from mirror.doctor.values import is_file, is_instant, number, segment, split
from mirror.doctor.visit import project_of
from mirror.simple.links import upload_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.doctor.page import Anchor, HtmlPage
    from mirror.doctor.visit import Link, Page, Visit

_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
_NEWEST = (1, 4)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_READ_BY_UV = ("md5", "sha256", "sha384", "sha512", "blake2b")
_TIDY = re.compile(r'<a href="[^"]*"(?: [a-zA-Z][a-zA-Z0-9-]*="[^"<>]*")*>')
_KNOWN = re.compile(r"&(?:lt|gt|amp|quot|#39|#[0-9]+|#x[0-9a-fA-F]+);")
_STATUSES = ("active", "archived", "quarantined", "deprecated")
_METADATA, _OLD_METADATA = "data-core-metadata", "data-dist-info-metadata"


def _every(visit: Visit) -> Iterator[tuple[Page, HtmlPage]]:
    """The project list and project pages, as far as they are HTML, each once."""
    lists = ((page, page.html) for page in visit.lists if page.html)
    seen = set()
    for page, html in (*lists, *visit.html_pages):
        if page.url not in seen:
            seen.add(page.url)
            yield page, html


def _anchors(visit: Visit) -> Iterator[tuple[Page, Anchor]]:
    """Every link to a file on every project page."""
    for page, html in visit.html_pages:
        for anchor in html.anchors:
            if is_file(segment(anchor.href)) or is_file(anchor.text.strip()):
                yield page, anchor


def _at(page: Page, anchor: Anchor) -> str:
    return f"{page.url}#L{anchor.line}"


@check(
    "H1", "M", "pages are valid HTML5, with doctype and title",
    breaks="strict parsers; browsers and installers guess, each in its own way",
    fix="begin with <!DOCTYPE html>, add a <title>, close what is opened; the Nu checker names every error",
)  # fmt: skip
def valid(visit: Visit) -> Iterator[Seen]:
    """H1."""
    for page, html in _every(visit):
        for problem in html.problems:
            yield fail(page.url, problem)
        if not html.problems:
            yield ok(page.url, "structure, doctype and title")


@check(
    "H2", "M", "the repository version is stated once, in the head, and is 1.0 to 1.4",
    breaks="another major version: every client must refuse the page; 1.5 and later do not exist as HTML",
    fix='<meta name="pypi:repository-version" content="1.4"> in the head',
)  # fmt: skip
def repository_version(visit: Visit) -> Iterator[Seen]:
    """H2."""
    for page, html in _every(visit):
        stated = html.meta("pypi:repository-version")
        inside = all(head for name, _, head in html.metas if name == "pypi:repository-version")
        if not stated:
            # PEP 629: "If this tag is missing, clients ... MUST be treated as 1.0".
            marked = html.meta("pypi:project-status")
            yield (fail if marked else warn)(page.url, "none stated, which means 1.0")
        elif len(stated) > 1 or not inside:
            yield fail(page.url, f"stated {len(stated)} times, {'in' if inside else 'not in'} the head")
        elif not _VERSION.fullmatch(stated[0]):
            yield fail(page.url, f"{stated[0]!r} is no version")
        else:
            major, minor = map(int, stated[0].split("."))
            known = major == 1 and minor <= _NEWEST[1]
            early = minor < _NEWEST[1] and bool(html.meta("pypi:project-status"))
            yield (ok if known and not early else fail)(page.url, stated[0])


@check(
    "H3", "M", "the project list has one link for each project: its name, and its folder with a slash",
    breaks="Poetry search takes names from the address, uv from the text: where they differ, one of them is wrong",
    fix='<a href="name/">name</a> with the normalized name in both places, and no other link',
)  # fmt: skip
def list_links(visit: Visit) -> Iterator[Seen]:
    """H3."""
    for page in visit.lists:
        for anchor in page.html.anchors if page.html else ():
            name = project_of(anchor.href)
            named = bool(name) and canonicalize_name(anchor.text.strip().rstrip("/")) == canonicalize_name(name)
            if not named or not split(anchor.href).path.endswith("/"):
                yield fail(_at(page, anchor), f"{anchor.text.strip()!r} leads to {anchor.href!r}")
            elif anchor.text.strip().endswith("/"):
                yield fail(_at(page, anchor), f"{anchor.text.strip()!r} is no project's name")
            else:
                yield ok(page.url, "names and addresses agree")


@check(
    "H4", "M", "a project page has one link for each file, and no other",
    breaks="readers that take every link for a file; pip, uv and Poetry pass over what is none",
    fix="no navigation on project pages; each file once",
)  # fmt: skip
def only_files(visit: Visit) -> Iterator[Seen]:
    """H4."""
    for page, html in visit.html_pages:
        names = Counter(segment(anchor.href) for anchor in html.anchors)
        others = {name for name in names if not is_file(name) and not name.endswith(".json")}
        twice = sorted(name for name, count in names.items() if count > 1 and name not in others)
        if others:
            first = next(anchor.href for anchor in html.anchors if segment(anchor.href) in others)
            yield fail(page.url, f"{sum(names[name] for name in others)} links to no file, e.g. {first!r}")
        if twice:
            yield fail(page.url, f"listed more than once: {', '.join(twice[:3])}")
        if not others and not twice:
            yield ok(page.url, f"{names.total()} files")


@check(
    "H5", "M", "the text of a link is the filename that the link ends in",
    breaks="clients that read the text see another file than those that read the address",
    fix="write the last segment of the address, decoded and escaped, as the text",
)  # fmt: skip
def link_text(visit: Visit) -> Iterator[Seen]:
    """H5."""
    for page, anchor in _anchors(visit):
        same = anchor.text.strip() == segment(anchor.href)
        yield (ok if same else fail)(
            page.url if same else _at(page, anchor),
            "texts are filenames" if same else f"{anchor.text.strip()!r} leads to {segment(anchor.href)!r}",
        )


@check(
    "H6", "R", "no <base>",
    breaks="a relative <base href>: pip crashes, uv refuses the page, Poetry and pdm fail",
    fix="take it away; links may be relative to the page",
)  # fmt: skip
def no_base(visit: Visit) -> Iterator[Seen]:
    """H6."""
    for page, html in _every(visit):
        relative = [base for base in html.bases if not split(base).scheme]
        if not html.bases:
            yield ok(page.url, "none")
        else:
            yield (fail if relative else warn)(page.url, f"<base href={html.bases[0]!r}>")


@check(
    "H7", "R", "every link ends in #sha256= and 64 lowercase hex digits",
    breaks="sha1 or sha224: uv refuses the whole page; none: nobody can tell whether the bytes are right",
    fix="compute the sha256 of each file and append it",
)  # fmt: skip
def fragments(visit: Visit) -> Iterator[Seen]:
    """H7."""
    for page, anchor in _anchors(visit):
        fragment = anchor.href.partition("#")[2]
        algorithm, _, value = fragment.rpartition("&")[2].partition("=")
        if algorithm == "sha256" and _SHA256.fullmatch(value):
            yield ok(page.url, "sha256 on every link")
        elif (value and algorithm not in (*_READ_BY_UV, "egg")) or (
            algorithm == "sha256" and not _SHA256.fullmatch(value.lower())
        ):
            yield fail(_at(page, anchor), f"#{fragment}")
        else:
            yield warn(_at(page, anchor), f"#{fragment}" if fragment else f"{segment(anchor.href)}: no digest")


@check(
    "H8", "R", "filenames in links are percent-quoted, + as %2B",
    breaks="uv, Poetry and pdm send a + as it stands, which S3 reads as a space: 404; pip quotes by itself",
    fix="urllib.parse.quote(filename) in addresses, the plain name in the store",
)  # fmt: skip
def quoting(visit: Visit) -> Iterator[Seen]:
    """H8."""
    for page, anchor in _anchors(visit):
        written = split(anchor.href).path.rpartition("/")[2]
        right = written.lower() == quote(unquote(written), safe="").lower()
        yield (ok if right else warn)(
            page.url if right else _at(page, anchor), "as they should be" if right else f"written as {written}"
        )
    for file in visit.files:
        if file.requoted is None or "+" not in file.link.filename:
            continue
        for who, exchange in (("uv", file.there), ("pip", file.requoted)):
            if not exchange.there:
                yield fail(exchange.url, f"{exchange.said}, as {who} asks for it")


@check(
    "H9", "R", "requires-python is the metadata's own, and can be parsed",
    breaks="another than the metadata's: pip, uv and Poetry pass over a file that would run, or take one that will "
    "not; none: they fetch files to find out; one that cannot be parsed is passed over by some",
    fix="copy the value from the metadata exactly; leave it out where that has none",
)  # fmt: skip
def requires_python(visit: Visit) -> Iterator[Seen]:
    """H9."""
    for project in visit.projects:
        for page in project.pages:
            for link in page.links:
                if link.requires_python:
                    known = _specifiers(link.requires_python) is not None
                    said = "can be parsed" if known else f"{link.filename}: {link.requires_python!r} is no specifier"
                    yield (ok if known else warn)(page.url, said)
    for file in visit.files:
        if file.metadata is not None:
            yield from _as_inside(file.link, str(file.fields["Requires-Python"] or ""))


def _as_inside(link: Link, own: str) -> Iterator[Seen]:
    """Whether a page says of a file what its metadata says."""
    stated = link.requires_python
    specifiers = _specifiers(stated)
    if stated == own or (stated and specifiers is not None and specifiers == _specifiers(own)):
        yield ok(link.url, "as in the file")
    elif stated:
        yield fail(link.url, f"{stated!r} on the page, {own!r} in the file")
    else:
        yield warn(link.url, f"nothing on the page, {own!r} in the file")


def _specifiers(text: str) -> SpecifierSet | None:
    try:
        specifiers = SpecifierSet(text)
        hash(specifiers)  # versions are read only when they are compared
    except ValueError:
        return None
    return specifiers


@check(
    "H10", "M", "metadata is offered as data-core-metadata, with its sha256",
    breaks="clients that know the name of PEP 714 only (pip 23.2 and later, uv, Poetry) fetch whole wheels instead",
    fix='data-core-metadata="sha256=<hex>"',
)  # fmt: skip
def metadata_attribute(visit: Visit) -> Iterator[Seen]:
    """H10."""
    for page, anchor in _anchors(visit):
        value = anchor.get(_METADATA)
        if value is None:
            if anchor.has(_OLD_METADATA):
                yield fail(_at(page, anchor), f"only under the old name, {_OLD_METADATA}")
            continue
        algorithm, _, hexed = value.partition("=")
        if algorithm == "sha256" and _SHA256.fullmatch(hexed):
            yield ok(page.url, "with sha256")
        else:
            known = value.lower() in ("true", "false") or (hexed and algorithm in ("sha384", "sha512"))
            yield (warn if known else fail)(_at(page, anchor), f"{_METADATA}={value!r}")


@check(
    "H11", "R", "no data-dist-info-metadata",
    breaks="pip 22.3 to 23.1 read it and then find no requirement that is not spelled canonically (Dep_One, dep.one)",
    fix="take the old name away; everything newer reads data-core-metadata",
)  # fmt: skip
def old_metadata_attribute(visit: Visit) -> Iterator[Seen]:
    """H11."""
    for page, anchor in _anchors(visit):
        old, new = anchor.get(_OLD_METADATA), anchor.get(_METADATA)
        if old is None:
            yield ok(page.url, "absent")
        else:
            differs = "" if new in (None, old) else f", and {new!r} under the new name"
            yield fail(_at(page, anchor), f"{_OLD_METADATA}={old!r}{differs}")


@check(
    "H12", "M", "offered metadata is there, has the digest stated, and is the wheel's own",
    breaks="missing or with another digest: pip and uv stop; other than in the wheel: pip 26.2 and later stop, "
    "everybody else resolves with wrong requirements",
    fix="extract METADATA from the very wheel that is published, and publish it before the page that offers it",
)  # fmt: skip
def metadata(visit: Visit) -> Iterator[Seen]:
    """H12."""
    for file in visit.files:
        if file.sidecar is None:
            continue
        place, stated = file.sidecar.place, file.link.sidecar
        found = sha256(file.sidecar.raw).hexdigest()
        if file.sidecar.status != 200:
            yield fail(file.sidecar.url, f"offered, and answered {file.sidecar.said}")
        elif file.sidecar.cut:
            yield warn(place, "too large to be read here")
        elif file.sidecar.coding:
            # A compressed one is the matter of U13.
            continue
        elif stated and stated != found:
            yield fail(place, f"stated is sha256 {stated}, sent was {found}")
        elif file.metadata is not None and file.metadata != file.sidecar.raw:
            yield fail(place, f"not what {file.link.filename} holds")
        else:
            yield ok(place, "as stated" + (" and as in the wheel" if file.metadata is not None else ""))
    for link, exchange in visit.sidecar_heads:
        if not exchange.there:
            yield fail(exchange.url, f"offered for {link.filename}, and answered {exchange.said}")


@check(
    "H13", "R", "metadata is offered for every wheel, and for no sdist that computes its own",
    breaks="without: whole wheels or many ranges to resolve; for an sdist with dynamic fields: wrong requirements",
    fix="offer what each wheel holds; for sdists nothing",
)  # fmt: skip
def offers(visit: Visit) -> Iterator[Seen]:
    """H13."""
    for project in visit.projects:
        without = [link.filename for link in project.links if link.wheel and link.sidecar is None]
        wheels = any(link.wheel for link in project.links)
        if without:
            yield warn(project.as_html.url, f"none for {without[0]}" + _more(without))
        elif wheels:
            yield ok(project.as_html.url, "for every wheel")
    for file in visit.files:
        if file.sidecar is not None and not file.link.wheel and file.sidecar.status == 200:
            static = _static(file.sidecar.raw)
            yield (ok if static else fail)(
                file.sidecar.place, f"an sdist's, {'complete' if static else 'older than 2.2 or dynamic'}"
            )


def _static(metadata: bytes) -> bool:
    """Whether an sdist's metadata is final (PEP 643): 2.2 or later, no requirement left to the build."""
    head = metadata.split(b"\n\n")[0].decode("utf-8", "replace")
    version = re.search(r"^Metadata-Version: *2\.([0-9]{1,9})", head, re.MULTILINE)
    dynamic = re.findall(r"^Dynamic: *(\S+)", head, re.MULTILINE)
    late = {"requires-dist", "requires-python", "provides-extra"} & {field.lower() for field in dynamic}
    return version is not None and int(version[1]) >= 2 and not late


@check(
    "H14", "M", "yanked files carry data-yanked, with a value",
    breaks="pip, uv and Poetry choose a release that its authors took back; a mirror must not hide a yank (PEP 592)",
    fix='copy yank states from upstream with every publish: data-yanked="the reason"; "" when there is none',
)  # fmt: skip
def yanked(visit: Visit) -> Iterator[Seen]:
    """H14."""
    for page, anchor in _anchors(visit):
        valueless = [name for name, value in anchor.attributes if name == "data-yanked" and value is None]
        if valueless:
            yield warn(_at(page, anchor), f"{segment(anchor.href)}: data-yanked has no value")
        elif anchor.has("data-yanked"):
            yield ok(_at(page, anchor), f"{segment(anchor.href)} is yanked")
    for project in visit.projects:
        if project.as_json.data and project.as_html.html:
            known = {link.filename: link.yanked for link in project.as_html.links}
            for link in project.as_json.links:
                if known.get(link.filename, link.yanked) != link.yanked:
                    form = "JSON" if link.yanked else "HTML"
                    yield fail(project.as_html.url, f"{link.filename} is yanked in {form} only")


@check(
    "H15", "M", "data-provenance is a complete https address",
    breaks="verifiers of attestations; a relative one is refused (PEP 740)",
    fix="write the whole https URL, or leave it out",
)  # fmt: skip
def provenance(visit: Visit) -> Iterator[Seen]:
    """H15."""
    for page, anchor in _anchors(visit):
        value = anchor.get("data-provenance")
        if value is not None:
            whole = value.startswith("https://") and bool(split(value).hostname)
            yield (ok if whole else fail)(_at(page, anchor), f"data-provenance={value!r}")


@check(
    "H16", "Y", "data-gpg-sig stands on every link or on none, and the signature that it promises is there",
    breaks="whoever fetches the .asc finds nothing",
    fix="take it away, or publish <file>.asc beside each file that says true",
)  # fmt: skip
def signatures(visit: Visit) -> Iterator[Seen]:
    """H16."""
    for page, html in visit.html_pages:
        stated = [anchor.has("data-gpg-sig") for anchor in html.anchors]
        if any(stated):
            yield (ok if all(stated) else warn)(page.url, f"on {sum(stated)} of {len(stated)} links")
    for file in visit.files:
        if file.signature is not None:
            yield (ok if file.signature.status == 200 else warn)(file.signature.url, file.signature.said)


@check(
    "H17", "M", "a project's status is one of the four, and a quarantined project lists no file",
    breaks="uv warns by it; a status that nobody knows is passed over",
    fix="pypi:project-status: active, archived, quarantined or deprecated; the reason only with it",
)  # fmt: skip
def status(visit: Visit) -> Iterator[Seen]:
    """H17."""
    for page, html in visit.html_pages:
        stated, reasons = html.meta("pypi:project-status"), html.meta("pypi:project-status-reason")
        if reasons and not stated:
            yield warn(page.url, "a reason without a status")
        for word in stated:
            files = sum(is_file(segment(anchor.href)) for anchor in html.anchors)
            if word == "quarantined" and files:
                yield fail(page.url, f"quarantined, with {files} files")
            else:
                yield (ok if word in _STATUSES else warn)(page.url, word)


@check(
    "H18", "R", "sizes and upload times stand in HTML where there is no JSON to tell them",
    breaks="uv reads both from HTML: without, --exclude-newer drops every file, and progress has no total",
    fix='data-size="<bytes>" data-upload-time="yyyy-mm-ddThh:mm:ssZ"',
)  # fmt: skip
def sizes_and_times(visit: Visit) -> Iterator[Seen]:
    """H18."""
    for project in visit.projects:
        page = project.as_html
        for anchor in page.html.anchors if page.html else ():
            if not is_file(segment(anchor.href)):
                continue
            size, time = anchor.get("data-size"), anchor.get("data-upload-time")
            if (size is not None and number(size) is None) or (time and not is_instant(upload_time(time))):
                yield fail(_at(page, anchor), f"data-size={size!r} data-upload-time={time!r}")
            elif (size is None or not time) and not project.as_json.data:
                yield warn(page.url, f"{segment(anchor.href)}: {'no size' if size is None else 'no upload time'}")
            elif size is not None and time:
                yield ok(page.url, "both")


@check(
    "H19", "R", "one link a line, address first, double quotes, every attribute with a value, nothing raw",
    breaks="readers that are no HTML parsers: rules_python of Bazel, scripts with regular expressions",
    fix='<a href="…" data-…="…">name</a><br> and a newline; escape & < > " \' in values',
)  # fmt: skip
def tidy(visit: Visit) -> Iterator[Seen]:
    """H19."""
    for page, anchor in _anchors(visit):
        source = anchor.source
        # One reference is as good as another to a reader that knows the five, and numbers.
        strange = "&" in _KNOWN.sub("", source)
        alone = anchor.after.lower().strip() in ("</a>", "</a><br>", "</a><br/>", "</a><br />")
        if not _TIDY.fullmatch(source):
            yield warn(_at(page, anchor), f"hard to read: {source[:120]}")
        elif strange:
            yield warn(_at(page, anchor), f"an & that is not one of the five references: {source[:120]}")
        elif not alone:
            yield warn(_at(page, anchor), "more than this link on its line")
        else:
            yield ok(page.url, "every link")


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


CHECKS = (
    *(valid, repository_version, list_links, only_files, link_text, no_base, fragments, quoting, requires_python),
    *(metadata_attribute, old_metadata_attribute, metadata, offers, yanked, provenance, signatures, status),
    *(sizes_and_times, tidy),
)
"""H1 to H19; H20, where a signature lies, is part of H16."""
