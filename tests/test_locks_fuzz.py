"""Whatever stands in a lock or a pyproject.toml, reading and planning it ends in an answer or in a `LockError`."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mirror.errors import LockError
from mirror.locks import document, poetry
from mirror.model import Scope
from mirror.targets import TARGETS, Baseline, environment
from tests.lockfiles import ALL, PROD

_ASSETS = Path(__file__).parent / "assets" / "locks"
_GENERATIONS = ("none", "1.0", "1.1", "2.0", "2.1")
_LOCKS = {name: (_ASSETS / name / "poetry.lock").read_text("utf-8") for name in _GENERATIONS}
_PYPROJECT = (_ASSETS / "2.1" / "pyproject.toml").read_text("utf-8")

_VALUES = st.sampled_from(
    [
        *(
            '""',
            '"*"',
            "[]",
            "{}",
            "3",
            "-1.5",
            "true",
            "1979-05-27",
            '"<empty>"',
            '"or  or"',
            '"\\u0000"',
            '"\\n"',
            "nan",
        ),
        *('["a"]', "[[]]", "[{}]", '{version = "*"}', '{version = ">="}', '{path = "../x"}', '{url = "http://["}'),
        *('{type = "git"}', '{type = "legacy", url = "x"}', '"^3"', '"~"', '">=3.10,<3.13"', '"3.0"', '"é\\ud7ff"'),
        *('"extra == \\"x\\""', '"python_version >= \\"3.11\\""', '[{file = "a-1.2.tar.gz", hash = "md5:"}]'),
        *(
            '{main = "os_name == \\"nt\\""}',
            '"((((((((((("',
            '"1!2.0+x"',
            '["main", "dev"]',
            '"python_version ~= \\"3\\""',
        ),
    ]
)
_VALUE = re.compile(r"(?<== ).+$", re.MULTILINE)


@st.composite
def _mutated(draw: st.DrawFn, text: str) -> str:
    """A TOML text with some values replaced, lines dropped or doubled, or characters changed."""
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.sampled_from(["value", "drop", "double", "insert"])):
            case "value":
                places = [found.span() for found in _VALUE.finditer(text)] or [(0, 0)]
                start, end = draw(st.sampled_from(places))
                text = text[:start] + draw(_VALUES) + text[end:]
            case "insert":
                position = draw(st.integers(0, len(text)))
                text = text[:position] + draw(st.text(alphabet='"\\[]{}=,\n#<>é\x00', max_size=3)) + text[position:]
            case kind:
                lines = text.split("\n")
                number = draw(st.integers(0, len(lines) - 1))
                lines[number : number + 1] = [lines[number]] * (0 if kind == "drop" else 2)
                text = "\n".join(lines)
    return text


def _read_and_plan(lock_text: str, project_text: str | None) -> None:
    read = document.parse(lock_text.encode("utf-8", "surrogatepass"), "poetry.lock")
    beside = document.parse(project_text.encode("utf-8", "surrogatepass"), "pyproject.toml") if project_text else None
    lock = poetry.parse(read, beside, path=Path("poetry.lock"), allow_stale=True)
    for scope in (PROD, ALL, Scope(groups=frozenset(lock.groups), extras=frozenset(lock.extras[:1]))):
        for name, python in (("linux-x86_64", "3.10"), ("windows-amd64", "3.12")):
            lock.membership(environment(TARGETS[name], python, Baseline(), lock.patches(python)), scope)
        for requirement in lock.requirements(scope):
            assert "\n" not in requirement.marker + requirement.name + requirement.version + requirement.source.url


_GENEROUS = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=150)


@_GENEROUS
@given(st.sampled_from(_GENERATIONS).flatmap(lambda name: _mutated(_LOCKS[name])), st.booleans())
def test_mutated_locks(text: str, with_project: bool) -> None:
    try:
        _read_and_plan(text, _PYPROJECT if with_project else None)
    except LockError as error:
        assert str(error)
        assert error.hint


@_GENEROUS
@given(st.sampled_from(_GENERATIONS), _mutated(_PYPROJECT))
@example("2.1", "[project]\ndependencies = 3\n")
@example("2.1", "[dependency-groups]\ndev = [{include-group = 'dev'}, {}]\n")
@example("2.0", "[tool.poetry.group.dev]\ninclude-groups = ['dev']\n")
@example("1.1", "tool = 3")
def test_mutated_projects(name: str, text: str) -> None:
    try:
        _read_and_plan(_LOCKS[name], text)
    except LockError as error:
        assert str(error)
        assert error.hint


@_GENEROUS
@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    try:
        poetry.parse(document.parse(noise, "poetry.lock"), None, path=Path("poetry.lock"))
    except LockError as error:
        assert "poetry.lock" in str(error)
