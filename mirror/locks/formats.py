"""Which lock a project has, and who reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.errors import LockError

if TYPE_CHECKING:
    from pathlib import Path

    from mirror.locks.base import Lock

_POETRY = "poetry.lock"
_RECOGNISED = {
    "uv.lock": "uv",
    "pdm.lock": "PDM",
    "pylock.toml": "PEP 751",
    "Pipfile.lock": "Pipenv",
}


def read(path: Path, *, label: str = "", allow_stale: bool = False) -> Lock:
    """Read the lock at `path`, a project's folder or the lock file itself.

    `label` is what messages and reports call it; without one they use the path as it was given. A lock that no longer
    belongs to its project is an error unless `allow_stale` makes it a warning. Raise `LockError`.
    """
    try:
        found = _find(path)
    except OSError as error:
        raise LockError(f"cannot look into {path}: {error.strerror or error}", hint="check the path") from error
    name = label or found.as_posix()
    tool = _tool(found.name)
    if tool is not None:
        raise LockError(
            f"{name} is a lock file of {tool}, a format that is recognised but not supported yet",
            hint="mirror reads poetry.lock; `poetry lock` makes one",
        )
    # Reading poetry.lock brings poetry-core in, which a run that reads none should not wait for.
    from mirror.locks import poetry  # noqa: PLC0415

    return poetry.read(found, label=name, allow_stale=allow_stale)


def _find(path: Path) -> Path:
    if not path.is_dir():
        if not path.exists():
            raise LockError(f"{path.as_posix()} does not exist", hint="name a project's folder or its lock file")
        return path
    if (path / _POETRY).exists():
        return path / _POETRY
    others = sorted(item for item in path.iterdir() if _tool(item.name) is not None)
    if others:
        return others[0]
    raise LockError(
        f"there is no lock file in {path.as_posix()}",
        hint="run `poetry lock` there, or name your project's folder with --project or PROJECT",
    )


def _tool(name: str) -> str | None:
    if name.startswith("pylock.") and name.endswith(".toml"):
        name = "pylock.toml"
    return _RECOGNISED.get(name)
