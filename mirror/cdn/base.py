"""The CDN port: a cache in front of a store that keeps pages until it is told that they changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mirror.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Sequence


class NotConfirmed(RemoteError):
    """The CDN took an invalidation and did not report in time that it is done; it may well be under way.

    Nothing is lost: what was asked for is remembered, and the next run waits for the very same invalidation.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An invalidation that was asked for."""

    ids: tuple[str, ...]
    """What the CDN calls its parts, in the order of asking."""
    pending: tuple[str, ...]
    """Those that are not known to be completed."""

    @property
    def completed(self) -> bool:
        """Whether no edge serves any longer what was invalidated."""
        return not self.pending


class Cdn(Protocol):
    """A cache in front of one store. Every method raises `RemoteError` when it does not answer or refuses."""

    @property
    def id(self) -> str:
        """What distinguishes it from every other one: letters and digits, part of a key."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def base(self) -> str:
        """The path under which it serves the store: empty, or with a slash in front and none at the end."""

    def page_tag(self) -> str:
        """The one tag that all pages carry, if the CDN is known to heed it; empty otherwise."""

    def invalidate(self, paths: Sequence[str], reference: str) -> Ticket:
        """Ask for paths to be forgotten everywhere: all that are named, none that is not.

        Paths are quoted and start with a slash; a `*` at the end stands for anything, and a tag starts with `#`. The
        same paths under the same `reference` are one invalidation, however often they are asked for.
        """

    def status(self, ticket: Ticket) -> Ticket:
        """Look once at what is pending, and return the ticket as it is now."""
