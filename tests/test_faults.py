"""An index that misbehaves: what is bad is named with its reason and what to do, and everything else arrives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from mirror.downloads.configuration import Configuration, Network, PipSettings
from mirror.downloads.transcript import Transcript, Trouble
from mirror.errors import MirrorError, RemoteError
from mirror.model import Digest, LockedFile, PlannedFile, Reason
from mirror.progress import Silence
from mirror.upstream.base import Want
from mirror.upstream.http import HttpUpstream
from tests import faulty_index
from tests.faulty_index import FaultyIndex, Page
from tests.test_downloads import IMPATIENT, Mirror, configuration, planned, several
from tests.wheels import digest_of, make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mirror.upstream.base import Offer
    from tests.faulty_index import Fault

KINDS = {"wheel": make_wheel, "sdist": make_sdist}


@pytest.fixture
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, index: FaultyIndex) -> Mirror:
    return Mirror(tmp_path / "mirror", configuration(index))


PASSING: dict[str, Callable[[], Fault]] = {
    "truncated": lambda: faulty_index.truncated(times=1),
    "500-then-200": lambda: faulty_index.broken(500, times=1),
    "503-retry-after": lambda: faulty_index.broken(503, times=1, headers={"Retry-After": "0"}),
    "429-retry-after": lambda: faulty_index.broken(429, times=1, headers={"Retry-After": "0"}),
    "slow": lambda: faulty_index.drip(seconds=0.001),
    "gzip-U13": lambda: faulty_index.gzip_encoded,
    "mislabelled-U13": lambda: faulty_index.mislabelled,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_passing_faults_are_survived(
    tmp_path: Path, index: FaultyIndex, mirror: Mirror, make: Callable[..., Path], fault: Callable[[], Fault]
) -> None:
    bad = make(tmp_path / "upstream", "bad", "1.0")
    result = mirror.download(planned(bad, index.add(bad, fault())), *several(tmp_path, index, "fine", "good"))
    assert result.failures == ()
    assert result.fetched == 3


LASTING: dict[str, tuple[Callable[[], Fault], Reason, str]] = {
    "wrong-bytes": (lambda: faulty_index.wrong_bytes, Reason.DIGEST_MISMATCH, "find out why before you lock again"),
    "404": (lambda: faulty_index.broken(404), Reason.NOT_OFFERED, "lock another release"),
    "410": (lambda: faulty_index.broken(410), Reason.NOT_OFFERED, "lock another release"),
    "403": (lambda: faulty_index.broken(403), Reason.DOWNLOAD_FAILED, "credentials"),
    "endless-500": (lambda: faulty_index.broken(500), Reason.DOWNLOAD_FAILED, "again"),
    "always-truncated": (lambda: faulty_index.truncated(times=99, keep=20), Reason.DOWNLOAD_FAILED, "again"),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("fault", "reason", "advice"), LASTING.values(), ids=LASTING)
def test_lasting_faults_are_named_and_stop_nothing_else(
    tmp_path: Path,
    index: FaultyIndex,
    mirror: Mirror,
    make: Callable[..., Path],
    fault: Callable[[], Fault],
    reason: Reason,
    advice: str,
) -> None:
    bad = make(tmp_path / "upstream", "bad", "1.0")
    fine = several(tmp_path, index, "aaa", "fine", "zzz")
    result = mirror.download(planned(bad, index.add(bad, fault())), *fine)
    assert [(failure.filename, failure.reason) for failure in result.failures] == [(bad.name, reason)]
    assert advice in result.failures[0].detail
    assert mirror.names() - {"digests.json"} == {file.filename for file in fine}
    assert not mirror.staging.exists()


def test_several_culprits_in_one_batch(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    files = several(tmp_path, index, *(f"project-{number}" for number in range(9)))
    bad = {files[0].filename: Reason.NOT_OFFERED, files[4].filename: Reason.DIGEST_MISMATCH}
    index.faults[files[0].filename] = faulty_index.broken(404)
    index.faults[files[4].filename] = faulty_index.wrong_bytes
    result = mirror.download(*files)
    assert {failure.filename: failure.reason for failure in result.failures} == bad
    assert result.fetched == 7
    # Nothing that was there when a neighbour failed is fetched a second time.
    assert all(len(index.asked(file.filename)) == 1 for file in files if file.filename not in bad)


def test_truncation_is_told_apart_from_tampering(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    """Peers row 16: a cut connection looks like tampering to whoever only compares digests."""
    sdist = make_sdist(tmp_path / "upstream", "cut", "1.0")
    url = index.add(sdist, faulty_index.truncated(times=99, keep=20))
    failure = mirror.download(planned(sdist, url)).failures[0]
    assert failure.detail.startswith(f"truncated: 40 of {sdist.stat().st_size} bytes")


def test_a_truncated_download_is_resumed(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    sdist = make_sdist(tmp_path / "upstream", "cut", "1.0", files={"data": os.urandom(300_000)})
    url = index.add(sdist, faulty_index.truncated(times=1, keep=200_000))
    assert mirror.download(planned(sdist, url)).failures == ()
    first, second = index.asked(sdist.name)
    assert "Range" not in first.headers
    assert second.headers["Range"] == "bytes=200000-"
    assert second.headers["If-Range"].startswith('"')


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path, index: FaultyIndex, mirror: Mirror) -> None:
    sdist = make_sdist(tmp_path / "upstream", "changes", "1.0", files={"data": bytes(5000)})
    good = sdist.read_bytes()

    def other_bytes_first(handler: faulty_index.Handler, body: bytes) -> None:
        if handler.headers.get("Range"):
            faulty_index.whole(handler, good)
        else:
            faulty_index.truncated(keep=100)(handler, bytes(len(good)))

    assert mirror.download(planned(sdist, index.add(sdist, other_bytes_first))).failures == ()


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_host_that_drips_for_ever_is_given_up(tmp_path: Path, index: FaultyIndex, make: Callable[..., Path]) -> None:
    hasty = configuration(index, Network(timeout=0.4, retries=0))
    bad = make(tmp_path / "upstream", "bad", "1.0")
    url = index.add(bad, faulty_index.drip(seconds=0.2, piece=1))
    began = time.monotonic()
    result = Mirror(tmp_path / "mirror", hasty).download(planned(bad, url), *several(tmp_path, index, "fine"))
    assert time.monotonic() - began < 20
    assert [(failure.filename, failure.reason) for failure in result.failures] == [(bad.name, Reason.DOWNLOAD_FAILED)]
    assert result.fetched == 1


def test_a_dead_host_is_not_asked_for_everything(tmp_path: Path, index: FaultyIndex) -> None:
    """Each file would take all of pip's retries; after a few the rest from that host is given up, others go on."""
    with FaultyIndex() as dying:
        lost = several(tmp_path, dying, *(f"lost-{number}" for number in range(8)))
    fine = several(tmp_path, index, "fine", "good")
    result = Mirror(tmp_path / "mirror", configuration(index, Network(timeout=1, retries=0))).download(*lost, *fine)
    assert {failure.filename for failure in result.failures} == {file.filename for file in lost}
    assert {failure.reason for failure in result.failures} == {Reason.DOWNLOAD_FAILED}
    assert sum("not tried" in failure.detail for failure in result.failures) >= 3
    assert result.fetched == 2


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_credentials_are_not_taken_to_another_origin(
    tmp_path: Path, index: FaultyIndex, make: Callable[..., Path]
) -> None:
    """Standards section 5.5: credentials are stripped on a redirect to another origin."""
    with FaultyIndex(credentials=("jane", "s3cret")) as secret:
        path = make(tmp_path / "upstream", "moved", "1.0")
        url = secret.add(path, faulty_index.redirect(index.add(path)))
        settings = PipSettings(indexes=(secret.url.replace("://", "://jane:s3cret@"),), network=IMPATIENT)
        mirror = Mirror(tmp_path / "mirror", Configuration(settings, dict(os.environ)))
        assert mirror.download(planned(path, url)).failures == ()
    assert any("Authorization" in request.headers for request in secret.asked(path.name))
    assert [request for request in index.asked(path.name) if "Authorization" in request.headers] == []
    assert len(index.asked(path.name)) == 1


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_full_disk_stops_everything_and_says_so(
    tmp_path: Path, index: FaultyIndex, make: Callable[..., Path]
) -> None:
    """No file may grow beyond 200 kB in the child, which is what a full disk looks like to whoever writes."""
    pytest.importorskip("resource")
    big = make(tmp_path / "upstream", "big", "1.0", files={"data": os.urandom(400_000)})
    fine = several(tmp_path, index, "fine")[0]
    spec = {
        "index": index.url,
        "root": str(tmp_path / "mirror"),
        "files": [[str(big), index.add(big)], [str(tmp_path / "upstream" / fine.filename), fine.url]],
    }
    script = """
        import json, resource, signal, sys
        from pathlib import Path
        from mirror.downloads.configuration import Configuration, PipSettings
        from mirror.errors import MirrorError
        from tests.test_downloads import IMPATIENT, Mirror, planned
        spec = json.loads(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        mirror = Mirror(Path(spec["root"]), Configuration(PipSettings(indexes=(spec["index"],), network=IMPATIENT)))
        try:
            mirror.download(*(planned(Path(path), url) for path, url in spec["files"]))
        except MirrorError as error:
            print(error, "|", error.hint)
            sys.exit(error.exit_code)
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), json.dumps(spec)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stdout
    assert "free some space" in done.stdout
    assert not list((tmp_path / "mirror").rglob(big.name))
    assert not (tmp_path / "mirror" / "staging").exists()


HOSTILE = [
    "../../evil-1.0-py3-none-any.whl",
    "evil-1.0-py3-none-<script>.whl",
    "evil-1.0-py3-none-any.whl\n--index-url=http://evil.example/",
    "/etc/evil-1.0.tar.gz",
    "..\\evil-1.0.tar.gz",
]


def test_hostile_names_and_addresses_in_pages_are_never_written(
    tmp_path: Path, index: FaultyIndex, mirror: Mirror
) -> None:
    """Standards section 5.2: a page may say what it likes; only files that the lock names are looked at."""
    wheel = make_wheel(tmp_path / "upstream", "evil", "1.0")
    index.add(wheel)
    locked = LockedFile(wheel.name, digest_of(wheel))
    files = [{"filename": name, "url": name, "hashes": {}} for name in HOSTILE]
    # The locked file itself, at addresses that would smuggle an option, a variable or a local file into pip.
    addresses = [
        "file:///etc/passwd",
        "javascript:alert(1)",
        f"{index.root}files/{wheel.name}\n--index-url http://evil.example/",
        f"{index.root}${{HOME}}/{wheel.name}",
        f"{index.root}files/{wheel.name} --hash=sha256:{'0' * 64}",
    ]
    for address in addresses:
        entry = {"filename": wheel.name, "url": address, "hashes": {"sha256": locked.digest.hex}}
        body = json.dumps({"meta": {"api-version": "1.1"}, "name": "evil", "files": [*files, entry]})
        index.pages["evil"] = Page(body.encode(), faulty_index.JSON)
        upstream = HttpUpstream(configuration=configuration(index), cache=tmp_path / f"pages-{hash(address)}.json")
        want = Want(project=canonicalize_name("evil"), index="", files=(locked,))
        offer = upstream.read([want], Silence())[want.project, ""]
        assert set(offer.files) <= {wheel.name}
        if wheel.name in offer.files:
            assert not address.startswith(("file:", "javascript:"))
            mirror.download(planned(wheel, offer.files[wheel.name].url))
    home = os.environ.get("HOME", "/root")
    assert not [request for request in index.requests if home in request.path]
    assert {path.name for path in mirror.root.rglob("*") if path.is_file()} <= {wheel.name, "digests.json"}
    assert {path.name for path in tmp_path.rglob("*evil*")} == {wheel.name}


def read(index: FaultyIndex, tmp_path: Path, *wheels: Path, network: Network = IMPATIENT) -> dict[str, Offer]:
    wants = [
        Want(
            project=canonicalize_name(wheel.name.split("-")[0]),
            index="",
            files=(LockedFile(wheel.name, digest_of(wheel)),),
        )
        for wheel in wheels
    ]
    upstream = HttpUpstream(configuration=configuration(index, network), cache=tmp_path / "pages.json")
    return {project: offer for (project, _), offer in upstream.read(wants, Silence()).items()}


def test_a_page_without_the_locked_file(tmp_path: Path, index: FaultyIndex) -> None:
    wheel = make_wheel(tmp_path, "withdrawn", "1.0")
    index.add(wheel)
    index.unlisted.add(wheel.name)
    offer = read(index, tmp_path, wheel)["withdrawn"]
    assert (dict(offer.files), offer.problem, offer.by_name) == ({}, "", False)


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (Page(b"broken", status=500), "answers 500"),
        (Page(b"{}", "application/json"), "application/json"),
        (Page(b"GIF89a", "application/octet-stream"), "application/octet-stream"),
        (Page(b"{", faulty_index.JSON), "JSON"),
        (Page(b'{"meta":{"api-version":"2.0"},"files":[]}', faulty_index.JSON), "2.0"),
        (Page(b"", status=302, headers={"Location": "ftp://files.example/"}), "ftp"),
        (Page(b"", status=302, headers={"Location": "file:///etc/passwd"}), "file"),
    ],
    ids=["500", "U7-json", "U7-octets", "half-a-page", "api-2", "redirect-ftp", "redirect-file"],
)
def test_what_is_no_page_is_a_problem_and_never_absence(
    tmp_path: Path, index: FaultyIndex, page: Page, told: str
) -> None:
    """DESIGN rule 4: only "not found" means absent."""
    bad, fine = make_wheel(tmp_path, "bad", "1.0"), make_wheel(tmp_path, "fine", "1.0")
    index.add(fine)
    index.pages["bad"] = page
    offers = read(index, tmp_path, bad, fine, network=Network(timeout=2, retries=0))
    assert told in offers["bad"].problem
    assert fine.name in offers["fine"].files
    assert offers["fine"].problem == ""


def test_a_page_that_breaks_off_is_read_again(tmp_path: Path, index: FaultyIndex) -> None:
    wheel = make_wheel(tmp_path, "cut", "1.0")
    index.add(wheel)
    body = index._html("cut", [wheel.name])
    attempts = []

    class Cut(Page):
        """Promises more than it has the first time."""

        @property
        def headers(self) -> dict[str, str]:
            attempts.append(1)
            return {"Content-Length": str(len(body) + 50), "Connection": "close"} if len(attempts) == 1 else {}

        @headers.setter
        def headers(self, value: object) -> None: ...

    index.pages["cut"] = Cut(body)
    assert wheel.name in read(index, tmp_path, wheel)["cut"].files


def test_nobody_there_at_all(tmp_path: Path) -> None:
    with FaultyIndex() as gone:
        pass
    wheel = make_wheel(tmp_path, "one", "1.0")
    with pytest.raises(RemoteError, match="no index could be read"):
        read(gone, tmp_path, wheel, network=Network(timeout=1, retries=0))


def test_a_silent_host_costs_one_timeout_not_one_for_each_project(tmp_path: Path) -> None:
    wheels = [make_wheel(tmp_path, f"project{number}", "1.0") for number in range(60)]
    with FaultyIndex() as gone:
        pass
    began = time.monotonic()
    with pytest.raises(RemoteError):
        read(gone, tmp_path, *wheels, network=Network(timeout=1, retries=2))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("lines", "trouble", "reason", "words"),
    [
        (
            ["Collecting one==1.0", "ERROR: No matching distribution found for one==1.0"],
            Trouble.GONE,
            Reason.NOT_OFFERED,
            "No matching distribution",
        ),
        (
            [
                "Collecting one@ https://u:pw@files.example/x",
                "ERROR: HTTP error 404 while getting https://u:pw@files.example/x",
            ],
            Trouble.GONE,
            Reason.NOT_OFFERED,
            "https://files.example/x",
        ),
        (
            ["Collecting one", "ERROR: Exception:", "Traceback", "RuntimeError: boom"],
            Trouble.JUDGED,
            Reason.DOWNLOAD_FAILED,
            "boom",
        ),
        ([], Trouble.JUDGED, Reason.DOWNLOAD_FAILED, "without a word"),
    ],
    ids=["no-match", "404", "traceback", "silence"],
)
def test_what_pip_says(lines: list[str], trouble: Trouble, reason: Reason, words: str) -> None:
    file = PlannedFile(
        filename="one-1.0-py3-none-any.whl",
        project=canonicalize_name("one"),
        version="1.0",
        digest=Digest("sha256", "0" * 64),
        home="noarch",
        python="3.11",
    )
    transcript = Transcript([file])
    for line in lines:
        transcript.hear(line)
    verdict = transcript.judge(file)
    assert (verdict.trouble, verdict.failure.reason) == (trouble, reason)
    assert words in verdict.failure.detail
    assert "pw" not in verdict.failure.detail


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (404, Reason.NOT_OFFERED, "lock another release"),
        (403, Reason.DOWNLOAD_FAILED, "credentials"),
        (500, Reason.DOWNLOAD_FAILED, "run again"),
    ],
)
def test_asked_by_name_an_index_that_fails_is_not_an_index_without_the_file(
    tmp_path: Path, index: FaultyIndex, mirror: Mirror, status: int, reason: Reason, words: str
) -> None:
    """Standards section 2.5: pip silently skips an index that refuses or fails; DESIGN rule 4."""
    bad, fine = make_wheel(tmp_path / "upstream", "bad", "1.0"), make_wheel(tmp_path / "upstream", "fine", "1.0")
    index.add(fine)
    index.pages["bad"] = Page(b"", status=status)
    result = mirror.download(planned(bad, ""), planned(fine, ""))
    assert [(failure.filename, failure.reason) for failure in result.failures] == [(bad.name, reason)]
    assert words in result.failures[0].detail
    assert result.fetched == 1


def test_an_old_pip_is_named_as_the_cause(tmp_path: Path, index: FaultyIndex) -> None:
    """A pip that does not know our options fails for every file; that is said once."""
    files = several(tmp_path, index, "one", "two")
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\necho 'no such option: --progress-bar' >&2\nexit 2\n")
    old.chmod(0o755)
    mirror = Mirror(tmp_path / "mirror", configuration(index))
    mirror.pip.python = str(old)
    with pytest.raises(MirrorError, match="no such option") as caught:
        mirror.download(*files)
    assert "25.1" in caught.value.hint
