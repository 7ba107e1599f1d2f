"""Writing into a `config.env` that belongs to a person: values change, comments, order and spelling stay."""

from __future__ import annotations

import io
import re
import stat
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

from mirror.errors import MirrorError
from mirror.files import write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MARK = "\ufeff"
"""What editors of one system put in front of UTF-8."""
_PRIVATE = 0o600
"""For a new file: it is the place for addresses with a password."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:,@%+=-]*")
_BINDING = re.compile(
    r"""
    (?P<head> \s* (?:export[^\S\r\n]+)? (?: '[^']+' | [^=\#\s]+ ) ) [^\S\r\n]*
    (?: = [^\S\r\n]* (?: '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | [^\r\n]*? ) )?
    (?P<tail> (?: [^\S\r\n]+ \#[^\r\n]* | [^\S\r\n]* ) (?: \r\n | \n | \r | $ ) )
    """,
    re.VERBOSE | re.DOTALL,
)
"""One setting as dotenv files spell it: the key, its value, and what follows it on the line."""


def read(path: Path) -> dict[str, str]:
    """The values as they are written, by key in capitals; the last one counts. Empty for a file that is not there.

    Raise `MirrorError` when it cannot be read.
    """
    bindings = parse_stream(io.StringIO(_text(path).removeprefix(_MARK), newline=""))
    return {binding.key.upper(): binding.value or "" for binding in bindings if binding.key}


def store(path: Path, values: Mapping[str, str]) -> bool:
    """Set some keys, those that are there in their place and the others at the end; say whether anything changed.

    A key that stands there several times gets the value everywhere, since the last one counts. Whoever may read the
    file stays the same, and what a link leads to is written; a file that is not there is made, for its owner alone.
    Raise `MirrorError` when it cannot be read or written.
    """
    before = _text(path)
    after = updated(before, values)
    if after == before:
        return False
    write(path.resolve(), after.encode("utf-8"), _mode(path))
    return True


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise MirrorError(f"cannot read {path}: {error}", hint="write it anew, as text in UTF-8") from error


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return _PRIVATE


def updated(text: str, values: Mapping[str, str]) -> str:
    """The text of a dotenv file with some keys set; capitals and small letters are the same, as for those who read it.

    Raise `ValueError` for a value that a line of it cannot hold: with a line break, or with `${`, which is replaced
    by a variable when it is read.
    """
    if any(set(value) & {"\n", "\r"} or "${" in value for value in values.values()):
        raise ValueError("a setting is one line, without ${")
    mark = _MARK if text.startswith(_MARK) else ""
    newline = "\r\n" if "\r\n" in text else "\n"
    left, parts = dict(values), []
    names = {name.lower(): name for name in values}
    for binding in parse_stream(io.StringIO(text.removeprefix(mark), newline="")):
        original, name = binding.original.string, names.get((binding.key or "").lower())
        if name is not None:
            left.pop(name, None)
            if binding.value != values[name]:
                original = _replaced(original, values[name])
        parts.append(original)
    body = "".join(parts)
    if left and body and not body.endswith(("\n", "\r")):
        body += newline
    return mark + body + "".join(f"{key}={_quoted(value)}{newline}" for key, value in left.items())


def _replaced(original: str, value: str) -> str:
    match = _BINDING.fullmatch(original)
    assert match is not None, "what the parser took for a setting is spelled like one"
    return f"{match['head']}={_quoted(value)}{match['tail']}"


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
