"""Python ranges, and the patch releases that stand for a minor."""

from __future__ import annotations

import pytest

from mirror.locks import constraints


@pytest.mark.parametrize(
    ("minor", "python", "clauses", "expected"),
    [
        pytest.param("3.11", "*", [], ("3.11.0", "3.11.99"), id="a first and a late one"),
        pytest.param("3.11", "^3.12", [], (), id="not admitted"),
        pytest.param("3.8", ">=3.8.10,<3.13", [], ("3.8.10", "3.8.99"), id="starts within"),
        pytest.param("3.11", ">=3.9,<3.11.4", [], ("3.11.0", "3.11.3"), id="ends within"),
        pytest.param("3.9", "==3.9.5", [], ("3.9.5",), id="exactly one"),
        pytest.param("3.11", "*", [("<", "3.11.4")], ("3.11.0", "3.11.3", "3.11.4", "3.11.99"), id="both sides of <"),
        pytest.param("3.11", "*", [("<=", "3.11.4")], ("3.11.0", "3.11.4", "3.11.5", "3.11.99"), id="both sides of <="),
        pytest.param(
            "3.9", "*", [("!=", "3.9.7")], ("3.9.0", "3.9.6", "3.9.7", "3.9.8", "3.9.99"), id="around an excluded one"
        ),
        pytest.param("3.11", "*", [("<=", "3.11.0a6")], ("3.11.0", "3.11.99"), id="a pre-release is the minor before"),
        pytest.param("3.10", "*", [("<", "3.11.4")], ("3.10.0", "3.10.99"), id="another minor's boundary"),
        pytest.param("3.11", ">=3.9, !=3.11.*", [], (), id="a minor left out"),
        pytest.param("three", "*", [], (), id="no minor"),
    ],
)
def test_patches(minor: str, python: str, clauses: list[tuple[str, str]], expected: tuple[str, ...]) -> None:
    assert constraints.patches(minor, python, clauses) == expected


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        pytest.param("^3.10", ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15"), id="caret"),
        pytest.param("~2.7 || ^3.12", ("3.12", "3.13", "3.14", "3.15"), id="union"),
        pytest.param(">=3.9,<3.11", ("3.9", "3.10"), id="range"),
        pytest.param(">=3.9.7,<3.10", ("3.9",), id="part of a minor"),
        pytest.param("<3.0", (), id="nothing known"),
    ],
)
def test_minors(python: str, expected: tuple[str, ...]) -> None:
    assert constraints.minors(python, []) == expected


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        pytest.param("*", "", id="any"),
        pytest.param("^3.10", 'python_version >= "3.10" and python_version < "4.0"', id="caret"),
        pytest.param(">=3.8.0", 'python_version >= "3.8"', id="a whole minor"),
        pytest.param(">=3.8.10", 'python_full_version >= "3.8.10"', id="a part of a minor"),
        pytest.param(">4,<3", "<empty>", id="none"),
    ],
)
def test_python_marker(python: str, expected: str) -> None:
    assert constraints.python_marker(python) == expected


@pytest.mark.parametrize("text", ["three", ">=", "^", "1.0 || three"])
def test_no_constraint(text: str) -> None:
    with pytest.raises(constraints.InvalidConstraint):
        constraints.parse(text)
    with pytest.raises(constraints.InvalidConstraint):
        constraints.parse_python(text)
