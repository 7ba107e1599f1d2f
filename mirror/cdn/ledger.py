"""The ledger: up to which release a CDN is known to be current, and what it is still owed.

```
.mirror/edges/<CDN's id>.json    {"asked", "count", "format": 1, "life", "pages": [key], "paths": [path], "release"}
```

It lies in the store and not in a work directory, so that whoever runs next, on whichever machine, brings to its end
what a killed or refused run left open. It is written before the CDN is asked, and again when the CDN has confirmed.
Publishers add to it what no comparison of two releases would tell: pages that they repaired, or took back.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from mirror.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is known of one CDN in front of one store."""

    life: str
    """Random, made with the first ledger: a store that was emptied and filled again never repeats a reference."""
    count: int = 0
    """How many invalidations were asked for."""
    release: str = ""
    """Id of the release that the CDN has confirmed to serve; empty when none is known."""
    asked: str = ""
    """Id of the release that the last invalidation was asked for."""
    paths: tuple[str, ...] = ()
    """What was asked for and is not confirmed; sorted."""
    pages: tuple[str, ...] = ()
    """Keys of pages that edges may hold as no release has them, and that nothing was asked for yet; sorted."""

    @classmethod
    def opened(cls) -> Ledger:
        """The ledger of a CDN of which nothing is known."""
        return cls(life=secrets.token_hex(4))

    @property
    def reference(self) -> str:
        """The name of the last invalidation. It follows from the ledger alone, so asking again is free."""
        return f"mirror-{self.life}-{self.count}-{self.asked}"

    def owing(self, release: str, paths: tuple[str, ...]) -> Ledger:
        """The ledger before `paths`, those of its pages among them, are asked for, on behalf of `release`."""
        return replace(self, count=self.count + 1, asked=release, paths=paths, pages=())

    def noting(self, pages: Iterable[str]) -> Ledger:
        """The ledger once `pages` were stored or removed, though no release differs in them."""
        return replace(self, pages=tuple(sorted({*self.pages, *pages})))

    def settled(self, release: str) -> Ledger:
        """The ledger once the CDN is known to serve `release`."""
        return replace(self, release=release, asked=release, paths=())

    @property
    def data(self) -> bytes:
        """The ledger as it is stored."""
        fields = {"format": FORMAT, **asdict(self)}
        return (json.dumps(fields, indent=1, sort_keys=True) + "\n").encode("ascii")

    @classmethod
    def parse(cls, data: bytes, where: str) -> Ledger:
        """Read a stored ledger; `where` names it in messages. Raise `RemoteError` for anything else."""
        try:
            document = json.loads(data)
            if document.pop("format") != FORMAT:
                raise ValueError("it has another format")
            words = {name: document[name] for name in ("life", "release", "asked")}
            count, paths, pages = document["count"], document["paths"], document.get("pages", [])
            if type(count) is not int or not isinstance(paths, list) or not isinstance(pages, list):
                raise ValueError("count, paths or pages are something else")
            if not all(isinstance(word, str) for word in (*words.values(), *paths, *pages)):
                raise ValueError("a word is something else")
            return cls(count=count, paths=tuple(sorted(set(paths))), pages=tuple(sorted(set(pages))), **words)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RemoteError(
                f"{where}: this is no ledger that can be understood: {type(error).__name__} {error}",
                hint="upgrade mirror if a newer one publishes there; otherwise remove that file, and the next run "
                "invalidates every page",
            ) from error
