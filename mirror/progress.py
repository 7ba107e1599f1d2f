"""The progress port: how phases tell what they are doing, without knowing who looks on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mirror.model import Notice


class Task(Protocol):
    """One step that takes a while. Methods may be called from any thread."""

    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None:
        """Count `items` finished and `size` more bytes moved; `what` names what is running now."""

    def expect(self, items: int | None = None, size: int | None = None) -> None:
        """Correct the total: items, and bytes when they become known."""


class Progress(Protocol):
    """Where phases report to. Never raises; nothing in the result depends on it."""

    @contextmanager
    def task(self, title: str, *, items: int | None = None, size: int | None = None, unit: str = "") -> Iterator[Task]:
        """Show a step from entry to exit; `items` and `size` (bytes) are totals when they are known.

        `unit` says in the plural what the items are, such as "files".
        """

    def notice(self, notice: Notice) -> None:
        """Show something that the user should know."""

    def notices(self, notices: Sequence[Notice]) -> None:
        """Show several; of many of one kind a few, and how many more there are."""

    def say(self, text: str) -> None:
        """Show the result of a step in one line."""


class _SilentTask:
    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None: ...

    def expect(self, items: int | None = None, size: int | None = None) -> None: ...


class Silence:
    """The progress of a run that nobody watches."""

    @contextmanager
    def task(
        self,
        title: str,  # noqa: ARG002
        *,
        items: int | None = None,  # noqa: ARG002
        size: int | None = None,  # noqa: ARG002
        unit: str = "",  # noqa: ARG002
    ) -> Iterator[Task]:
        """Show nothing."""
        yield _SilentTask()

    def notice(self, notice: Notice) -> None:
        """Show nothing."""

    def notices(self, notices: Sequence[Notice]) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""
