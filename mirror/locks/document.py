"""A TOML file as text, data and digest, and where its tables start."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli

from mirror.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PACKAGE = re.compile(r"\s*\[\[\s*(?:package|\"package\"|'package')\s*\]\]")
_LARGEST = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A TOML file that was read."""

    label: str
    first_line: str
    data: Mapping[str, Any]
    digest: str
    """`sha256:<hex>` of the bytes."""
    lines: tuple[int, ...]
    """The line of each `[[package]]` header, counted from 1, in order."""


def read(path: Path, label: str) -> Document:
    """Read a TOML file; a byte order mark and CRLF are fine. Raise `LockError` naming the line when it is none."""
    try:
        if path.stat().st_size > _LARGEST:
            raise LockError(f"{label} is larger than {_LARGEST // 2**20} MiB", hint="is it really a lock file?")
        content = path.read_bytes()
    except OSError as error:
        raise LockError(f"{label} cannot be read: {error.strerror or error}", hint="check the path") from error
    return parse(content, label)


def parse(content: bytes, label: str) -> Document:
    """Take a TOML file apart. Raise `LockError` as `read` does."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LockError(f"{label}:{line} is not UTF-8", hint="TOML files are UTF-8; convert it") from error
    try:
        data = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError, ValueError) as error:
        line = getattr(error, "lineno", 0)
        where = f"{label}:{line}" if line else label
        conflict = "<<<<<<<" in text and ">>>>>>>" in text
        hint = "resolve the merge conflict in it" if conflict else "restore the file, or make it anew"
        raise LockError(f"{where} is no valid TOML: {error}", hint=hint) from error
    lines = text.split("\n")
    return Document(
        label=label,
        first_line=lines[0],
        data=data,
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        lines=tuple(number for number, line in enumerate(lines, 1) if _PACKAGE.match(line)),
    )
