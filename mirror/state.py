"""What one phase leaves for the next, as JSON under `.mirror/` of the work directory.

Each phase can run alone from the last one's files. They are written whole or not at all, sorted and without a clock,
and hold no credentials. A missing file is `None`; one that cannot be read is an error, never "empty" (DESIGN rule 4).
"""

from __future__ import annotations

import enum
import json
import types
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from mirror.errors import MirrorError
from mirror.files import write_if_changed
from mirror.model import Digest, Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import DataclassInstance

_FORMAT = 1
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The planned files that the last download could not bring."""

    failures: tuple[Failure, ...] = ()


class State:
    """The state files of one work directory."""

    def __init__(self, directory: Path) -> None:
        """Keep them in `directory`."""
        self.directory = directory

    def save(self, value: DataclassInstance) -> None:
        """Write a phase's result. Raise `MirrorError` when the disk refuses."""
        document = {"format": _FORMAT, **_encode_fields(value)}
        data = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"
        write_if_changed(self._path(type(value)), data)

    def load(self, kind: type[T]) -> T | None:
        """Read a phase's result; None when that phase has not run here. Raise `MirrorError` for an unreadable file."""
        path = self._path(kind)
        try:
            document = json.loads(path.read_bytes())
            if document.pop("format") != _FORMAT:
                raise ValueError("it has another format")
            return typing.cast("T", _decoder(typing.cast("Any", kind))(document))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise MirrorError(
                f"cannot read {path}: {error}", hint="delete it and run `mirror refresh`, which makes it anew"
            ) from error

    def require(self, kind: type[T], phase: str) -> T:
        """Read a phase's result that must be there. Raise `MirrorError` naming the phase to run first."""
        value = self.load(kind)
        if value is None:
            raise MirrorError(f"there is no {self._path(kind)}", hint=f"run `mirror {phase}` first")
        return value

    def _path(self, kind: type[object]) -> Path:
        return self.directory / f"{kind.__name__.lower()}.json"


def encode(value: object) -> Any:
    """Turn a value of the model into JSON: fields that have their default are left out."""
    if isinstance(value, Digest):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value)
    if isinstance(value, enum.IntEnum):
        return int(value)
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _encode_fields(value: DataclassInstance) -> dict[str, Any]:
    encoded = {}
    for field in fields(value):
        item = getattr(value, field.name)
        if field.default is MISSING or item != field.default:
            encoded[field.name] = encode(item)
    return encoded


@cache
def _decoder(kind: Any) -> Callable[[Any], object]:
    """What reads values of a type; made once for each type, for the largest state has ten thousands of values."""
    if kind is Digest:
        return Digest.parse
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}
        return lambda data: kind(**{name: decoders[name](item) for name, item in data.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _tuple_decoder(arguments)
    if origin in (typing.Union, types.UnionType):
        one = _decoder(arguments[0])
        return lambda data: None if data is None else one(data)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    return _scalar_decoder(getattr(kind, "__supertype__", kind))


def _tuple_decoder(arguments: tuple[Any, ...]) -> Callable[[Any], object]:
    each = tuple(_decoder(argument) for argument in arguments if argument is not Ellipsis)

    def decode(data: Any) -> object:
        if not isinstance(data, list):
            raise ValueError(f"{data!r} is no list")
        if arguments[-1] is Ellipsis:
            return tuple(map(each[0], data))
        return tuple(one(item) for one, item in zip(each, data, strict=True))

    return decode


def _scalar_decoder(expected: type) -> Callable[[Any], object]:
    def decode(data: Any) -> object:
        # `type` and not `isinstance`: True is an int.
        if type(data) is not expected:
            raise ValueError(f"{data!r} is no {expected.__name__}")
        return data

    return decode
