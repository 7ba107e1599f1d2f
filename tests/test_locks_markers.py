"""Markers: judged like `packaging` and poetry-core do, for any target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.utils import canonicalize_name
from poetry.core.version.markers import parse_marker

from mirror.locks import markers
from mirror.targets import TARGETS, Baseline, environment

LINUX = environment(TARGETS["linux-x86_64"], "3.11", Baseline()).markers("3.11.4")
WINDOWS = environment(TARGETS["windows-amd64"], "3.12", Baseline()).markers("3.12.0")
MACOS = environment(TARGETS["macos-arm64"], "3.10", Baseline()).markers("3.10.99")
POINTS = (LINUX, WINDOWS, MACOS)


def extras(*names: str) -> frozenset[str]:
    return frozenset(map(canonicalize_name, names))


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        pytest.param("", (True, True, True), id="empty"),
        pytest.param("*", (True, True, True), id="star"),
        pytest.param("<empty>", (False, False, False), id="never"),
        pytest.param('sys_platform == "win32"', (False, True, False), id="equal"),
        pytest.param("sys_platform != 'win32'", (True, False, True), id="single quotes"),
        pytest.param('"win32" == sys_platform', (False, True, False), id="turned round"),
        pytest.param('"3.11" <= python_version', (True, True, False), id="turned round, ordered"),
        pytest.param('python_version >= "3.9"', (True, True, True), id="not compared as text"),
        pytest.param('python_full_version < "3.11.4"', (False, False, True), id="patch release"),
        pytest.param('python_full_version <= "3.11.0a6"', (False, False, True), id="before a pre-release"),
        pytest.param('python_version in "3.10, 3.12"', (False, True, True), id="version in a list"),
        pytest.param('platform_machine in "x86_64 AMD64"', (True, True, False), id="word in a list"),
        pytest.param('platform_machine not in "x86_64 AMD64"', (False, False, True), id="word not in a list"),
        pytest.param('"Darwin" in platform_version', (False, False, True), id="text in a variable"),
        pytest.param('"Darwin" not in platform_version', (True, True, False), id="text not in a variable"),
        pytest.param('platform_version != "x"', (True, True, True), id="a value with spaces"),
        pytest.param('platform_release >= "20.0"', (False, False, True), id="D10 platform_release"),
        pytest.param('implementation_version < "3.11"', (False, False, True), id="implementation_version"),
        pytest.param('os.name == "nt" or python_implementation == "PyPy"', (False, True, False), id="old names"),
        pytest.param(
            '(os_name == "nt" or sys_platform == "linux") and python_version >= "3.12"', (False, True, False), id="nest"
        ),
        pytest.param('python_version ~= "3.11"', (True, True, False), id="compatible release"),
    ],
)
def test_judged_for_the_target(text: str, answers: tuple[bool, ...]) -> None:
    assert tuple(markers.parse(text).holds(point) for point in POINTS) == answers


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("or  or", id="1.10 what a beta of Poetry 1.0 wrote"),
        pytest.param("and ()", id="1.10 empty brackets"),
        pytest.param('(os_name == "nt"', id="open bracket"),
        pytest.param('os_name == "nt")', id="closed twice"),
        pytest.param('os_name == "nt" os_name == "nt"', id="no operator between"),
        pytest.param('os_name = "nt"', id="assignment"),
        pytest.param("os_name == sys_platform", id="two variables"),
        pytest.param('"a" == "b"', id="no variable"),
        pytest.param('weather == "fine"', id="unknown variable"),
        pytest.param('sys_platform < "linux"', id="order of texts"),
        pytest.param('python_version >= "three"', id="no version"),
        pytest.param('extra > "a"', id="order of extras"),
        pytest.param('os_name == "n\nt"', id="line break, which would start a line of its own in a requirements file"),
        pytest.param("(" * 5000 + 'os_name == "nt"' + ")" * 5000, id="bomb of brackets"),
        pytest.param("os_name ==", id="cut short"),
        pytest.param("é", id="not ASCII"),
    ],
)
def test_what_is_no_marker_is_refused(text: str) -> None:
    with pytest.raises(markers.InvalidMarker):
        markers.parse(text)


@pytest.mark.parametrize(
    ("text", "asked", "left"),
    [
        pytest.param('extra == "a"', extras(), "<empty>", id="not asked for"),
        pytest.param('extra == "a"', extras("a", "b"), "", id="asked for"),
        pytest.param('extra == "A_b"', extras("a-b"), "", id="normalized"),
        pytest.param(
            '(extra == "a" and os_name == "nt") or extra == "b"',
            extras("a"),
            'os_name == "nt"',
            id="1.7 keeps the rest",
        ),
        pytest.param('extra == "cpu" and extra != "cuda"', extras("cpu"), "", id="1.5 alone"),
        pytest.param('extra == "cpu" and extra != "cuda"', extras("cpu", "cuda"), "<empty>", id="1.5 excluded"),
        pytest.param('os_name == "nt" or extra == "a"', extras(), 'os_name == "nt"', id="D2 holds without the extra"),
        pytest.param('os_name == "nt"', extras("a"), 'os_name == "nt"', id="says nothing of extras"),
    ],
)
def test_extras_are_settled_first(text: str, asked: frozenset[str], left: str) -> None:
    assert markers.parse(text).with_extras(frozenset(map(canonicalize_name, asked))).text == left


def test_extras_that_are_named() -> None:
    assert markers.parse('extra == "B" or (extra != "a" and os_name == "nt")').extras() == {"a", "b"}


def test_combined() -> None:
    windows, old = markers.parse('os_name == "nt"'), markers.parse('python_version < "3.11"')
    assert markers.every(windows, markers.ALWAYS) is windows
    assert markers.every(windows, markers.NEVER).never
    assert markers.some(windows, markers.ALWAYS).always
    assert markers.some(windows, old).text == 'os_name == "nt" or python_version < "3.11"'
    assert markers.every(markers.some(windows, old), old).text == (
        '(os_name == "nt" or python_version < "3.11") and python_version < "3.11"'
    )


_CLAUSES = st.one_of(
    st.builds(
        lambda name, operator, value: f'{name} {operator} "{value}"',
        st.sampled_from(["python_version", "python_full_version"]),
        st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "~="]),
        st.sampled_from(["3.9", "3.10", "3.11", "3.12", "3.11.4"]),
    ).filter(lambda text: not (text.startswith("python_version") and text.count(".") > 1)),
    st.builds(
        lambda name, operator, value: f'{name} {operator} "{value}"',
        st.sampled_from(["sys_platform", "platform_machine", "os_name", "platform_system"]),
        st.sampled_from(["==", "!="]),
        st.sampled_from(["linux", "win32", "darwin", "x86_64", "arm64", "AMD64", "nt", "posix", "Linux", ""]),
    ),
)
_MARKERS = st.recursive(
    _CLAUSES,
    lambda inner: st.builds(lambda a, word, b: f"({a}) {word} ({b})", inner, st.sampled_from(["and", "or"]), inner),
    max_leaves=6,
)


@given(_MARKERS)
def test_agrees_with_packaging_and_poetry_core(text: str) -> None:
    marker = markers.parse(text)
    for point in POINTS:
        if '""' not in text:  # which poetry-core reads as a space
            assert marker.holds(point) == parse_marker(text).validate(point)
        if "python_full_version ~=" not in text:  # poetry-core completes its precision, packaging does not
            assert marker.holds(point) == Marker(text).evaluate(point)


@given(_MARKERS, _MARKERS)
def test_what_is_printed_means_the_same(first: str, second: str) -> None:
    both = markers.every(markers.parse(first), markers.parse(second))
    either = markers.some(markers.parse(first), markers.parse(second))
    for point in POINTS:
        answers = [markers.parse(text).holds(point) for text in (first, second)]
        assert markers.parse(both.text).holds(point) == all(answers)
        assert markers.parse(either.text).holds(point) == any(answers)


@given(st.text(alphabet="()<>=!~'\" andornotipyvesx_.013\\\n", max_size=60))
def test_text_is_read_or_refused(text: str) -> None:
    try:
        marker = markers.parse(text)
    except markers.InvalidMarker:
        return
    for point in POINTS:
        assert marker.with_extras(frozenset()).holds(point) in (True, False)
