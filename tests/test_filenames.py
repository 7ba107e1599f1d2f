"""Distribution filenames: hostile ones are refused, and what is accepted means what `packaging` says it means."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from mirror import filenames
from mirror.filenames import InvalidFilename, Sdist, Wheel

HOSTILE = {
    # The thirteen of standards 5.2, most of which `packaging` accepts.
    "markup": "foo-1.0-py3-none-<script>alert(1)<x>.whl",
    "attribute": 'foo-1.0-py3-none-any"onclick="x.whl',
    "query": "foo-1.0-py3-none-any?x.whl",
    "fragment": "foo-1.0-py3-none-any#sha256=00.whl",
    "newline": "foo-1.0-py3-none-any\n.whl",
    "umlauts": "föö-1.0-py3-none-any.whl",
    "parent": "../foo-1.0.tar.gz",
    "separator": "a/b-1.0.tar.gz",
    "markup-sdist": "<b>-1.0.tar.gz",
    "script-url": "javascript:alert(1)//-1.0.tar.gz",
    "nul": "foo-1.0-py3-none-any\0.whl",
    "backslash": "a\\b-1.0.tar.gz",
    "space": "foo -1.0-py3-none-any.whl",
    # And their relatives.
    "trailing-newline": "foo-1.0-py3-none-any.whl\n",
    "drive": "C:foo-1.0.tar.gz",
    "stream": "foo-1.0.tar.gz:x.zip",
    "absolute": "/foo-1.0.tar.gz",
    "dots-inside": "foo-1.0..1.tar.gz",
    "hidden": ".foo-1.0.tar.gz",
    "option": "-rfoo-1.0.tar.gz",
    "percent": "foo%2F-1.0.tar.gz",
    "arabic-digits": "foo-\u0661.\u0660.tar.gz",
    "fullwidth": "\uff46\uff4f\uff4f-1.0.tar.gz",
    "right-to-left": "foo-1.0-py3-none-any\u202e.whl",
    "zero-width": "f\u200boo-1.0-py3-none-any.whl",
    "shell": "foo-1.0-py3-none-any;id.whl",
    "dollar": "foo-1.0-py3-none-$HOME.whl",
    "uppercase-suffix": "foo-1.0-py3-none-any.WHL",
    "empty": "",
    "suffix-only": ".whl",
    "no-version": "foo.tar.gz",
    "empty-name": "-1.0.tar.gz",
    "not-a-version": "foo-bar.tar.gz",
    "wheel-not-a-version": "foo-bar-py3-none-any.whl",
    "egg": "foo-1.0-py3.11.egg",
    "installer": "foo-1.0.win-amd64-py3.11.exe",
    "page": "index.html",
    "two-suffixes": "foo-1.0.zip.tar.gz",
    "sidecar": "foo-1.0-py3-none-any.whl.metadata",
    "too-few-parts": "foo-1.0-any.whl",
    "too-many-parts": "foo-1.0-1-2-py3-none-any.whl",
    "build-without-a-number": "foo-1.0-local-py3-none-any.whl",
    "dunder-name": "foo__bar-1.0-py3-none-any.whl",
    "plus-in-the-name": "foo+bar-1.0-py3-none-any.whl",
    "escaped-dash-in-the-version": "foo-1.0_1-py3-none-any.whl",
    "empty-tag": "foo-1.0-py3--any.whl",
    "empty-tag-in-a-set": "foo-1.0-py2.-none-any.whl",
    "longer-than-a-directory-holds": f"foo-1.0+{'a' * 240}.tar.gz",
    "more-tags-than-any-build": "foo-1.0-" + "-".join([".".join("abcdefghijklmnop")] * 3) + ".whl",
}


@pytest.mark.parametrize("filename", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_filename_is_refused(filename: str) -> None:
    with pytest.raises(InvalidFilename):
        filenames.parse(filename)


@pytest.mark.parametrize(
    "filename",
    [filename for filename in HOSTILE.values() if filename.endswith((".tar.gz", ".zip"))],
    ids=[name for name, filename in HOSTILE.items() if filename.endswith((".tar.gz", ".zip"))],
)
def test_a_hostile_filename_is_refused_though_its_project_is_known(filename: str) -> None:
    with pytest.raises(InvalidFilename):
        filenames.parse_sdist_of(filename, canonicalize_name("foo"))


def test_a_refusal_shows_the_filename_without_its_control_characters() -> None:
    with pytest.raises(InvalidFilename) as caught:
        filenames.parse("foo-1.0\x1b[2J.tar.gz\n")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert r"\x1b[2J" in str(caught.value)


ODD = {
    "plain": "foo-1.0-py3-none-any.whl",
    "two-pythons": "six-1.16.0-py2.py3-none-any.whl",
    "local-version": "torch-2.3.0+cpu-cp311-cp311-linux_x86_64.whl",
    "local-version-of-parts": "torch-2.2.1+cpu.cxx11.abi-cp311-cp311-linux_x86_64.whl",
    "epoch": "foo-1!2.0-py3-none-any.whl",
    "build": "foo-1.0-1-py3-none-any.whl",
    "build-with-a-suffix": "foo-1.0-7b_local-py3-none-any.whl",
    "build-with-dots": "nvidia_cudnn-9.1-1.2.3-py3-none-manylinux1_x86_64.whl",
    "leading-zero-build": "foo-1.0-01-py3-none-any.whl",
    "dots-in-the-name": "zope.interface-6.4-cp311-cp311-win_amd64.whl",
    "capitals": "PyYAML-6.0.1-cp311-cp311-macosx_11_0_arm64.whl",
    "digit-name": "2captcha_python-1.2.6-py3-none-any.whl",
    "underscore-end": "foo_-1.0-py3-none-any.whl",
    "compressed-platforms": "numpy-2.0.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "abi3": "cryptography-42.0.5-cp37-abi3-manylinux_2_28_aarch64.whl",
    "several-abi": "grpcio-1.0-cp27-cp27mu.cp27m-linux_x86_64.whl",
    "universal2": "charset_normalizer-3.3.2-cp311-cp311-macosx_10_9_universal2.whl",
    "capital-tag": "foo-1.0-PY3-None-Any.whl",
    "pre-release": "foo-1.0rc1-py3-none-any.whl",
    "spelled-pre-release": "foo-1.0.RC.1-py3-none-any.whl",
    "post-dev": "foo-1.0.post2.dev3-py3-none-any.whl",
    "v-version": "foo-v1.0-py3-none-any.whl",
    "date-version": "certifi-2024.02.02-py3-none-any.whl",
    "one-letter": "q-1-py3-none-any.whl",
    "free-threaded": "pyyaml-6.0.3-cp314-cp314t-manylinux_2_28_x86_64.whl",
    "ios": "foo-1.0-cp313-cp313-ios_13_0_arm64_iphoneos.whl",
    "sdist": "requests-2.31.0.tar.gz",
    "sdist-zip": "PySocks-1.7.1.zip",
    "sdist-dashed-name": "python-dateutil-2.9.0.post0.tar.gz",
    "sdist-dotted-name": "ruamel.yaml.clib-0.2.8.tar.gz",
    "sdist-local": "foo-1.0+local.1.tar.gz",
    "sdist-epoch": "foo-1!2.0.tar.gz",
    "sdist-digits": "3to2-1.1.1.zip",
    "sdist-with-a-dash-in-its-version": "functools32-3.2.3-2.tar.gz",
}


def by_packaging(filename: str) -> tuple[object, ...] | None:
    """Everything that `packaging` reads from a filename; None when it refuses."""
    try:
        if filename.endswith(".whl"):
            name, version, build, tags = parse_wheel_filename(filename)
            return name, version, str(version), build, tags
        name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return name, version, str(version)


def by_us(filename: str) -> tuple[object, ...] | None:
    """Read the same with our own parser."""
    try:
        parsed = filenames.parse(filename)
    except InvalidFilename:
        return None
    assert parsed.filename == filename
    if isinstance(parsed, Wheel):
        return parsed.name, parsed.version, str(parsed.version), parsed.build, parsed.tags
    return parsed.name, parsed.version, str(parsed.version)


@pytest.mark.parametrize("filename", ODD.values(), ids=ODD)
def test_an_odd_but_legitimate_filename_says_what_packaging_reads(filename: str) -> None:
    assert by_us(filename) == by_packaging(filename) is not None


_names = st.one_of(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._]{0,12}", fullmatch=True),
    st.sampled_from(["foo", "Foo_Bar", "zope.interface", "a__b", "_a", "a.", "a+b", ""]),
)
_suffix = r"([._]?(a|b|rc|RC|post|dev)[._]?[0-9]{0,2}){0,3}"
_versions = st.one_of(
    st.from_regex(rf"(v|[0-9]!)?[0-9]{{1,4}}(\.[0-9]{{1,3}}){{0,3}}{_suffix}", fullmatch=True),
    st.from_regex(r"[0-9]\.[0-9](\+[a-z0-9]{1,4}([._][a-z0-9]{1,3})?)?", fullmatch=True),
    st.from_regex(r"[0-9._+!a-z-]{0,8}", fullmatch=True),
)
_builds = st.one_of(st.just(""), st.from_regex(r"[0-9]{1,3}[A-Za-z0-9_.]{0,6}|[a-z]{0,2}", fullmatch=True))
_tags = st.one_of(
    st.sampled_from(["py3-none-any", "py2.py3-none-any", "cp311-abi3-win_amd64", "cp311-cp311-manylinux1_x86_64"]),
    st.from_regex(r"[a-zA-Z0-9_.]{1,8}(-[a-zA-Z0-9_.]{0,8}){1,3}", fullmatch=True),
)


@given(name=_names, version=_versions, build=_builds, tag=_tags)
def test_a_wheel_says_what_packaging_reads_or_is_refused(name: str, version: str, build: str, tag: str) -> None:
    filename = "-".join(part for part in (name, version, build, tag) if part) + ".whl"
    found = by_us(filename)
    if found is not None:
        assert found == by_packaging(filename)


@given(name=st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?", fullmatch=True), version=_versions)
def test_an_sdist_says_what_packaging_reads_or_is_refused(name: str, version: str) -> None:
    for suffix in (".tar.gz", ".zip"):
        found = by_us(f"{name}-{version}{suffix}")
        if found is not None:
            assert found == by_packaging(f"{name}-{version}{suffix}")


@given(
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,8}(_[A-Za-z0-9]{1,4})?", fullmatch=True),
    version=st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(rc[0-9])?(\.post[0-9])?(\+[a-z]{1,3})?", fullmatch=True),
    build=st.one_of(st.just(""), st.from_regex(r"[0-9]{1,3}[a-z]{0,2}", fullmatch=True)),
    tag=st.sampled_from(["py3-none-any", "py2.py3-none-any", "cp37-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64"]),
)
def test_no_wheel_of_the_usual_shape_is_refused(name: str, version: str, build: str, tag: str) -> None:
    filename = "-".join(part for part in (name, version, build, tag) if part) + ".whl"
    assert by_us(filename) == by_packaging(filename) is not None


@given(st.text(alphabet=st.characters() | st.sampled_from(string.ascii_letters + ".-_+!/\\"), max_size=40))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for filename in (text, f"{text}.whl", f"{text}-1.0.tar.gz", f"foo-{text}-py3-none-any.whl"):
        found = by_us(filename)
        assert found is None or (filename.isascii() and "/" not in filename and "\\" not in filename)


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        pytest.param("functools32-3.2.3-2.tar.gz", "functools32", "3.2.3.post2", id="D7"),
        pytest.param("zope.interface-6.4.tar.gz", "zope-interface", "6.4", id="dot-for-dash"),
        pytest.param("Zope_Interface-6.4.tar.gz", "zope-interface", "6.4", id="underscore-and-capitals"),
        pytest.param("zope--interface-6.4.zip", "zope-interface", "6.4", id="run-of-dashes"),
        pytest.param("backports.zoneinfo-0.2.1.tar.bz2", "backports-zoneinfo", "0.2.1", id="bz2"),
        pytest.param("foo-1.0.tgz", "foo", "1.0", id="tgz"),
        pytest.param("foo-1.0.tar.xz", "foo", "1.0", id="xz"),
    ],
)
def test_the_sdist_of_a_known_project(filename: str, project: str, version: str) -> None:
    expected = Sdist(filename, canonicalize_name(project), Version(version))
    assert filenames.parse_sdist_of(filename, canonicalize_name(project)) == expected


def test_the_sdist_of_another_project_says_so() -> None:
    assert filenames.parse_sdist_of("bar-1.0.tar.gz", canonicalize_name("foo")).name == "bar"
    assert filenames.parse_sdist_of("foo-bar-1.0.tar.gz", canonicalize_name("foo")).name == "foo-bar"


def test_a_wheel_is_no_sdist_of_a_known_project() -> None:
    with pytest.raises(InvalidFilename):
        filenames.parse_sdist_of("foo-1.0-py3-none-any.whl", canonicalize_name("foo"))


@pytest.mark.parametrize(
    ("filename", "universal"),
    [
        ("foo-1.0-py3-none-any.whl", True),
        ("foo-1.0-cp311-none-any.whl", True),
        ("foo-1.0-py3-none-win_amd64.whl", False),
        ("foo-1.0-py3-none-any.manylinux1_x86_64.whl", False),
    ],
)
def test_a_universal_wheel_is_for_any_platform(filename: str, universal: bool) -> None:
    parsed = filenames.parse(filename)
    assert isinstance(parsed, Wheel)
    assert parsed.universal is universal


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a-1.whl", True),
        ("a-1.tar.gz", True),
        ("a-1.zip", True),
        ("a-1.egg", False),
        ("a-1.exe", False),
        ("a-1.whl.metadata", False),
    ],
)
def test_wheels_and_sdists_are_artifacts(filename: str, expected: bool) -> None:
    assert filenames.is_artifact(filename) is expected


def test_equal_tag_sets_are_the_same_object() -> None:
    first, second = filenames.parse("foo-1.0-py2.py3-none-any.whl"), filenames.parse("bar-2.0-py2.py3-none-any.whl")
    assert isinstance(first, Wheel)
    assert isinstance(second, Wheel)
    assert first.tags is second.tags


def test_tens_of_thousands_of_filenames_are_read() -> None:
    platforms = ("manylinux_2_17_x86_64.manylinux2014_x86_64", "macosx_11_0_arm64", "win_amd64", "musllinux_1_1_x86_64")
    wheels = [
        f"package_{number}-{number % 40}.{number % 7}-cp3{minor}-cp3{minor}-{platform}.whl"
        for number in range(1500)
        for minor in range(8, 13)
        for platform in platforms
    ]
    start = time.process_time()
    read = {filenames.parse(filename).name for filename in wheels}
    seconds = time.process_time() - start
    print(f"{len(wheels)} filenames in {seconds:.2f} s")
    assert len(read) == 1500
