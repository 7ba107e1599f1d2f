"""Access keys of the publishing user, changed without a moment in which none works.

The order is: make the new key, prove it, store it, put the old one out of use, delete it. What has been reached is
kept in a small file without any secret, so that a rotation that was interrupted is taken up by the next run: a key
whose secret was lost on the way is deleted, a stored one is gone on with, and one that may be stored or not is taken
for stored until the next one is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mirror.errors import ConflictError, MirrorError, RemoteError
from mirror.files import write
from mirror.infra.aws import Refused, translated
from mirror.model import Word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mirror.infra.aws import Account, Client
    from mirror.progress import Progress

_LIMIT = 2
"""Keys that IAM lets a user have."""
_MISSING = "NoSuchEntity"


@dataclass(frozen=True, slots=True)
class Key:
    """An access key. It is never printed: `repr` shows its name only."""

    name: str
    secret: str = field(repr=False)


Store = Callable[[Key], None]
"""Puts a key where publishers find it, or raises when it is not there."""


class Step(Word):
    """How far a rotation got."""

    MAKING = "making"
    """A key was asked for, or made; nobody but this run knew its secret."""
    STORING = "storing"
    """The new key works; whether it got to where publishers find it is not known."""
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
class User:
    """A user and its access keys. Every method raises `RemoteError` when IAM refuses."""

    iam: Client
    name: str

    def keys(self) -> dict[str, bool]:
        """Every key by its name, and whether it is active."""
        with self._translated("ListAccessKeys"):
            found = self.iam.list_access_keys(UserName=self.name)["AccessKeyMetadata"]
        return {each["AccessKeyId"]: each["Status"] == "Active" for each in found}

    def make(self) -> Key:
        """Make a key; nobody can read its secret again."""
        with self._translated("CreateAccessKey"):
            made = self.iam.create_access_key(UserName=self.name)["AccessKey"]
        return Key(made["AccessKeyId"], made["SecretAccessKey"])

    def disable(self, key: str) -> None:
        """Put a key out of use; it can be brought back."""
        with self._translated("UpdateAccessKey"):
            self.iam.update_access_key(UserName=self.name, AccessKeyId=key, Status="Inactive")

    def delete(self, key: str) -> None:
        """Delete a key."""
        with self._translated("DeleteAccessKey"):
            self.iam.delete_access_key(UserName=self.name, AccessKeyId=key)

    def clear(self) -> tuple[str, ...]:
        """Delete every key, and return their names; a user who is gone has none. IAM deletes no user with a key."""
        try:
            names = tuple(self.keys())
        except Refused as error:
            if error.code == _MISSING:
                return ()
            raise
        for name in names:
            self.delete(name)
        return names

    def _translated(self, action: str) -> AbstractContextManager[None]:
        return translated(f"user {self.name}", f"iam:{action}")


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

    def run(self, place: Callable[[], Store]) -> str:
        """Rotate, and return the new key's name.

        `place` is asked for a store before a key is made, and raises where none could be kept. Raise `MirrorError` when
        the user has two keys and neither is provably idle.
        """
        left = self._load()
        if left is not None and left.step is Step.STORED:
            self.progress.say(f"Going on with the rotation to {left.new}")
            return self._retire(left)
        store = place()
        if left is not None and left.step is Step.MAKING:
            self._forget_lost(left)
            left = None
        before = self._room(left)
        making = _Record(step=Step.MAKING, user=self.user, before=before)
        # Written before the key is asked for: whatever key is new afterwards was made by this rotation.
        self._save(making)
        key = self._user.make()
        self._prove(key)
        self._store(key, making, store)
        stored = replace(making, step=Step.STORED, new=key.name)
        self._save(stored)
        return self._retire(stored)

    def _store(self, key: Key, making: _Record, store: Store) -> None:
        # From here on publishers may have it: a run that ends in between must not take it from them.
        self._save(replace(making, step=Step.STORING, new=key.name))
        try:
            store(key)
        except Exception:
            self._save(making)
            raise
        self.progress.say(f"{key.name} works and is stored")

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
        keys = self._user.keys()
        if stored.new not in keys:
            self.record.unlink(missing_ok=True)
            raise ConflictError(
                f"{stored.new} was stored, and is not there any more", hint="somebody removed it; run again"
            )
        # Out of use before it is gone: until the next line runs, an inactive key can be brought back at once.
        old = [name for name in stored.before if name in keys]
        for name in old:
            self._user.disable(name)
        for name in old:
            self._user.delete(name)
            self.progress.say(f"{name} is deleted")
        self.record.unlink(missing_ok=True)
        return stored.new

    def _forget_lost(self, left: _Record) -> None:
        for name in sorted(set(self._user.keys()) - set(left.before)):
            self.progress.say(f"{name} was made by a rotation that was interrupted before it was stored")
            self._user.delete(name)
        self.record.unlink(missing_ok=True)

    def _room(self, storing: _Record | None) -> tuple[str, ...]:
        """The keys that are there, after making room for one more.

        When a rotation was interrupted while it stored a key, that one stays: publishers may have it already.
        """
        keys = self._user.keys()
        if len(keys) < _LIMIT:
            return tuple(keys)
        if storing is not None and storing.new in keys:
            why, spare = "was replaced", [name for name in storing.before if name in keys]
        else:
            why, spare = "is inactive", [name for name, active in keys.items() if not active]
        if not spare:
            raise MirrorError(
                f"user {self.user} has two active keys ({', '.join(keys)}), and IAM allows no third",
                hint="find out which one nobody uses (IAM console, last used) and make it inactive; then run again",
            )
        self.progress.say(f"{spare[0]} {why}; it makes room")
        self._user.delete(spare[0])
        return tuple(name for name in keys if name != spare[0])

    @property
    def _user(self) -> User:
        return User(iam=self.account.client("iam"), name=self.user)

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


def store_in_file(path: Path, profile: str) -> Store:
    """A store that writes a new AWS credentials file which only its owner may read, and never over another.

    Raise `MirrorError`, at once and not only when there is a key, when the file is there already or cannot be written.
    """

    def store(key: Key) -> None:
        text = f"[{profile}]\naws_access_key_id = {key.name}\naws_secret_access_key = {key.secret}\n"
        with _creating(path):
            path.write_text(text, "ascii")

    # Permissions do not tell whether a file can be made; making one does.
    with _creating(path):
        path.unlink()
    return store


@contextmanager
def _creating(path: Path) -> Iterator[None]:
    try:
        path.touch(mode=0o600, exist_ok=False)
        yield
    except OSError as error:
        raise MirrorError(
            f"cannot write {path}: {error.strerror or error}", hint="name a new file with --credentials-file"
        ) from error
