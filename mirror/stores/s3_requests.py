"""Requests to a bucket, repeated while that may help, and refused in words that help.

Retries are our own and botocore's are not used: a conditional write whose reply was lost looks like a conflict when it
is repeated, and only who counts the attempts can tell the two apart.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError

from mirror.errors import RemoteError
from mirror.guard import check, pause
from mirror.stores.s3_client import Refusal
from mirror.stores.s3_transport import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mirror.stores.s3_client import Client

_Answer = TypeVar("_Answer")

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 10.0
"""Both in seconds."""

_HINTS = {
    "NoSuchBucket": "create the bucket, or correct its name in DESTINATION or BUCKET_NAME",
    "InvalidAccessKeyId": "the store does not know this access key: check AWS_PROFILE and the credentials it names",
    "SignatureDoesNotMatch": "the secret key does not fit the access key: check the credentials",
    "ExpiredToken": "the credentials have expired: log in again, then run again",
    "InvalidToken": "the session token is not of this account or has expired: log in again, then run again",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it, then run again",
    "PermanentRedirect": "the bucket lies in another region: set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket lies in another region: set AWS_REGION to it",
    "NotImplemented": "the store cannot do this: publish to one that speaks more of the language of S3",
}

_PERMISSIONS = {
    "list": "s3:ListBucket",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "remove": "s3:DeleteObject",
}


class RefusedError(RemoteError):
    """The store has answered, and refused."""

    def __init__(self, message: str, *, hint: str, status: int) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        """Of HTTP."""


@dataclass(kw_only=True)
class Requests:
    """Requests to one bucket."""

    client: Client
    name: str
    """What messages call the store."""
    bucket: str
    attempts: int
    """How often a request is sent at most."""

    def send(self, act: Callable[[Client], _Answer]) -> _Answer:
        """Let `act` ask the client, again and again while that may help, with pauses that grow and are drawn by lot.

        The guards of the context are asked before each attempt. Raise `Refusal` for an answer that is none of success,
        `RemoteError` when there is no answer.
        """
        uncertain = False
        for delay in _delays(self.attempts):
            check()
            try:
                answer = act(self.client)
            except Refusal as refusal:
                refusal.uncertain = uncertain
                if not refusal.passing or delay is None:
                    raise
                uncertain = uncertain or refusal.status >= 500
            except NoAnswer as error:
                if error.untrusted or delay is None:
                    raise self._unreachable(error) from error
                uncertain = uncertain or error.carried
            except BotoCoreError as error:
                # It has not found out who we are.
                hint = "set AWS_PROFILE, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                raise RemoteError(f"{self.name}: {error}", hint=hint) from error
            else:
                return answer
            pause(delay)
        raise AssertionError("the last attempt answers or raises")

    def error(self, refusal: Refusal, verb: str, key: str) -> RefusedError:
        """Say what was refused, and what to do about it. `verb` is list, read, write or remove."""
        hint = _HINTS.get(refusal.code)
        if hint is None and refusal.status == 403:
            hint = f"allow {self._permission(verb, key)}, and check that the bucket belongs to the expected account"
        if hint is None:
            hint = "what is stored is whole: run again to go on"
        what = f"{verb} {key}" if key else verb
        message = f"{self.name}: cannot {what}: {refusal.status} {refusal.code} {refusal.message}".rstrip()
        return RefusedError(message, hint=hint, status=refusal.status)

    def _permission(self, verb: str, key: str) -> str:
        arn = f"arn:aws:s3:::{self.bucket}"
        if verb == "list":
            return f"{_PERMISSIONS[verb]} on {arn}"
        needed = f"{_PERMISSIONS[verb]} on {arn}/{key}"
        # Without it S3 answers 403 for what is not there (cloud 2.1).
        return f"{needed} and s3:ListBucket on {arn}" if verb == "read" else needed

    def _unreachable(self, error: NoAnswer) -> RemoteError:
        if error.untrusted:
            hint = "if the store has a certificate of your own authority, name that in AWS_CA_BUNDLE"
        else:
            hint = "check the network, ENDPOINT_URL and AWS_REGION; what is stored is whole: run again to go on"
        return RemoteError(f"{self.name}: {error}", hint=hint)


def _delays(attempts: int) -> Iterator[float | None]:
    """The pause after each attempt, in seconds; None after the last one."""
    for number in range(attempts - 1):
        # Full jitter: publishers that failed together do not come back together.
        yield random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2**number))  # noqa: S311 # keeps no secret
    yield None
