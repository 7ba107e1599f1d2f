"""A blueprint in an account: what must be looked up before a template can be made, and the stack that it is for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from mirror.infra.aws import translated
from mirror.infra.blueprint import Blueprint, Identity, Mode
from mirror.infra.bucket import Bucket
from mirror.infra.stack import Stack
from mirror.infra.template import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.infra.aws import Account
    from mirror.infra.stack import ChangeSet, Status
    from mirror.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is wanted, where it is to stand. Every method raises `RemoteError` when AWS refuses."""

    wanted: Blueprint
    account: Account
    progress: Progress
    pause: float = 3.0
    """Seconds between two looks at a stack that changes."""

    @cached_property
    def stack(self) -> Stack:
        """The stack by its name."""
        client = self.account.client("cloudformation")
        return Stack(client=client, name=self.wanted.stack, progress=self.progress, pause=self.pause)

    @cached_property
    def blueprint(self) -> Blueprint:
        """What is wanted, with what only the account can tell.

        The bucket's name is written out, so that a run that reads it back from `config.env` asks for the same.
        """
        made = replace(
            self.wanted,
            bucket=self.bucket_name,
            publisher=replace(self.wanted.publisher, own_provider=self._own_provider()),
        )
        made.check()
        return made

    @property
    def bucket_name(self) -> str:
        """The bucket: as wanted, or named after stack, account and region, which nobody else has."""
        wanted = self.wanted
        return wanted.bucket or f"{wanted.stack.lower()}-{self.account.number}-{wanted.region}"

    def bucket(self) -> Bucket:
        """The bucket, for its end."""
        return Bucket(client=self.account.client("s3"), name=self.bucket_name, owner=self.account.number)

    def template(self) -> str:
        """The template of the blueprint."""
        return render(self.blueprint)

    def propose(self) -> ChangeSet:
        """Ask what would change; nothing is changed by it."""
        self.wanted.check()
        return self.stack.propose(self.template())

    def settings(self, status: Status) -> Mapping[str, str]:
        """What a run must know of a stack that stands, as keys of `config.env`."""
        outputs = status.outputs
        found = {
            "AWS_REGION": outputs["Region"],
            "BUCKET_NAME": outputs["BucketName"],
            "BUCKET_OWNER": self.account.number,
            "BASE_URL": outputs["BaseUrl"],
        }
        if self.wanted.mode is Mode.CDN:
            found["CLOUDFRONT_DISTRIBUTION_ID"] = outputs["DistributionId"]
            found["CLOUDFRONT_DOMAIN"] = self.wanted.domain or outputs["DistributionDomain"]
        else:
            found |= {"CLOUDFRONT_DISTRIBUTION_ID": "", "CLOUDFRONT_DOMAIN": ""}
        return found

    def _own_provider(self) -> bool:
        """Whether the OpenID Connect provider is the stack's: it made it, or nobody has."""
        publisher = self.wanted.publisher
        if publisher.identity not in (Identity.GITHUB, Identity.GITLAB):
            return True
        if self.stack.status() is not None and "Provider" in self.stack.resources():
            return True
        with translated("the account's identity providers", "iam:ListOpenIDConnectProviders"):
            listed = self.account.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
        return not any(each["Arn"].endswith(f":oidc-provider/{publisher.issuer}") for each in listed)
