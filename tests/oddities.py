"""A manifest with every oddity that a page must get right, and the readers that tests judge pages by."""

from __future__ import annotations

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from packaging.utils import NormalizedName

from mirror.filenames import parse
from mirror.model import About, Artifact, Manifest, Origin, ProjectStatus, TargetCoverage

_SCHEMA = Path(__file__).parent / "assets" / "simple.schema.json"


def artifact(filename: str, **more: Any) -> Artifact:
    """An artifact whose digest and size are made up from its name."""
    parsed = parse(filename)
    values: dict[str, Any] = {
        "project": parsed.name,
        "version": str(parsed.version),
        "sha256": hashlib.sha256(filename.encode()).hexdigest(),
        "size": len(filename),
    }
    return Artifact(filename=filename, **(values | more))


def manifest(*artifacts: Artifact, **more: Any) -> Manifest:
    """A manifest, its artifacts in the order that it promises."""
    return Manifest(artifacts=tuple(sorted(artifacts, key=lambda held: held.filename)), **more)


def status(name: str, value: str, reason: str = "") -> tuple[NormalizedName, ProjectStatus]:
    """A project's status as the manifest holds it."""
    return NormalizedName(name), ProjectStatus(status=value, reason=reason)


def about(filename: str, **more: Any) -> tuple[NormalizedName, About]:
    """What a project says of itself in one of its files, as the manifest holds it."""
    return parse(filename).name, About(filename=filename, **more)


HOSTILE = (
    '<script>alert("1")</script> & it\'s\n\r\tyanked \x00\x07 caf\u00e9 \U0001f40d \ud800 \ufffe \U0001ffff]]> -->'
)

FULL = manifest(
    artifact("demo-1.10-py3-none-any.whl", metadata_sha256="a" * 64, metadata_size=7, requires_python=">=3.8,<4"),
    artifact("demo-1.9-py3-none-any.whl", metadata_sha256="b" * 64, yanked="", requires_python="!=3.9.*,>=3.8"),
    artifact("demo-1.9.tar.gz", yanked=HOSTILE, upload_time="2024-02-29T23:59:59.123456Z"),
    artifact("demo-1.9.0-cp311-cp311-win_amd64.whl", upload_time="2024-02-29T23:59:59Z"),
    artifact("torch-2.1.0+cu118-cp311-cp311-linux_x86_64.whl", size=2_267_300_000),
    artifact("epoch-1!2.0-py3-none-any.whl"),
    artifact("archived-1.0.tar.gz", requires_python='===1"&<>\u00e9'),
    artifact("stopped-1.0-py3-none-any.whl"),
    artifact("old-1.0-py3-none-any.whl"),
    statuses=(
        status("archived", "archived", HOSTILE),
        status("old", "deprecated"),
        status("stopped", "quarantined", "malware"),
    ),
    locks=("sha256:" + "c" * 64,),
    about=(
        about("archived-1.0.tar.gz"),
        about(
            "demo-1.10-py3-none-any.whl",
            summary=HOSTILE,
            license=HOSTILE,
            links=((HOSTILE, "https://demo.example/?a=1&b=%3Cscript%3E#\u00e9"), ("Source", "http://demo.example")),
        ),
    ),
    origins=(Origin(digest="sha256:" + "c" * 64, file="poetry.lock", project="shop", packages=6),),
    coverage=(
        TargetCoverage(target="linux-x86_64", pythons=("3.11", "3.12"), wanted=12, wheels=9, sdists=2, direct=1),
        TargetCoverage(target="macos-arm64", pythons=("3.11",), wanted=6, wheels=6),
        TargetCoverage(target="windows-amd64", pythons=("3.11",), wanted=0, wheels=0),
    ),
)


class Anchors(HTMLParser):
    """The tags of a page and its anchors as (attributes, text), read by another parser than ours."""

    def __init__(self, body: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.meta: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self._open = False
        self.feed(body.decode("ascii"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.found.append((dict(attrs), ""))
            self._open = True
        if tag == "meta":
            self.meta.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            attrs, text = self.found[-1]
            self.found[-1] = attrs, text + data


def schema() -> dict[str, Any]:
    """The JSON schema of a project page."""
    loaded: dict[str, Any] = json.loads(_SCHEMA.read_bytes())
    return loaded
