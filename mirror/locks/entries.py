"""The `[[package]]` tables of poetry.lock, read with suspicion (locks sections 1.2, 1.3 and 1.10)."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from packaging.utils import InvalidName, NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from mirror import filenames
from mirror.locks import constraints, markers
from mirror.locks.pyproject import poetry_edge
from mirror.locks.walk import Edge, Entry
from mirror.model import Digest, LockedFile, LockedPackage, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mirror.locks.problems import Table

_EXTRA_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_PATHS = ("file", "directory")
_WEB = ("http", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What tells the generations of poetry.lock apart."""

    flat: bool
    """2.1 and newer: every package states its groups and markers."""
    shared_files: Mapping[NormalizedName, tuple[Table, ...]] | None
    """1.1 and older: `[metadata.files]`, by name and so for all releases of the name together."""


def read(table: Table, generation: Generation) -> Entry | None:
    """Read one package; None when it is too broken to stand for one. What is wrong goes to the table's problems."""
    name, version = _name(table), _version(table)
    if name is None or version is None:
        return None
    source = _source(table.table("source"), develop=table.flag("develop"))
    shared = generation.shared_files
    listed = table.tables("files") if shared is None else shared.get(name, ())
    files = _Files(table, name, version, shared=shared is not None)
    locked = files.read(listed, source)
    conditions = _conditions(table) if generation.flat else {}
    category = (canonicalize_name(table.text("category")),) if "category" in table else ()
    package = LockedPackage(
        name=name,
        version=version,
        files=locked,
        source=source,
        groups=tuple(conditions) if generation.flat else category,
        line=table.line,
    )
    return Entry(
        package=package,
        python=_python(table),
        marker=_marker(table, table.text("marker", "")),
        conditions=conditions,
        edges=tuple(_edges(table, name)),
        digests=tuple(sorted(files.digests)),
    )


def _name(table: Table) -> NormalizedName | None:
    text = table.text("name")
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName:
        table.error("bad-name", f"{text!r} is no project name")
        return None


def _version(table: Table) -> Version | None:
    text = table.text("version")
    try:
        return Version(text)
    except InvalidVersion:
        table.error("bad-version", f"{text!r} is no version (PEP 440)")
        return None


def _python(table: Table) -> str:
    text = table.text("python-versions", "*")
    try:
        constraints.parse_python(text)
    except constraints.InvalidConstraint as error:
        table.error("bad-python", f"`{table.at('python-versions')}`: {error}")
        return "*"
    return text


def _marker(table: Table, text: str) -> markers.Marker:
    try:
        return markers.parse(text)
    except markers.InvalidMarker as error:
        table.error("bad-marker", str(error))
        return markers.NEVER


def _conditions(table: Table) -> dict[NormalizedName, markers.Marker]:
    """When each group installs the package (lock-version 2.1)."""
    if "groups" not in table:
        table.error("no-groups", "`groups` is missing, which lock-version 2.1 requires of every package")
    groups = [canonicalize_name(group) for group in table.texts("groups")]
    if isinstance(table.raw("markers"), dict):
        stated = table.table("markers")
        by_group = {canonicalize_name(group): _marker(table, stated.text(group)) for group in stated}
    else:
        by_group = dict.fromkeys(groups, _marker(table, table.text("markers", "")))
    for group in by_group.keys() - set(groups):
        table.warn(
            "unknown-group", f"a marker for the group {group!r}, to which the package does not belong, is ignored"
        )
    return {group: by_group.get(group, markers.ALWAYS) for group in groups}


def _edges(table: Table, owner: NormalizedName) -> Iterator[Edge]:
    extras = _extras(table)
    requirements = table.table("dependencies")
    for text in requirements:
        try:
            name = canonicalize_name(text, validate=True)
        except InvalidName:
            table.error("bad-name", f"{text!r} among its dependencies is no project name")
            continue
        within = frozenset(extra for extra, names in extras.items() if name in names)
        value = requirements.raw(text)
        for item in value if isinstance(value, list) else [value]:
            if (edge := poetry_edge(requirements, name, item, within)) is not None:
                yield edge
    for extra, names in extras.items():
        if owner in names:  # `all = ["owner[a,b]"]`
            yield Edge(name=owner, wants=names[owner], optional=True, within=frozenset({extra}))


def _extras(table: Table) -> dict[NormalizedName, dict[NormalizedName, frozenset[NormalizedName]]]:
    """For each extra the names that it brings in, with the extras that it asks of them."""
    stated = table.table("extras")
    found: dict[NormalizedName, dict[NormalizedName, frozenset[NormalizedName]]] = {}
    for extra in stated:
        names = found.setdefault(canonicalize_name(extra), {})
        for text in stated.texts(extra):
            # Not PEP 508 throughout: older locks hold `name[x] (>=1,<2)` and worse; only the name is needed.
            match = _EXTRA_NAME.match(text)
            if match is None:
                stated.error("bad-requirement", f"the extra {extra!r} names {text!r}, which is no requirement")
                continue
            wants = frozenset(canonicalize_name(word) for word in (match[2] or "").split(",") if word.strip())
            name = canonicalize_name(match[1])
            names[name] = names.get(name, frozenset()) | wants
    return found


class _Files:
    """The files that the lock names for one release."""

    def __init__(self, table: Table, name: NormalizedName, version: Version, *, shared: bool) -> None:
        self._table = table
        self._name = name
        self._version = version
        self._shared = shared
        self.digests: set[Digest] = set()
        self._broken = False
        self._weak: list[str] = []
        self._other: list[str] = []

    def read(self, listed: tuple[Table, ...], source: Source) -> tuple[LockedFile, ...]:
        """The wheels and sdists among them, in the order of the lock, each with a strong digest."""
        found: dict[str, Digest] = {}
        for item in listed:
            self._add(item, found)
        if self._other:
            self._table.note("other-files", f"neither wheel nor sdist, so ignored: {', '.join(self._other)}")
        if not found:
            self._complain(listed, source)
        elif self._weak:
            self._table.warn("weak-digest", f"without a strong digest, so ignored: {', '.join(self._weak)}")
        return tuple(LockedFile(filename, digest) for filename, digest in found.items())

    def _add(self, item: Table, found: dict[str, Digest]) -> None:
        filename, text = item.text("file"), item.text("hash")
        if not all(isinstance(item.raw(key), str) for key in ("file", "hash")):
            self._broken = True  # which was told already
            return
        try:
            digest = Digest.parse(text)
        except ValueError:
            self._table.error("bad-digest", f"the digest {text!r} of {filename!r} is none")
            self._broken = True
            return
        if not digest.strong:
            self._weak.append(filename)
            return
        self.digests.add(digest)
        if not filenames.is_artifact(filename):
            self._other.append(repr(filename)[1:-1])
            return
        if not self._belongs(filename):
            return
        if found.setdefault(filename, digest) != digest:
            self._table.error("two-digests", f"{filename} is listed twice, with different digests")

    def _belongs(self, filename: str) -> bool:
        try:
            if filename.endswith(".whl"):
                parsed = filenames.parse(filename)
            else:
                parsed = filenames.parse_sdist_of(filename, self._name)
        except filenames.InvalidFilename as error:
            self._table.warn("bad-filename", f"{error}; the file is ignored")
            return False
        if (parsed.name, parsed.version) == (self._name, self._version):
            return True
        # Before 2.0 the files of every locked release of a name stand together (defect D7).
        if not (self._shared and parsed.name == self._name):
            self._table.warn("foreign-file", f"{filename} is not of {self._name} {self._version}; the file is ignored")
        return False

    def _complain(self, listed: tuple[Table, ...], source: Source) -> None:
        """Say why nothing is left; for a direct reference that only means that it cannot be mirrored."""
        if source.direct or self._broken:
            return
        if self._weak:
            self._table.error("weak-digest", f"only md5 or sha1 digests: {', '.join(self._weak)}")
        elif not listed:
            self._table.error("no-files", "the lock names no file and so no digest for it")
        else:
            self._table.error("no-usable-file", "none of the files that the lock names for it can be used")


def _source(table: Table, *, develop: bool) -> Source:
    """Read `[package.source]`; nothing there means the default index."""
    kind = table.text("type", "index")
    if kind not in list(SourceKind):
        table.error("bad-source", f"sources of type {kind!r} are not supported")
        return Source()
    if kind == "index":
        return Source()
    url = table.text("url")
    texts = {key: table.text(key, "") for key in ("reference", "resolved_reference", "subdirectory")}
    spaced = kind not in _PATHS and re.search(r"\s", url)
    if spaced or any(_CONTROL.search(text) for text in (url, *texts.values())):
        table.error("bad-source", f"white space or control characters in the source {url!r}")
        return Source()
    if not url:
        return Source()  # which was told already
    source = Source(kind=SourceKind(kind), url=_without_credentials(table, url), editable=develop, **texts)
    if source.url:
        _check_source(table, source)
    return source


def _check_source(table: Table, source: Source) -> None:
    if source.kind is SourceKind.GIT:
        if not source.resolved_reference:
            table.error("git-without-commit", f"the git source {source.url} names no commit, so nobody can repeat it")
        table.warn("git-source", f"from git, {source.url} at {source.resolved_reference}: no index can serve it")
    elif source.kind is SourceKind.LEGACY:
        if urlsplit(source.url).scheme not in (*_WEB, "file"):
            table.error("bad-source", f"{source.url!r} is no URL of an index")
    elif source.kind is SourceKind.URL:
        table.warn("url-source", f"from {source.url}: no index can serve it")
    else:
        _check_path(table, source)


def _check_path(table: Table, source: Source) -> None:
    path = posixpath.normpath(source.url.replace("\\", "/"))
    if path.startswith(("/", "../")) or path == ".." or re.match("[A-Za-z]:", path):
        table.error("outside-project", f"its path {source.url!r} leads out of the project")
    table.warn(f"{source.kind}-source", f"from the {source.kind} {source.url}: no index can serve it")


def _without_credentials(table: Table, url: str) -> str:
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or (parts.scheme in _WEB and parts.username is not None)
        _ = parts.scheme in _WEB and parts.port  # read only when it is asked for
    except ValueError:
        table.error("bad-source", f"{url!r} is no URL")
        return ""
    if not secret:
        return url
    table.warn("credentials", "the credentials in the URL of its source are ignored; take them out of the lock")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
