"""Targets: complete tag lists and marker variables for platforms that are not this one."""

from __future__ import annotations

import pytest
from packaging.markers import Marker
from packaging.tags import Tag

from mirror.errors import MirrorError
from mirror.targets import DEFAULT_TARGETS, NOARCH, TARGETS, Baseline, environment

MARKER_VARIABLES = {
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_version",
    "python_full_version",
    "implementation_name",
    "implementation_version",
}


@pytest.mark.parametrize(
    ("target", "python", "tag", "accepted"),
    [
        pytest.param("linux-x86_64", "3.11", "cp311-cp311-manylinux_2_28_x86_64", True, id="glibc-ceiling"),
        pytest.param("linux-x86_64", "3.11", "cp311-cp311-manylinux_2_29_x86_64", False, id="glibc-above"),
        pytest.param("linux-x86_64", "3.11", "cp311-cp311-manylinux2014_x86_64", True, id="legacy-2014"),
        pytest.param("linux-x86_64", "3.11", "cp311-cp311-manylinux1_x86_64", True, id="legacy-1"),
        pytest.param("linux-aarch64", "3.11", "cp311-cp311-manylinux1_aarch64", False, id="no-manylinux1-on-arm"),
        pytest.param("linux-aarch64", "3.11", "cp311-cp311-manylinux_2_17_aarch64", True, id="arm-floor"),
        pytest.param("linux-x86_64", "3.11", "cp311-cp311-linux_x86_64", True, id="bare-linux-of-torch-cpu"),
        pytest.param("linux-x86_64", "3.12", "cp38-abi3-manylinux_2_17_x86_64", True, id="abi3-of-an-older-python"),
        pytest.param("linux-x86_64", "3.11", "cp312-abi3-manylinux_2_17_x86_64", False, id="abi3-of-a-newer-python"),
        pytest.param("linux-x86_64", "3.11", "cp312-cp312-manylinux_2_17_x86_64", False, id="other-minor"),
        pytest.param("linux-x86_64", "3.11", "py3-none-manylinux_2_17_x86_64", True, id="py3-none-platform"),
        pytest.param("linux-x86_64", "3.11", "cp311-cp311-musllinux_1_2_x86_64", False, id="musl-is-not-glibc"),
        pytest.param("musllinux-x86_64", "3.11", "cp311-cp311-musllinux_1_1_x86_64", True, id="musl"),
        pytest.param("musllinux-x86_64", "3.11", "cp311-cp311-manylinux_2_17_x86_64", False, id="glibc-is-not-musl"),
        pytest.param("macos-arm64", "3.11", "cp311-cp311-macosx_14_0_arm64", True, id="macos-ceiling"),
        pytest.param("macos-arm64", "3.11", "cp311-cp311-macosx_15_0_arm64", False, id="macos-above"),
        pytest.param("macos-arm64", "3.11", "cp311-cp311-macosx_10_9_universal2", True, id="universal2"),
        pytest.param("macos-arm64", "3.11", "cp311-cp311-macosx_10_9_x86_64", False, id="intel-is-not-arm"),
        pytest.param("macos-x86_64", "3.11", "cp311-cp311-macosx_10_9_universal2", True, id="universal2-on-intel"),
        pytest.param("windows-amd64", "3.11", "cp311-cp311-win_amd64", True, id="windows"),
        pytest.param("windows-amd64", "3.11", "cp311-cp311-win32", False, id="32-bit-windows"),
        pytest.param("windows-arm64", "3.11", "cp311-cp311-win_arm64", True, id="windows-on-arm"),
        pytest.param("windows-amd64", "3.11", "py3-none-any", True, id="any"),
        pytest.param("windows-amd64", "3.11", "py2.py3-none-any", True, id="py2.py3"),
        pytest.param("windows-amd64", "3.11", "py2-none-any", False, id="py2"),
        pytest.param("linux-x86_64", "3.11", "pp311-pypy311_pp73-manylinux_2_17_x86_64", False, id="pypy"),
        pytest.param("linux-x86_64", "3.13", "cp313-cp313t-manylinux_2_17_x86_64", False, id="free-threaded"),
    ],
)
def test_a_target_accepts_the_tags_that_its_installers_accept(
    target: str, python: str, tag: str, accepted: bool
) -> None:
    made = environment(TARGETS[target], python, Baseline())
    interpreter, abi, platform = tag.split("-")
    tags = frozenset(Tag(part, abi, platform) for part in interpreter.split("."))
    assert (made.rank(tags) is not None) is accepted


def test_tags_are_ordered_as_installers_order_them() -> None:
    made = environment(TARGETS["linux-x86_64"], "3.12", Baseline())
    order = [
        "cp312-cp312-manylinux_2_28_x86_64",
        "cp312-cp312-manylinux_2_17_x86_64",
        "cp312-cp312-manylinux2014_x86_64",
        "cp312-cp312-linux_x86_64",
        "cp312-abi3-manylinux_2_17_x86_64",
        "cp311-abi3-manylinux_2_17_x86_64",
        "py3-none-manylinux_2_17_x86_64",
        "py3-none-any",
    ]
    ranks = [made.rank(frozenset({Tag(*tag.split("-"))})) for tag in order]
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda rank: rank or 0)


@pytest.mark.parametrize("name", TARGETS)
def test_every_environment_has_all_eleven_marker_variables(name: str) -> None:
    made = environment(TARGETS[name], "3.11", Baseline())
    markers = made.markers("3.11.7")
    assert set(markers) == MARKER_VARIABLES
    assert all(markers.values())
    assert markers["python_version"] == "3.11"
    assert markers["python_full_version"] == markers["implementation_version"] == "3.11.7"


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("linux-x86_64", "sys_platform == 'linux' and platform_machine == 'x86_64' and os_name == 'posix'"),
        ("linux-aarch64", "platform_system == 'Linux' and platform_machine == 'aarch64'"),
        ("macos-arm64", "sys_platform == 'darwin' and platform_machine == 'arm64' and platform_release >= '20.0'"),
        ("windows-amd64", "sys_platform == 'win32' and platform_machine == 'AMD64' and os_name == 'nt'"),
        ("windows-arm64", "platform_system == 'Windows' and platform_machine == 'ARM64'"),
        ("musllinux-aarch64", "sys_platform == 'linux' and platform_python_implementation == 'CPython'"),
    ],
)
def test_markers_are_those_of_the_target_not_of_the_host(name: str, marker: str) -> None:
    made = environment(TARGETS[name], "3.11", Baseline())
    assert Marker(marker).evaluate({**made.markers("3.11.7"), "extra": ""})


def test_the_five_default_targets() -> None:
    assert DEFAULT_TARGETS == ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64", NOARCH)


def test_the_baseline_moves_the_ceiling() -> None:
    baseline = Baseline.parse(glibc="2.35", macos="15.0", musl="1.1")
    assert environment(TARGETS["linux-x86_64"], "3.11", baseline).platforms[0] == "manylinux_2_35_x86_64"
    assert environment(TARGETS["macos-arm64"], "3.11", baseline).platforms[0] == "macosx_15_0_arm64"
    assert environment(TARGETS["musllinux-x86_64"], "3.11", baseline).platforms[0] == "musllinux_1_1_x86_64"


@pytest.mark.parametrize("text", ["2", "2.28.1", "manylinux", "", "2.x"])
def test_a_baseline_that_is_no_version_names_the_setting(text: str) -> None:
    with pytest.raises(MirrorError, match="GLIBC"):
        Baseline.parse(glibc=text, macos="14.0", musl="1.2")


def test_pythons_before_3_8_have_the_pymalloc_abi() -> None:
    made = environment(TARGETS["linux-x86_64"], "3.7", Baseline())
    assert made.rank(frozenset({Tag("cp37", "cp37m", "manylinux1_x86_64")})) is not None
