"""The CI job that a run is part of, as its environment tells: GitHub Actions (and what speaks like it), GitLab."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a job wants to be told, and where its checkout is; outside of CI nothing is wanted."""

    summary: Path | None = None
    """The file that the Markdown of this step is appended to (`GITHUB_STEP_SUMMARY`)."""
    outputs: Path | None = None
    """The file that lines `name=value` are appended to (`GITHUB_OUTPUT`)."""
    annotated: bool = False
    """Whether lines of the log that are workflow commands become remarks on files."""
    root: Path | None = None
    """The checkout, from which the paths of remarks are counted."""

    @classmethod
    def current(cls, environ: Mapping[str, str] = os.environ) -> Job:
        """The job that this process runs in."""
        summary, outputs = _path(environ, "GITHUB_STEP_SUMMARY"), _path(environ, "GITHUB_OUTPUT")
        return cls(
            summary=summary,
            outputs=outputs,
            annotated=bool(summary or outputs or environ.get("GITHUB_ACTIONS") == "true"),
            root=_path(environ, "GITHUB_WORKSPACE") or _path(environ, "CI_PROJECT_DIR"),
        )

    def path(self, lock: Path) -> str:
        """The path of a lock in the checkout, `/`-separated; as it is when it lies elsewhere."""
        root = (self.root or Path()).resolve()
        found = lock.resolve()
        return (found.relative_to(root) if found.is_relative_to(root) else lock).as_posix()


def append(path: Path, data: bytes) -> None:
    """Add to a file that the steps of a job share. Raise `MirrorError` when it cannot be written."""
    try:
        with path.open("ab") as stream:
            stream.write(data)
    except OSError as error:
        raise MirrorError(
            f"cannot write {path}: {error.strerror or error}",
            hint="GITHUB_STEP_SUMMARY and GITHUB_OUTPUT name files that the job can write; outside of one, unset them",
        ) from error


def size(path: Path) -> int:
    """Bytes that the file has by now; 0 when it is not there yet."""
    return path.stat().st_size if path.is_file() else 0


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    return Path(environ[name]) if environ.get(name) else None
