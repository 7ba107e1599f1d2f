"""Wheels fetched by pip: by exact URL and digest, in batches, several pips at once.

pip brings the user's proxies, certificates, credentials and retries; what is downloaded is decided here alone
(DESIGN section 10). pip keeps nothing of a batch in which one line fails, and copies every file once more at the end;
so each file is linked out of its temporary folder when pip goes on to the next one, if its digest is right. Should a
future pip work otherwise, files are found in `--dest` when it ends, as documented.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from mirror import filenames
from mirror.credentials import origin, redact
from mirror.downloads.batches import Batch, divide
from mirror.downloads.crew import Crew
from mirror.downloads.transcript import Transcript, Trouble, Verdict
from mirror.errors import MirrorError
from mirror.files import DigestCache
from mirror.model import Failure, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mirror.downloads.base import Arrival, Arrivals, Downloader
    from mirror.downloads.configuration import Configuration
    from mirror.model import PlannedFile
    from mirror.progress import Task

_SAFE = "!#$%&'()*+,/:;=?@[]~"
_DEAD_AFTER = 3
"""Files in a row that a host could not deliver, before the others from it are given up."""
_SLOWEST = 1024
"""Bytes a second; whoever sends less, for longer than all of pip's retries take, is as good as silent."""
_START_UP = 60.0
"""Seconds that a pip may take, on a busy machine, before it is at its first file."""
_PATIENT_KILL = 2.0
"""Seconds that a pip has to clean up when it is told to stop."""


class PipDownloader:
    """Fetch wheels by running `pip download` for others' platforms."""

    def __init__(
        self,
        configuration: Configuration,
        digests: DigestCache | None = None,
        *,
        direct: Downloader | None = None,
        workers: int | None = None,
        python: str = sys.executable,
    ) -> None:
        """Run the pip of `python`, up to `workers` at once (default: cores + 2).

        `direct` fetches what pip cannot be asked for (`file:` URLs, URLs that do not end in the filename), and gives
        the last word on files whose bytes pip declined: it looks at nothing but the digest.
        Digests that were computed on the way are left in `digests`.
        """
        self.configuration = configuration
        self.digests = digests or DigestCache()
        self.direct = direct
        self.workers = workers or (os.cpu_count() or 1) + 2
        self.python = python

    def fetch(self, files: Sequence[PlannedFile], staging: Path, task: Task) -> Arrivals:
        """Begin to fetch `files`; see `Downloader`."""
        return _Fetch(self, staging, task).begin(files)

    def environment(self, folder: Path, *, by_name: bool) -> Mapping[str, str]:
        """The environment of a pip process: the user's, without any setting that would change what is downloaded.

        Of pip's own settings only those about reaching hosts are passed on. Constraints, format controls, index
        options, `--pre`, `--no-deps` and the like come from us, or not at all.
        """
        settings = self.configuration.settings
        network = settings.network
        ours = {
            "PIP_CONFIG_FILE": os.devnull,  # pip: "set ... to os.devnull to disable loading all configuration files"
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_COLOR": "1",
            "PIP_CERT": network.cert,
            "PIP_CLIENT_CERT": network.client_cert,
            "PIP_PROXY": network.proxy,
            "PIP_TRUSTED_HOST": " ".join(network.trusted_hosts),
            "PIP_TIMEOUT": f"{network.timeout:g}",
            "PIP_RETRIES": str(network.retries),
            "PIP_RESUME_RETRIES": str(network.retries),
            "PIP_KEYRING_PROVIDER": _keyring(settings.keyring_provider) if by_name else settings.keyring_provider,
            "PYTHONIOENCODING": "utf-8",
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)),
        }
        theirs = {key: value for key, value in self.configuration.environ.items() if not key.startswith("PIP_")}
        return {**theirs, **{key: value for key, value in ours.items() if value}}


@dataclass(kw_only=True, eq=False)
class _Process:
    """One running pip, as the watch over all of them sees it."""

    popen: subprocess.Popen[str]
    temporary: Path
    since: float
    """When it last received something worth mentioning."""
    current: PlannedFile | None = None
    received: int = 0
    silent: bool = False


@dataclass(slots=True)
class _Seats:
    """Where one batch lies: what pip writes for itself, what it delivers, and what we hand on."""

    root: Path
    temporary: Path = field(init=False)
    dest: Path = field(init=False)
    out: Path = field(init=False)

    def __post_init__(self) -> None:
        self.temporary, self.dest, self.out = (self.root / name for name in ("temporary", "dest", "out"))
        for folder in (self.temporary, self.dest, self.out):
            folder.mkdir()


class _Fetch:
    """One call of `fetch`: its batches, its processes, and what became of each file."""

    def __init__(self, downloader: PipDownloader, staging: Path, task: Task) -> None:
        self._downloader = downloader
        self._staging = staging.absolute()
        self._task = task
        self._lock = threading.Lock()
        self._processes: set[_Process] = set()
        self._errands: list[Arrivals] = []
        self._undelivered: Counter[tuple[str, str, int | None]] = Counter()
        self._counted: Counter[str] = Counter()
        self._crew: Crew[Arrival] = Crew(downloader.workers, self._kill_all)

    def begin(self, files: Sequence[PlannedFile]) -> Arrivals:
        exact = [file for file in files if file.url and _pip_can_name(file)]
        by_name = sorted((file for file in files if not file.url), key=lambda file: file.index)
        for file in files:
            if file.url and not _pip_can_name(file):
                self._crew.add(partial(self._ask_directly, file, None))
        for batch in divide(exact, self._downloader.workers):
            self._crew.add(partial(self._run, batch))
        for _, group in groupby(by_name, key=lambda file: file.index):
            for batch in divide(list(group), self._downloader.workers):
                self._crew.add(partial(self._run, batch))
        if files:
            threading.Thread(target=self._watch, name="pip-watch", daemon=True).start()
        return self._crew.sealed()

    def _run(self, batch: Batch) -> None:
        """Let one pip fetch a batch, and settle what it did not bring."""
        batch = self._without_dead_hosts(batch)
        if not batch.files:
            return
        seats = self._seats()
        transcript = Transcript(batch.files)
        missing = {file.filename: file for file in batch.files}
        process = self._start(batch, seats)
        try:
            for line in process.popen.stdout or ():
                done = transcript.hear(line)
                if done is not None and self._deliver(done, seats):
                    del missing[done.filename]
                self._report(transcript, process)
            code = process.popen.wait()
        finally:
            self._end(process)
        if self._crew.stopped.is_set():
            return
        for file in tuple(missing.values()):
            if code == 0 and self._deliver(file, seats, ended=True):
                del missing[file.filename]
        shutil.rmtree(seats.temporary, ignore_errors=True)
        shutil.rmtree(seats.dest, ignore_errors=True)
        if missing:
            self._settle(replace(batch, files=tuple(missing.values())), transcript, process)

    def _seats(self) -> _Seats:
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            # Only its owner may look into it: there may be credentials in the requirements file.
            return _Seats(Path(tempfile.mkdtemp(dir=self._staging, prefix="pip-")))
        except OSError as error:
            raise _disk_error(error.strerror or str(error)) from error

    def _start(self, batch: Batch, seats: _Seats) -> _Process:
        by_name = not batch.files[0].url
        requirements = seats.root / "requirements.txt"
        try:
            with os.fdopen(os.open(requirements, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(self._requirements(batch, by_name=by_name))
        except OSError as error:
            raise _disk_error(error.strerror or str(error)) from error
        python = self._downloader.python
        options = _arguments(batch, requirements, seats.dest)
        if by_name:
            # Only then does pip say that it could not read an index; otherwise such a file is "not found" (-vv: debug).
            options.append("-vv")
        try:
            popen = subprocess.Popen(
                [python, "-m", "pip", "download", *options],
                # `-m` looks into the current folder first, so it is one that holds nothing but wheels.
                cwd=seats.out,
                env=self._downloader.environment(seats.temporary, by_name=by_name),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise MirrorError(f"cannot run {python}: {error.strerror}") from error
        process = _Process(popen=popen, temporary=seats.temporary, since=time.monotonic() + _START_UP)
        with self._lock:
            self._processes.add(process)
        if self._crew.stopped.is_set():
            self._kill_all()
        return process

    def _requirements(self, batch: Batch, *, by_name: bool) -> str:
        lines = self._index_options(batch.files[0].index) if by_name else ["--no-index"]
        for file in batch.files:
            what = f"=={file.version}" if by_name else f" @ {self._address(file.url)}"
            lines.append(f"{file.project}{what} --hash={file.digest}")
        return "".join(f"{line}\n" for line in lines)

    def _address(self, url: str) -> str:
        # No line breaks, no spaces, and no `${NAME}`, which pip would replace by the environment's value.
        return quote(self._downloader.configuration.credentials.inside(url), safe=_SAFE)

    def _index_options(self, index: str) -> list[str]:
        """The indexes that pip may ask by name: the one that the lock names, or all that it is configured to use."""
        configuration = self._downloader.configuration
        settings = configuration.settings
        indexes = (configuration.credentials.inside(index),) if index else settings.indexes
        links = [f"--find-links {quote(link, safe=_SAFE)}" for link in settings.find_links if not index]
        if not indexes:
            return ["--no-index", *links]
        main, *extra = (quote(url, safe=_SAFE) for url in indexes)
        return [f"--index-url {main}", *(f"--extra-index-url {url}" for url in extra), *links]

    def _deliver(self, file: PlannedFile, seats: _Seats, *, ended: bool = False) -> bool:
        """Hand on a file that pip has fetched; whether it was found whole.

        While pip runs, its temporary files are looked at, and our own check of the digest says whether one is whole.
        When it has ended, what lies in --dest is its last word.
        """
        found = next((path for path in _temporary_files(seats.temporary) if path.name == file.filename), None)
        if ended or found is None:
            found = seats.dest / file.filename
        ours = seats.out / file.filename
        try:
            os.link(found, ours)
        except OSError:
            # No hard links here: wait until pip has ended, then take the file itself.
            if not ended or not found.is_file():
                return False
            found.replace(ours)
        if self._downloader.digests.digest(ours, file.digest.algorithm) != file.digest.hex and not ended:
            ours.unlink()
            return False
        with contextlib.suppress(OSError):
            # What lies in --dest already is not copied there by pip when it ends.
            os.link(ours, seats.dest / file.filename)
        self._count(file, ours.stat().st_size)
        with self._lock:
            self._undelivered[origin(file.url)] = 0
        self._crew.give((file, ours))
        return True

    def _report(self, transcript: Transcript, process: _Process) -> None:
        if transcript.current is None:
            return
        if process.current is not transcript.current:
            process.current, process.since = transcript.current, time.monotonic()
        self._count(transcript.current, transcript.received)

    def _count(self, file: PlannedFile, received: int) -> None:
        """Tell progress of new bytes; what is fetched twice counts once."""
        more = received - self._counted[file.filename]
        if more > 0 or file.filename not in self._counted:
            self._counted[file.filename] = max(received, self._counted[file.filename])
            self._task.advance(size=max(more, 0), what=file.filename)

    def _settle(self, batch: Batch, transcript: Transcript, process: _Process) -> None:
        """Find the file that made pip stop, decide about it, and begin again with the rest."""
        if transcript.disk_refused:
            raise _disk_error(transcript.disk_refused)
        if transcript.unusable:
            raise MirrorError(f"pip cannot be used: {transcript.unusable}", hint="pip 25.1 or newer is needed")
        culprit = batch.files[0] if len(batch.files) == 1 else transcript.culprit(batch.files)
        if culprit is None:
            middle = len(batch.files) // 2
            self._again(replace(batch, files=batch.files[:middle]))
            self._again(replace(batch, files=batch.files[middle:]))
            return
        self._decide(culprit, _silence(culprit) if process.silent else transcript.judge(culprit))
        self._again(replace(batch, files=tuple(file for file in batch.files if file is not culprit)))

    def _again(self, batch: Batch) -> None:
        if batch.files:
            self._crew.add(partial(self._run, batch))

    def _decide(self, file: PlannedFile, verdict: Verdict) -> None:
        if verdict.trouble is Trouble.NETWORK:
            with self._lock:
                self._undelivered[origin(file.url)] += 1
        if verdict.trouble is Trouble.JUDGED and file.url and self._downloader.direct is not None:
            self._ask_directly(file, verdict)
        else:
            self._crew.give((file, verdict.failure))

    def _ask_directly(self, file: PlannedFile, verdict: Verdict | None) -> None:
        if self._downloader.direct is None:
            detail = f"{file.url} is no address that pip can be given"
            failure = Failure(filename=file.filename, reason=Reason.DOWNLOAD_FAILED, detail=detail)
            self._crew.give((file, verdict.failure if verdict else failure))
            return
        arrivals = self._downloader.direct.fetch([file], self._staging, self._task)
        with self._lock:
            self._errands.append(arrivals)
        for arrival in arrivals:
            self._crew.give(arrival)

    def _without_dead_hosts(self, batch: Batch) -> Batch:
        with self._lock:
            dead = {host for host, count in self._undelivered.items() if count >= _DEAD_AFTER}
        given_up = [file for file in batch.files if origin(file.url) in dead]
        for file in given_up:
            detail = (
                f"not tried, for {urlsplit(file.url).hostname or 'the index'} failed {_DEAD_AFTER} times in a row; "
                "run again when it is well"
            )
            self._crew.give((file, Failure(filename=file.filename, reason=Reason.DOWNLOAD_FAILED, detail=detail)))
        return replace(batch, files=tuple(file for file in batch.files if file not in given_up))

    def _watch(self) -> None:
        """End every pip that has received next to nothing for longer than its own timeouts and retries take."""
        network = self._downloader.configuration.settings.network
        patience = network.timeout * (network.retries + 2)
        while patience and not self._crew.stopped.wait(min(patience / 4, 1.0)):
            now = time.monotonic()
            with self._lock:
                processes = tuple(self._processes)
            for process in processes:
                received = _bytes_below(process.temporary)
                if abs(received - process.received) >= _SLOWEST * patience:
                    process.since, process.received = now, received
                elif now - process.since > patience:
                    process.silent = True
                    process.popen.kill()

    def _end(self, process: _Process) -> None:
        with self._lock:
            self._processes.discard(process)
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()
        if process.popen.stdout:
            process.popen.stdout.close()

    def _kill_all(self) -> None:
        with self._lock:
            processes, errands = tuple(self._processes), tuple(self._errands)
        for process in processes:
            process.popen.terminate()
        for arrivals in errands:
            arrivals.close()
        deadline = time.monotonic() + _PATIENT_KILL
        for process in processes:
            try:
                process.popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()


def _pip_can_name(file: PlannedFile) -> bool:
    """Whether pip would know the file by its URL; it takes the filename, and the tags, from there."""
    parts = urlsplit(file.url)
    return (
        parts.scheme in ("http", "https")
        and file.filename.endswith(".whl")
        and unquote(parts.path).rpartition("/")[2] == file.filename
    )


def _arguments(batch: Batch, requirements: Path, dest: Path) -> list[str]:
    """Options for files that were chosen already: pip is to fetch and check them, and to judge nothing."""
    wheels = [filenames.parse(file.filename) for file in batch.files]
    tags = {tag for wheel in wheels if isinstance(wheel, filenames.Wheel) for tag in wheel.tags}
    return [
        f"--requirement={requirements}",
        f"--dest={dest}",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--no-cache-dir",
        "--ignore-requires-python",
        "--progress-bar=raw",
        "--implementation=cp",
        f"--python-version={batch.python}",
        *(f"--platform={platform}" for platform in sorted({tag.platform for tag in tags})),
        *(f"--abi={abi}" for abi in sorted({tag.abi for tag in tags})),
    ]


def _keyring(provider: str) -> str:
    """The provider to name: under --no-input pip asks no keyring that it was not told of ("Keyring Support").

    Where pip is asked by name, a keyring may be the very reason.
    """
    if provider not in ("", "auto"):
        return provider
    return "subprocess" if shutil.which("keyring") else "import"


def _silence(file: PlannedFile) -> Verdict:
    host = urlsplit(file.url).hostname or "the index"
    detail = f"{host} sends next to nothing; run again to try again"
    return Verdict(Trouble.NETWORK, Failure(filename=file.filename, reason=Reason.DOWNLOAD_FAILED, detail=detail))


def _temporary_files(folder: Path) -> Iterator[Path]:
    """The files that pip is at, each in a folder of its own. It removes them as it likes, so any may be gone."""
    with contextlib.suppress(OSError):
        for inner in folder.iterdir():
            with contextlib.suppress(OSError):
                yield from inner.iterdir()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in _temporary_files(folder):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _disk_error(words: str) -> MirrorError:
    return MirrorError(
        f"cannot write downloads: {redact(words).rpartition('] ')[2]}",
        hint="free some space or choose another --work-dir; what is complete is kept, run again to go on",
    )
