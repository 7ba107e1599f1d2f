"""From changed keys to the paths that a CDN must forget, and what that costs.

A page is cached under every spelling that reached the cache. An edge function turns `/simple/foo/` into
`/simple/foo/index.html` or `index.v1_json` before the cache is asked, a host without such a function has the first
spelling only, and AWS asks for both where a function rewrites. `/simple/foo` is never cached: it is redirected, or not
there.

What installers read is named exactly. Pages for people are not: all of them together are one path, `/projects/*`, which
is paid for as one, and to read a page once more from the store costs next to nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from mirror.errors import MirrorError
from mirror.layout import FRONT_PAGE, HTML, JSON, PROJECTS, SIMPLE, STATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPELLINGS = 3
"""Paths of one project: the folder, the HTML page, the JSON page."""
CROWD = 300 * SPELLINGS
"""Paths of pages above which wildcards take their place: most of what is free in a month."""
BATCH = 1000
"""Paths in one request. CloudFront takes up to 3,000 and bills by the path, so smaller ones cost nothing."""
LONGEST = 4000
"""Characters of a path that CloudFront takes."""

FREE = 1000
"""Paths a month that an AWS account invalidates for nothing."""
PRICE = 0.005
"""US dollars for each path after those."""
PRICES_OF = "November 2026"


def paths(keys: Iterable[str], base: str = "") -> tuple[str, ...]:
    """Spell keys as a CDN knows them; sorted, each once. `base` is the path under which it serves the store.

    A page for people stands for all of them.

    Quoted exactly as the links on the pages are, so that `+` is `%2B`: a path in another spelling is another object to
    a cache. What is never served (`.mirror/`) has no path. Raise `MirrorError` for a path that no CDN would take.
    """
    spelled = {base + path for key in keys if not key.startswith(STATE) for path in _spellings(key)}
    for path in spelled:
        _check(path)
    return tuple(sorted(spelled))


def _spellings(key: str) -> tuple[str, ...]:
    if key.startswith(PROJECTS):
        return (f"/{PROJECTS}*",)
    path = f"/{quote(key, safe='/')}"
    folder, _, name = path.rpartition("/")
    return (f"{folder}/", path) if name in (HTML, JSON) else (path,)


def base_of(path: str) -> str:
    """The base of a mirror that is served below `path`, which may be unquoted. Raise `MirrorError` for a bad one."""
    parts = [part for part in path.split("/") if part]
    base = "".join(f"/{quote(part, safe='%')}" for part in parts)
    _check(f"{base}/")
    return base


def whole(base: str = "", tag: str = "") -> tuple[str, ...]:
    """Every page at once: by the tag that all of them carry, or by a wildcard for each folder of them."""
    pages = (f"#{tag}",) if tag else tuple(f"{folder}*" for folder in _folders(base))
    return tuple(sorted({*paths((FRONT_PAGE,), base), *pages}))


def _folders(base: str) -> tuple[str, ...]:
    """Where the pages are, all but the front page."""
    return f"{base}/{PROJECTS}", f"{base}/{SIMPLE}"


def crowded(spelled: Sequence[str], base: str = "") -> bool:
    """Whether so many pages are named that it is better to name all of them at once."""
    return sum(path.startswith(f"{base}/{SIMPLE}") for path in spelled) > CROWD


def merged(spelled: Iterable[str]) -> tuple[str, ...]:
    """Leave out every path that a wildcard among them covers, for each would be paid for."""
    every = frozenset(spelled)
    stems = tuple(path[:-1] for path in every if path.endswith("*"))
    return tuple(sorted(path for path in every if path.endswith("*") or not path.startswith(stems)))


def collapsed(spelled: Iterable[str], base: str = "", tag: str = "") -> tuple[str, ...]:
    """Put `whole` in the place of every page that is named."""
    others = (path for path in spelled if not path.startswith(_folders(base)))
    return merged({*others, *whole(base, tag)})


@dataclass(frozen=True, slots=True)
class Batch:
    """What is asked for in one request."""

    reference: str
    paths: tuple[str, ...]


def batches(spelled: Sequence[str], reference: str) -> tuple[Batch, ...]:
    """Cut paths into requests, each with a reference of its own that follows from its paths.

    A CDN refuses a reference that it knows with other paths, and answers one that it knows with these paths by the
    invalidation of then: so a request that is repeated costs nothing.
    """
    parts = [tuple(spelled[start : start + BATCH]) for start in range(0, len(spelled), BATCH)]
    return tuple(Batch(f"{reference}-{_digest(part)}", part) for part in parts)


def cost(count: int) -> str:
    """What `count` paths cost, in words."""
    noun = "path" if count == 1 else "paths"
    return (
        f"{count:,} {noun}: free within the {FREE:,} a month of an AWS account, beyond them up to "
        f"{count * PRICE:,.3f} USD (prices of {PRICES_OF})"
    )


def _digest(part: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(part).encode()).hexdigest()[:16]


def _check(path: str) -> None:
    # CloudFront takes no tilde, quoted or not.
    if "~" in path or "%7e" in path.lower() or len(path) > LONGEST:
        raise MirrorError(
            f"{path:.200} cannot be invalidated: CloudFront takes no ~ and no more than {LONGEST:,} characters",
            hint="serve the mirror under another path",
        )
