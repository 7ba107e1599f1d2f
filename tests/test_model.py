"""The values: parsed once, right from then on, and unable to change."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from packaging.version import Version

from mirror import errors, model
from mirror.errors import ConflictError, IntegrityError, LockError, MirrorError, RemoteError
from mirror.model import HOLES, Digest, Level, Notice, Reason, Source, SourceKind

LENGTHS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}


@pytest.mark.parametrize(("algorithm", "length"), LENGTHS.items())
def test_a_digest_is_read_and_printed(algorithm: str, length: int) -> None:
    text = f"{algorithm}:{'0f' * (length // 2)}"
    digest = Digest.parse(text)
    assert digest == Digest(algorithm, "0f" * (length // 2))
    assert str(digest) == text
    assert digest.strong is (algorithm in {"sha256", "sha384", "sha512"})


def test_bare_hex_is_sha256() -> None:
    """Locks of 2020 spell it so (locks 1.10)."""
    assert Digest.parse("a" * 64) == Digest("sha256", "a" * 64)


def test_upper_case_and_spaces_are_the_same_digest() -> None:
    assert Digest.parse(f" SHA256:{'AB' * 32}\n") == Digest.parse(f"sha256:{'ab' * 32}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 62 + " a",
        "sha256:" + "\u0661" * 64,
        "a" * 32,
        "a" * 128,
        "crc32:" + "a" * 8,
        "sha512:" + "a" * 64,
        "sha256=" + "a" * 64,
        "sha256:sha256:" + "a" * 64,
        ":" + "a" * 64,
    ],
)
def test_what_is_no_digest_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="not a digest") as caught:
        Digest.parse(text)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except ValueError:
        return
    assert len(digest.hex) == LENGTHS[digest.algorithm]


# --- reasons ------------------------------------------------------------------------------------


def test_the_reasons_are_those_of_the_contract() -> None:
    """DESIGN 3.5."""
    assert {str(reason) for reason in Reason} == {
        "covered",
        "excluded-by-marker",
        "excluded-by-python",
        "sdist-only",
        "no-wheel",
        "not-offered",
        "digest-mismatch",
        "download-failed",
        "not-published",
        "direct",
        "yanked",
    }


def test_by_default_a_hole_is_what_is_neither_covered_nor_excluded_nor_sdist_only_nor_direct() -> None:
    assert {
        Reason.NO_WHEEL,
        Reason.NOT_OFFERED,
        Reason.DIGEST_MISMATCH,
        Reason.DOWNLOAD_FAILED,
        Reason.NOT_PUBLISHED,
    } == HOLES
    assert {reason for reason in Reason if reason.covered} == {Reason.COVERED, Reason.YANKED}
    assert {reason for reason in Reason if reason.excluded} == {Reason.EXCLUDED_BY_MARKER, Reason.EXCLUDED_BY_PYTHON}


def test_a_word_prints_as_what_stands_in_files() -> None:
    assert f"{Reason.NO_WHEEL} {SourceKind.LEGACY}" == "no-wheel legacy"
    assert Reason("no-wheel") is Reason.NO_WHEEL


@pytest.mark.parametrize("kind", SourceKind)
def test_only_an_index_is_no_direct_reference(kind: SourceKind) -> None:
    assert Source(kind=kind).direct is (kind not in (SourceKind.INDEX, SourceKind.LEGACY))


# --- notices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "package", "expected"),
    [
        ("", "", "it is late"),
        ("poetry.lock:7", "", "poetry.lock:7: it is late"),
        ("", "foo", "foo: it is late"),
        ("poetry.lock:7", "foo", "poetry.lock:7: foo: it is late"),
    ],
)
def test_a_notice_says_where_then_what(where: str, package: str, expected: str) -> None:
    assert str(Notice(level=Level.NOTE, code="late", message="it is late", package=package, where=where)) == expected


def test_an_error_is_louder_than_a_warning_than_a_note() -> None:
    assert Level.ERROR > Level.WARNING > Level.NOTE


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"), [(MirrorError, 2), (LockError, 2), (RemoteError, 3), (ConflictError, 4), (IntegrityError, 5)]
)
def test_every_error_ends_in_its_exit_code(kind: type[MirrorError], code: int) -> None:
    """DESIGN 3.4."""
    error = kind("what and where", hint="what to do")
    assert isinstance(error, MirrorError)
    assert (error.exit_code, str(error), error.hint) == (code, "what and where", "what to do")


def test_these_are_all_kinds_of_errors() -> None:
    defined = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    assert defined == {MirrorError, LockError, RemoteError, ConflictError, IntegrityError}


def test_a_lock_error_carries_every_problem() -> None:
    notices = [Notice(level=Level.ERROR, code=code, message=code) for code in ("one", "two")]
    assert LockError("two problems", notices=notices).notices == tuple(notices)


# --- shape --------------------------------------------------------------------------------------

VALUES = [value for _, value in inspect.getmembers(model, dataclasses.is_dataclass) if isinstance(value, type)]


@pytest.mark.parametrize("value", VALUES)
def test_values_are_frozen_and_hold_no_list(value: type) -> None:
    parameters = value.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    assert hasattr(value, "__slots__")
    for field in dataclasses.fields(value):
        assert not str(field.type).startswith(("list", "dict", "set", "Mapping")), field.name


def test_a_value_cannot_be_changed() -> None:
    digest = Digest("sha256", "a" * 64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        digest.hex = "b"  # type: ignore[misc]


def test_a_package_is_printed_as_a_requirement() -> None:
    locked = model.LockedPackage(name=canonicalize_name("Zope.Interface"), version=Version("1.0"), files=())
    assert str(locked) == "zope-interface==1.0"
