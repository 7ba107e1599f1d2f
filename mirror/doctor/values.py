"""What hosts write, read without trust: addresses, numbers and instants that may be anything. Nothing raises."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from mirror.credentials import redact
from mirror.filenames import is_artifact

_NOWHERE = SplitResult("", "", "", "", "")
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_OF_OLD = (".deb", ".dmg", ".egg", ".exe", ".msi", ".rpm", ".tar.Z")
_BARE_USER = re.compile(r"(?<=//)[^/?#\s]*@")
_QUERY_VALUE = re.compile(r"([?&;][\w.%~-]{1,80}=)[^&;#\s'\"<>]+")
_LONGEST = 400
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,6})?Z", re.ASCII)


def split(address: str) -> SplitResult:
    """The parts of an address; all of them empty for what is none, such as `http://[` or a port above 65535."""
    try:
        parts = urlsplit(address)
        _ = parts.port, parts.hostname  # read only when they are asked for
    except ValueError:
        return _NOWHERE
    return parts


def join(base: str, address: str) -> str:
    """An address as it is meant on a page from `base`; empty for what is none."""
    try:
        url = urljoin(base, address)
    except ValueError:
        return ""
    return url if split(url) != _NOWHERE else ""


def resolved(base: str, address: str) -> str:
    """An absolute URL over http without fragment; empty for what is none."""
    url = join(base, address.strip().partition("#")[0])
    parts = split(url)
    return url if parts.scheme in ("http", "https") and parts.hostname else ""


def segment(address: str) -> str:
    """The last path segment of an address, decoded; that of a folder is its name."""
    return unquote(split(address.strip()).path.rstrip("/").rpartition("/")[2])


def beside(url: str, suffix: str) -> str:
    """The address of what lies beside a file, under its name and a suffix."""
    parts = split(url)
    return urlunsplit(parts._replace(path=parts.path + suffix))


def is_file(name: str) -> bool:
    """Whether it is named like a file of an index: a wheel, an sdist, or one of the formats that PyPI took once."""
    return is_artifact(name) or is_of_old(name)


def is_of_old(name: str) -> bool:
    """Whether it is of a format that no installer of today takes."""
    return name.endswith(_OF_OLD)


def shown(text: str) -> str:
    """Text of others as it may be shown: not too long, without passwords in addresses and values in their queries."""
    text = _QUERY_VALUE.sub(r"\1…", _BARE_USER.sub("", redact(text)))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def number(text: str) -> int | None:
    """A number of at most 18 decimal digits of ASCII; None for anything else."""
    return int(text) if _NUMBER.fullmatch(text) else None


def is_instant(text: object) -> bool:
    """Whether it is an instant in UTC that exists: `yyyy-mm-ddThh:mm:ss[.ffffff]Z` (PEP 700)."""
    match = _INSTANT.fullmatch(text) if isinstance(text, str) else None
    try:
        return match is not None and bool(datetime.fromisoformat(match[1]))
    except ValueError:
        return False
