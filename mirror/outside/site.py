"""What every look at a site shares: how it is asked, many questions at once, and where is noted what is wrong."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

from mirror.clients.base import Answer, CutShort
from mirror.doctor.values import shown
from mirror.errors import RemoteError
from mirror.inspection import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import SupportsWrite

    from mirror.clients.base import Client
    from mirror.progress import Progress

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(kw_only=True)
class Site:
    """One visit to a site.

    A request that fails is an `Answer` with its `failure`, so that one broken file ends nothing. `RemoteError` is
    raised when nothing was ever answered, or when the host is not there any more.
    """

    client: Client
    base: str
    """The address of the mirror, with a slash at its end and without credentials."""
    progress: Progress
    jobs: int
    findings: Findings = field(default_factory=Findings)
    _answered: bool = False
    _odd: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def ask(self, path: str, **options: Any) -> Answer:
        """One request for a path below the mirror, or for a URL, redirects followed; see `Client.ask`."""
        url = urljoin(self.base, path)
        return self._tried(url, lambda: self.client.ask(url, follow=True, **options))

    def fetch(self, url: str, begin: Callable[[], SupportsWrite[memoryview]] | None = None) -> Answer:
        """Read a whole file; see `Client.fetch`. `begin` gives what the bytes are written to, for each attempt anew."""
        return self._tried(url, lambda: self.client.fetch(url, begin() if begin else None))

    def _tried(self, url: str, request: Callable[[], Answer], *, again: bool = True) -> Answer:
        try:
            answer = request()
        except CutShort as error:
            # A connection that breaks once says nothing of what was asked for.
            if again:
                return self._tried(url, request, again=False)
            return Answer(url=url, status=0, failure=shown(error.message), cut=True)
        except RemoteError as error:
            if not self._answered:
                raise
            # Is it this address, or the host? The host's own error is raised here.
            self.client.ask(self.base, method="HEAD")
            return Answer(url=url, status=0, failure=shown(error.message))
        self._answered = True
        return answer

    def spread(self, act: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Several at once, in order; an error ends it."""
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="visit") as threads:
            try:
                yield from threads.map(act, items)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def odd(self, code: str, message: str, key: str) -> None:
        """Note what may be true of many objects alike."""
        self._odd[code, message].add(key)

    def gather(self) -> None:
        """Make one finding of each oddity."""
        for (code, message), keys in sorted(self._odd.items()):
            first, *more = sorted(keys)
            self.findings.find(code, first, message + (f"; as of {len(more):,} more" if more else ""))
