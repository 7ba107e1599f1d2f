"""The rows J: pages as JSON (PEP 691, 700, 714, 740, 792), and whether both forms say the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from mirror import filenames
from mirror.doctor.check import Seen, check, fail, ok, warn
from mirror.doctor.values import is_instant, resolved, split
from mirror.doctor.visit import list_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mirror.doctor.visit import Link, Page, Visit

_VERSION = re.compile(r"1\.[0-9]{1,9}")
_HEX = re.compile(r"[0-9a-f]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIP_HASHES = ("sha256", "sha384", "sha512")
_STATUSES = ("active", "archived", "quarantined", "deprecated")
_LIST_KEYS = {"meta", "projects", "namespaces"}
_PAGE_KEYS = {"meta", "name", "versions", "files", "project-status", "tracks", "alternate-locations", "namespace"}
_FILE_KEYS = {
    *("filename", "url", "hashes", "requires-python", "core-metadata", "dist-info-metadata", "gpg-sig", "yanked"),
    *("size", "upload-time", "provenance"),
}
# Written for the readers of before PEP 714, who look for nothing else.
_FILE_KEYS_OF_OLD = {"data-dist-info-metadata"}


def _files(visit: Visit) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every file entry on every JSON page: the page's URL, a name for it, the entry."""
    for page in visit.json_pages:
        for entry in page.entries("files"):
            yield page.url, str(entry.get("filename")), entry


def _every(visit: Visit) -> Iterator[Page]:
    seen = set()
    for page in (*(page for page in visit.lists if page.data), *visit.json_pages):
        if page.url not in seen:
            seen.add(page.url)
            yield page


@check(
    "J1", "M", "an object whose meta.api-version is the text 1.x; from 1.1 on it has versions and sizes",
    breaks="another major version: every client refuses; versions or sizes missing: uv and others reject the page",
    fix='"meta": {"api-version": "1.4"}, and what that version asks for',
)  # fmt: skip
def api_version(visit: Visit) -> Iterator[Seen]:
    """J1."""
    for page in (*visit.lists, *(page for project in visit.projects for page in project.pages)):
        answered = page.exchange.status == 200 and page.exchange.media_type.endswith("v1+json")
        if answered and not page.data:
            yield fail(page.url, "no JSON object")
    for page in _every(visit):
        meta = page.data.get("meta")
        stated = meta.get("api-version") if isinstance(meta, dict) else None
        if not isinstance(stated, str) or not _VERSION.fullmatch(stated):
            yield fail(page.url, f"meta.api-version is {stated!r}")
            continue
        lacking = (
            "files" in page.data
            and stated != "1.0"
            and ("versions" not in page.data or any("size" not in entry for entry in page.entries("files")))
        )
        yield (fail if lacking else ok)(page.url, f"{stated}{', without versions or some size' if lacking else ''}")


@check(
    "J2", "M", "the project list names every project once, the same as in HTML",
    breaks="what one client finds by the list, another does not",
    fix="write both lists from the same names, in one publish",
)  # fmt: skip
def project_list(visit: Visit) -> Iterator[Seen]:
    """J2."""
    page, other = visit.as_json, visit.as_html
    if not page.data:
        return
    entries = page.data.get("projects")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
    ):
        yield fail(page.url, "projects is no list of objects with a name")
        return
    if other.html:
        ours, theirs = set(list_names(page)), set(list_names(other))
        for names, where, place in ((theirs - ours, "HTML", page), (ours - theirs, "JSON", other)):
            if names:
                yield fail(place.url, f"{', '.join(sorted(names)[:5])}: in {where} only")
        if ours == theirs:
            yield ok(page.url, "the same in both forms")
    else:
        yield ok(page.url, f"{len(entries)} projects")


@check(
    "J3", "M", "a project page has its normalized name, and its files",
    breaks="pip and uv refuse a page without files, or of another project",
    fix='"name": the normalized name, "files": [...]',
)  # fmt: skip
def name(visit: Visit) -> Iterator[Seen]:
    """J3."""
    for project in visit.projects:
        page = project.as_json
        if not page.data:
            continue
        stated = page.data.get("name")
        if stated != project.name:
            same = isinstance(stated, str) and canonicalize_name(stated) == project.name
            yield fail(page.url, f"name is {stated!r}{', which is not normalized' if same else ''}")
        files = page.data.get("files")
        if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
            yield fail(page.url, "files is no list of objects")
        elif stated == project.name:
            yield ok(page.url, f"{len(files)} files")


@check(
    "J4", "M", "versions has no duplicates, and has the version of every file",
    breaks="who reads the versions alone misses some: Poetry, dashboards, update bots",
    fix="write the versions of the very files on the page, each once",
)  # fmt: skip
def versions(visit: Visit) -> Iterator[Seen]:
    """J4."""
    for project in visit.projects:
        page = project.as_json
        stated = page.data.get("versions")
        if stated is None:
            continue
        if not isinstance(stated, list) or not all(isinstance(each, str) for each in stated):
            yield fail(page.url, "versions is no list of texts")
            continue
        known = {_version(each) for each in stated}
        if len(known) != len(stated):
            yield fail(page.url, "one version stands there twice")
        missing = sorted(map(str, {_of(link, project.name) for link in page.links} - {None, *known}))
        yield (fail if missing else ok)(
            page.url, f"not there: {', '.join(missing[:5])}" if missing else f"{len(known)} versions"
        )


def _version(text: str) -> Version | str:
    try:
        return Version(text)
    except ValueError:
        return text


def _of(link: Link, project: str) -> Version | None:
    try:
        if link.wheel:
            return filenames.parse(link.filename).version
        return filenames.parse_sdist_of(link.filename, canonicalize_name(project)).version
    except ValueError:
        return None


@check(
    "J5", "M", "every file has filename, url and hashes, and what it has is of the right kind",
    breaks="pip and uv reject the whole page, or end in a traceback",
    fix='"filename", "url", "hashes": {"sha256": …}, "size": bytes',
)  # fmt: skip
def required_keys(visit: Visit) -> Iterator[Seen]:
    """J5."""
    for url, filename, entry in _files(visit):
        size = entry.get("size", 0)
        wrong = [key for key in ("filename", "url") if not isinstance(entry.get(key), str) or not entry[key]]
        if not _are_digests(entry.get("hashes")):
            wrong.append("hashes")
        if not isinstance(entry.get("requires-python"), (str, type(None))):
            wrong.append("requires-python")
        if not isinstance(entry.get("gpg-sig"), (bool, type(None))):
            wrong.append("gpg-sig")
        # A null is the matter of J10.
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
            wrong.append("size")
        yield (fail if wrong else ok)(
            url, f"{filename}: {', '.join(wrong)} missing or of a wrong kind" if wrong else "all there"
        )


def _are_digests(value: object) -> bool:
    """Whether these are hexadecimal digits by algorithm, 64 of them for sha256."""
    return isinstance(value, dict) and all(
        isinstance(digits, str) and (_SHA256 if algorithm == "sha256" else _HEX).fullmatch(digits)
        for algorithm, digits in value.items()
    )


@check(
    "J6", "M", "urls lead where the links of HTML lead",
    breaks="the clients that read JSON fetch another file, or none",
    fix="write both forms from one model; relative urls start at the page",
)  # fmt: skip
def urls(visit: Visit) -> Iterator[Seen]:
    """J6."""
    for project in visit.projects:
        page, other = project.as_json, project.as_html
        known = {link.filename: link.url for link in other.links} if other.html else {}
        for entry in page.entries("files"):
            filename, url = entry.get("filename"), entry.get("url")
            if not isinstance(url, str) or not isinstance(filename, str):
                continue
            found = resolved(page.url, url)
            if not found:
                yield fail(page.url, f"{filename}: {url!r} is no address")
            elif known.get(filename, found) != found:
                yield fail(page.url, f"{filename}: {found}, in HTML {known[filename]}")
            else:
                yield ok(page.url, "the same in both forms" if known else "addresses")


@check(
    "J7", "M", "metadata is offered as core-metadata, never as dist-info-metadata",
    breaks="pip 22.3 to 23.1 crash on the old key (TypeError)",
    fix='"core-metadata": {"sha256": …}, and nothing under the old name',
)  # fmt: skip
def metadata_key(visit: Visit) -> Iterator[Seen]:
    """J7."""
    for url, filename, entry in _files(visit):
        value = entry.get("core-metadata", False)
        if "dist-info-metadata" in entry:
            yield fail(url, f"{filename}: dist-info-metadata")
        elif not isinstance(value, bool) and not _are_digests(value):
            yield fail(url, f"{filename}: core-metadata is {value!r}")
        elif value is True:
            yield warn(url, f"{filename}: core-metadata without a digest")
        elif value:
            yield ok(url, "with a digest")


@check(
    "J8", "M", "yanked is true, false, or a reason that is not empty",
    breaks='"": Poetry takes the file for yanked, pip does not',
    fix="write true where there is no reason",
)  # fmt: skip
def yanked(visit: Visit) -> Iterator[Seen]:
    """J8."""
    for url, filename, entry in _files(visit):
        value = entry.get("yanked", False)
        if value is not None:
            good = isinstance(value, (bool, str)) and value != ""
            yield (ok if good else fail)(url, "as it should be" if good else f"{filename}: yanked is {value!r}")


@check(
    "J9", "M", "upload-time is an instant in UTC: yyyy-mm-ddThh:mm:ss.ffffffZ",
    breaks="age limits (pip --uploaded-prior-to, uv --exclude-newer): pip stops, uv drops the file or refuses the page",
    fix="copy upstream's value; leave it out where it is not known",
)  # fmt: skip
def upload_time(visit: Visit) -> Iterator[Seen]:
    """J9."""
    for url, filename, entry in _files(visit):
        value = entry.get("upload-time")
        if value is not None:
            good = is_instant(value)
            yield (ok if good else fail)(url, "as it should be" if good else f"{filename}: upload-time is {value!r}")
        elif "upload-time" not in entry:
            yield warn(url, f"{filename}: no upload-time")


@check(
    "J10", "R", "no null for yanked, upload-time or size",
    breaks="uv refuses the whole page",
    fix="leave the key out",
)  # fmt: skip
def nulls(visit: Visit) -> Iterator[Seen]:
    """J10."""
    for url, filename, entry in _files(visit):
        found = [key for key in ("yanked", "upload-time", "size") if key in entry and entry[key] is None]
        yield (fail if found else ok)(url, f"{filename}: {', '.join(found)} is null" if found else "none")


@check(
    "J11", "R", "hashes has sha256, and nothing else",
    breaks="uv and Poetry write every digest into their locks and exports, and pip refuses a requirements file with "
    "blake2b or md5 in it; without sha256 nobody can tell whether the bytes are right",
    fix="state sha256 alone",
)  # fmt: skip
def hashes(visit: Visit) -> Iterator[Seen]:
    """J11."""
    for url, filename, entry in _files(visit):
        stated = entry.get("hashes")
        if not isinstance(stated, dict):
            continue
        others = sorted(set(stated) - {"sha256"})
        if set(others) - set(_PIP_HASHES):
            yield fail(url, f"{filename}: {', '.join(others)}")
        elif others or not stated:
            yield warn(url, f"{filename}: {', '.join(stated) or 'no digest'}")
        else:
            yield ok(url, "sha256 alone")


@check(
    "J12", "M", "provenance is null or a complete https address",
    breaks="verifiers of attestations; a relative one is refused (PEP 740)",
    fix="write the whole https URL, or leave it out",
)  # fmt: skip
def provenance(visit: Visit) -> Iterator[Seen]:
    """J12."""
    for url, filename, entry in _files(visit):
        value = entry.get("provenance")
        if "provenance" in entry:
            whole = isinstance(value, str) and value.startswith("https://") and bool(split(value).hostname)
            good = value is None or whole
            yield (ok if good else fail)(url, f"{filename}: provenance is {value!r}")


@check(
    "J13", "M", "project-status is an object with one of the four, and a quarantined project lists no file",
    breaks="uv warns by it; inside meta, where an example of the standard has it, nobody looks",
    fix='"project-status": {"status": "archived", "reason": …} beside "name"',
)  # fmt: skip
def status(visit: Visit) -> Iterator[Seen]:
    """J13."""
    for page in visit.json_pages:
        meta = page.data.get("meta")
        if isinstance(meta, dict) and "project-status" in meta:
            yield warn(page.url, "project-status inside meta")
        stated = page.data.get("project-status")
        if stated is None:
            continue
        word = stated.get("status") if isinstance(stated, dict) else None
        if word == "quarantined" and page.data.get("files"):
            yield fail(page.url, "quarantined, with files")
        else:
            yield (ok if word in _STATUSES else warn)(page.url, f"{stated!r}")


@check(
    "J14", "Y", "keys that the standard does not know begin with an underscore",
    breaks="nobody today; a later version of the standard may give the key a meaning",
    fix="put an underscore in front of private keys",
)  # fmt: skip
def private_keys(visit: Visit) -> Iterator[Seen]:
    """J14."""
    for page in _every(visit):
        known = _PAGE_KEYS if "files" in page.data else _LIST_KEYS
        odd = {key for key in page.data if key not in known}
        odd |= {key for entry in page.entries("files") for key in entry if key not in _FILE_KEYS | _FILE_KEYS_OF_OLD}
        odd = {key for key in odd if not key.startswith("_")}
        yield (warn if odd else ok)(page.url, f"{', '.join(sorted(odd))}" if odd else "none")


@check(
    "J15", "R", "HTML and JSON list the same files, with the same digest, requires-python, yank state and metadata",
    breaks="what is installed depends on the client; mostly one of the two is an old page that a cache kept",
    fix="write both forms from one model, publish them together, and invalidate both in the CDN",
)  # fmt: skip
def both_forms(visit: Visit) -> Iterator[Seen]:
    """J15."""
    for project in visit.projects:
        as_html, as_json = project.pages
        if not as_html.html or not as_json.data:
            continue
        ours, theirs = ({link.filename: _said(link) for link in page.links} for page in (as_json, as_html))
        odd = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        for filename in odd[:3]:
            yield fail(as_html.url, f"{filename}: {_difference(ours.get(filename), theirs.get(filename))}")
        if not odd:
            yield ok(as_html.url, f"{len(ours)} files alike")


def _said(link: Link) -> dict[str, object]:
    return {
        "sha256": link.sha256.lower(),
        "requires-python": link.requires_python,
        "yanked": link.yanked,
        "metadata": link.sidecar,
    }


def _difference(as_json: Mapping[str, object] | None, as_html: Mapping[str, object] | None) -> str:
    if as_json is None or as_html is None:
        return "only in HTML" if as_json is None else "only in JSON"
    keys = [key for key in as_json if as_json[key] != as_html[key]]
    return "; ".join(f"{key} is {as_json[key]!r} in JSON, {as_html[key]!r} in HTML" for key in keys)


CHECKS = (
    *(api_version, project_list, name, versions, required_keys, urls, metadata_key, yanked, upload_time, nulls),
    *(hashes, provenance, status, private_keys, both_forms),
)
"""J1 to J15."""
