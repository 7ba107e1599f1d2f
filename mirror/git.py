"""git, asked for a lock as it was: at a branch, a tag or a commit. Nothing is checked out, nothing is changed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A commit, as the files of one folder stood there."""

    folder: Path
    """In a working tree."""
    name: str
    """As the user named it."""
    commit: str
    """Its full id."""
    environ: Mapping[str, str] = field(repr=False)
    """The user's environment, in which git finds its configuration."""

    @classmethod
    def find(cls, folder: Path, name: str, environ: Mapping[str, str]) -> Revision:
        """Find the commit that a name means. Raise `MirrorError` when git is not there or knows none."""
        code, said, complaint = _git(
            folder, environ, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
        if code:
            raise MirrorError(
                f"{name!r} is no release, and git knows no such commit in {folder}{_said(complaint)}",
                hint="name a branch, a tag, a commit, or a release that `mirror releases` lists; a shallow clone lacks "
                "most commits",
            )
        return cls(folder=folder, name=name, commit=said.decode("ascii", "replace").strip(), environ=environ)

    def read(self, filename: str) -> bytes | None:
        """The bytes of a file of the folder; None when it was not there. Raise `MirrorError` when git does not tell."""
        listed = self._ask("ls-tree", "-z", self.commit, "--", filename)
        if not listed:
            return None
        # `100644 blob <id>\t<path>`
        kind, identity = listed.partition(b"\t")[0].split()[1:3]
        if kind != b"blob":
            return None
        return self._ask("cat-file", "blob", identity.decode("ascii"))

    def _ask(self, *arguments: str) -> bytes:
        code, said, complaint = _git(self.folder, self.environ, *arguments)
        if code:
            raise MirrorError(
                f"git {arguments[0]} fails at {self.name}{_said(complaint)}", hint=f"look at {self.folder}"
            )
        return said


def _git(folder: Path, environ: Mapping[str, str], *arguments: str) -> tuple[int, bytes, str]:
    # A name in a pull request is not ours: no pager, no prompt, and no other repository than that of the folder.
    environment = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            [
                shutil.which("git", path=environ.get("PATH")) or "git",
                "--no-pager",
                "--literal-pathspecs",
                "-C",
                str(folder),
                *arguments,
            ],
            env={**environment, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise MirrorError(
            f"cannot run git: {error.strerror or error}", hint="install it, or compare with a release"
        ) from error
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def _said(complaint: str) -> str:
    line = " ".join(complaint.split())
    return f": {line}" if line else ""
