"""An AWS account: clients, and its errors as ours. The door to boto3 for infrastructure, imported when first used."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mirror.errors import MirrorError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

Client = Any
"""A botocore client: its methods are made from a service's model when it runs, so no type can be stated."""

_ATTEMPTS = 8
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"})
_STRANGER = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId"),
        *("SignatureDoesNotMatch", "UnrecognizedClientException", "InvalidAccessKeyId"),
    }
)


@dataclass
class Account:
    """An account and a region, reached with the credentials that boto3 finds (profile, environment, role)."""

    region: str = ""
    """Empty: the one that the profile or the environment names."""
    profile: str = ""
    _clients: dict[str, Client] = field(default_factory=dict, repr=False)

    @cached_property
    def _session(self) -> Any:
        import boto3  # noqa: PLC0415 - a run without a cloud does not pay for it
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        try:
            return boto3.Session(profile_name=self.profile or None, region_name=self.region or None)
        except BotoCoreError as error:
            raise MirrorError(f"AWS: {error}", hint="set AWS_PROFILE to a profile of ~/.aws/config") from error

    @property
    def where(self) -> str:
        """The region that is used; empty when nobody names one."""
        return self.region or str(self._session.region_name or "")

    def client(self, service: str) -> Client:
        """A client for a service, made once. Raise `MirrorError` when the region is not known."""
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        if service not in self._clients:
            config = Config(
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            try:
                self._clients[service] = self._session.client(service, config=config)
            except BotoCoreError as error:
                raise MirrorError(f"AWS: {error}", hint="set AWS_REGION in config.env") from error
        return self._clients[service]

    def with_key(self, key: str, secret: str) -> Client:
        """An STS client that signs with another access key, to prove that key."""
        import boto3  # noqa: PLC0415

        session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name=self.where or None)
        return session.client("sts")

    @cached_property
    def number(self) -> str:
        """The account's number. Raise `RemoteError` when the credentials are refused."""
        with translated("who we are", "sts:GetCallerIdentity"):
            return str(self.client("sts").get_caller_identity()["Account"])


class Refused(RemoteError):
    """AWS refused a request; `code` is its word for why, `reason` its sentence."""

    def __init__(self, message: str, *, code: str, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.reason = reason


@contextmanager
def translated(what: str, action: str) -> Iterator[None]:
    """Turn botocore's errors into ours.

    `what` names the thing that was asked for, `action` the permission that it takes. Raise `Refused` for an answer
    that is an error, `RemoteError` when there was none, or no credentials.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        stated = error.response.get("Error", {})
        code, reason = str(stated.get("Code", "")), str(stated.get("Message", ""))
        raise Refused(f"AWS: {what}: {code}: {reason}", code=code, reason=reason, hint=_advice(code, action)) from error
    except NoCredentialsError as error:
        hint = "set AWS_PROFILE in config.env, or sign in: aws sso login, aws configure"
        raise RemoteError(f"AWS: {what}: no credentials were found", hint=hint) from error
    except BotoCoreError as error:
        raise RemoteError(f"AWS: {what}: {error}", hint="try again; nothing is lost by it") from error


def _advice(code: str, action: str) -> str:
    if code in _DENIED:
        return f"the credentials in use lack {action}; use an administrator's for infrastructure"
    if code in _STRANGER:
        return "the credentials in use are not valid (any more): sign in again, or set AWS_PROFILE"
    return ""
