"""Guards: what must hold before each attempt of something, however far below it the attempts are made.

A request that failed in passing is sent again, and meanwhile anything may have happened: the lease has run out while
the machine was asleep, another request has failed for good, somebody has pressed Ctrl-C. Who knows of such a thing
guards what he does; who repeats something asks before every attempt. Guards go with the context, so a thread has to be
started in a copy of it (`contextvars.copy_context`).
"""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_guards: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("guards", default=())

_GLANCE = 0.1
"""Seconds between two looks at the guards during a pause."""
_COURTESY = 10.0
"""Seconds."""


class CalledOffError(MirrorError):
    """What was to be tried is no longer wanted; whoever called it off has more to say."""

    def __init__(self) -> None:
        super().__init__("this was called off", hint="run again")


@contextlib.contextmanager
def guarded(guard: Callable[[], None]) -> Iterator[None]:
    """Let every attempt that is made in the block ask `guard` before; what that raises ends them."""
    token = _guards.set((*_guards.get(), guard))
    try:
        yield
    finally:
        _guards.reset(token)


@contextlib.contextmanager
def courtesy() -> Iterator[None]:
    """Ask no guard within the block but the time, and begin no attempt after ten seconds.

    For taking leave: what is put back or taken back when everything else is called off.
    """
    end = time.monotonic() + _COURTESY

    def guard() -> None:
        if time.monotonic() >= end:
            raise CalledOffError

    token = _guards.set((guard,))
    try:
        yield
    finally:
        _guards.reset(token)


def check() -> None:
    """Ask the guards of this context, the outermost first. Raise what one of them raises."""
    for guard in _guards.get():
        guard()


def pause(seconds: float) -> None:
    """Wait, and meanwhile look at the guards. Raise what one of them raises."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(min(left, _GLANCE))
