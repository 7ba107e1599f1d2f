"""The rows F: the bytes of files, their names, and what is published together."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from mirror import filenames
from mirror.doctor.check import Seen, check, fail, ok, warn
from mirror.doctor.values import is_of_old

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.doctor.visit import Link, Visit

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")


@check(
    "F1", "M", "files have the digest and the size that pages state",
    breaks="pip, uv, Poetry and pdm refuse the file",
    fix="publish the file anew; if its bytes were meant to change, give it a new version or build number",
)  # fmt: skip
def digests(visit: Visit) -> Iterator[Seen]:
    """F1."""
    for file in visit.files:
        if file.whole is None or file.whole.status != 200:
            continue
        if file.whole.coding:
            # What the bytes are is not to be told then: the matter of U13.
            continue
        link, place = file.link, file.whole.place
        if file.whole.cut:
            yield fail(place, f"stated are {link.size:,} bytes, sent were far more")
        elif link.size not in (None, file.length):
            yield fail(place, f"stated are {link.size:,} bytes, sent were {file.length:,}")
        elif link.sha256 and link.sha256.lower() != file.sha256:
            yield fail(place, f"stated is sha256 {link.sha256}, sent was {file.sha256}")
        elif link.sha256:
            yield ok(place, "digest and size" if link.size is not None else "digest")


@check(
    "F2", "R", "filenames are of plain characters, can be parsed, and are of the project that lists them",
    breaks="installers pass over the file, or take it for another project's; markup in a name is run by browsers",
    fix="list wheels and sdists of the project only, by the names that the packaging standards give them",
)  # fmt: skip
def names(visit: Visit) -> Iterator[Seen]:
    """F2."""
    for project in visit.projects:
        for page in project.pages:
            for link in page.links:
                yield _judged(link, project.name, page.url)


def _judged(link: Link, project: str, url: str) -> Seen:
    name = canonicalize_name(project)
    if not _PLAIN.fullmatch(link.filename):
        return fail(url, f"{link.filename!r} is not of plain characters")
    if is_of_old(link.filename):
        return ok(url, "all of them")
    try:
        parsed = filenames.parse(link.filename) if link.wheel else filenames.parse_sdist_of(link.filename, name)
    except ValueError as error:
        # Installers pass over it without harm, as they do over much that is old.
        return warn(url, str(error))
    right = parsed.name == name
    return (ok if right else fail)(
        url, "all of them" if right else f"{link.filename} is of {parsed.name}, listed by {project}"
    )


@check(
    "F3", "R", "one filename stands for one digest, and names differ in more than case",
    breaks="what is installed depends on where it was found; on disks of macOS and Windows one file replaces the other",
    fix="never publish other bytes under a name that was published before",
)  # fmt: skip
def unique(visit: Visit) -> Iterator[Seen]:
    """F3."""
    found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    pages: dict[str, str] = {}
    for project in visit.projects:
        for link in (link for page in project.pages for link in page.links):
            found[link.filename.casefold()].add((link.filename, link.sha256.lower()))
            pages.setdefault(link.filename.casefold(), project.as_html.url)
    for key, claims in found.items():
        stated = {sha256 for _, sha256 in claims if sha256}
        spelled = {filename for filename, _ in claims}
        if len(stated) > 1:
            yield fail(pages[key], f"{min(spelled)} stands for {len(stated)} digests")
        elif len(spelled) > 1:
            yield fail(pages[key], f"differ in case only: {', '.join(sorted(spelled))}")
        else:
            yield ok(pages[key], "each once")


@check(
    "F4", "R", "what pages list is there",
    breaks="pip, uv and Poetry choose the file, and fail to fetch it",
    fix="publish files before the pages that list them, and remove them only when no page or cache lists them any more",
)  # fmt: skip
def present(visit: Visit) -> Iterator[Seen]:
    """F4."""
    for file in visit.files:
        exchange = file.whole or file.there
        if not exchange.there:
            yield fail(exchange.url, f"listed by {file.project}, and answered {exchange.said}")
        else:
            yield ok(exchange.place, "there")
    for project, link, exchange in visit.heads:
        if not exchange.there:
            yield fail(exchange.url, f"listed by {project}, and answered {exchange.said}")
        elif None not in (link.size, exchange.size) and link.size != exchange.size and not exchange.coding:
            yield fail(exchange.url, f"stated are {link.size:,} bytes, the host has {exchange.size:,}")
        else:
            yield ok(exchange.place, "there")


@check(
    "F5", "R", "the same page is the same bytes, for everybody who asks for that form",
    breaks="caches of pip and uv never hold; old and new pages take turns, so an install works by chance",
    fix="write pages without times or random order; invalidate every edge and every variant of a page together",
)  # fmt: skip
def steady(visit: Visit) -> Iterator[Seen]:
    """F5."""
    for project, look in visit.looks:
        known = {page.exchange.media_type: page.exchange for page in project.pages if page.exchange.status == 200}
        for exchange in (look.repeated, look.anything, look.latest, *look.installers.values()):
            same = known.get(exchange.media_type)
            if exchange.status == 200 and same is not None and exchange.digest and same.digest:
                equal = exchange.digest == same.digest
                yield (ok if equal else fail)(
                    exchange.place, "the same" if equal else "other bytes than a moment before, in the same form"
                )


CHECKS = (digests, names, unique, present, steady)
"""F1 to F5."""
