"""State: what one phase leaves for the next comes back as it was, or is refused; never half, never empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from mirror.errors import MirrorError
from mirror.model import (
    About,
    Artifact,
    Cell,
    Digest,
    Failure,
    Level,
    Manifest,
    Notice,
    Origin,
    Plan,
    PlannedFile,
    ProjectStatus,
    Reason,
    TargetCoverage,
)
from mirror.state import Failures, State

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T", Plan, Manifest, Failures)

FILE = PlannedFile(
    filename="foo-1.0+cpu-py3-none-any.whl",
    project=canonicalize_name("foo"),
    version="1.0+cpu",
    digest=Digest("sha256", "a" * 64),
    home="noarch",
    python="3.11",
    url="https://files.example/foo-1.0%2Bcpu-py3-none-any.whl",
    size=7,
    yanked="",
)
CELL = Cell(
    lock="poetry.lock",
    package=canonicalize_name("foo"),
    version="1.0",
    target="linux-x86_64",
    python="3.11",
    reason=Reason.YANKED,
    filename=FILE.filename,
)
PLAN = Plan(
    files=(FILE,),
    cells=(CELL,),
    statuses=((canonicalize_name("foo"), ProjectStatus(status="archived", reason="moved")),),
    notices=(Notice(level=Level.WARNING, code="yanked", message="…", package="foo"),),
    locks=("sha256:1",),
)
MANIFEST = Manifest(
    artifacts=(
        Artifact(filename=FILE.filename, project=canonicalize_name("foo"), version="1.0", sha256="a" * 64, size=7),
    ),
    statuses=PLAN.statuses,
    locks=PLAN.locks,
)
FAILURES = Failures(failures=(Failure(filename=FILE.filename, reason=Reason.NOT_OFFERED, detail="gone"),))

_text = st.text(max_size=20)
_names = st.sampled_from(["foo", "zope-interface", "a"]).map(canonicalize_name)
_digests = st.builds(Digest, st.just("sha256"), st.text("0123456789abcdef", min_size=64, max_size=64))
_yanked = st.none() | _text
_statuses = st.lists(st.tuples(_names, st.builds(ProjectStatus, status=_text, reason=_text)), max_size=3).map(tuple)
_tuples = st.lists(_text, max_size=3).map(tuple)
_files = st.builds(
    PlannedFile,
    filename=_text,
    project=_names,
    version=_text,
    digest=_digests,
    home=_text,
    python=_text,
    url=_text,
    index=_text,
    size=st.none() | st.integers(min_value=0),
    upload_time=_text,
    requires_python=_text,
    yanked=_yanked,
)
_cells = st.builds(
    Cell,
    lock=_text,
    package=_names,
    version=_text,
    target=_text,
    python=_text,
    reason=st.sampled_from(Reason),
    filename=_text,
    detail=_text,
)
_notices = st.builds(Notice, level=st.sampled_from(Level), code=_text, message=_text, package=_text, where=_text)
_counts = st.integers(min_value=0)
_origins = st.lists(st.builds(Origin, digest=_text, file=_text, project=_text, packages=_counts), max_size=2).map(tuple)
_coverage = st.lists(
    st.builds(
        TargetCoverage,
        target=_text,
        pythons=_tuples,
        **dict.fromkeys(("wanted", "wheels", "sdists", "direct"), _counts),
    ),
    max_size=2,
).map(tuple)
_plans = st.builds(
    Plan,
    files=st.lists(_files, max_size=3).map(tuple),
    cells=st.lists(_cells, max_size=3).map(tuple),
    statuses=_statuses,
    notices=st.lists(_notices, max_size=3).map(tuple),
    locks=_tuples,
    origins=_origins,
    coverage=_coverage,
)
_artifacts = st.builds(
    Artifact,
    filename=_text,
    project=_names,
    version=_text,
    sha256=_text,
    size=st.integers(min_value=0),
    requires_python=_text,
    upload_time=_text,
    yanked=_yanked,
    metadata_sha256=_text,
    metadata_size=st.integers(min_value=0),
)
_links = st.tuples(_text, st.sampled_from(["https://foo.example", "http://foo.example/a?b#c"]))
_about = st.builds(About, filename=_text, summary=_text, license=_text, links=st.lists(_links, max_size=3).map(tuple))
_manifests = st.builds(
    Manifest,
    artifacts=st.lists(_artifacts, max_size=3).map(tuple),
    statuses=_statuses,
    locks=_tuples,
    about=st.lists(st.tuples(_names, _about), max_size=3).map(tuple),
    origins=_origins,
    coverage=_coverage,
)
_failures = st.builds(
    Failures,
    failures=st.lists(st.builds(Failure, filename=_text, reason=st.sampled_from(Reason), detail=_text), max_size=3).map(
        tuple
    ),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> State:
    """Keep the state of many examples in one place: each overwrites the last one's."""
    return State(tmp_path_factory.mktemp("state"))


@given(value=st.one_of(_plans, _manifests, _failures))
def test_what_is_saved_comes_back(value: Plan | Manifest | Failures, shared: State) -> None:
    shared.save(value)
    assert shared.load(type(value)) == value


@pytest.mark.parametrize("value", [PLAN, MANIFEST, FAILURES, Plan(), Manifest(), Failures()])
def test_the_same_value_is_the_same_bytes(value: Plan | Manifest | Failures, tmp_path: Path) -> None:
    first, second = State(tmp_path / "first"), State(tmp_path / "second")
    first.save(value)
    second.save(value)
    (one,), (other,) = (sorted(state.directory.iterdir()) for state in (first, second))
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()
    assert one.read_bytes().isascii()
    before = one.stat()
    first.save(value)
    assert (one.stat().st_ino, one.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_three_kinds_lie_in_three_files(tmp_path: Path) -> None:
    state = State(tmp_path)
    for value in (PLAN, MANIFEST, FAILURES):
        state.save(value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failures.json", "manifest.json", "plan.json"]
    assert (state.load(Plan), state.load(Manifest), state.load(Failures)) == (PLAN, MANIFEST, FAILURES)


def test_not_yanked_and_yanked_without_a_reason_are_two_things(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.save(PLAN)
    loaded = state.load(Plan)
    assert loaded is not None
    assert loaded.files[0].yanked == ""
    assert loaded.files[0].size == 7


def test_a_phase_that_has_not_run_has_left_nothing(tmp_path: Path) -> None:
    assert State(tmp_path / "none").load(Plan) is None


def test_what_must_be_there_names_the_phase_to_run(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="there is no") as caught:
        State(tmp_path).require(Manifest, "consolidate")
    assert str(tmp_path / "manifest.json") in str(caught.value)
    assert "mirror consolidate" in caught.value.hint
    State(tmp_path).save(MANIFEST)
    assert State(tmp_path).require(Manifest, "consolidate") == MANIFEST


def _edited(**changes: object) -> bytes:
    document = {"format": 1, "artifacts": [], "locks": [], **changes}
    return json.dumps(document).encode()


_ARTIFACT = {"filename": "a-1.tar.gz", "project": "a", "version": "1", "sha256": "0", "size": 1}

CORRUPT = {
    "empty": b"",
    "cut": b'{"format": 1, "artifacts": [{"filename": "a',
    "binary": b"\xff\xfe\x00",
    "null": b"null",
    "list": b"[]",
    "number": b"7",
    "text": b'"format"',
    "deep": b"[" * 200_000,
    "no-format": b'{"artifacts": []}',
    "other-format": _edited(format=2),
    "unknown-field": _edited(surprise=1),
    "list-for-a-text": _edited(locks=[["a"]]),
    "text-for-a-list": _edited(locks="abc"),
    "object-for-a-list": _edited(artifacts={"a": 1}),
    "link-that-runs": _edited(about=[["a", {"filename": "a", "links": [["x", "javascript:alert(1)"]]}]]),
    "text-for-an-object": _edited(artifacts=["a"]),
    "lacks-a-field": _edited(artifacts=[{**_ARTIFACT, "size": None}]),
    "lacks-another": _edited(artifacts=[{key: value for key, value in _ARTIFACT.items() if key != "sha256"}]),
    "text-for-a-number": _edited(artifacts=[{**_ARTIFACT, "size": "1"}]),
    "bool-for-a-number": _edited(artifacts=[{**_ARTIFACT, "size": True}]),
    "fraction-for-a-number": _edited(artifacts=[{**_ARTIFACT, "size": 1.5}]),
    "number-for-a-text": _edited(artifacts=[{**_ARTIFACT, "yanked": 1}]),
    "short-pair": _edited(statuses=[["foo"]]),
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
def test_a_file_that_cannot_be_read_is_an_error_never_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    state = State(tmp_path)
    with pytest.raises(MirrorError, match="cannot read") as caught:
        state.load(Manifest)
    assert str(path) in str(caught.value)
    assert "delete it" in caught.value.hint
    with pytest.raises(MirrorError, match="cannot read"):
        state.require(Manifest, "consolidate")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "document",
    [
        {"format": 1, "files": [{"filename": "a", "digest": "md5:1"}]},
        {"format": 1, "cells": [{"reason": "bad-weather"}]},
        {"format": 1, "notices": [{"level": 9, "code": "a", "message": "b"}]},
        {"format": 1, "notices": [{"level": "1", "code": "a", "message": "b"}]},
    ],
    ids=["digest", "reason", "level", "level-as-text"],
)
def test_a_word_that_means_nothing_is_an_error(document: object, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(MirrorError, match="cannot read"):
        State(tmp_path).load(Plan)


def test_a_file_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(MirrorError, match="cannot read"):
        State(tmp_path).load(Plan)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"in the way")
    with pytest.raises(MirrorError, match="cannot write"):
        State(tmp_path / "state").save(PLAN)
