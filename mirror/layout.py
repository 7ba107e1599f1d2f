"""Where everything lies in a published mirror: keys, hrefs, content types and cache headers (DESIGN section 3.3).

A key is a place in a store, `/`-separated, never starting with `/`. The layout is the same on disk and in a bucket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from mirror.model import Word

FRONT_PAGE = "index.html"
PROJECTS = "projects/"
SIMPLE = "simple/"
PACKAGES = "packages/"
STATE = ".mirror/"
POINTER = ".mirror/current.json"
LEASE = ".mirror/lock.json"
RELEASES = ".mirror/releases/"
EDGES = ".mirror/edges/"
FORMER_PAGES = ".mirror/objects/"
PROBE = ".mirror/probe/"

HTML = "index.html"
JSON = "index.v1_json"

HTML_TYPE = "text/html; charset=utf-8"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"

PAGE_TAG = "mirror-page"
"""The cache tag of every page, by which a CDN that heeds tags forgets all of them at once."""

# Almost every filename: as it stands, quoting would change nothing.
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")

_PAGE_CACHE = "max-age=600"
_ARTIFACT_CACHE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Headers:
    """What a host sends with an object (standards U7, U8, U15)."""

    content_type: str
    cache_control: str
    cache_tag: str = ""
    """What a store that sends headers of its own choice names in `x-amz-meta-cache-tag`; empty for none."""


class SlashKeys(Word):
    """Whether the HTML pages of `simple/` are stored once more under keys that end in a slash."""

    AUTO = "auto"
    """Wherever the store can hold such keys: a bucket that is served as it is then works with every installer."""
    ALWAYS = "always"
    NEVER = "never"

    def wanted(self, *, possible: bool) -> bool:
        """Whether a store gets them; `possible` says whether it can hold them."""
        return self is SlashKeys.ALWAYS or (self is SlashKeys.AUTO and possible)


def headers(key: str) -> Headers:
    """The content type and cache header of a key; artifacts are immutable for a year, pages fresh for ten minutes."""
    if key.startswith(FORMER_PAGES):
        return Headers("application/octet-stream", "no-store")
    if key.startswith(PACKAGES):
        kind = "text/plain; charset=utf-8" if key.endswith(".metadata") else "application/octet-stream"
        return Headers(kind, _ARTIFACT_CACHE)
    if key.endswith(JSON):
        return Headers(JSON_TYPE, _PAGE_CACHE, PAGE_TAG)
    if key.endswith(".json"):
        return Headers("application/json", "no-store")
    return Headers(HTML_TYPE, _PAGE_CACHE, PAGE_TAG)


def project_list_keys() -> tuple[str, str]:
    """The keys of the project list: HTML, JSON."""
    return SIMPLE + HTML, SIMPLE + JSON


def project_page_keys(name: str) -> tuple[str, str]:
    """The keys of a project's page: HTML, JSON. `name` is normalized."""
    return f"{SIMPLE}{name}/{HTML}", f"{SIMPLE}{name}/{JSON}"


def project_html_key(name: str) -> str:
    """The key of the page for people about a project; `name` is normalized.

    No index document and no other spelling: the key is the path, on every host and at every prefix.
    """
    return f"{PROJECTS}{name}.html"


def slash_key(key: str) -> str:
    """The key under which an HTML page of `simple/` is stored once more, for hosts without index documents.

    `simple/foo/index.html` gives `simple/foo/`: the path that installers ask for is then a key itself.
    """
    return key.removesuffix(HTML)


def artifact_key(filename: str) -> str:
    """The key of an artifact: the literal filename, `+` included (standards section 2.4)."""
    return PACKAGES + filename


def metadata_key(filename: str) -> str:
    """The key of an artifact's core metadata (PEP 658: "the file URL with .metadata appended")."""
    return f"{PACKAGES}{filename}.metadata"


def release_key(release: str) -> str:
    """The key of a release manifest."""
    return f"{RELEASES}{release}.json"


def edge_key(cdn: str) -> str:
    """The key of what is known of the CDN in front of a store, by the CDN's id."""
    return f"{EDGES}{cdn}.json"


def former_page_key(sha256: str) -> str:
    """The key under which the bytes of a page are kept once no page has them any more; `sha256` as hex."""
    return f"{FORMER_PAGES}{sha256}"


def artifact_href(filename: str) -> str:
    """The relative href from a project's page to an artifact, without fragment.

    Percent-quoted, so `+` is `%2B`: S3 reads a bare `+` in a path as a space (standards H8, section 2.4).
    """
    return f"../../packages/{filename if _PLAIN.fullmatch(filename) else quote(filename, safe='')}"


def people_href(filename: str) -> str:
    """The relative href from a page for people about a project to an artifact; quoted alike."""
    return artifact_href(filename).removeprefix("../")
