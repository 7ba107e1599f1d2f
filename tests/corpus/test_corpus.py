"""Real locks against the official exporter's output kept beside them.

Every difference must be listed here with the defect that explains it (`D…`: locks section 1.9; `1.1`: the package-level
marker of locks before 1.1, which the official exporter ignores; `source`: of one release locked from two indexes it
takes the first, whichever the project names). A listed difference that disappears fails as well.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from mirror import locks
from mirror.errors import LockError
from mirror.model import Membership
from mirror.phases.export import SCOPES
from mirror.requirements_file import installable, line, render
from mirror.targets import TARGETS, Baseline, environment
from tests.corpus import official
from tests.corpus.conftest import ROW, corpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mirror.locks.base import Lock
    from mirror.targets import Environment

pytestmark = pytest.mark.corpus

_EXPORT = "poetry-export-2.5.1"
_OFFICIAL = {"requirements-prod.txt": "req-prod.hashed.txt", "requirements-all.txt": "req-all.hashed.txt"}
PROD, ALL = _OFFICIAL


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where the official export of one lock and scope is wrong, and by which defect."""

    defect: str
    surplus: str = ""
    """Names that only the official export has."""
    lacking: str = ""
    """Names that only ours has."""
    markers: str = ""
    """Names whose markers disagree somewhere on the grid."""
    hashes: str = ""
    """Names that have more hashes in ours."""


_PACKAGE_MARKER = "atomicwrites colorama httptools pyreadline uvloop"
DIFFERENCES: dict[tuple[str, str], tuple[Difference, ...]] = {
    ("Chia-Network+chia-blockchain/6d9219b0c461", PROD): (Difference(defect="source", hashes="psutil zstd"),),
    ("huggingface+lerobot/1030ea0070ad-github_poetry_cpu", PROD): (Difference(defect="D3", lacking="pysocks"),),
    ("huggingface+lerobot/1030ea0070ad-github_poetry_cpu", ALL): (Difference(defect="D3", lacking="pysocks"),),
    ("meltano+sdk/27d939de06b2", PROD): (
        Difference(defect="D5", surplus="exceptiongroup iniconfig pluggy pytest tomli"),
    ),
    ("strawberry-graphql+strawberry/059527f7a45d", PROD): (
        Difference(defect="D5", surplus="asgiref django flask itsdangerous jinja2 markupsafe pytz sqlparse werkzeug"),
        Difference(defect="1.1", markers="httptools uvloop"),
    ),
    ("strawberry-graphql+strawberry/059527f7a45d", ALL): (Difference(defect="1.1", markers=_PACKAGE_MARKER),),
}

ERRORS = {
    "nautobot+nautobot/da31a892fcf7": {"stale-lock"},  # D8
    "scottkleinman+lexos/7d4646afcc06": {"stale-lock", "no-files"},  # D8, D6
}
"""Locks that must not be trusted: the codes of the errors that they end in."""


@dataclass(kw_only=True)
class Found:
    """The differences between two exports of one lock and scope."""

    surplus: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    markers: set[str] = field(default_factory=set)
    hashes: set[str] = field(default_factory=set)


def _folder(path: Path) -> str:
    return "/".join(path.parent.parts[-2:])


def _environments(lock: Lock) -> list[Environment]:
    minors = [(minor, lock.patches(minor)) for minor in lock.pythons()]
    pairs = itertools.product(TARGETS.values(), minors)
    return [environment(target, minor, Baseline(), patches) for target, (minor, patches) in pairs]


def _read(path: Path) -> Lock:
    """Read a lock that may be trusted, or end the test with the documented error."""
    expected = ERRORS.get(_folder(path))
    if expected is None:
        return locks.read(path, label="poetry.lock")
    with pytest.raises(LockError) as caught:
        locks.read(path, label="poetry.lock")
    assert {notice.code for notice in caught.value.notices if notice.level.name == "ERROR"} == expected
    if expected != {"stale-lock"}:
        pytest.skip(f"ends in the documented error: {caught.value}")
    return locks.read(path, label="poetry.lock", allow_stale=True)


@pytest.mark.parametrize("name", [pytest.param(PROD, id="prod"), pytest.param(ALL, id="all")])
def test_equals_the_official_export(
    poetry_lock: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    lock = _read(poetry_lock)
    ours = official.parse(_comparable(lock, name))
    beside = poetry_lock.parent / _EXPORT / _OFFICIAL[name]
    row = [_folder(poetry_lock), lock.format, name.removesuffix(".txt"), "none", len(ours), 0, "", ""]
    record_property(ROW, row)
    if not beside.exists():
        return  # planned without a crash, which is what there is to prove
    theirs = official.parse(beside.read_text(encoding="utf-8"))
    points = [env.markers(full) for env in _environments(lock) for full in env.full_versions]
    found = Found(
        surplus={release[0] for release in theirs.keys() - ours.keys()},
        lacking={release[0] for release in ours.keys() - theirs.keys()},
    )
    for release in sorted(ours.keys() & theirs.keys()):
        assert ours[release].hashes >= theirs[release].hashes, f"{release} lacks hashes"
        if ours[release].hashes != theirs[release].hashes:
            found.hashes.add(release[0])
        if any(ours[release].holds(point) != theirs[release].holds(point) for point in points):
            found.markers.add(release[0])
    expected = DIFFERENCES.get((_folder(poetry_lock), name), ())
    row[3:] = [len(theirs), len(ours), len(points), _same_text(lock, name, beside), _summary(expected)]
    for kind in ("surplus", "lacking", "markers", "hashes"):
        listed = {word for difference in expected for word in getattr(difference, kind).split()}
        assert getattr(found, kind) == listed, f"{kind} differs from what is listed"


def _comparable(lock: Lock, name: str) -> str:
    """Our file, with the direct references of its comment block as the official one has them: as lines."""
    requirements = lock.requirements(SCOPES[name])
    direct = [line(item) for item in requirements if not installable(item)]
    text = render(requirements, comments=("made by a test",), primary_index=lock.primary_index)
    return "\n".join([text, *(item.removeprefix("-e ") for item in direct if "@ ./" not in item)])


def _same_text(lock: Lock, name: str, beside: Path) -> str:
    theirs = {text for text in beside.read_text(encoding="utf-8").split("\n") if "==" in text}
    ours = {line(item).partition("\n")[0] for item in lock.requirements(SCOPES[name])}
    return f"{len(theirs & ours)}/{len(theirs)}"


def _summary(expected: tuple[Difference, ...]) -> str:
    parts = []
    for difference in expected:
        kinds = {
            "+": difference.surplus,
            "-": difference.lacking,
            "marker ": difference.markers,
            "hashes ": difference.hashes,
        }
        parts.append(f"{difference.defect}: " + " ".join(f"{kind}{names}" for kind, names in kinds.items() if names))
    return "; ".join(parts)


def test_the_export_says_what_the_plan_does(poetry_lock: Path) -> None:
    """What our file's markers select, judged by `packaging`, is what `membership` selects, except for D2's union."""
    lock = _read(poetry_lock)
    for name, scope in SCOPES.items():
        stated = official.parse(_comparable(lock, name))
        left_out = {name for notice in lock.notices if notice.code == "left-out" for name in notice.message.split()}
        for env in _environments(lock):
            members = lock.membership(env, scope)
            planned = {package.name for package, member in members.items() if member is Membership.SELECTED}
            points = [env.markers(full) for full in env.full_versions]
            exported = {release[0] for release, item in stated.items() if any(map(item.holds, points))}
            relative = {package.name for package in members if str(package.source.kind) in ("file", "directory")}
            assert exported == planned - left_out - relative, f"{name} for {env}"


def test_every_cell_has_an_answer(poetry_lock: Path) -> None:
    """DESIGN rule 7: every locked package of the full scope is there for each environment, in the order of the lock."""
    lock = _read(poetry_lock)
    reachable = None
    for env in _environments(lock):
        members = list(lock.membership(env, SCOPES[ALL]))
        reachable = reachable or members
        assert members == reachable
    assert reachable is not None


def test_other_formats_end_in_the_documented_error(other_lock: Path) -> None:
    with pytest.raises(LockError, match="recognised but not supported yet"):
        locks.read(other_lock)


def test_every_listed_lock_is_there() -> None:
    """A table that names a lock nobody has proves nothing."""
    root = corpus()
    if not root.is_dir():
        pytest.skip(f"no corpus of real locks in {root}; set LOCKS")
    for folder in {folder for folder, _ in DIFFERENCES} | ERRORS.keys():
        assert (root / folder / "poetry.lock").is_file(), f"{folder} is listed, but not in the corpus"


def test_the_parser_of_official_files_reads_every_form() -> None:
    text = (
        "--extra-index-url https://x.example/simple\n\n"
        'a[b]==1.0 ; python_version >= "3.10" \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n'
        'a==1.0 ; sys_platform == "linux" \\\n    --hash=sha256:aa\n'
        "c @ git+https://x.example/c.git@abc\n"
    )
    parsed = official.parse(text)
    release = (canonicalize_name("a"), "1.0")
    assert parsed[release].hashes == {"sha256:aa", "sha256:bb"}
    assert parsed[release].holds({"python_version": "3.9", "sys_platform": "linux"})
    assert not parsed[release].holds({"python_version": "3.9", "sys_platform": "win32"})
    assert (canonicalize_name("c"), "") in parsed
