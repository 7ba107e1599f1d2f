"""What is wrong with a lock: collected while reading, raised once, each with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mirror.errors import LockError
from mirror.model import Level, Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Problems:
    """Notices about one file, in the order in which they were found, each once."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._notices: dict[Notice, None] = {}

    def add(self, level: Level, code: str, message: str, *, package: str = "", line: int = 0) -> None:
        """Remember one. `line` counts from 1; 0 means the file as a whole."""
        where = f"{self.label}:{line}" if line else self.label
        self._notices[Notice(level=level, code=code, message=message, package=package, where=where)] = None

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Everything found so far, the loudest first."""
        return tuple(sorted(self._notices, key=lambda notice: -notice.level))

    def check(self) -> None:
        """Raise `LockError` with every notice if one of them is an error."""
        errors = [notice for notice in self.notices if notice.level is Level.ERROR]
        if not errors:
            return
        more = f" (and {len(errors) - 1} more problems)" if len(errors) > 1 else ""
        raise LockError(
            f"{errors[0]}{more}",
            hint="repair the lock, usually by running `poetry lock` again with the newest Poetry",
            notices=self.notices,
        )


class Table:
    """A TOML table that is read with suspicion: a value of the wrong type is a problem, never "nothing there"."""

    def __init__(
        self, data: Mapping[str, Any], problems: Problems, *, key: str, package: str = "", line: int = 0
    ) -> None:
        self._data = data
        self._problems = problems
        self._key = key
        self.package = package
        self.line = line

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def raw(self, key: str) -> object:
        """The value as it stands, None when there is none."""
        return self._data.get(key)

    def at(self, key: str) -> str:
        """How messages call a key of this table."""
        return f"{self._key}.{key}" if self._key else key

    def text(self, key: str, default: str | None = None) -> str:
        """A string; without a default it must be there."""
        value = self._data.get(key, default)
        if isinstance(value, str):
            return value
        self.error("wrong-type", f"`{self.at(key)}` is missing" if value is None else f"`{self.at(key)}` is no text")
        return ""

    def flag(self, key: str) -> bool:
        """A boolean, false when it is not there."""
        value = self._data.get(key, False)
        if not isinstance(value, bool):
            self.error("wrong-type", f"`{self.at(key)}` is neither true nor false")
        return value is True

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of strings, empty when it is not there."""
        value = self._data.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.error("wrong-type", f"`{self.at(key)}` is no array of texts")
        return ()

    def table(self, key: str) -> Table:
        """A table, empty when it is not there."""
        value = self._data.get(key, {})
        if not isinstance(value, dict):
            self.error("wrong-type", f"`{self.at(key)}` is no table")
            value = {}
        return self.child(value, key)

    def tables(self, key: str) -> tuple[Table, ...]:
        """An array of tables, empty when it is not there."""
        value = self._data.get(key, [])
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return tuple(self.child(item, key) for item in value)
        self.error("wrong-type", f"`{self.at(key)}` is no array of tables")
        return ()

    def child(self, value: Mapping[str, Any], key: str) -> Table:
        """A table that was found at a key of this one."""
        return Table(value, self._problems, key=self.at(key), package=self.package, line=self.line)

    def error(self, code: str, message: str) -> None:
        """Something that must not be."""
        self._problems.add(Level.ERROR, code, message, package=self.package, line=self.line)

    def warn(self, code: str, message: str) -> None:
        """Something that the user should see."""
        self._problems.add(Level.WARNING, code, message, package=self.package, line=self.line)

    def note(self, code: str, message: str) -> None:
        """Something for the report."""
        self._problems.add(Level.NOTE, code, message, package=self.package, line=self.line)
