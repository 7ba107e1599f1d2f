"""The manners of a site: how it answers for what does not exist, in another spelling, or to somebody else."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from mirror.clients.conduct import ABSENT, ACCEPT, JSON, WHO, cache_notes, said, same_place
from mirror.credentials import origin
from mirror.layout import FRONT_PAGE, PACKAGES, POINTER, SIMPLE, project_html_key
from mirror.outside.pages import LARGEST_PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.clients.base import Answer
    from mirror.outside.behind import Behind
    from mirror.outside.site import Site


def check_manners(site: Site, names: Sequence[str], behind: Behind) -> None:
    """Ask what nobody should have to ask; `names` are the projects that have pages, sorted."""
    if site.client.plain_text_refused(site.base):
        site.findings.find("plain-http", SIMPLE, "it is plain http, and pip passes over an index on a host like that")
    absent = f"no-such-project-{sha256(''.join(names).encode()).hexdigest()[:8]}"
    _check_absent(site, f"{SIMPLE}{absent}/")
    _check_absent(site, f"{PACKAGES}{absent}-1.0.tar.gz")
    for name in names[:1]:
        _check_spelling(site, f"{SIMPLE}{name}", name)
        _check_validators(site, f"{SIMPLE}{name}/")
    for name in [name for name in names if name != _spelled(name)][:1]:
        _check_spelling(site, f"{SIMPLE}{_spelled(name)}/", name)
    for key in (FRONT_PAGE, *map(project_html_key, names[:1])):
        _check_people(site, key, behind)
    _check_state(site)


def _check_absent(site: Site, path: str) -> None:
    answer = site.ask(path, headers={"Accept": ACCEPT[JSON]})
    # Files may well lie on another host; a project that is not here must not be looked for elsewhere.
    if path.startswith(SIMPLE) and origin(answer.url) != origin(site.base):
        message = f"whoever asks for what is not here is sent to {_host(answer)}, and may get it from there"
        site.findings.find("not-404", path, message)
    elif answer.status not in ABSENT:
        why = "uv stops there instead of asking the next index" if answer.status in WHO else "it is not there"
        site.findings.find("not-404", path, f"{said(answer)}: {why}")


def _check_spelling(site: Site, path: str, name: str) -> None:
    """Another spelling leads to the page, or nowhere."""
    wanted = urljoin(site.base, f"{SIMPLE}{name}/")
    answer = site.ask(path)
    moved = not same_place(answer.url, urljoin(site.base, path))
    if answer.failure or (moved and not (answer.status == 200 and same_place(answer.url, wanted))):
        there = answer.failure or f"it leads to {answer.url.partition('?')[0]}, not to {wanted}"
        site.findings.find("wrong-redirect", path, there)
    elif answer.status == 200 and not answer.url.partition("?")[0].endswith("/"):
        message = "it is a page, though its address has no slash at the end: every link on it leads astray"
        site.findings.find("wrong-redirect", path, message)


def _check_validators(site: Site, path: str) -> None:
    answer = site.ask(path, headers={"If-None-Match": '"a-page-that-never-was"'})
    if answer.status == 304:
        message = "it is 304 to whoever has any page of it, so that nobody who has an old one ever sees another"
        site.findings.find("wrong-cache", path, message)


def _check_people(site: Site, key: str, behind: Behind) -> None:
    """A page for people that the release records is there, with the bytes that are recorded."""
    recorded = behind.recorded(key)
    if not recorded:
        return
    answer = site.ask("" if key == FRONT_PAGE else key, limit=LARGEST_PAGE)
    if key == FRONT_PAGE and (answer.status != 200 or answer.media_type != "text/html"):
        # A bucket knows no index documents: it refuses, or lists what it has.
        answer = site.ask(key, limit=LARGEST_PAGE)
    digest, notes = sha256(answer.body).hexdigest(), cache_notes(answer)
    if answer.status in ABSENT:
        site.findings.find("missing", key, "the release has it")
    elif answer.status != 200:
        site.findings.find("refused", key, said(answer))
    elif digest != recorded and behind.differs(key, digest):
        site.findings.find("stale-page", key, "the release has another page" + (f" ({notes})" if notes else ""))


def _check_state(site: Site) -> None:
    answer = site.ask(POINTER)
    try:
        readable = answer.status == 200 and isinstance(json.loads(answer.body), dict)
    except ValueError:
        readable = False  # a host that has a page for everything
    if readable:
        site.findings.find("state-public", POINTER, "it tells everybody what was ever published; do not serve it")


def _host(answer: Answer) -> str:
    scheme, host, port = origin(answer.url)
    return f"{scheme}://{host}:{port}"


def _spelled(name: str) -> str:
    """Another spelling of a normalized name."""
    return name.replace("-", "_").title()
