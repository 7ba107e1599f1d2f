"""Downloading with real wheels, real pip and a real index on loopback."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.downloads.batches import divide
from mirror.downloads.configuration import Configuration, Network, PipSettings
from mirror.downloads.direct import DirectDownloader
from mirror.downloads.pip import PipDownloader
from mirror.errors import MirrorError
from mirror.files import DigestCache
from mirror.model import Digest, Plan, PlannedFile, Reason
from mirror.phases.download import DownloadResult, download
from mirror.pool import Pool
from mirror.progress import Silence
from tests import faulty_index
from tests.faulty_index import FaultyIndex
from tests.wheels import digest_of, make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mirror.downloads.base import Arrival
    from mirror.progress import Task

IMPATIENT = Network(timeout=5.0, retries=1)


@pytest.fixture
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as running:
        yield running


def configuration(
    index: FaultyIndex, network: Network = IMPATIENT, environ: Mapping[str, str] | None = None
) -> Configuration:
    return Configuration(PipSettings(indexes=(index.url,), network=network), {**os.environ, **(environ or {})})


def planned(path: Path, url: str, **facts: object) -> PlannedFile:
    name, version = path.name.removesuffix(".tar.gz").split("-")[:2]
    values: dict[str, object] = {
        "filename": path.name,
        "project": name.replace("_", "-"),
        "version": version,
        "digest": digest_of(path),
        "home": "noarch" if path.name.endswith(("-any.whl", ".tar.gz")) else "linux-x86_64",
        "python": "3.11",
        "url": url,
        "size": path.stat().st_size,
    }
    return PlannedFile(**{**values, **facts})  # type: ignore[arg-type]


class Mirror:
    """A pool and the two ways to fill it."""

    def __init__(self, root: Path, configuration: Configuration) -> None:
        self.root = root
        self.digests = DigestCache(root / "digests.json")
        self.pool = Pool(root / "packages", self.digests)
        self.direct = DirectDownloader(configuration, self.digests)
        self.pip = PipDownloader(configuration, self.digests, direct=self.direct, workers=2)
        self.staging = root / "staging"

    def download(self, *files: PlannedFile, dry_run: bool = False) -> DownloadResult:
        plan = Plan(files=tuple(sorted(files, key=lambda file: file.filename)))
        return download(plan, self.pool, self.pip, self.direct, self.staging, Silence(), dry_run=dry_run)

    def names(self) -> set[str]:
        return {path.name for path in self.pool.root.rglob("*") if path.is_file()}


@pytest.fixture
def mirror(tmp_path: Path, index: FaultyIndex) -> Mirror:
    return Mirror(tmp_path / "mirror", configuration(index))


def several(tmp_path: Path, index: FaultyIndex, *names: str) -> list[PlannedFile]:
    wheels = [make_wheel(tmp_path / "upstream", name, "1.0") for name in names]
    return [planned(wheel, index.add(wheel)) for wheel in wheels]


def test_wheels_of_every_platform_and_python_arrive_at_their_home(
    tmp_path: Path, index: FaultyIndex, mirror: Mirror
) -> None:
    upstream = tmp_path / "upstream"
    cases = [
        ("py3-none-any", "noarch", "3.11"),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", "linux-x86_64", "3.11"),
        ("cp311-cp311-musllinux_1_2_aarch64", "musllinux-aarch64", "3.11"),
        ("cp311-cp311-macosx_11_0_arm64", "macos-arm64", "3.11"),
        ("cp311-cp311-win_amd64", "windows-amd64", "3.11"),
        ("cp39-abi3-win_amd64", "windows-amd64", "3.12"),
        ("py3-none-macosx_10_9_universal2", "macos-arm64", "3.13"),
        ("cp37-cp37m-manylinux1_x86_64", "linux-x86_64", "3.7"),
        ("cp312-none-win_amd64", "windows-amd64", "3.12"),
        ("py2.py3-none-any", "noarch", "3.8"),
    ]
    files = []
    for number, (tag, home, python) in enumerate(cases):
        # Two of one project cannot ride with one pip; neither can a Requires-Python stop any.
        wheel = make_wheel(upstream, f"project-{number // 2}", f"1.{number}", tag, requires_python=">=3.40")
        files.append(planned(wheel, index.add(wheel), home=home, python=python))
    result = mirror.download(*files)
    assert result.failures == ()
    assert result.fetched == len(cases)
    assert result.fetched_size == sum(file.size or 0 for file in files)
    for file in files:
        assert (mirror.pool.root / file.home / file.filename).read_bytes() == (upstream / file.filename).read_bytes()
    assert all(len(index.asked(file.filename)) == 1 for file in files)
    assert not mirror.staging.exists()


def test_what_the_pool_holds_is_not_fetched_again(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    files = several(tmp_path, index, "one", "two")
    mirror.download(files[0])
    before = len(index.requests)
    result = mirror.download(*files)
    assert (result.fetched, result.held) == (1, 1)
    assert [request.path for request in index.requests[before:]] == [f"/files/{files[1].filename}"]
    again = Mirror(mirror.root, configuration(index)).download(*files)
    assert (again.fetched, again.held, again.failures) == (0, 2, ())


def test_a_dry_run_fetches_nothing(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    files = several(tmp_path, index, "one", "two")
    result = mirror.download(*files, dry_run=True)
    assert (result.fetched, result.fetched_size) == (2, sum(file.size or 0 for file in files))
    assert index.requests == []
    assert not mirror.root.exists() or mirror.names() == set()


def test_sdists_are_fetched_without_running_them(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    sdist = make_sdist(tmp_path / "upstream", "builds-badly", "1.0")
    wheel = make_wheel(tmp_path / "upstream", "fine", "1.0")
    result = mirror.download(planned(sdist, index.add(sdist)), planned(wheel, index.add(wheel)))
    assert result.failures == ()
    assert mirror.names() >= {sdist.name, wheel.name}


def test_no_digest_is_computed_twice(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    sdist = make_sdist(tmp_path / "upstream", "one", "1.0")
    mirror.download(planned(sdist, index.add(sdist)))
    held = mirror.pool.root / "noarch" / sdist.name
    # The bytes change but not what the cache goes by, so a second digest of the file would differ.
    before = held.stat()
    held.write_bytes(bytes(before.st_size))
    os.utime(held, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert mirror.digests.digest(held) == digest_of(sdist).hex


def test_a_file_url_is_copied(tmp_path: Path, mirror: Mirror) -> None:
    wheel = make_wheel(tmp_path / "up stream", "one", "1.0+local")
    sdist = make_sdist(tmp_path / "up stream", "two", "1.0")
    gone = make_wheel(tmp_path / "other", "gone", "1.0")
    files = [planned(path, path.as_uri()) for path in (wheel, sdist, gone)]
    gone.unlink()
    result = mirror.download(*files)
    assert result.fetched == 2
    assert [(failure.filename, failure.reason) for failure in result.failures] == [(gone.name, Reason.NOT_OFFERED)]


def test_a_url_that_does_not_end_in_the_filename(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    wheel = make_wheel(tmp_path / "upstream", "one", "1.0")
    index.files["download"] = wheel.read_bytes()
    assert mirror.download(planned(wheel, index.file_url("download"))).fetched == 1


def test_a_wheel_that_pip_declines_is_mirrored_all_the_same(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    """Other installers take what pip finds faulty; only the digest decides what is mirrored."""
    wheel = make_wheel(tmp_path / "upstream", "odd", "1.0", files={})
    odd = tmp_path / "upstream" / "odd-2.0-py3-none-any.whl"
    odd.write_bytes(wheel.read_bytes())
    fine = several(tmp_path, index, "fine")
    result = mirror.download(planned(odd, index.add(odd)), *fine)
    assert result.failures == ()
    assert mirror.names() >= {odd.name, fine[0].filename}


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_other_strong_digests(tmp_path: Path, index: FaultyIndex, mirror: Mirror, algorithm: str) -> None:
    wheel = make_wheel(tmp_path / "upstream", "one", "1.0")
    sdist = make_sdist(tmp_path / "upstream", "two", "1.0")
    files = [planned(path, index.add(path), digest=digest_of(path, algorithm)) for path in (wheel, sdist)]
    assert mirror.download(*files).failures == ()


def test_an_index_that_only_pip_can_read_is_asked_by_name(tmp_path: Path, index: FaultyIndex) -> None:
    secret = FaultyIndex(credentials=("jane", "s3cr:et/"))
    with secret:
        wheel = make_wheel(tmp_path / "upstream", "one", "1.0+cpu", "cp311-cp311-win_amd64")
        other = make_wheel(tmp_path / "upstream", "one", "1.0+cpu", "cp311-cp311-macosx_11_0_arm64")
        for path in (wheel, other):
            secret.add(path)
        url = secret.url.replace("://", "://jane:s3cr%3Aet%2F@")
        settings = PipSettings(indexes=(index.url, url), network=IMPATIENT)
        mirror = Mirror(tmp_path / "mirror", Configuration(settings, dict(os.environ)))
        files = [planned(path, "", home=home) for path, home in ((wheel, "windows-amd64"), (other, "macos-arm64"))]
        absent = make_wheel(tmp_path / "other", "absent", "1.0")
        result = mirror.download(*files, planned(absent, ""))
    assert result.fetched == 2
    assert [(failure.filename, failure.reason) for failure in result.failures] == [(absent.name, Reason.NOT_OFFERED)]


def test_the_locks_own_index_is_asked_by_name_alone(tmp_path: Path, index: FaultyIndex) -> None:
    with FaultyIndex(credentials=("jane", "pw")) as secret:
        wheel = make_wheel(tmp_path / "upstream", "one", "1.0")
        secret.add(wheel)
        prefix = "POETRY_HTTP_BASIC_MY_CORP_IDX"
        own = configuration(index, environ={f"{prefix}_USERNAME": "jane", f"{prefix}_PASSWORD": "pw"})
        own.credentials.learn(secret.url, "my-corp.idx")
        result = Mirror(tmp_path / "mirror", own).download(planned(wheel, "", index=secret.url))
    assert result.failures == ()
    assert index.requests == []


def test_an_sdist_is_never_asked_of_pip_by_name(tmp_path: Path, mirror: Mirror) -> None:
    sdist = make_sdist(tmp_path / "upstream", "one", "1.0")
    failures = mirror.download(planned(sdist, "")).failures
    assert [failure.reason for failure in failures] == [Reason.NOT_OFFERED]
    assert "credentials" in failures[0].detail


@pytest.mark.parametrize(
    "setting",
    [
        {"PIP_CONSTRAINT": "no-such-file.txt"},
        {"PIP_REQUIREMENT": "no-such-file.txt"},
        {"PIP_NO_BINARY": ":all:"},
        {"PIP_PLATFORM": "win_amd64"},
        {"PIP_DEST": "elsewhere"},
        {"PIP_FIND_LINKS": "http://127.0.0.1:9/"},
        {"PIP_INDEX_URL": "http://127.0.0.1:9/"},
        {"PIP_NO_CLEAN": "1", "PIP_VERBOSE": "3"},
        {"PIP_QUIET": "3"},
        {"PIP_LOG": "log.txt"},
        {"PIP_PROGRESS_BAR": "off"},
        {"PIP_REQUIRE_VIRTUALENV": "1"},
        {"PIP_UPLOADED_PRIOR_TO": "2001-01-01"},
    ],
    ids="-".join,
)
def test_no_setting_of_pips_changes_what_is_downloaded(
    tmp_path: Path, index: FaultyIndex, setting: dict[str, str]
) -> None:
    files = several(tmp_path, index, "one")
    mirror = Mirror(tmp_path / "mirror", configuration(index, environ=setting))
    # Without the second way, so that it is pip that delivers.
    mirror.pip.direct = None
    assert mirror.download(*files).failures == ()


def test_pips_configuration_files_change_nothing_either(tmp_path: Path, index: FaultyIndex) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nno-binary = :all:\n[download]\nconstraint = no-such-file.txt\n")
    files = several(tmp_path, index, "one")
    mirror = Mirror(tmp_path / "mirror", configuration(index, environ={"PIP_CONFIG_FILE": str(config)}))
    mirror.pip.direct = None
    assert mirror.download(*files).failures == ()


def test_credentials_reach_the_index_but_no_command_line(tmp_path: Path) -> None:
    """Standards section 5.5; what is on a command line, every user of the machine can read."""
    with FaultyIndex(credentials=("jane", "s3cret")) as secret:
        wheel = make_wheel(tmp_path / "upstream", "one", "1.0")
        url = secret.add(wheel, faulty_index.drip(seconds=0.02, piece=50))
        settings = PipSettings(indexes=(secret.url.replace("://", "://jane:s3cret@"),), network=IMPATIENT)
        mirror = Mirror(tmp_path / "mirror", Configuration(settings, dict(os.environ)))
        arrivals = mirror.pip.fetch([planned(wheel, url)], mirror.staging, _Task())
        seen, modes = [], set()
        outcomes: list[Arrival] = []
        reader = threading.Thread(target=lambda: outcomes.extend(arrivals))
        reader.start()
        while reader.is_alive():
            seen += _command_lines_below(os.getpid())
            modes |= {stat.S_IMODE(path.stat().st_mode) for path in mirror.staging.rglob("requirements.txt")}
            time.sleep(0.01)
    assert [type(outcome) for _, outcome in outcomes] == [type(wheel)]
    assert modes == {0o600}
    assert "s3cret" not in "".join(seen)
    if Path("/proc/self/cmdline").exists():
        assert any("download" in line for line in seen)


def test_failures_never_show_credentials(tmp_path: Path) -> None:
    with FaultyIndex(credentials=("jane", "other")) as secret:
        wheel, sdist = make_wheel(tmp_path / "upstream", "one", "1.0"), make_sdist(tmp_path / "upstream", "two", "1.0")
        files = [planned(path, secret.add(path)) for path in (wheel, sdist)]
        settings = PipSettings(indexes=(secret.url.replace("://", "://jane:s3cret@"),), network=IMPATIENT)
        mirror = Mirror(tmp_path / "mirror", Configuration(settings, dict(os.environ)))
        failures = mirror.download(*files).failures
    assert [failure.reason for failure in failures] == [Reason.DOWNLOAD_FAILED] * 2
    assert all("credentials" in failure.detail for failure in failures)
    assert "s3cret" not in str(failures)


def test_closing_ends_every_pip(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    wheel = make_wheel(tmp_path / "upstream", "slow", "1.0")
    sdist = make_sdist(tmp_path / "upstream", "slow", "2.0")
    arrivals = [
        mirror.pip.fetch([planned(wheel, index.add(wheel, faulty_index.drip(seconds=0.5)))], mirror.staging, _Task()),
        mirror.direct.fetch(
            [planned(sdist, index.add(sdist, faulty_index.drip(seconds=0.5)))], mirror.staging, _Task()
        ),
    ]
    _until(lambda: len(index.asked("/files/")) == 2)
    began = time.monotonic()
    for source in arrivals:
        source.close()
    assert time.monotonic() - began < 5
    assert not _command_lines_below(os.getpid())
    assert list(arrivals[0]) == []


def test_a_killed_run_is_taken_up_where_it_was(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    files = several(tmp_path, index, "whole", "half", "other")
    left = mirror.staging / "pip-abc" / "temporary" / "pip-unpack-x"
    left.mkdir(parents=True)
    upstream = tmp_path / "upstream"
    (left / files[0].filename).write_bytes((upstream / files[0].filename).read_bytes())
    (left / files[1].filename).write_bytes((upstream / files[1].filename).read_bytes()[:-1])
    (left / f"{files[2].filename}.part").write_bytes((upstream / files[2].filename).read_bytes())
    result = mirror.download(*files)
    assert (result.fetched, result.held, result.failures) == (2, 1, ())
    assert not index.asked(files[0].filename)
    assert not mirror.staging.exists()


def test_an_interruption_keeps_what_is_whole(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    files = several(tmp_path, index, *(f"project-{number}" for number in range(6)))
    slow = make_wheel(tmp_path / "upstream", "slow", "1.0")
    files.append(planned(slow, index.add(slow, faulty_index.drip(seconds=1.0))))

    class Interrupting:
        """The user presses Ctrl-C when two files are here."""

        def __init__(self) -> None:
            self.items = 0

        def advance(self, items: int = 0, size: int = 0, what: str = "") -> None:
            self.items += items
            if self.items == 2:
                raise KeyboardInterrupt

        def expect(self, items: int | None = None, size: int | None = None) -> None: ...

    class Watcher(Silence):
        @contextmanager
        def task(
            self, title: str, *, items: int | None = None, size: int | None = None, unit: str = ""
        ) -> Iterator[Task]:
            yield Interrupting()

    plan = Plan(files=tuple(files))
    with pytest.raises(KeyboardInterrupt):
        download(plan, mirror.pool, mirror.pip, mirror.direct, mirror.staging, Watcher())
    kept = mirror.names()
    assert len(kept) >= 2
    assert not _command_lines_below(os.getpid())
    index.faults.clear()
    before = len(index.requests)
    result = Mirror(mirror.root, configuration(index)).download(*files)
    assert result.failures == ()
    assert result.held == len(kept)
    again = {request.path.rpartition("/")[2] for request in index.requests[before:]}
    assert again == {file.filename for file in files} - kept


def test_a_run_that_is_killed_outright_is_taken_up(tmp_path: Path, index: FaultyIndex) -> None:
    """SIGKILL, which nobody can clean up after: the next run asks only for what was not whole."""
    files = several(tmp_path, index, *(f"project-{number}" for number in range(6)))
    slow = make_wheel(tmp_path / "upstream", "slow", "1.0", files={"data": bytes(60_000)})
    files.append(planned(slow, index.add(slow, faulty_index.drip(seconds=0.5))))
    script = """
import json, sys
from pathlib import Path
from mirror.downloads.configuration import Configuration, PipSettings
from tests.test_downloads import IMPATIENT, Mirror, planned
root, index, *rest = sys.argv[1:]
mirror = Mirror(Path(root), Configuration(PipSettings(indexes=(index,), network=IMPATIENT)))
mirror.download(*(planned(Path(path), url) for path, url in zip(rest[::2], rest[1::2])))
"""
    pairs = [part for file in files for part in (str(tmp_path / "upstream" / file.filename), file.url)]
    home = str(Path(__file__).resolve().parent.parent)
    victim = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "mirror"), index.url, *pairs],
        env={**os.environ, "PYTHONPATH": home},
    )
    # All others are here or on their way when the slow one, the last and smallest to be asked for, has begun.
    _until(lambda: bool(index.asked(slow.name)))
    time.sleep(0.3)
    victim.kill()
    victim.wait()
    asked = {request.path.rpartition("/")[2] for request in index.requests} - {slow.name}
    index.faults.clear()
    before = len(index.requests)
    result = Mirror(tmp_path / "mirror", configuration(index)).download(*files)
    assert result.failures == ()
    assert result.fetched + result.held == len(files)
    again = {request.path.rpartition("/")[2] for request in index.requests[before:]}
    assert len(asked & again) <= 1, "only the one that pip was at may be asked for twice"
    assert not (tmp_path / "mirror" / "staging").exists()


def test_a_missing_pip_stops_everything(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    files = several(tmp_path, index, "one", "two")
    mirror.pip.python = str(tmp_path / "no-python")
    with pytest.raises(MirrorError, match="no-python"):
        mirror.download(*files)


def _wheel(name: str, tag: str = "py3-none-any", *, size: int | None = 1_000_000, python: str = "3.11") -> PlannedFile:
    return PlannedFile(
        filename=f"{name}-1.0-{tag}.whl",
        project=name,  # type: ignore[arg-type]
        version="1.0",
        digest=Digest("sha256", "0" * 64),
        home="noarch",
        python=python,
        size=size,
    )


class TestBatches:
    def test_balance_by_size(self) -> None:
        files = [_wheel(f"p{number}", size=(number + 1) * 10_000_000) for number in range(40)]
        batches = divide(files, 4)
        loads = [sum(file.size or 0 for file in batch.files) for batch in batches]
        assert len(batches) == 4
        assert max(loads) < 1.1 * min(loads)

    def test_every_file_once_and_no_project_twice(self) -> None:
        tags = ["win_amd64", "macosx_11_0_arm64", "manylinux_2_17_x86_64", "manylinux_2_17_aarch64"]
        files = [
            _wheel(f"p{number}", f"cp3{minor}-cp3{minor}-{tag}", python=f"3.{minor}")
            for number in range(10)
            for minor in (11, 12)
            for tag in tags
        ]
        batches = divide(files, 2)
        assert sorted(file.filename for batch in batches for file in batch.files) == sorted(f.filename for f in files)
        for batch in batches:
            assert len({file.project for file in batch.files}) == len(batch.files)
            assert {file.python for file in batch.files} == {batch.python}

    def test_files_for_any_python_fill_other_batches(self) -> None:
        files = [_wheel("native", "cp312-cp312-win_amd64", python="3.12"), _wheel("pure", python="3.8")]
        assert [batch.python for batch in divide(files, 4)] == ["3.12"]

    def test_a_few_small_files_are_not_worth_two_processes(self) -> None:
        assert len(divide([_wheel(f"p{number}", size=1000) for number in range(8)], 4)) == 1

    def test_nothing(self) -> None:
        assert divide([], 4) == ()


class _Task:
    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None: ...

    def expect(self, items: int | None = None, size: int | None = None) -> None: ...


def _until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _command_lines_below(parent: int) -> list[str]:
    """The command lines of this process's children, where the system shows them."""
    lines = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int((place / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                lines.append((place / "cmdline").read_text())
        except (OSError, ValueError):
            continue
    return [line for line in lines if line]
