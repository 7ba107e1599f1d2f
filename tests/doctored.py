"""Sites that are broken as a test says, and what `doctor` finds on them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from mirror.clients.http import HttpClient
from mirror.credentials import Credentials
from mirror.doctor.check import Outcome
from mirror.downloads.configuration import Network
from mirror.phases.doctor import doctor
from mirror.progress import Silence
from mirror.web import Web
from tests.mutants import Mutant, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mirror.doctor.check import Diagnosis
    from tests.mutants import Asked

HTML_TYPE = "text/html; charset=utf-8"
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
FAIL, WARN = Outcome.FAIL, Outcome.WARN


def examine(url: str, **options: Any) -> Diagnosis:
    web = Web(Network(retries=0, timeout=20), Credentials((url,)), {}, 16)
    try:
        return doctor(url, HttpClient(web), Silence(), **options)
    finally:
        web.close()


def breaches(found: Diagnosis) -> dict[str, Outcome]:
    return {verdict.check.id: verdict.outcome for verdict in found.of(FAIL, WARN)}


def outcome(found: Diagnosis, row: str) -> Outcome:
    return next(verdict.outcome for verdict in found.verdicts if verdict.check.id == row)


# Ways to break a site: `stored` changes a page, `answered` an answer


def stored(*changes: tuple[str, str, str]) -> Mutant:
    """Replace in pages: folder and form (`alpha.html`, `.json` for the list), a regular expression, and by what."""

    def act(tree: Path) -> None:
        for place, old, new in changes:
            name, _, form = place.rpartition(".")
            path = tree / "simple" / name / ("index.html" if form == "html" else "index.v1_json")
            text = path.read_text("utf-8")
            assert re.search(old, text, re.DOTALL), f"{place} has no {old}"
            path.write_text(re.sub(old, new, text, count=1, flags=re.DOTALL), "utf-8")

    return Mutant(name="stored", stored=act)


def both(name: str, html: tuple[str, str], as_json: tuple[str, str]) -> Mutant:
    return stored((f"{name}.html", *html), (f"{name}.json", *as_json))


def written(key: str, change: Callable[[bytes], bytes]) -> Mutant:
    def act(tree: Path) -> None:
        (tree / key).write_bytes(change((tree / key).read_bytes()))

    return Mutant(name="written", stored=act)


def answered(applies: Callable[[Asked, Reply], bool], change: Callable[[Reply], Reply]) -> Mutant:
    return Mutant(name="answered", answered=lambda asked, reply: change(reply) if applies(asked, reply) else reply)


def together(*mutants: Mutant) -> Mutant:
    def act(tree: Path) -> None:
        for mutant in mutants:
            if mutant.stored:
                mutant.stored(tree)

    answers = [mutant.answered for mutant in mutants if mutant.answered]
    return Mutant(name="together", stored=act, answered=answers[0] if answers else None)


def headers(applies: Callable[[Asked, Reply], bool], **values: str) -> Mutant:
    return answered(applies, lambda reply: reply.having(**values))


def is_page(asked: Asked, reply: Reply) -> bool:
    return reply.status == 200 and asked.path.startswith("simple/")


def is_file(asked: Asked, reply: Reply) -> bool:
    return reply.status in (200, 206) and asked.path.startswith("packages/")


def is_html(asked: Asked, reply: Reply) -> bool:
    return is_page(asked, reply) and reply.headers["content-type"].startswith("text/html")


def is_json(asked: Asked, reply: Reply) -> bool:
    return is_page(asked, reply) and "json" in reply.headers["content-type"]


def nowhere(_: Asked, reply: Reply) -> bool:
    return reply.status == 404


def path_is(*paths: str) -> Callable[[Asked, Reply], bool]:
    return lambda asked, _: asked.path in paths


def status(code: int) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, status=code)


def error_page(_: Reply) -> Reply:
    return Reply(status=200, headers={"content-type": HTML_TYPE}, body=b"<!DOCTYPE html><title>Welcome</title><p>Hi")


def listed(filename: str, *, project: str = "alpha", copy_of: str = "") -> Mutant:
    """Both pages of a project list one more file, with the bytes of another, or none."""

    def act(tree: Path) -> None:
        data = (tree / "packages" / copy_of).read_bytes() if copy_of else b"?"
        if copy_of:
            (tree / "packages" / filename).write_bytes(data)
        digest = sha256(data).hexdigest()
        time = "2024-01-02T03:04:05Z"
        link = (
            f'<a href="../../packages/{filename}#sha256={digest}" data-size="{len(data)}" data-upload-time="{time}">'
            f"{filename}</a><br>\n</body>"
        )
        entry = {"filename": filename, "url": f"../../packages/{filename}", "hashes": {"sha256": digest}}
        entry |= {"size": len(data), "upload-time": time}  # type: ignore[dict-item]
        change = both(project, ("</body>", link), (r"\]\}\s*$", f",{json.dumps(entry)}]}}"))
        assert change.stored is not None
        change.stored(tree)

    return Mutant(name="listed", stored=act)
