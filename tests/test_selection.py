"""Selection: which files an environment may use, judged for the target and never for this machine."""

from __future__ import annotations

import random

import pytest
from packaging.utils import canonicalize_name

from mirror import selection
from mirror.errors import LockError
from mirror.model import LockedPackage, Reason, Scope, Source, SourceKind
from mirror.targets import TARGETS, Baseline, Environment, environment

from .locked import ListedLock, package

BASELINE = Baseline()
ALL = Scope()


def on(target: str = "linux-x86_64", python: str = "3.11") -> Environment:
    return environment(TARGETS[target], python, BASELINE)


def accepted(locked: LockedPackage, where: Environment) -> list[str]:
    return [file.filename for file in selection.accepted(locked, where)]


# --- which wheels, in which order ---------------------------------------------------------------


def test_wheels_are_ordered_by_the_best_tag() -> None:
    filenames = [
        "foo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "foo-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "foo-1.0-cp311-cp311-manylinux1_x86_64.whl",
        "foo-1.0-cp311-cp311-linux_x86_64.whl",
        "foo-1.0-cp311-abi3-manylinux1_x86_64.whl",
        "foo-1.0-cp38-abi3-manylinux_2_28_x86_64.whl",
        "foo-1.0-py3-none-manylinux1_x86_64.whl",
        "foo-1.0-py3-none-any.whl",
    ]
    shuffled = random.Random(7).sample(filenames, len(filenames))
    assert accepted(package("foo", "1.0", *shuffled), on()) == filenames


@pytest.mark.parametrize(
    ("tag", "target", "python", "expected"),
    [
        pytest.param("cp38-abi3-win_amd64", "windows-amd64", "3.12", True, id="abi3-forward"),
        pytest.param("cp313-abi3-win_amd64", "windows-amd64", "3.12", False, id="abi3-not-backward"),
        pytest.param("cp311-cp311-macosx_10_9_universal2", "macos-arm64", "3.11", True, id="universal2-on-arm"),
        pytest.param("cp311-cp311-macosx_10_9_universal2", "macos-x86_64", "3.11", True, id="universal2-on-intel"),
        pytest.param("cp311-cp311-macosx_14_0_arm64", "macos-arm64", "3.11", True, id="macos-ceiling"),
        pytest.param("cp311-cp311-macosx_15_0_arm64", "macos-arm64", "3.11", False, id="macos-too-new"),
        pytest.param("cp311-cp311-manylinux_2_34_x86_64", "linux-x86_64", "3.11", False, id="glibc-too-new"),
        pytest.param("cp311-cp311-linux_x86_64", "linux-x86_64", "3.11", True, id="bare-linux"),
        pytest.param("py2-none-any", "linux-x86_64", "3.11", False, id="python-2"),
        pytest.param("py2.py3-none-any", "linux-x86_64", "3.11", True, id="python-2-and-3"),
        pytest.param("cp311-cp311-win32", "windows-amd64", "3.11", False, id="32-bit"),
    ],
)
def test_a_wheel_is_accepted_where_installers_accept_it(tag: str, target: str, python: str, expected: bool) -> None:
    assert bool(accepted(package("foo", "1.0", f"foo-1.0-{tag}.whl"), on(target, python))) is expected


def test_a_higher_build_number_wins_among_equals() -> None:
    filenames = [
        "foo-1.0-10-py3-none-any.whl",
        "foo-1.0-2b-py3-none-any.whl",
        "foo-1.0-2a-py3-none-any.whl",
        "foo-1.0-2-py3-none-any.whl",
        "foo-1.0-0-py3-none-any.whl",
        "foo-1.0-py3-none-any.whl",
    ]
    assert accepted(package("foo", "1.0", *sorted(filenames)), on()) == filenames


def test_a_longer_build_suffix_wins_as_installers_compare_text() -> None:
    filenames = ["foo-1.0-2ab-py3-none-any.whl", "foo-1.0-2a-py3-none-any.whl"]
    assert accepted(package("foo", "1.0", *filenames[::-1]), on()) == filenames
    assert accepted(package("foo", "1.0", *filenames), on()) == filenames


def test_a_better_tag_beats_a_higher_build_number() -> None:
    filenames = ["foo-1.0-cp311-cp311-linux_x86_64.whl", "foo-1.0-9-py3-none-any.whl"]
    assert accepted(package("foo", "1.0", *filenames[::-1]), on()) == filenames


def test_wheels_of_equal_rank_are_chosen_alike_whatever_their_order() -> None:
    filenames = ["foo-1.0-cp311.py3-none-any.whl", "foo-1.0-py3.cp311-none-any.whl"]
    orders = [filenames, filenames[::-1]]
    assert [accepted(package("foo", "1.0", *order), on()) for order in orders] == [filenames, filenames]


def test_sdists_are_no_wheels_and_the_tarball_is_preferred() -> None:
    wheel = "foo-1.0-py3-none-any.whl"
    archives = ["foo-1.0.tar.gz", "foo-1.0.zip", "foo-1.0.tar.bz2", "foo-1.0.tgz", "foo-1.0.tar.xz"]
    locked = package("foo", "1.0", *archives[::-1], wheel)
    assert accepted(locked, on()) == [wheel]
    assert [file.filename for file in selection.sdists(locked)] == archives


# --- environments -------------------------------------------------------------------------------


def test_environments_are_targets_times_the_minors_that_the_lock_admits() -> None:
    lock = ListedLock(requires_python=">=3.10,<3.12")
    targets = [TARGETS["linux-x86_64"], TARGETS["macos-arm64"]]
    made = selection.environments(lock, targets, (), BASELINE)
    assert [str(item) for item in made] == [
        "linux-x86_64 3.10",
        "linux-x86_64 3.11",
        "macos-arm64 3.10",
        "macos-arm64 3.11",
    ]


def test_an_environment_stands_for_the_patch_releases_that_the_lock_admits() -> None:
    lock = ListedLock(requires_python=">=3.11.4,<3.12")
    (made,) = selection.environments(lock, [TARGETS["linux-x86_64"]], (), BASELINE)
    assert made.full_versions == ("3.11.99",)


def test_versions_that_the_lock_does_not_admit_are_left_out() -> None:
    lock = ListedLock(requires_python=">=3.11")
    made = selection.environments(lock, [TARGETS["linux-x86_64"]], ("3.9", "3.11"), BASELINE)
    assert [item.python for item in made] == ["3.11"]


@pytest.mark.parametrize(
    ("requires", "pythons", "named"),
    [(">=3.11", ("3.8", "3.9"), "3.8, 3.9"), (">=4", (), "any that is known")],
    ids=["none-of-the-named", "none-at-all"],
)
def test_a_lock_that_admits_none_of_them_is_an_error(requires: str, pythons: tuple[str, ...], named: str) -> None:
    lock = ListedLock(label="service/poetry.lock", requires_python=requires)
    with pytest.raises(LockError, match=f"admits none of Python {named}") as caught:
        selection.environments(lock, [TARGETS["linux-x86_64"]], pythons, BASELINE)
    assert "service/poetry.lock" in str(caught.value)
    assert "PYTHON_VERSIONS" in caught.value.hint


# --- the question -------------------------------------------------------------------------------

WHEELS = ("foo-1.0-cp310-cp310-win_amd64.whl", "foo-1.0-cp311-cp311-manylinux1_x86_64.whl", "foo-1.0.tar.gz")
PLACES = [on(target, python) for target in ("linux-x86_64", "windows-amd64") for python in ("3.10", "3.11")]


def ask(marker: str = "", locked: LockedPackage | None = None) -> dict[str, selection.Selection]:
    lock = ListedLock(packages=(locked or package("foo", "1.0", *WHEELS),), marked={"foo": marker})
    return {str(answer.environment): answer for answer in selection.select(lock, PLACES, ALL)}


def test_a_wanted_package_has_its_wheels_and_sdists() -> None:
    answers = ask()
    assert {place: answer.verdict for place, answer in answers.items()} == dict.fromkeys(map(str, PLACES))
    assert [file.filename for file in answers["linux-x86_64 3.11"].wheels] == [WHEELS[1]]
    assert [file.filename for file in answers["windows-amd64 3.10"].wheels] == [WHEELS[0]]
    assert [file.filename for file in answers["windows-amd64 3.11"].sdists] == [WHEELS[2]]
    assert answers["windows-amd64 3.11"].wheels == ()


def test_a_marker_excludes_a_platform() -> None:
    answers = ask("sys_platform == 'win32'")
    assert answers["linux-x86_64 3.10"].verdict is Reason.EXCLUDED_BY_MARKER
    assert answers["linux-x86_64 3.11"].verdict is Reason.EXCLUDED_BY_MARKER
    assert answers["windows-amd64 3.10"].verdict is None
    assert answers["linux-x86_64 3.10"].wheels == answers["linux-x86_64 3.10"].sdists == ()


def test_a_package_that_the_platform_wants_under_another_python_is_excluded_by_python() -> None:
    answers = ask("python_version < '3.11'")
    assert {place: answer.verdict for place, answer in answers.items()} == {
        "linux-x86_64 3.10": None,
        "linux-x86_64 3.11": Reason.EXCLUDED_BY_PYTHON,
        "windows-amd64 3.10": None,
        "windows-amd64 3.11": Reason.EXCLUDED_BY_PYTHON,
    }


def test_a_marker_on_both_tells_the_platform_from_the_python() -> None:
    answers = ask("python_version < '3.11' and sys_platform == 'win32'")
    assert answers["linux-x86_64 3.10"].verdict is Reason.EXCLUDED_BY_MARKER
    assert answers["linux-x86_64 3.11"].verdict is Reason.EXCLUDED_BY_MARKER
    assert answers["windows-amd64 3.11"].verdict is Reason.EXCLUDED_BY_PYTHON


@pytest.mark.parametrize("kind", [SourceKind.GIT, SourceKind.URL, SourceKind.FILE, SourceKind.DIRECTORY])
def test_a_direct_reference_is_told_where_it_is_wanted(kind: SourceKind) -> None:
    source = Source(kind=kind, url="https://host.example/foo")
    answers = ask("sys_platform == 'win32'", package("foo", "1.0", *WHEELS, source=source))
    assert answers["windows-amd64 3.10"].verdict is Reason.DIRECT
    assert answers["linux-x86_64 3.10"].verdict is Reason.EXCLUDED_BY_MARKER
    assert answers["windows-amd64 3.10"].wheels == answers["windows-amd64 3.10"].sdists == ()


def test_another_simple_index_is_no_direct_reference() -> None:
    source = Source(kind=SourceKind.LEGACY, url="https://index.example/simple", reference="corp")
    assert ask("", package("foo", "1.0", *WHEELS, source=source))["linux-x86_64 3.11"].verdict is None


def test_a_package_of_no_wanted_group_is_not_in_the_answer() -> None:
    lock = ListedLock(packages=(package("foo", "1.0", *WHEELS), package("tool", "2.0", groups=("dev",))))
    main = Scope(groups=frozenset({canonicalize_name("main")}))
    assert {str(answer.package) for answer in selection.select(lock, PLACES, main)} == {"foo==1.0"}
    assert {str(answer.package) for answer in selection.select(lock, PLACES, ALL)} == {"foo==1.0", "tool==2.0"}


def test_every_package_has_an_answer_in_every_environment() -> None:
    lock = ListedLock(
        packages=(package("bar", "2.0", "bar-2.0.tar.gz"), package("foo", "1.0", *WHEELS)),
        marked={"bar": "python_version >= '4'"},
    )
    answers = selection.select(lock, PLACES, ALL)
    assert [(answer.package.name, str(answer.environment)) for answer in answers] == [
        (name, str(place)) for name in ("bar", "foo") for place in PLACES
    ]
    assert all(answer.lock is lock for answer in answers)


def test_two_versions_of_one_project_are_two_packages() -> None:
    old, new = package("foo", "1.0", "foo-1.0.tar.gz"), package("foo", "2.0", "foo-2.0.tar.gz")
    lock = ListedLock(packages=(old, new))
    assert {answer.package for answer in selection.select(lock, PLACES[:1], ALL)} == {old, new}


@pytest.mark.parametrize(
    ("filenames", "expected"),
    [
        (("foo-1.0.tar.gz",), Reason.SDIST_ONLY),
        (("foo-1.0-cp27-cp27m-win32.whl", "foo-1.0.tar.gz"), Reason.SDIST_ONLY),
        (("foo-1.0-cp27-cp27m-win32.whl",), Reason.NO_WHEEL),
        ((), Reason.NO_WHEEL),
    ],
)
def test_the_reason_why_no_wheel_can_be_had(filenames: tuple[str, ...], expected: Reason) -> None:
    answers = ask("", package("foo", "1.0", *filenames))
    assert {answer.shortfall for answer in answers.values()} == {expected}
