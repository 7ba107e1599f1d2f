"""poetry.lock of every generation: what is refused, what is noticed, and what each environment installs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from mirror import locks
from mirror.errors import LockError
from mirror.locks import markers
from mirror.model import Level, Membership, Scope, SourceKind
from mirror.targets import TARGETS, Baseline, environment
from tests.lockfiles import ALL, PROD, codes, digest, files, flat, members_of, package, poetry, read, selected, write

if TYPE_CHECKING:
    from mirror.locks.base import Lock

_ASSETS = Path(__file__).parent / "assets" / "locks"
_GENERATIONS = ("none", "1.0", "1.1", "2.0", "2.1")


def names(*texts: str) -> frozenset[str]:
    return frozenset(map(canonicalize_name, texts))


def scope(groups: set[str] | None = None, extras: set[str] | None = None) -> Scope:
    return Scope(
        groups=None if groups is None else frozenset(map(canonicalize_name, groups)),
        extras=None if extras is None else frozenset(map(canonicalize_name, extras)),
    )


# One project, locked by five generations of Poetry: the answers must be the same.


@pytest.fixture(params=_GENERATIONS)
def generation(request: pytest.FixtureRequest) -> Lock:
    return locks.read(_ASSETS / request.param)


def test_every_generation_gives_the_same_answers(generation: Lock) -> None:
    assert generation.groups == ("main", "dev")
    assert generation.extras == ("speedups",)
    assert generation.pythons() == ("3.10", "3.11", "3.12")
    assert selected(generation, "linux-x86_64", "3.10") == {"alpha==1.2", "beta-core==2.0", "tomli==2.0.1"}
    assert selected(generation, "linux-x86_64", "3.12") == {"alpha==1.2", "beta-core==2.0"}
    assert selected(generation, "windows-amd64", "3.12") == {"alpha==1.2", "beta-core==2.0", "colorama==0.4.6"}
    everything = {"alpha==1.2", "beta-core==2.0", "colorama==0.4.6", "fast-alpha==0.3", "iniconfig==2.0.0"}
    assert selected(generation, "windows-amd64", "3.12", ALL) == everything


def test_every_generation_states_the_same_requirements(generation: Lock) -> None:
    stated = {item.name: (item.version, item.marker) for item in generation.requirements(ALL)}
    bounds = 'python_version >= "3.10" and python_version < "3.13"'
    assert stated == {
        "alpha": ("1.2", bounds),
        "beta-core": ("2.0", bounds),
        "colorama": ("0.4.6", f'{bounds} and sys_platform == "win32"'),
        "fast-alpha": ("0.3", bounds),
        "iniconfig": ("2.0.0", bounds),
        "tomli": ("2.0.1", 'python_version == "3.10"'),
    }
    assert not any(item.approximate for item in generation.requirements(ALL))


def test_every_generation_lists_the_files_of_the_release(generation: Lock) -> None:
    alpha = next(found for found in generation.packages if found.name == "alpha")
    assert [file.filename for file in alpha.files] == ["alpha-1.2-py3-none-any.whl", "alpha-1.2.tar.gz"]
    assert all(file.digest.strong for file in alpha.files)
    assert Path(generation.path).read_text("utf-8").splitlines()[alpha.line - 1] == "[[package]]"


def test_formats_are_named() -> None:
    assert [locks.read(_ASSETS / name).format for name in _GENERATIONS] == [
        f"poetry.lock {version}" for version in ("1.0", "1.0", "1.1", "2.0", "2.1")
    ]


@pytest.mark.parametrize("spoil", [lambda data: data.replace(b"\n", b"\r\n"), lambda data: b"\xef\xbb\xbf" + data])
@pytest.mark.parametrize("name", _GENERATIONS)
def test_line_ends_and_byte_order_mark(name: str, spoil: object, tmp_path: Path) -> None:
    """CRLF and a byte order mark change nothing but the digest of the file."""
    assert callable(spoil)
    shutil.copytree(_ASSETS / name, tmp_path / name)
    for path in (tmp_path / name).iterdir():
        path.write_bytes(spoil(path.read_bytes()))
    plain, spoilt = locks.read(_ASSETS / name), locks.read(tmp_path / name)
    assert [(found, found.line) for found in plain.packages] == [(found, found.line) for found in spoilt.packages]
    assert plain.requirements(ALL) == spoilt.requirements(ALL)
    assert plain.digest != spoilt.digest


# What is refused, each with its place and what to do.

_NO_FILES = '[[package]]\nname = "a"\nversion = "1.0"\noptional = false\npython-versions = "*"\ngroups = ["main"]\n'


def with_files(*entries: str, name: str = "a", version: str = "1.0", tables: str = "") -> str:
    return package(name, version, files_of=False, groups='["main"]', files=f"[{', '.join(entries)}]", tables=tables)


def entry(filename: str, hashed: str | None = None) -> str:
    return f'{{file = "{filename}", hash = "{hashed or digest()}"}}'


def sourced(**keys: str) -> str:
    table = "\n".join(["[package.source]", *(f'{key} = "{value}"' for key, value in keys.items())])
    return flat("a", tables=table)


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        pytest.param(_NO_FILES, "no-files", "no digest", id="D6 no key files"),
        pytest.param(_NO_FILES + "files = []\n", "no-files", "no digest", id="D6 empty files"),
        pytest.param(package("a"), "no-groups", "groups", id="groups missing"),
        pytest.param(flat("a", groups="3"), "wrong-type", "`groups` is no array of texts", id="groups of a wrong type"),
        pytest.param(flat("a", markers='"or  or"'), "bad-marker", "or  or", id="marker"),
        pytest.param(flat("a", markers='{main = "and ()"}'), "bad-marker", "and ()", id="marker of a group"),
        pytest.param(flat("a", markers="[1]"), "wrong-type", "markers", id="marker of a wrong type"),
        pytest.param(flat("<a>"), "bad-name", "<a>", id="name"),
        pytest.param(flat("a", "one"), "bad-version", "'one'", id="version"),
        pytest.param(flat("a", python_versions='"three"'), "bad-python", "three", id="python-versions"),
        pytest.param(with_files(entry("a-1.0.tar.gz", "sha256:12")), "bad-digest", "sha256:12", id="short digest"),
        pytest.param(with_files('{file = "a-1.0.tar.gz", hash = ""}'), "bad-digest", "''", id="empty digest"),
        pytest.param(
            with_files('{file = "", hash = "sha256:%s"}' % ("0" * 64)), "no-usable-file", "none", id="no name"
        ),
        pytest.param(with_files(entry("a-1.0.tar.gz", "crc:12")), "bad-digest", "crc:12", id="unknown algorithm"),
        pytest.param(
            with_files(entry("a-1.0.tar.gz", "md5:" + "0" * 32)), "weak-digest", "a-1.0.tar.gz", id="md5 only"
        ),
        pytest.param(
            with_files(f'{{file = 3, hash = "{digest()}"}}'),
            "wrong-type",
            "`files.file` is no text",
            id="file of a wrong type",
        ),
        pytest.param(with_files(entry("b-1.0.tar.gz")), "no-usable-file", "none of the files", id="foreign files only"),
        pytest.param(with_files(entry("a-1.0.exe")), "no-usable-file", "none of the files", id="no wheel or sdist"),
        pytest.param(
            with_files(entry("a-1.0.tar.gz"), entry("a-1.0.tar.gz")), "two-digests", "a-1.0.tar.gz", id="two digests"
        ),
        pytest.param(sourced(type="svn", url="x"), "bad-source", "svn", id="unknown type of source"),
        pytest.param(sourced(type="legacy", url="ftp://x"), "bad-source", "ftp://x", id="no index"),
        pytest.param(sourced(type="legacy", url="https://x.example/a\\n-r"), "bad-source", "control", id="line break"),
        pytest.param(sourced(type="legacy", url="http://["), "bad-source", "http://[", id="no URL"),
        pytest.param(sourced(type="legacy", url="http://x.example:y/"), "bad-source", ":y/", id="no port"),
        pytest.param(
            sourced(type="git", url="https://x.example/a"), "git-without-commit", "commit", id="git, no commit"
        ),
        pytest.param(sourced(type="directory", url="../b"), "outside-project", "../b", id="directory outside"),
        pytest.param(sourced(type="file", url="/b.whl"), "outside-project", "/b.whl", id="absolute file"),
        pytest.param(sourced(type="file", url="C:\\\\b.whl"), "outside-project", "C:", id="absolute file on Windows"),
        pytest.param(
            flat("a", tables='[package.dependencies]\nb = ">="'), "bad-requirement", "'>='", id="constraint of an edge"
        ),
        pytest.param(
            flat("a", tables='[package.dependencies]\nb = {version = "*", markers = "x"}'),
            "bad-requirement",
            "marker",
            id="marker of an edge",
        ),
        pytest.param(flat("a", tables="[package.dependencies]\nb = 3"), "wrong-type", "dependencies.b", id="edge"),
    ],
)
def test_refused_with_place_and_reason(packages: str, code: str, said: str, tmp_path: Path) -> None:
    """Every error of locks section 1.10 names the package and the line of its table."""
    write(tmp_path, flat("first") + packages)
    with pytest.raises(LockError) as caught:
        read(tmp_path)
    errors = [notice for notice in caught.value.notices if notice.level is Level.ERROR]
    assert [notice.code for notice in errors] == [code]
    assert said in errors[0].message
    line = (tmp_path / "poetry.lock").read_text("utf-8").splitlines().index("[[package]]", 3) + 1
    assert errors[0].where == f"poetry.lock:{line}"
    assert errors[0].package in ("a", "<a>")
    assert caught.value.hint
    assert str(caught.value).startswith(f"poetry.lock:{line}: {errors[0].package}: ")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"lock_version": "3.0"}, "lock-version", id="lock-version 3"),
        pytest.param({"lock_version": "0.9"}, "lock-version", id="lock-version 0.9"),
        pytest.param({"lock_version": "new"}, "lock-version", id="lock-version is no version"),
        pytest.param({"python": "three"}, "bad-python", id="python-versions"),
        pytest.param({"python": ">4,<3"}, "bad-python", id="python-versions allows nothing"),
        pytest.param({"metadata": "[metadata.hashes]\na = []", "lock_version": "1.0"}, "no-file-names", id="0.12"),
        pytest.param({"lock_version": "2.0", "pyproject": None}, "no-pyproject", id="old, without pyproject"),
    ],
)
def test_a_lock_is_refused_as_a_whole(changes: dict[str, str], code: str, tmp_path: Path) -> None:
    write(tmp_path, flat("a"), **changes)
    with pytest.raises(LockError) as caught:
        read(tmp_path)
    assert code in {notice.code for notice in caught.value.notices if notice.level is Level.ERROR}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[[package]]\nname = \n", "poetry.lock:2 is no valid TOML", id="not TOML"),
        pytest.param("a = 1\n<<<<<<< ours\n=======\n>>>>>>> theirs\n", "poetry.lock:2", id="merge conflict"),
        pytest.param("", "`[metadata]` is missing", id="empty"),
        pytest.param("package = []\n", "`[metadata]` is missing", id="no metadata"),
        pytest.param("[metadata]\nlock-version = '2.1'\n", "`[[package]]` is missing", id="no packages"),
        pytest.param("package = 3\n[metadata]\n", "no array of tables", id="packages of a wrong type"),
        pytest.param("metadata = 3\npackage = []\n", "`metadata` is no table", id="metadata of a wrong type"),
    ],
)
def test_no_lock_at_all(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "poetry.lock").write_text(text, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    with pytest.raises(LockError) as caught:
        read(tmp_path)
    assert any(said in text for text in [str(caught.value), *(notice.message for notice in caught.value.notices)])


def test_a_merge_conflict_is_named(tmp_path: Path) -> None:
    (tmp_path / "poetry.lock").write_text("<<<<<<< ours\n=======\n>>>>>>> theirs\n", encoding="utf-8")
    with pytest.raises(LockError) as caught:
        read(tmp_path)
    assert "conflict" in caught.value.hint


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "poetry.lock").write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(LockError, match=r"poetry\.lock:2 is not UTF-8"):
        read(tmp_path)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, flat("a", "one") + _NO_FILES.replace('"a"', '"b"') + flat("c", markers='"x"'))
    with pytest.raises(LockError) as caught:
        read(tmp_path)
    assert [notice.code for notice in caught.value.notices] == ["bad-version", "no-files", "bad-marker"]
    assert "2 more problems" in str(caught.value)


def test_a_header_inside_a_text_gives_no_wrong_line(tmp_path: Path) -> None:
    write(tmp_path, flat("a", description='"""\n[[package]]\n"""') + flat("b"))
    assert [found.line for found in read(tmp_path).packages] == [0, 0]


@pytest.mark.parametrize("name", ["uv.lock", "pdm.lock", "pylock.toml", "pylock.dev.toml", "Pipfile.lock"])
@pytest.mark.parametrize("as_folder", [True, False])
def test_other_formats(name: str, as_folder: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text("", encoding="utf-8")
    with pytest.raises(LockError, match="recognised but not supported yet") as caught:
        locks.read(tmp_path if as_folder else tmp_path / name)
    assert caught.value.hint


def test_no_lock_there(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="no lock file"):
        locks.read(tmp_path)
    with pytest.raises(LockError, match="does not exist"):
        locks.read(tmp_path / "nowhere")


def test_an_empty_lock_is_fine(tmp_path: Path) -> None:
    lock = read(write(tmp_path, "package = []"))
    assert lock.packages == ()
    assert lock.requirements(ALL) == ()


# What is noticed.


def test_stale(tmp_path: Path) -> None:
    """D8: an error, or a warning when a stale lock is allowed."""
    write(tmp_path, flat("a"))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\ndependencies = ["b"]\n', encoding="utf-8")
    with pytest.raises(LockError, match="has changed since it was locked"):
        read(tmp_path)
    assert "stale-lock" in codes(read(tmp_path, allow_stale=True))


def test_without_pyproject_a_flat_lock_can_be_read(tmp_path: Path) -> None:
    lock = read(write(tmp_path, flat("a") + flat("b", groups='["dev"]'), pyproject=None))
    assert codes(lock) == {"no-pyproject"}
    assert lock.groups == ("main", "dev")
    assert selected(lock, "linux-x86_64", "3.11") == {"a==1.0"}


@pytest.mark.parametrize(
    ("packages", "code", "level"),
    [
        pytest.param(
            with_files(entry("a-1.0-py3-none-any.whl"), entry("b-1.0.tar.gz")),
            "foreign-file",
            Level.WARNING,
            id="file of another project",
        ),
        pytest.param(
            with_files(entry("a-1.0-py3-none-any.whl"), entry("a-2.0.tar.gz")),
            "foreign-file",
            Level.WARNING,
            id="file of another version",
        ),
        pytest.param(
            with_files(entry("a-1.0-py3-none-any.whl"), entry("a-1.0-<b>-py3.whl")),
            "bad-filename",
            Level.WARNING,
            id="hostile filename",
        ),
        pytest.param(
            with_files(entry("a-1.0-py3-none-any.whl"), entry("a-1.0.tar.gz", "md5:" + "0" * 32)),
            "weak-digest",
            Level.WARNING,
            id="one weak digest",
        ),
        pytest.param(
            with_files(entry("a-1.0-py3-none-any.whl"), entry("a-1.0-py3.8.egg"), entry("a-1.0.win32.exe")),
            "other-files",
            Level.NOTE,
            id="egg and exe",
        ),
        pytest.param(flat("a", markers='{dev = ""}'), "unknown-group", Level.WARNING, id="marker of another group"),
        pytest.param(flat("a", groups='["main", "docs"]'), "unknown-group", Level.WARNING, id="group of nobody"),
        pytest.param(
            sourced(type="git", url="https://x.example/a", resolved_reference="0" * 40),
            "git-source",
            Level.WARNING,
            id="git",
        ),
        pytest.param(sourced(type="directory", url="libs/a"), "directory-source", Level.WARNING, id="directory"),
        pytest.param(sourced(type="file", url="libs/a.whl"), "file-source", Level.WARNING, id="file"),
        pytest.param(sourced(type="url", url="https://x.example/a.whl"), "url-source", Level.WARNING, id="url"),
        pytest.param(
            sourced(type="legacy", url="https://x.example/simple", reference="x"),
            "unknown-source",
            Level.WARNING,
            id="index that pyproject does not name",
        ),
        pytest.param(
            sourced(type="legacy", url="https://me:secret@x.example/simple"),
            "credentials",
            Level.WARNING,
            id="credentials in the lock",
        ),
    ],
)
def test_noticed(packages: str, code: str, level: Level, tmp_path: Path) -> None:
    lock = read(write(tmp_path, packages, pyproject='[project]\nname = "demo"\ndependencies = ["a"]\n'))
    found = [notice for notice in lock.notices if notice.code == code]
    assert [notice.level for notice in found] == [level]
    assert "secret" not in str(lock.notices) + str(lock.packages)
    assert len(lock.packages) == 1


def test_notices_of_the_whole_lock(tmp_path: Path) -> None:
    header = "# This file is automatically @generated by Poetry 2.1.1 and should not be changed by hand."
    assert codes(read(write(tmp_path, flat("a"), header=header))) >= {"inaccurate-markers"}  # D9
    assert codes(read(write(tmp_path, flat("a"), lock_version="2.7"))) >= {"lock-version"}
    assert not codes(read(write(tmp_path, flat("a"), pyproject='[project]\nname = "x"\ndependencies = ["a"]\n')))


def test_an_index_that_pyproject_names(tmp_path: Path) -> None:
    source = '[package.source]\ntype = "legacy"\nurl = "https://x.example/simple"\nreference = "x"\n'
    sources = '[[tool.poetry.source]]\nname = "x"\nurl = "https://x.example/simple/"\npriority = "{}"\n'
    for priority, primary in (("primary", "https://x.example/simple/"), ("supplemental", "")):
        write(tmp_path, flat("a", tables=source), pyproject=poetry('a = "*"', sources.format(priority)))
        lock = read(tmp_path)
        assert codes(lock) == {"legacy-source"}
        assert lock.primary_index == primary
        assert lock.packages[0].source.kind is SourceKind.LEGACY
    both = sources.format("primary") + '[[tool.poetry.source]]\nname = "PyPI"\npriority = "primary"\n'
    assert read(write(tmp_path, flat("a", tables=source), pyproject=poetry('a = "*"', both))).primary_index == ""


# What each environment installs.


def test_membership_says_why_not(tmp_path: Path) -> None:
    lock = read(
        write(
            tmp_path,
            flat("everywhere")
            + flat("windows", markers="'sys_platform == \"win32\"'")
            + flat("old", markers="'python_version < \"3.11\"'")
            + flat("both", markers='\'python_version < "3.11" and sys_platform == "win32"\'')
            + flat("never", markers='"<empty>"')
            + flat("extra", markers="'extra == \"x\"'")
            + flat("dev", groups='["dev"]'),
        )
    )
    assert members_of(lock, "linux-x86_64", "3.12") == {
        "everywhere==1.0": Membership.SELECTED,
        "windows==1.0": Membership.BY_MARKER,
        "old==1.0": Membership.BY_PYTHON,
        "both==1.0": Membership.BY_MARKER,
    }
    outside = environment(TARGETS["linux-x86_64"], "3.14", Baseline())
    assert set(lock.membership(outside, PROD).values()) == {Membership.BY_PYTHON}


def test_any_patch_release_counts(tmp_path: Path) -> None:
    lock = read(
        write(
            tmp_path,
            flat("early", markers="'python_full_version < \"3.11.4\"'")
            + flat("late", markers="'python_full_version >= \"3.11.4\"'")
            + flat("one", markers="'python_full_version == \"3.12.2\"'"),
        )
    )
    assert lock.patches("3.11") == ("3.11.0", "3.11.3", "3.11.4", "3.11.99")
    assert selected(lock, "linux-x86_64", "3.11") == {"early==1.0", "late==1.0"}
    assert selected(lock, "linux-x86_64", "3.12") == {"late==1.0", "one==1.0"}


def test_groups_have_markers_of_their_own(tmp_path: Path) -> None:
    markers = "{main = 'sys_platform == \"win32\"', dev = 'python_version < \"3.11\"'}"
    lock = read(
        write(
            tmp_path,
            flat("a", groups='["main", "dev", "docs"]', markers=markers) + flat("b", groups='["dev"]', markers=markers),
        )
    )
    assert selected(lock, "linux-x86_64", "3.10") == set()
    assert selected(lock, "linux-x86_64", "3.10", scope({"main", "dev"}, set())) == {"a==1.0", "b==1.0"}
    assert selected(lock, "linux-x86_64", "3.12", scope({"docs"}, set())) == {"a==1.0"}
    stated = {item.name: item.marker for item in lock.requirements(scope({"main", "dev"}, set()))}
    assert stated["b"] == 'python_version == "3.10"'


def test_an_unknown_group_or_extra_is_refused(tmp_path: Path) -> None:
    lock = read(write(tmp_path, flat("a")))
    for wrong in (scope({"man"}, set()), scope(None, {"x"})):
        with pytest.raises(LockError, match=r"poetry\.lock has no"):
            lock.requirements(wrong)


def test_exclusive_extras(tmp_path: Path) -> None:
    """1.5: each extra alone and all at once; what no installation of all takes is mirrored and reported."""
    lock = read(
        write(
            tmp_path,
            flat("torch", "2.0+cpu", markers='\'extra == "cpu" and extra != "cuda"\'')
            + flat("torch", "2.0+cuda", markers='\'extra == "cuda" and extra != "cpu"\'')
            + flat("rest", markers="'extra == \"cpu\"'"),
            metadata='[extras]\ncpu = ["torch", "rest"]\ncuda = ["torch"]\n',
        )
    )
    assert selected(lock, "linux-x86_64", "3.11", ALL) == {"torch==2.0+cpu", "torch==2.0+cuda", "rest==1.0"}
    assert selected(lock, "linux-x86_64", "3.11") == set()
    assert [item.name for item in lock.requirements(ALL)] == ["rest"]
    warned = next(notice for notice in lock.notices if notice.code == "exclusive-extras")
    assert "torch==2.0+cpu, torch==2.0+cuda" in warned.message


def test_two_releases_at_once_are_refused(tmp_path: Path) -> None:
    lock = read(write(tmp_path, flat("a", "1.0") + flat("a", "2.0")))
    with pytest.raises(LockError, match=r"selects a more than once \(1.0, 2.0\)"):
        selected(lock, "linux-x86_64", "3.11")


def test_two_releases_for_different_pythons(tmp_path: Path) -> None:
    lock = read(
        write(
            tmp_path,
            flat("a", "1.0", markers="'python_version < \"3.11\"'")
            + flat("a", "2.0", markers="'python_version >= \"3.11\"'"),
        )
    )
    assert selected(lock, "linux-x86_64", "3.10") == {"a==1.0"}
    assert selected(lock, "linux-x86_64", "3.11") == {"a==2.0"}


def test_a_package_that_excludes_its_own_python_is_refused(tmp_path: Path) -> None:
    lock = read(write(tmp_path, flat("a", python_versions='">=3.12"')))
    with pytest.raises(LockError, match=r"a==1\.0 for Python 3\.10\.0, which the package itself excludes"):
        selected(lock, "linux-x86_64", "3.10")
    assert selected(lock, "linux-x86_64", "3.12") == {"a==1.0"}


def test_d1_surplus_is_kept_and_reported(tmp_path: Path) -> None:
    """D1: what is recorded as main although main never reaches it stays, for parity, and is named."""
    pyproject = poetry('a = "*"\nb = {version = "*", optional = true}', '[tool.poetry.extras]\nx = ["b"]\n')
    lock = read(write(tmp_path, flat("a") + flat("b") + flat("c"), pyproject=pyproject))
    assert selected(lock, "linux-x86_64", "3.11") == {"a==1.0", "b==1.0", "c==1.0"}
    warned = next(notice for notice in lock.notices if notice.code == "surplus")
    assert warned.level is Level.WARNING
    assert warned.message.endswith(": b, c")


def test_d2_what_is_left_out_is_mirrored_and_reported(tmp_path: Path) -> None:
    """D2: SQLAlchemy[asyncio] needs greenlet everywhere, but old Poetry kept the condition of the edge without it."""
    edge = (
        "[package.dependencies]\n"
        'greenlet = {version = "*", optional = true, markers = \'platform_machine == "x86_64" or extra == "asyncio"\'}'
        '\n[package.extras]\nasyncio = ["greenlet"]\n'
    )
    lock = read(
        write(
            tmp_path,
            flat("sqlalchemy", tables=edge) + flat("greenlet", markers="'platform_machine == \"x86_64\"'"),
            pyproject='[project]\nname = "demo"\ndependencies = ["sqlalchemy[asyncio]"]\n',
        )
    )
    assert selected(lock, "macos-arm64", "3.11") == {"sqlalchemy==1.0", "greenlet==1.0"}
    assert next(notice for notice in lock.notices if notice.code == "left-out").message.endswith(": greenlet")
    assert 'platform_machine == "x86_64"' in next(
        item.marker for item in lock.requirements(PROD) if item.name == "greenlet"
    )


def test_d10_platform_release(tmp_path: Path) -> None:
    lock = read(write(tmp_path, flat("a", markers='\'platform_release >= "20.0" and sys_platform == "darwin"\'')))
    assert selected(lock, "macos-arm64", "3.11") == {"a==1.0"}
    assert selected(lock, "linux-x86_64", "3.11") == set()


def test_an_extra_that_is_not_optional_is_noted(tmp_path: Path) -> None:
    pyproject = poetry('a = "*"', '[tool.poetry.extras]\nx = ["a"]\n')
    lock = read(write(tmp_path, flat("a", markers="'extra == \"x\"'"), pyproject=pyproject))
    assert "extra-not-optional" in codes(lock)


# Locks before 2.1: the walk.


def old(tmp_path: Path, packages: str, pyproject: str, version: str = "2.0", **keys: str) -> Lock:
    return read(write(tmp_path, packages, pyproject=pyproject, lock_version=version, **keys))


def test_d3_extras_are_found_by_name(tmp_path: Path) -> None:
    """D3: an extra's requirement is spelled differently from the edge; only the name can tell that they are one."""
    edge = (
        '[package.dependencies]\npysocks = {version = ">=1.5.6,<1.5.7 || >1.5.7", optional = true}\n'
        '[package.extras]\nsocks = ["PySocks (>=1.5.6,!=1.5.7)"]\n'
    )
    packages = package("requests", tables=edge) + package("pysocks", "1.7", optional="true")
    asking = old(tmp_path, packages, poetry('requests = {version = "*", extras = ["socks"]}'))
    assert selected(asking, "linux-x86_64", "3.11") == {"requests==1.0", "pysocks==1.7"}
    plain = old(tmp_path, packages, poetry('requests = "*"'))
    assert selected(plain, "linux-x86_64", "3.11") == {"requests==1.0"}


def test_d4_several_releases_of_a_name(tmp_path: Path) -> None:
    """D4: which release is meant depends on everything that asks for it, so it takes a fixpoint."""
    picky = (
        "[package.dependencies]\nurllib3 = [\n"
        '    {version = "<2", markers = \'python_version < "3.11"\'},\n'
        '    {version = "<3", markers = \'python_version >= "3.11"\'},\n]\n'
    )
    packages = (
        package("requests", tables='[package.dependencies]\nurllib3 = ">=1,<3"\n')
        + package("botocore", tables=picky)
        + package("urllib3", "1.26")
        + package("urllib3", "2.2")
    )
    lock = old(tmp_path, packages, poetry('requests = "*"\nbotocore = {version = "*", optional = true}'))
    assert selected(lock, "linux-x86_64", "3.10") == {"requests==1.0", "urllib3==2.2"}
    everything = poetry('requests = "*"\nbotocore = "*"')
    lock = old(tmp_path, packages, everything)
    assert selected(lock, "linux-x86_64", "3.10") == {"requests==1.0", "botocore==1.0", "urllib3==1.26"}
    assert selected(lock, "linux-x86_64", "3.12") == {"requests==1.0", "botocore==1.0", "urllib3==2.2"}
    stated = {item.version: item.marker for item in lock.requirements(PROD) if item.name == "urllib3"}
    assert stated == {"1.26": 'python_version == "3.10"', "2.2": 'python_version >= "3.11" and python_version < "3.13"'}


def test_one_release_from_two_indexes(tmp_path: Path) -> None:
    """A project may want one release from another index on some platforms, as chia-blockchain does with psutil."""
    source = '[package.source]\ntype = "legacy"\nurl = "https://x.example/simple"\nreference = "x"\n'
    pyproject = poetry(
        "psutil = [\n"
        '    {version = "5.9", markers = "platform_machine != \'aarch64\'"},\n'
        '    {version = "5.9", markers = "platform_machine == \'aarch64\'", source = "x"},\n]\n',
        '[[tool.poetry.source]]\nname = "x"\nurl = "https://x.example/simple/"\npriority = "supplemental"\n',
    )
    lock = old(tmp_path, package("psutil", "5.9") + package("psutil", "5.9", tables=source), pyproject)

    def index(target: str) -> list[str]:
        env = environment(TARGETS[target], "3.11", Baseline(), lock.patches("3.11"))
        members = lock.membership(env, PROD)
        return [found.source.reference for found, member in members.items() if member is Membership.SELECTED]

    assert index("linux-x86_64") == [""]
    assert index("linux-aarch64") == ["x"]


def test_prod_keeps_to_the_releases_of_the_full_set(tmp_path: Path) -> None:
    """1.8 rule 3: alone, production would take the newest numpy; with the others it cannot."""
    packages = (
        package("numpy", "1.26")
        + package("numpy", "2.0", python_versions='">=3.11"')
        + package("strict", tables='[package.dependencies]\nnumpy = "<2"\n')
    )
    pyproject = poetry('numpy = "*"', '[tool.poetry.group.dev.dependencies]\nstrict = "*"\n')
    lock = old(tmp_path, packages, pyproject)
    assert selected(lock, "linux-x86_64", "3.12") == {"numpy==1.26"}


def test_d5_a_root_stays_optional(tmp_path: Path) -> None:
    """D5: that another group needs it does not make an optional root part of production."""
    pyproject = poetry(
        'flask = {version = "*", optional = true}',
        '[tool.poetry.extras]\nweb = ["flask"]\n[tool.poetry.dev-dependencies]\nflask = "*"\n',
    )
    lock = old(
        tmp_path, package("flask"), pyproject, "1.1", metadata=f"[metadata.files]\nflask = {files('flask', '1.0')}\n"
    )
    assert selected(lock, "linux-x86_64", "3.11") == set()
    assert selected(lock, "linux-x86_64", "3.11", scope({"main"}, {"web"})) == {"flask==1.0"}
    assert selected(lock, "linux-x86_64", "3.11", scope({"dev"}, set())) == {"flask==1.0"}


def test_d7_files_of_several_releases_stand_together(tmp_path: Path) -> None:
    metadata = (
        "[metadata.files]\nmore-itertools = [\n"
        f"{entry('more-itertools-5.0.0.tar.gz')}, {entry('more_itertools-8.4.0-py3-none-any.whl')}]\n"
        f"functools32 = [{entry('functools32-3.2.3-2.tar.gz')}]\n"
    )
    packages = (
        package("more-itertools", "8.4.0", files_of=False)
        + package("more-itertools", "5.0.0", files_of=False)
        + package("functools32", "3.2.3-2", files_of=False)
    )
    lock = old(tmp_path, packages, poetry('more-itertools = "*"\nfunctools32 = "*"'), "1.1", metadata=metadata)
    held = {str(found): [file.filename for file in found.files] for found in lock.packages}
    assert held == {
        "more-itertools==8.4.0": ["more_itertools-8.4.0-py3-none-any.whl"],
        "more-itertools==5.0.0": ["more-itertools-5.0.0.tar.gz"],
        "functools32==3.2.3.post2": ["functools32-3.2.3-2.tar.gz"],
    }
    assert not codes(lock)


def test_the_marker_of_a_package_counts(tmp_path: Path) -> None:
    """1.0 and older state a marker on the package, which the official exporter ignores."""
    packages = package("colorama", files_of=False, marker="'sys_platform == \"win32\"'")
    metadata = f"[metadata.files]\ncolorama = {files('colorama', '1.0')}\n"
    lock = old(tmp_path, packages, poetry('colorama = "*"'), "1.0", metadata=metadata)
    assert selected(lock, "windows-amd64", "3.11") == {"colorama==1.0"}
    assert members_of(lock, "linux-x86_64", "3.11") == {"colorama==1.0": Membership.BY_MARKER}


def test_the_python_key_of_an_edge_counts(tmp_path: Path) -> None:
    packages = package("a", tables='[package.dependencies]\nb = {version = "*", python = "<3.11"}\n') + package("b")
    lock = old(tmp_path, packages, poetry('a = "*"'))
    assert selected(lock, "linux-x86_64", "3.10") == {"a==1.0", "b==1.0"}
    assert members_of(lock, "linux-x86_64", "3.12") == {"a==1.0": Membership.SELECTED, "b==1.0": Membership.BY_PYTHON}


def test_unsafe_packages_may_be_missing(tmp_path: Path) -> None:
    packages = package("a", tables='[package.dependencies]\nsetuptools = "*"\n')
    lock = old(tmp_path, packages, poetry('a = "*"'))
    assert "unlocked" in codes(lock)
    assert selected(lock, "linux-x86_64", "3.11") == {"a==1.0"}


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        pytest.param(
            package("a", tables='[package.dependencies]\nb = ">=1"\n'),
            "b (>=1), which a==1.0 requires",
            id="not locked",
        ),
        pytest.param(
            package("a", tables='[package.dependencies]\nb = ">=2"\n') + package("b"), "locked: 1.0", id="too old"
        ),
        pytest.param(package("a", python_versions='"<3.9"'), "a (*), which the project requires", id="not this Python"),
        pytest.param(package("b"), "a (*), which the project requires", id="a root is not locked"),
    ],
)
def test_an_unmet_requirement_is_refused(packages: str, said: str, tmp_path: Path) -> None:
    lock = old(tmp_path, packages, poetry('a = "*"'))
    with pytest.raises(LockError) as caught:
        selected(lock, "linux-x86_64", "3.11")
    assert said in str(caught.value)


def test_circles_and_the_project_itself(tmp_path: Path) -> None:
    packages = package("a", tables='[package.dependencies]\nb = "*"\ndemo = "*"\n') + package(
        "b", tables='[package.dependencies]\na = {version = "*", extras = ["x"]}\n'
    )
    lock = old(tmp_path, packages, poetry('a = "*"\ndemo = {version = "*", extras = ["x"], optional = true}'))
    assert selected(lock, "linux-x86_64", "3.11") == {"a==1.0", "b==1.0"}
    assert len(lock.requirements(PROD)) == 2


def test_an_extra_that_asks_for_extras(tmp_path: Path) -> None:
    tables = (
        '[package.dependencies]\nb = {version = "*", optional = true}\n[package.extras]\nb = ["b"]\nall = ["a[b]"]\n'
    )
    lock = old(tmp_path, package("a", tables=tables) + package("b"), poetry('a = {version = "*", extras = ["all"]}'))
    assert selected(lock, "linux-x86_64", "3.11") == {"a==1.0", "b==1.0"}


def test_groups_that_include_groups(tmp_path: Path) -> None:
    pyproject = poetry(
        'a = "*"',
        '[tool.poetry.group.dev]\ninclude-groups = ["test"]\n[tool.poetry.group.test.dependencies]\nb = "*"\n',
    )
    lock = old(tmp_path, package("a") + package("b"), pyproject)
    assert selected(lock, "linux-x86_64", "3.11", scope({"dev"}, set())) == {"b==1.0"}


def test_what_differs_by_platform_only_is_spelled_out(tmp_path: Path) -> None:
    """1.8 rule 6: where the lock's clauses do not combine, the marker names the platforms, and says so."""
    linux = '{version = "<2", markers = \'sys_platform == "linux"\'}'
    packages = (
        package("a", tables=f"[package.dependencies]\nc = [{linux}]\n")
        + package("b", tables='[package.dependencies]\nc = "*"\n')
        + package("c", "1.0")
        + package("c", "2.0")
    )
    lock = old(tmp_path, packages, poetry('a = "*"\nb = "*"'))
    assert selected(lock, "linux-x86_64", "3.11") == {"a==1.0", "b==1.0", "c==1.0"}
    assert selected(lock, "macos-arm64", "3.11") == {"a==1.0", "b==1.0", "c==2.0"}
    stated = [item for item in lock.requirements(PROD) if item.name == "c"]
    assert [item.approximate for item in stated] == [True, True]
    assert all(word in stated[1].marker for word in ("darwin", "arm64", "win32", "AMD64"))
    for target in TARGETS:
        points = [environment(TARGETS[target], "3.11", Baseline()).markers("3.11.0")]
        told = {item.version for item in stated if any(map(markers.parse(item.marker).holds, points))}
        assert {f"c=={version}" for version in told} <= selected(lock, target, "3.11")


# Markers that algebra cannot hold.


def test_a_huge_marker_is_stated_plainly(tmp_path: Path) -> None:
    """1.10: a conjunction of many alternatives would take algebra for ever; it is printed as it stands."""
    clauses = " and ".join(
        f"(platform_machine != 'm{number}' or sys_platform == 's{number}' or os_name == 'o{number}')"
        for number in range(40)
    )
    lock = read(write(tmp_path, flat("a", markers=f'"{clauses}"')))
    stated = lock.requirements(PROD)[0].marker
    assert stated.startswith('python_version >= "3.10" and python_version < "3.13" and (platform_machine != "m0" or')
    assert stated.count(" or ") == 80
    assert selected(lock, "linux-x86_64", "3.11") == {"a==1.0"}


def test_an_old_lock_with_huge_markers_is_stated_by_its_walks(tmp_path: Path) -> None:
    """1.8 rule 6: where algebra gives up, the walks of every known environment say when a package is needed."""
    pyproject = poetry("\n".join(f'r{number} = "*"' for number in range(30)))
    packages = "".join(
        package(f"r{number}", tables=f"[package.dependencies]\nz = {{version = '*', markers = \"{marker}\"}}\n")
        for number, marker in enumerate(
            f"python_version < '3.{10 + number % 2}' and platform_machine != 'm{number}'" for number in range(30)
        )
    )
    lock = old(tmp_path, packages + package("z"), pyproject)
    stated = next(item for item in lock.requirements(PROD) if item.name == "z")
    assert (stated.marker, stated.approximate) == ('python_version == "3.10"', False)


def test_the_older_pythons_of_a_range_keep_their_releases(tmp_path: Path) -> None:
    """Nothing is mirrored for Python 3.7, but the file must be right there as well."""
    packages = package("a", "1.0", python_versions='">=3.7"') + package("a", "2.0", python_versions='">=3.8"')
    lock = old(tmp_path, packages, poetry('a = "*"'), python=">=3.7.1,<3.10")
    assert {item.version: item.marker for item in lock.requirements(PROD)} == {
        "1.0": 'python_full_version >= "3.7.1" and python_version < "3.8"',
        "2.0": 'python_version >= "3.8" and python_version < "3.10"',
    }
    assert lock.pythons() == ("3.8", "3.9")
