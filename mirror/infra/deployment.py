"""A blueprint in an account: what must be looked up before a template can be made, and the stack that it is for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from mirror.errors import MirrorError
from mirror.infra.attachments import detach
from mirror.infra.aws import translated
from mirror.infra.blueprint import Blueprint, Identity, Mode
from mirror.infra.bucket import Bucket
from mirror.infra.keys import User
from mirror.infra.stack import Action, Stack
from mirror.infra.template import PRUNE_POLICY, USER, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.infra.aws import Account, Client
    from mirror.infra.stack import ChangeSet, Status
    from mirror.progress import Progress


_OF_CDN = ("DistributionId", "DistributionDomain")
"""Outputs that a stack has for CloudFront only."""


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

    def execute(self, changes: ChangeSet) -> Status:
        """Make the changes, and wait until they are made; raises as `Stack.execute` does."""
        going = (change for change in changes.changes if change.action in (Action.REPLACE, Action.REMOVE))
        self._untie({change.name: change.identity for change in going})
        return self.stack.execute(changes)

    def delete(self) -> None:
        """Delete the stack, and wait until it is gone; raises as `Stack.delete` does. No stack is fine."""
        if self.stack.status() is not None:
            held = self.stack.resources().items()
            self._untie({name: resource.identity for name, resource in held if not resource.kept})
            self.stack.delete()

    def _untie(self, going: Mapping[str, str]) -> None:
        """Take from what is to go (name in the template -> in the account) that for which IAM would keep it."""
        if user := going.get(USER):
            for key in User(iam=self._iam, name=user).clear():
                self.progress.say(f"{key}, a key of {user}, is deleted")
        policy = self.stack.resources().get(PRUNE_POLICY) if going else None
        if policy is not None and policy.identity:
            only = None if PRUNE_POLICY in going else frozenset(going.values())
            for holder in detach(self._iam, policy.identity, only):
                self.progress.say(f"{PRUNE_POLICY} is taken from {holder}")

    def require_bucket(self, status: Status) -> None:
        """Raise `MirrorError` when the stack made another bucket than the one that is wanted."""
        made = status.outputs.get("BucketName", "")
        if not made and (resource := self.stack.resources().get("Bucket")):
            made = resource.identity
        if made and made != self.bucket_name:
            raise MirrorError(
                f"stack {self.stack.name} made bucket {made}, not {self.bucket_name}",
                hint=f"nothing was touched; set BUCKET_NAME={made}, or another STACK_NAME",
            )

    def settings(self, status: Status) -> Mapping[str, str]:
        """What a run must know of a stack that stands, as keys of `config.env`.

        Raise `MirrorError` when the stack does not stand yet, or was made for another mode.
        """
        outputs = status.outputs
        self._require_outputs(status)
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

    def _require_outputs(self, status: Status) -> None:
        cdn = self.wanted.mode is Mode.CDN
        needed = ["Region", "BucketName", "BaseUrl", *(_OF_CDN if cdn else ())]
        if all(name in status.outputs for name in needed) and (cdn or not set(_OF_CDN) & set(status.outputs)):
            return
        settled = status.state in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
        what = f"was not made for INFRA_MODE={self.wanted.mode}" if settled else f"is in {status.state}"
        raise MirrorError(
            f"stack {self.stack.name} {what}", hint="`mirror infra up` makes it what config.env says; then run again"
        )

    def _own_provider(self) -> bool:
        """Whether the OpenID Connect provider is the stack's: it made it, or nobody has.

        Raise `MirrorError` when somebody else's does not take tokens for our audience: nobody could assume the role.
        """
        publisher = self.wanted.publisher
        if publisher.identity not in (Identity.GITHUB, Identity.GITLAB):
            return True
        made = self.stack.resources().get("Provider") if self.stack.status() is not None else None
        if made is not None and not made.kept:
            return True
        with translated("the account's identity providers", "iam:ListOpenIDConnectProviders"):
            listed = self._iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        arns = [each["Arn"] for each in listed if each["Arn"].endswith(f":oidc-provider/{publisher.issuer}")]
        if not arns:
            return True
        with translated(arns[0], "iam:GetOpenIDConnectProvider"):
            audiences = self._iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arns[0])["ClientIDList"]
        if publisher.audience not in audiences:
            raise MirrorError(
                f"{arns[0]} does not take tokens for {publisher.audience}, so nobody could assume the role",
                hint="allow it: aws iam add-client-id-to-open-id-connect-provider "
                f"--open-id-connect-provider-arn {arns[0]} --client-id {publisher.audience}",
            )
        return False

    @property
    def _iam(self) -> Client:
        return self.account.client("iam")
