"""Access keys of the publishing user, changed without a moment in which none works.

The order is: make the new key, prove it, store it, put the old one out of use, delete it. What has been reached is
kept in a small file without any secret, so that a rotation that was interrupted is taken up by the next run: a key
whose secret was lost on the way is deleted, a stored one is gone on with.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mirror.errors import ConflictError, MirrorError, RemoteError
from mirror.files import write
from mirror.infra.aws import translated
from mirror.model import Word

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mirror.infra.aws import Account, Client
    from mirror.progress import Progress

_LIMIT = 2
"""Keys that IAM lets a user have."""


@dataclass(frozen=True, slots=True)
class Key:
    """An access key. It is never printed: `repr` shows its name only."""

    name: str
    secret: str = field(repr=False)


class Step(Word):
    """How far a rotation got."""

    MAKING = "making"
    """A key was asked for, or made; nobody but this run knew its secret."""
    STORED = "stored"
    """The new key is where publishers find it."""


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What the file says: the step, the user, the keys that were there before and the new one's name."""

    step: Step
    user: str
    before: tuple[str, ...]
    new: str = ""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The rotation of one user's key. Every method raises `RemoteError` when AWS refuses."""

    account: Account
    user: str
    record: Path
    """Where the step is kept."""
    progress: Progress
    pause: float = 2.0
    """Seconds between two proofs."""
    patience: float = 90.0
    """Seconds that a new key may take until it is known everywhere."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def run(self, store: Callable[[Key], None]) -> str:
        """Rotate, and return the new key's name. `store` puts a key where publishers find it, or raises.

        Raise `MirrorError` when the user has two keys and neither is provably idle.
        """
        left = self._load()
        if left is not None and left.step is Step.STORED:
            self.progress.say(f"Going on with the rotation to {left.new}")
            return self._retire(left)
        if left is not None:
            self._forget_lost(left)
        before = self._room()
        made = _Record(step=Step.MAKING, user=self.user, before=before)
        # Written before the key is asked for: whatever key is new afterwards was made by this rotation.
        self._save(made)
        key = self._make()
        self._prove(key)
        store(key)
        self.progress.say(f"{key.name} works and is stored")
        stored = _Record(step=Step.STORED, user=self.user, before=before, new=key.name)
        self._save(stored)
        return self._retire(stored)

    def _make(self) -> Key:
        with translated(f"user {self.user}", "iam:CreateAccessKey"):
            made = self._iam.create_access_key(UserName=self.user)["AccessKey"]
        return Key(made["AccessKeyId"], made["SecretAccessKey"])

    def _prove(self, key: Key) -> None:
        """Ask with the new key who it is until AWS knows it: that takes some seconds."""
        deadline = time.monotonic() + self.patience
        client = self.account.with_key(key.name, key.secret)
        with self.progress.task(f"prove {key.name}"):
            while True:
                try:
                    with translated(key.name, "sts:GetCallerIdentity"):
                        arn = client.get_caller_identity()["Arn"]
                    break
                except RemoteError as error:
                    if time.monotonic() > deadline:
                        raise RemoteError(
                            f"{key.name} does not work after {self.patience:.0f} s: {error}",
                            hint="the old key is untouched; run again: the new one is deleted and made anew",
                        ) from error
                    self.sleep(self.pause)
        if not arn.endswith(f"/{self.user}"):
            raise RemoteError(f"{key.name} belongs to {arn}, not to {self.user}", hint="nothing was stored")

    def _retire(self, stored: _Record) -> str:
        keys = self._keys()
        if stored.new not in keys:
            self.record.unlink(missing_ok=True)
            raise ConflictError(
                f"{stored.new} was stored, and is not there any more", hint="somebody removed it; run again"
            )
        # Out of use before it is gone: until the next line runs, an inactive key can be brought back at once.
        old = [name for name in stored.before if name in keys]
        for name in old:
            with translated(f"user {self.user}", "iam:UpdateAccessKey"):
                self._iam.update_access_key(UserName=self.user, AccessKeyId=name, Status="Inactive")
        for name in old:
            self._delete(name)
            self.progress.say(f"{name} is deleted")
        self.record.unlink(missing_ok=True)
        return stored.new

    def _forget_lost(self, left: _Record) -> None:
        for name in self._keys():
            if name not in left.before:
                self.progress.say(f"{name} was made by a rotation that was interrupted before it was stored")
                self._delete(name)
        self.record.unlink(missing_ok=True)

    def _room(self) -> tuple[str, ...]:
        """The keys that are there, after making room for one more."""
        keys = self._keys()
        if len(keys) < _LIMIT:
            return tuple(keys)
        idle = [name for name, active in keys.items() if not active]
        if not idle:
            raise MirrorError(
                f"user {self.user} has two active keys ({', '.join(keys)}), and IAM allows no third",
                hint="find out which one nobody uses (IAM console, last used) and make it inactive; then run again",
            )
        self.progress.say(f"{idle[0]} is inactive; it makes room")
        self._delete(idle[0])
        return tuple(name for name in keys if name != idle[0])

    def _keys(self) -> dict[str, bool]:
        """Every key of the user by its name, and whether it is active."""
        with translated(f"user {self.user}", "iam:ListAccessKeys"):
            found = self._iam.list_access_keys(UserName=self.user)["AccessKeyMetadata"]
        return {each["AccessKeyId"]: each["Status"] == "Active" for each in found}

    def _delete(self, name: str) -> None:
        with translated(f"user {self.user}", "iam:DeleteAccessKey"):
            self._iam.delete_access_key(UserName=self.user, AccessKeyId=name)

    @property
    def _iam(self) -> Client:
        return self.account.client("iam")

    def _save(self, record: _Record) -> None:
        fields = {"step": record.step, "user": record.user, "before": record.before, "new": record.new}
        write(self.record, (json.dumps(fields, sort_keys=True) + "\n").encode("ascii"))

    def _load(self) -> _Record | None:
        try:
            fields = json.loads(self.record.read_bytes())
            found = _Record(
                step=Step(fields["step"]), user=fields["user"], before=tuple(fields["before"]), new=fields["new"]
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MirrorError(
                f"{self.record} cannot be understood: {error}",
                hint="look which keys the user has, delete the file and run again",
            ) from error
        if found.user != self.user:
            raise MirrorError(
                f"{self.record} is of a rotation for user {found.user}, not {self.user}",
                hint="end that one first, or delete the file",
            )
        return found


def store_in_file(path: Path, profile: str) -> Callable[[Key], None]:
    """A store that writes a new AWS credentials file which only its owner may read, and never over another.

    Raise `MirrorError` when the file is there already or cannot be written.
    """

    def store(key: Key) -> None:
        text = f"[{profile}]\naws_access_key_id = {key.name}\naws_secret_access_key = {key.secret}\n"
        try:
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(text, "ascii")
        except OSError as error:
            raise MirrorError(
                f"cannot write {path}: {error.strerror or error}", hint="name another file with --credentials-file"
            ) from error

    return store
