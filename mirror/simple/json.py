"""The JSON form of the simple repository API: PEP 691, 700, 714 and 792, read as 1.x and written as 1.4."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from mirror.filenames import is_artifact
from mirror.simple import links
from mirror.simple.page import API_VERSION, PageError, PageFile, ProjectPage

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence


def parse(body: bytes, url: str, name: str, wanted: Container[str] | None = None) -> ProjectPage:
    """Read the page of project `name` that was found at `url`; with `wanted` only the files of those names.

    Files that are neither a wheel nor an sdist, or whose URL cannot be fetched, are left out. Raise `PageError` for
    what is no page of version 1.x, for a page of another project, and for an entry without a name or URL.
    """
    data, meta = _document(body)
    said = data.get("name", name)
    if not isinstance(said, str) or canonicalize_name(said) != canonicalize_name(name):
        raise PageError(f"name is {said!r} on the page of {name!r}")
    files = []
    for place, entry in enumerate(_list(data, "files")):
        filename = _string(entry, "filename", f"files[{place}]")
        if (wanted is not None and filename not in wanted) or not is_artifact(filename):
            continue
        address = _string(entry, "url", f"files[{place}]").partition("#")[0]
        resolved = links.resolve(url, address)
        if resolved is not None:
            files.append(_file(filename, resolved, entry))
    # The standard's own example has the status inside `meta`, its text beside it (standards section 0.5).
    status = links.first({**meta, **data}, "project-status")
    status = status if isinstance(status, dict) else {}
    return ProjectPage(
        name=name,
        files=tuple(files),
        status=_text(status.get("status")) or "active",
        status_reason=_text(status.get("reason")),
        versions=tuple(_text(version) for version in _list(data, "versions", required=False)),
    )


def parse_list(body: bytes) -> tuple[str, ...]:
    """The names that a project list shows, as it spells and orders them. Raise `PageError` as `parse` does."""
    data, _ = _document(body)
    projects = enumerate(_list(data, "projects"))
    return tuple(_string(entry, "name", f"projects[{place}]") for place, entry in projects)


def _document(body: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PageError(f"the page is not JSON: {error}") from error
    meta = data.get("meta", {}) if isinstance(data, dict) else None
    if not isinstance(meta, dict):
        raise PageError("the page is not an object with `meta`")
    links.check_version(str(meta.get("api-version", "1.0")))
    return data, meta


def _list(data: Mapping[str, Any], key: str, *, required: bool = True) -> list[Any]:
    value = data.get(key, None if required else [])
    if not isinstance(value, list):
        raise PageError(f"{key} is not a list")
    return value


def _string(entry: object, key: str, place: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str):
        raise PageError(f"{place}.{key} is not a string")
    return _text(value)


def _text(value: object) -> str:
    """A string without lone surrogates, which JSON can spell and no file or request can hold; otherwise empty."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _file(filename: str, url: str, entry: Mapping[str, Any]) -> PageFile:
    hashes = entry.get("hashes")
    metadata = links.first(entry, "core-metadata", "dist-info-metadata")
    digest = links.strongest(links.digests(metadata.items())) if isinstance(metadata, dict) else None
    return PageFile(
        filename=filename,
        url=url,
        digests=links.digests(hashes.items()) if isinstance(hashes, dict) else (),
        size=links.size(entry.get("size")),
        upload_time=links.upload_time(entry.get("upload-time")),
        requires_python=_text(entry.get("requires-python")).strip(),
        yanked=_yanked(filename, entry.get("yanked")),
        core_metadata=digest,
        bare_metadata=digest is None and (metadata is True or isinstance(metadata, dict)),
    )


def _yanked(filename: str, value: object) -> str | None:
    """PEP 592 in JSON: a boolean, or the reason. An empty reason is still one: clients differ, we stay careful."""
    if value is None or value is False:
        return None
    if value is True:
        return ""
    if not isinstance(value, str):
        raise PageError(f"{filename}: yanked is {value!r}, neither a boolean nor a string")
    return _text(value)


def render_project(page: ProjectPage) -> bytes:
    """The page as JSON, its files and versions in the order given (standards J1-J15).

    What is absent is left out, never null (J10). Raise `PageError` for a file without a size, which "is mandatory"
    from 1.1 on (PEP 700).
    """
    data: dict[str, object] = {"meta": {"api-version": API_VERSION}, "name": page.name}
    if page.status != "active" or page.status_reason:
        reason = {"reason": page.status_reason} if page.status_reason else {}
        data["project-status"] = {"status": page.status, **reason}
    data["versions"] = page.versions
    data["files"] = [_entry(file) for file in page.files]
    return _dump(data)


def render_list(names: Sequence[str]) -> bytes:
    """The project list as JSON, from normalized names, in the order given (standards J2)."""
    return _dump({"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]})


def _entry(file: PageFile) -> dict[str, object]:
    if file.size is None:
        raise PageError(f"{file.filename} has no size")
    entry: dict[str, object] = {
        "filename": file.filename,
        "url": file.url,
        "hashes": {digest.algorithm: digest.hex for digest in file.digests},
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    if file.core_metadata:
        # Never `dist-info-metadata` as well: pip 22.3-23.1 crashes on it (standards J7).
        entry["core-metadata"] = {file.core_metadata.algorithm: file.core_metadata.hex}
    if file.yanked is not None:
        # "" counts as yanked for one client and as not yanked for another (standards J8).
        entry["yanked"] = file.yanked or True
    entry["size"] = file.size
    if file.upload_time:
        entry["upload-time"] = file.upload_time
    return entry


_ENCODER = json.JSONEncoder(ensure_ascii=True, check_circular=False, allow_nan=False, separators=(",", ":"))


def _dump(data: Mapping[str, object]) -> bytes:
    return _ENCODER.encode(data).encode("ascii") + b"\n"
