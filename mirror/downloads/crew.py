"""Jobs in threads, whose answers are read as they come."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Answer = TypeVar("_Answer")
_TICK = 0.2
"""Seconds; waiting without an end could not be interrupted on Windows."""


class _End:
    pass


class Crew(Generic[_Answer]):
    """Some workers at their jobs. Reading it waits for the next answer; closing it stops them.

    An error in a job is raised by the read that meets it, and stops all others.
    """

    def __init__(self, workers: int, stop: Callable[[], None] = lambda: None) -> None:
        """Hire `workers`; `stop` is called once when it is over early, to end what they wait for."""
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="download")
        self._answers: queue.SimpleQueue[_Answer | BaseException | _End] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 1
        self._stop = stop
        self.stopped = threading.Event()

    def add(self, job: Callable[[], None]) -> None:
        """Queue a job; a job may add others. Nothing is added once it is stopped."""
        with self._lock:
            if self.stopped.is_set():
                return
            self._open += 1
            self._pool.submit(self._run, job)

    def give(self, answer: _Answer) -> None:
        """Hand an answer to the reader."""
        self._answers.put(answer)

    def sealed(self) -> Crew[_Answer]:
        """Say that nobody but running jobs will add any; without this, reading never ends."""
        self._done()
        return self

    def __iter__(self) -> Iterator[_Answer]:
        return self

    def __next__(self) -> _Answer:
        while True:
            try:
                answer = self._answers.get(timeout=_TICK)
            except queue.Empty:
                if self.stopped.is_set():
                    raise StopIteration from None
                continue
            except BaseException:
                self.close()
                raise
            if isinstance(answer, _End):
                self.close()
                raise StopIteration
            if isinstance(answer, BaseException):
                self.close()
                raise answer
            return answer

    def close(self) -> None:
        """Stop every worker and wait until all are gone; harmless when it is over already."""
        with self._lock:
            first = not self.stopped.is_set()
            self.stopped.set()
        if first:
            self._stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            if not self.stopped.is_set():
                job()
        except BaseException as error:
            if not self.stopped.is_set():
                self._answers.put(error)
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0:
                self._answers.put(_End())
