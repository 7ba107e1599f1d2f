"""What is no longer wanted is not tried again: after Ctrl-C, after a failure, without a lease."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError, RemoteError
from mirror.files import DigestCache
from mirror.guard import CalledOffError, check, courtesy, guarded, pause
from mirror.publication import spread
from mirror.stores.s3 import S3Options, S3Store
from tests.answers import server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def store(endpoint: str, **options: float) -> S3Store:
    given = S3Options(endpoint_url=endpoint, region="eu-one-1", **options)  # type: ignore[arg-type]
    return S3Store.open("s3://bucket", given, DigestCache())


def busy(*_: object) -> tuple[int, dict[str, str], bytes]:
    return 503, {}, b"<Error><Code>SlowDown</Code></Error>"


def refuse() -> None:
    raise ConflictError("not any more")


def test_a_guard_is_asked_before_every_attempt() -> None:
    with server(busy) as running:
        asking = store(running.endpoint, attempts=20)
        with guarded(lambda: refuse() if len(running.asked) == 3 else None), pytest.raises(ConflictError):
            asking.read("key")
        assert len(running.asked) == 3
        with pytest.raises(ConflictError), guarded(refuse):
            asking.read("key")
        assert len(running.asked) == 3


def test_guards_add_up_and_a_courtesy_asks_none_but_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded(refuse):
        with guarded(lambda: None), pytest.raises(ConflictError):
            check()
        with courtesy():
            check()
            late = time.monotonic() + 60
            monkeypatch.setattr(time, "monotonic", lambda: late)
            with pytest.raises(CalledOffError):
                check()
        with pytest.raises(ConflictError):
            check()
    check()


def test_a_pause_ends_when_it_is_called_off() -> None:
    begin = time.monotonic()
    with pytest.raises(ConflictError), guarded(lambda: refuse() if time.monotonic() - begin > 0.3 else None):
        pause(30)
    assert time.monotonic() - begin < 5


def test_the_first_failure_ends_what_others_try_again_and_is_the_one_that_is_told() -> None:
    def act(number: int) -> None:
        if number == 1:
            time.sleep(0.3)
            raise ConflictError("the first")
        while True:
            pause(0.05)

    begin = time.monotonic()
    with pytest.raises(ConflictError, match="the first"):
        list(spread(act, range(4), 4))
    assert time.monotonic() - begin < 5


def test_threads_are_guarded_as_who_started_them() -> None:
    with guarded(refuse), pytest.raises(ConflictError):
        list(spread(lambda _: check(), range(4), 4))
    assert list(spread(lambda number: number, range(4), 2)) == [0, 1, 2, 3]


INTERRUPTED = """
import signal
import sys
from mirror.files import DigestCache
from mirror.publication import spread
from mirror.stores.s3 import S3Options, S3Store

# What runs in the background of a script has been told to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
options = S3Options(endpoint_url=sys.argv[1], region="eu-one-1", attempts=10, timeout=1.5)
store = S3Store.open("s3://bucket", options, DigestCache())
print("asking", flush=True)
list(spread(store.read, [f"key{number}" for number in range(16)], 16))
"""


@pytest.fixture
def silent() -> Iterator[str]:
    """A host that takes connections, and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
@pytest.mark.parametrize("kind", ["silent", "busy"])
def test_ctrl_c_ends_it_within_one_attempt(kind: str, silent: str) -> None:
    """And not after all ten attempts of every request."""
    with server(busy) as running:
        endpoint = silent if kind == "silent" else running.endpoint
        command = [sys.executable, "-c", INTERRUPTED, endpoint]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "asking\n"
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            begin = time.monotonic()
            _, said = process.communicate(timeout=60)
        assert "KeyboardInterrupt" in said
        assert time.monotonic() - begin < 8


def test_a_host_that_is_silent_has_not_answered(silent: str) -> None:
    with pytest.raises(RemoteError, match=r"no answer from http://127\.0\.0\.1"):
        store(silent, attempts=2, timeout=0.3).read("key")
