from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError, IntegrityError, RemoteError
from mirror.files import DigestCache
from mirror.layout import POINTER, headers
from mirror.stores.base import ABSENT, Body
from mirror.stores.local import LocalStore
from tests.store_suite import PAGE, WHEEL, StoreSuite, body, keys, put

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, DigestCache())


class TestLocalStore(StoreSuite):
    """A directory keeps the promises of a store."""


def from_file(path: Path) -> Body:
    data = path.read_bytes()
    return Body(path, hashlib.sha256(data).hexdigest(), len(data))


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A world-writable folder, seen by a user to whom permissions apply (root reads everything)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            path.chmod(0o700)
        shutil.rmtree(folder)


def test_reading_writes_nothing(store: LocalStore, root: Path) -> None:
    list(store.list())
    store.stat(PAGE)
    store.read(POINTER)
    store.delete([])
    assert not root.exists()


def test_a_wheel_is_hard_linked_and_never_hashed_twice(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "pool" / "alpha.whl"
    source.parent.mkdir()
    source.write_bytes(b"wheel")
    digests = DigestCache()
    digests.record(source, "f" * 64)
    store = LocalStore(root, digests)
    # What the cache says is believed here; a wrong entry proves that the bytes were not read again.
    store.put(WHEEL, Body(source, "f" * 64, 5), headers(WHEEL))
    assert (root / WHEEL).samefile(source)
    assert store.digest(WHEEL) == "f" * 64
    assert store.digest(WHEEL, rehash=True) == hashlib.sha256(b"wheel").hexdigest()


def test_a_link_to_the_pool_is_followed(store: LocalStore, root: Path, tmp_path: Path) -> None:
    source = tmp_path / "alpha.whl"
    source.write_bytes(b"wheel")
    source.chmod(0o644)
    link = tmp_path / "link.whl"
    link.symlink_to(source)
    store.put(WHEEL, from_file(link), headers(WHEEL))
    assert not (root / WHEEL).is_symlink()
    assert (root / WHEEL).samefile(source)


def test_a_pool_on_another_file_system_is_copied(store: LocalStore, root: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == root.parent.stat().st_dev:
        pytest.skip("one file system only")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        source = Path(folder) / "alpha.whl"
        source.write_bytes(b"wheel")
        store.put(WHEEL, from_file(source), headers(WHEEL), expect=ABSENT)
        assert not (root / WHEEL).samefile(source)
    assert (root / WHEEL).read_bytes() == b"wheel"


def test_modes_fit_for_a_web_server(store: LocalStore, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "alpha.whl"
    with umask(0o077):
        secret.write_bytes(b"wheel")
        store.put(WHEEL, from_file(secret), headers(WHEEL), expect=ABSENT)
        put(store, PAGE, b"page")
        put(store, POINTER, b"{}", expect=ABSENT)
    for path in (root / WHEEL, root / PAGE, root / POINTER):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    for path in (root, root / "packages", root / "simple", root / "simple/alpha"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600, "the user's own file is left as it is"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "../out",
        "packages/../../out",
        "packages//a",
        "packages/./a",
        "packages/",
        "packages/..",
        "packages\\..\\out",
        "packages/a\0b",
        "packages/a\nb",
        "packages/a:stream",
        "C:/windows",
        "packages/.hidden",
        ".mirror",
        ".mirror/.lock",
        ".git/config",
        "packages/trailing.",
        "packages/trailing ",
        "packages/\udcff",
    ],
)
def test_no_key_leaves_the_directory(store: LocalStore, root: Path, key: str) -> None:
    for act in (
        lambda: store.put(key, body(b"x"), headers(key)),
        lambda: store.stat(key),
        lambda: store.read(key),
        lambda: store.digest(key),
        lambda: store.delete([key]),
        lambda: store.remove(key, expect="x"),
    ):
        with pytest.raises(RemoteError) as caught:
            act()
        assert caught.value.hint
    assert [path for path in files(root.parent) if ".mirror" not in path] == []


def test_a_name_that_is_too_long_is_an_error_and_not_absence(store: LocalStore) -> None:
    put(store, WHEEL, b"x")
    key = "packages/" + "a" * 300
    for act in (lambda: store.stat(key), lambda: store.put(key, body(b"x"), headers(key))):
        with pytest.raises(RemoteError, match="aaa"):
            act()


@pytest.mark.parametrize("place", ["packages", WHEEL], ids=["folder", "file"])
def test_a_symbolic_link_is_refused(store: LocalStore, root: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"kept")
    (root / place).parent.mkdir(parents=True)
    (root / place).symlink_to(outside if place == "packages" else outside / "victim")
    for act in (
        lambda: put(store, WHEEL, b"x"),
        lambda: store.read(WHEEL),
        lambda: store.stat(WHEEL),
        lambda: store.delete([WHEEL]),
        lambda: list(store.list()),
        lambda: list(store.list("packages/")),
    ):
        with pytest.raises(RemoteError, match="symbolic link"):
            act()
    assert files(outside) == ["victim"]
    assert (outside / "victim").read_bytes() == b"kept"


def test_a_directory_behind_a_link_may_be_the_root(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "site").symlink_to(tmp_path / "disk")
    put(LocalStore(tmp_path / "site", DigestCache()), PAGE, b"x")
    assert (tmp_path / "disk" / PAGE).read_bytes() == b"x"


def test_what_is_unreadable_is_never_empty() -> None:
    """Error read as an empty index: the worst of the reported pitfalls (cloud section 9)."""
    with as_nobody() as folder:
        store = LocalStore(folder / "site", DigestCache())
        put(store, PAGE, b"page")
        put(store, POINTER, b"{}")
        (folder / "site" / PAGE).chmod(0)
        (folder / "site/.mirror").chmod(0)
        for act in (
            lambda: store.read(PAGE),
            lambda: store.digest(PAGE),
            lambda: list(store.list("simple/")),
            lambda: store.read(POINTER),
            lambda: store.stat(POINTER),
            lambda: list(store.list(".mirror/")),
        ):
            with pytest.raises(RemoteError, match="Permission denied") as caught:
                act()
            assert caught.value.hint


def test_what_cannot_be_written_is_an_error() -> None:
    with as_nobody() as folder:
        store = LocalStore(folder / "site", DigestCache())
        put(store, PAGE, b"page")
        (folder / "site/simple/alpha").chmod(0o555)
        for act in (lambda: put(store, PAGE, b"new"), lambda: store.delete([PAGE])):
            with pytest.raises(RemoteError, match="Permission denied"):
                act()
        assert (folder / "site" / PAGE).read_bytes() == b"page"
        assert [path for path in files(folder / "site") if "staging" in path and not path.endswith(".lock")] == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resource limits as Linux has them")
def test_a_full_disk_leaves_what_was_there(root: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from mirror.errors import RemoteError
from mirror.files import DigestCache
from mirror.stores.local import LocalStore
from tests.store_suite import PAGE, put
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LocalStore(Path(sys.argv[1]), DigestCache())
put(store, PAGE, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    put(store, PAGE, b"x" * 5000)
except RemoteError as error:
    print(error)
"""
    result = run(program, root)
    assert "File too large" in result.stdout
    assert files(root) == [".mirror/.lock", PAGE]
    assert (root / PAGE).read_bytes() == b"old"


def run(program: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    top = Path(__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=top,
        env={**os.environ, "PYTHONPATH": str(top)},
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
    )


def test_what_a_killed_writer_left_is_invisible_and_swept(store: LocalStore, root: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from mirror.files import DigestCache
from mirror.stores.local import LocalStore
from tests.store_suite import PAGE, put
store = LocalStore(Path(sys.argv[1]), DigestCache())
put(store, PAGE, b"page")
staged = store._staging.path()
staged.write_bytes(b"half a wheel")
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(program, root, check=False)
    assert len(files(root)) == 4, "the page, the lock, what was staged and its owner's lock"
    assert keys(store) == [PAGE]
    put(store, PAGE, b"new")
    left = [path for path in files(root) if path not in (PAGE, ".mirror/.lock")]
    assert [path.rpartition(".")[2] for path in left] == ["lock"], "only the lock of the writer that lives"
    del store


def test_a_living_writer_is_not_swept(root: Path) -> None:
    first, second = LocalStore(root, DigestCache()), LocalStore(root, DigestCache())
    staged = first._staging.path()
    staged.write_bytes(b"half a wheel")
    put(second, PAGE, b"page")
    assert staged.read_bytes() == b"half a wheel"


def test_nothing_is_left_of_a_writer_that_ended(root: Path) -> None:
    program = """
import sys
from pathlib import Path
from mirror.files import DigestCache
from mirror.stores.local import LocalStore
from tests.store_suite import PAGE, put
put(LocalStore(Path(sys.argv[1]), DigestCache()), PAGE, b"page")
"""
    run(program, root)
    assert files(root) == [".mirror/.lock", PAGE]


def test_one_of_many_processes_creates_and_replaces(root: Path) -> None:
    """Conditions hold between processes, not only between threads."""
    program = """
import sys
from pathlib import Path
from mirror.errors import ConflictError
from mirror.files import DigestCache
from mirror.stores.local import LocalStore
from tests.store_suite import POINTER, put
store = LocalStore(Path(sys.argv[1]), DigestCache())
for _ in range(40):
    while True:
        found = store.read(POINTER)
        try:
            put(store, POINTER, b"%04d" % (int(found[0] if found else 0) + 1), expect=found[1] if found else "")
        except ConflictError:
            continue
        break
"""
    top = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(top)}
    runs = [
        subprocess.Popen([sys.executable, "-c", program, str(root)], cwd=top, env=environment) for _number in range(3)
    ]
    assert [each.wait(timeout=120) for each in runs] == [0, 0, 0]
    assert (root / POINTER).read_bytes() == b"0120"


def test_strangers_files_are_listed_but_dot_files_are_not(store: LocalStore, root: Path) -> None:
    put(store, PAGE, b"x")
    for name in (".git/config", "packages/.DS_Store", "packages/.a.whl.123.part", "notes.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"theirs")
    assert keys(store) == ["notes.txt", PAGE]


def test_an_emptied_folder_goes_and_a_strangers_file_keeps_its_own(store: LocalStore, root: Path) -> None:
    put(store, "simple/alpha/index.html", b"x")
    put(store, "simple/beta/index.html", b"x")
    (root / "simple/beta/.keep").write_bytes(b"")
    store.delete(["simple/alpha/index.html", "simple/beta/index.html"])
    assert not (root / "simple/alpha").exists()
    assert (root / "simple/beta/.keep").exists()


def test_a_folder_is_no_object(store: LocalStore) -> None:
    put(store, PAGE, b"x")
    assert store.stat("simple/alpha") is None
    assert store.read("simple") is None
    with pytest.raises(RemoteError):
        put(store, "simple/alpha", b"x")
    with pytest.raises(RemoteError):
        put(store, f"{PAGE}/below", b"x")
    assert keys(store) == [PAGE]


def test_a_flipped_byte_with_the_old_time_is_found_by_rehash_only(store: LocalStore, root: Path) -> None:
    for key in (WHEEL, PAGE):
        put(store, key, b"bytes")
        store.digest(key)
        before = (root / key).stat()
        (root / key).write_bytes(b"bytEs")
        os.utime(root / key, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.digest(PAGE) == hashlib.sha256(b"bytEs").hexdigest(), "what may change is always read"
    assert store.digest(WHEEL) == hashlib.sha256(b"bytes").hexdigest()
    assert store.digest(WHEEL, rehash=True) == hashlib.sha256(b"bytEs").hexdigest()


@pytest.fixture
def folding_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that does not tell upper from lower case; on Linux made with ext4's casefold, where that works."""
    (tmp_path / "PROBE").mkdir()
    if (tmp_path / "probe").exists():
        yield tmp_path
        return
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as stream:
        stream.truncate(16 << 20)
    made = (
        shutil.which("mkfs.ext4")
        and subprocess.run(["mkfs.ext4", "-q", "-O", "casefold", image], check=False, capture_output=True).returncode
        == 0
        and subprocess.run(["mount", "-o", "loop", image, disk], check=False, capture_output=True).returncode == 0
    )
    if not made:
        pytest.skip("no disk here that does not tell upper from lower case")
    try:
        folder = disk / "folding"
        folder.mkdir()
        if subprocess.run(["chattr", "+F", folder], check=False, capture_output=True).returncode:
            pytest.skip("no disk here that does not tell upper from lower case")
        yield folder
    finally:
        subprocess.run(["umount", disk], check=True)


def test_names_that_differ_only_in_case_are_refused_where_they_are_one(folding_disk: Path) -> None:
    store = LocalStore(folding_disk, DigestCache())
    put(store, "packages/Alpha-1.0.tar.gz", b"one", expect=ABSENT)
    assert store.stat("packages/alpha-1.0.tar.gz") is None
    for expect in (None, ABSENT):
        with pytest.raises(RemoteError, match="differs only in case"):
            put(store, "packages/alpha-1.0.tar.gz", b"two", expect=expect)
    store.delete(["packages/alpha-1.0.tar.gz"])
    found = store.read("packages/Alpha-1.0.tar.gz")
    assert found is not None
    assert found[0] == b"one"


def test_a_file_is_no_directory_to_publish_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"theirs")
    store = LocalStore(tmp_path / "file", DigestCache())
    for act in (lambda: list(store.list()), lambda: store.read(POINTER), lambda: put(store, PAGE, b"x")):
        with pytest.raises(RemoteError):
            act()
    assert (tmp_path / "file").read_bytes() == b"theirs"


def test_errors_are_the_ports_own(store: LocalStore) -> None:
    assert (RemoteError.exit_code, ConflictError.exit_code, IntegrityError.exit_code) == (3, 4, 5)
    with pytest.raises(ConflictError, match=POINTER):
        store.remove(POINTER, expect="x")
