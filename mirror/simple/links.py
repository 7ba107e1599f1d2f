"""How the URLs, digests, sizes and times of a foreign project page become values, whichever form the page has.

Nothing here raises for a value that it cannot use: an attribute that says nothing usable is as good as absent, for
what proves a file is the digest of the lock. A URL that no fetcher should follow is None.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from mirror.model import Digest
from mirror.simple.page import PageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FETCHABLE = ("http", "https", "file", "")
_UNSAFE = re.compile(r"[^!#-;=?-\[\]_a-z~]")
_SAFE = "!#$%&'()*+,/:;=?@[]~"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00:00)", re.ASCII)
"""The hour has limits of its own, for newer Pythons read 24 as the next midnight and older ones refuse it."""
_SIZE = re.compile(r"\d{1,18}", re.ASCII)
_API_VERSION = re.compile(r"(\d{1,9})\.\d{1,9}", re.ASCII)


def check_version(version: str) -> None:
    """Raise `PageError` unless the repository version is 1.x.

    PEP 629: "If the major version is different ... clients MUST fail with an appropriate error message".
    """
    match = _API_VERSION.fullmatch(version.strip())
    if match is None or int(match[1]) != 1:
        raise PageError(f"repository version {version!r} is not 1.x")


def resolve(base: str, href: str) -> str | None:
    """Resolve an href without fragment against the page; None when its scheme is not http, https or file.

    A URL goes to pip as `name @ url`, so a page must not smuggle in `git+ssh:` or a line break: whatever may not
    stand in a URL is percent-quoted. Raise `PageError` for an href that is no URL at all.
    """
    try:
        url = urljoin(base, href)
        parts = urlsplit(url)
        _ = parts.port  # read only when it is asked for, and everybody who fetches asks
    except ValueError as error:
        raise PageError(f"href {href!r} is not a URL: {error}") from error
    if parts.scheme not in _FETCHABLE:
        return None
    return quote(url, safe=_SAFE, errors="replace") if _UNSAFE.search(url) else url


def digests(pairs: Iterable[tuple[str, object]]) -> tuple[Digest, ...]:
    """The digests among (algorithm, hex) pairs, sorted; an algorithm that we cannot compute proves nothing to us."""
    found = []
    for algorithm, value in pairs:
        try:
            found.append(Digest.parse(f"{algorithm}:{value}"))
        except ValueError:
            continue
    return tuple(sorted(found))


def fragment_digests(fragment: str) -> tuple[Digest, ...]:
    """The digests in `sha256=<hex>` or `egg=name&sha256=<hex>`."""
    pairs = (part.partition("=") for part in fragment.split("&"))
    return digests((algorithm, value) for algorithm, _, value in pairs)


def strongest(known: Iterable[Digest]) -> Digest | None:
    """The digest to check by: sha256 when it is there (standards J11), otherwise the longest."""
    return max(known, key=lambda digest: (digest.algorithm == "sha256", len(digest.hex)), default=None)


def first(attributes: Mapping[str, object], *names: str) -> object:
    """The first attribute that is present; None when none is (PEP 714 has two names for one attribute)."""
    return next((attributes[name] for name in names if name in attributes), None)


def upload_time(text: object) -> str:
    """`yyyy-mm-ddThh:mm:ss[.ffffff]Z` (PEP 700); empty for anything that is not such an instant in UTC.

    What looks like one and is none, such as a 30th of February, would end pip in a traceback. A fraction has six
    digits, since a pip on Python 3.10 or older can read three or six and nothing else.
    """
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return ""
    instant, fraction = match.groups()
    try:
        datetime.fromisoformat(instant)
    except ValueError:
        return ""
    return f"{instant}.{fraction[:6]:0<6}Z" if fraction else f"{instant}Z"


def size(value: object) -> int | None:
    """A size in bytes, from a number or decimal digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value < 10**18 else None
    return int(value) if isinstance(value, str) and _SIZE.fullmatch(value) else None
