"""A CloudFormation stack, changed only by change sets that were shown before they are executed."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mirror.errors import ConflictError, MirrorError, RemoteError
from mirror.infra.aws import Refused, translated
from mirror.infra.template import TAG
from mirror.model import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mirror.infra.aws import Client
    from mirror.progress import Progress

_CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
_NOTHING = ("didn't contain changes", "no updates are to be performed")
"""How CloudFormation words a change set that failed because there is nothing to change."""
_SOON = 0.5
"""Seconds between two looks at a change set: it takes a few at most."""
_UNBORN = frozenset({"REVIEW_IN_PROGRESS"})
_STILLBORN = frozenset({"ROLLBACK_COMPLETE"})
"""A stack whose creation failed and was undone: it holds nothing, and can only be deleted."""
_HALF = frozenset({"CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_FAILED"})
"""A stack that holds some of its resources, and can only be deleted."""
_STUCK = frozenset({"UPDATE_ROLLBACK_FAILED", "IMPORT_ROLLBACK_FAILED"})
_KEPT = "DELETE_SKIPPED"
_GONE = "DELETE_COMPLETE"


class Action(Word):
    """What a change does to a resource."""

    ADD = "add"
    CHANGE = "change"
    REPLACE = "replace"
    """Perhaps or surely made anew, under another identity."""
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource that a change set touches."""

    action: Action
    name: str
    """Its name in the template."""
    kind: str
    """Its type, such as `AWS::S3::Bucket`."""
    identity: str = ""
    """What it is called in the account, if it is there."""
    detail: str = ""
    """The properties that change."""


_OUTPUTS = Change(action=Action.CHANGE, name="Outputs", kind="of the stack")
"""What a change set is about that touches no resource, and is none that CloudFormation finds empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """What would be done; CloudFormation holds it until it is executed or discarded."""

    arn: str
    stack: str
    """The ARN of the stack that it is for."""
    changes: tuple[Change, ...]
    """Empty: the stack is as the template says."""
    creates: bool
    """Whether the stack is made by it."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A stack as it stands."""

    arn: str
    state: str
    """CloudFormation's word, such as `UPDATE_COMPLETE`."""
    reason: str
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource of a stack."""

    identity: str
    """What it is called in the account; empty until it is made."""
    kept: bool
    """Whether the stack let go of it, and it stayed in the account."""


class StackFailedError(RemoteError):
    """A change could not be made and was rolled back; `resource` is the first that failed, `reason` why."""

    def __init__(self, message: str, *, resource: str, reason: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.resource = resource
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One stack by its name.

    Every method raises `RemoteError` when CloudFormation refuses or does not answer, and `MirrorError` when a stack
    that somebody else made has this name: nothing of it is read or touched.
    """

    client: Client
    name: str
    progress: Progress
    pause: float = 3.0
    """Seconds between two looks."""
    patience: float = 3600.0
    """Seconds that a change may take; a distribution alone takes minutes."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def status(self) -> Status | None:
        """The stack as it stands; None when there is none."""
        try:
            with translated(f"stack {self.name}", "cloudformation:DescribeStacks"):
                found = self.client.describe_stacks(StackName=self.name)["Stacks"][0]
        except Refused as error:
            # The code is that of every bad request; the sentence is the only sign.
            if error.code == "ValidationError" and "does not exist" in error.reason:
                return None
            raise
        # A stack that is only proposed holds nothing, and has no tags yet.
        made = next((tag["Value"] for tag in found.get("Tags", ()) if tag["Key"] == TAG), "")
        if made != self.name and found["StackStatus"] not in _UNBORN:
            raise MirrorError(
                f"stack {self.name} was made by somebody else (its tag {TAG} is {made or 'not there'})",
                hint="nothing was touched; choose another STACK_NAME",
            )
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
        return Status(
            arn=found["StackId"],
            state=found["StackStatus"],
            reason=found.get("StackStatusReason", ""),
            outputs=outputs,
        )

    def resources(self) -> Mapping[str, Resource]:
        """What the stack holds, and what it left in the account, by its name in the template."""
        with translated(f"stack {self.name}", "cloudformation:DescribeStackResources"):
            found = self.client.describe_stack_resources(StackName=self.name)["StackResources"]
        return {
            each["LogicalResourceId"]: Resource(
                identity=each.get("PhysicalResourceId", ""), kept=each["ResourceStatus"] == _KEPT
            )
            for each in found
            if each["ResourceStatus"] != _GONE
        }

    def prepare(self) -> None:
        """Wait for a change that somebody else is making, and clear a creation that failed out of the way.

        Raise `ConflictError` when the other change takes too long, `MirrorError` when only a person can help.
        """
        found = self.status()
        if found is not None and found.state.endswith("_IN_PROGRESS") and found.state not in _UNBORN:
            self.progress.say(f"Stack {self.name} is busy ({found.state}); waiting")
            self._settle(found.arn)
            found = self.status()
        if found is not None and found.state in _STILLBORN:
            self.progress.say(f"Stack {self.name}: an earlier creation failed ({found.state}); clearing it away")
            self.delete()
        elif found is not None:
            self._refuse_stuck(found)

    def _refuse_stuck(self, found: Status) -> None:
        hints = {
            **dict.fromkeys(_HALF, "`mirror infra down` deletes what is left; then run again"),
            **dict.fromkeys(_STUCK, "continue the update rollback in the CloudFormation console, then run again"),
        }
        if found.state in hints:
            raise MirrorError(
                f"stack {self.name} is stuck in {found.state}: {found.reason or 'no reason is given'}",
                hint=hints[found.state],
            )

    def propose(self, template: str) -> ChangeSet:
        """Ask what the template would change; nothing is changed by it.

        Raise `MirrorError` when CloudFormation finds the template wrong.
        """
        found = self.status()
        if found is not None and found.state in _STILLBORN:
            raise MirrorError(
                f"stack {self.name} is left from a creation that failed ({found.state})",
                hint="`mirror infra up` clears it away and makes it anew",
            )
        if found is not None:
            self._refuse_stuck(found)
        creates = found is None or found.state in _UNBORN
        # Named after what it says and when: a name may be used once, and an abandoned one is easily told.
        digest = hashlib.sha256(template.encode("utf-8")).hexdigest()[:12]
        with translated(f"change set for stack {self.name}", "cloudformation:CreateChangeSet"):
            made = self.client.create_change_set(
                StackName=self.name,
                ChangeSetName=f"mirror-{digest}-{time.time_ns():x}",
                ChangeSetType="CREATE" if creates else "UPDATE",
                TemplateBody=template,
                Capabilities=_CAPABILITIES,
                Tags=[{"Key": TAG, "Value": self.name}],
            )
        empty = ChangeSet(arn=made["Id"], stack=made["StackId"], changes=(), creates=creates)
        described = self._described(empty.arn)
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "")
            self.discard(empty)
            if any(words in reason.lower() for words in _NOTHING):
                return replace(empty, creates=False)
            raise MirrorError(
                f"stack {self.name}: CloudFormation refuses the template: {reason}",
                hint="nothing was changed; `mirror infra template` prints what was asked for",
            )
        return replace(empty, changes=tuple(self._changes(described)) or (_OUTPUTS,))

    def _described(self, arn: str) -> dict[str, Any]:
        deadline = time.monotonic() + self.patience
        while True:
            with translated(f"change set for stack {self.name}", "cloudformation:DescribeChangeSet"):
                described: dict[str, Any] = self.client.describe_change_set(ChangeSetName=arn)
            if described["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                return described
            self._wait(deadline, "the change set is not ready", _SOON)

    def _changes(self, described: dict[str, Any]) -> Iterator[Change]:
        while True:
            yield from (_change(each["ResourceChange"]) for each in described.get("Changes", ()))
            if not described.get("NextToken"):
                return
            with translated(f"change set for stack {self.name}", "cloudformation:DescribeChangeSet"):
                described = self.client.describe_change_set(
                    ChangeSetName=described["ChangeSetId"], NextToken=described["NextToken"]
                )

    def discard(self, changes: ChangeSet) -> None:
        """Forget a change set; a stack that would only have come to be by it goes too."""
        with translated(f"change set for stack {self.name}", "cloudformation:DeleteChangeSet"):
            self.client.delete_change_set(ChangeSetName=changes.arn)
        if changes.creates:
            found = self.status()
            if found is not None and found.state in _UNBORN:
                with translated(f"stack {self.name}", "cloudformation:DeleteStack"):
                    self.client.delete_stack(StackName=found.arn)

    def execute(self, changes: ChangeSet) -> Status:
        """Make the changes, and wait until they are made.

        Raise `StackFailedError` when they were rolled back, `ConflictError` when somebody changed the stack meanwhile.
        """
        seen = self._events_seen()
        try:
            with translated(f"stack {self.name}", "cloudformation:ExecuteChangeSet"):
                self.client.execute_change_set(ChangeSetName=changes.arn)
        except Refused as error:
            if error.code == "InvalidChangeSetStatus":
                raise ConflictError(
                    f"stack {self.name} was changed by somebody else meanwhile", hint="run again to see what is left"
                ) from error
            raise
        with self.progress.task(f"stack {self.name}", items=len(changes.changes)) as task:
            failure = self._settle(changes.stack, seen, task.advance)
        found = self.status()
        if found is None or found.state not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise self._failed(found, failure)
        return found

    def delete(self) -> None:
        """Delete the stack, and wait until it is gone; what is to be retained stays. No stack is fine."""
        found = self.status()
        if found is None:
            return
        seen = self._events_seen()
        with translated(f"stack {self.name}", "cloudformation:DeleteStack"):
            self.client.delete_stack(StackName=found.arn)
        with self.progress.task(f"stack {self.name}: delete") as task:
            failure = self._settle(found.arn, seen, task.advance)
        left = self.status()
        if left is not None:
            raise self._failed(left, failure)

    def _failed(self, found: Status | None, failure: dict[str, Any] | None) -> StackFailedError:
        state = found.state if found else "gone"
        resource = failure["LogicalResourceId"] if failure else self.name
        reason = (failure or {}).get("ResourceStatusReason") or (found.reason if found else "") or "no reason is given"
        kind = failure["ResourceType"] if failure else "AWS::CloudFormation::Stack"
        return StackFailedError(
            f"stack {self.name} ended in {state}: {resource} ({kind}): {reason}",
            resource=resource, reason=reason, hint=_advice(kind, reason, state),
        )  # fmt: skip

    def _settle(
        self, arn: str, seen: frozenset[str] = frozenset(), advance: Callable[..., None] | None = None
    ) -> dict[str, Any] | None:
        """Wait until nothing moves any more; tell each resource that is done, return the first that failed."""
        deadline = time.monotonic() + self.patience
        told, failure = set(seen), None
        while True:
            # The state is read before the events: what ends between the two is told all the same.
            with translated(f"stack {self.name}", "cloudformation:DescribeStacks"):
                state = self.client.describe_stacks(StackName=arn)["Stacks"][0]["StackStatus"]
            if advance is not None:
                for event in self._events(arn, frozenset(told)):
                    told.add(event["EventId"])
                    failure = failure or self._tell(event, advance)
            if not state.endswith("_IN_PROGRESS"):
                return failure
            self._wait(deadline, f"it is still {state}")

    def _tell(self, event: dict[str, Any], advance: Callable[..., None]) -> dict[str, Any] | None:
        state, name = event["ResourceStatus"], event["LogicalResourceId"]
        if event["ResourceType"] == "AWS::CloudFormation::Stack":
            return None
        if state.endswith("_IN_PROGRESS"):
            advance(what=name)
        elif state.endswith("_COMPLETE"):
            advance(items=1)
        # What was cancelled only followed something that failed by itself.
        cancelled = "cancelled" in event.get("ResourceStatusReason", "").lower()
        return event if state.endswith("_FAILED") and not cancelled else None

    def _events_seen(self) -> frozenset[str]:
        try:
            return frozenset(event["EventId"] for event in self._events(self.name, frozenset()))
        except Refused as error:
            if error.code == "ValidationError":
                return frozenset()
            raise

    def _events(self, stack: str, known: frozenset[str]) -> list[dict[str, Any]]:
        """New events, oldest first; they are answered newest first, page by page."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            with translated(f"stack {self.name}", "cloudformation:DescribeStackEvents"):
                page = self.client.describe_stack_events(StackName=stack, **token)
            new = [event for event in page["StackEvents"] if event["EventId"] not in known]
            found += new
            if len(new) < len(page["StackEvents"]) or not page.get("NextToken"):
                return found[::-1]
            token = {"NextToken": page["NextToken"]}

    def _wait(self, deadline: float, what: str, pause: float | None = None) -> None:
        if time.monotonic() > deadline:
            raise ConflictError(
                f"stack {self.name}: after {self.patience:,.0f} s {what}",
                hint="it goes on by itself; look with `mirror infra status`, and run again then",
            )
        self.sleep(self.pause if pause is None else min(pause, self.pause))


def _change(stated: dict[str, Any]) -> Change:
    action = {"Add": Action.ADD, "Import": Action.ADD, "Remove": Action.REMOVE}.get(stated["Action"], Action.CHANGE)
    if action is Action.CHANGE and stated.get("Replacement") in ("True", "Conditional"):
        action = Action.REPLACE
    names = {
        detail.get("Target", {}).get("Name") or detail.get("Target", {}).get("Attribute", "")
        for detail in stated.get("Details", ())
    }
    return Change(
        action=action,
        name=stated["LogicalResourceId"],
        kind=stated["ResourceType"],
        identity=stated.get("PhysicalResourceId", ""),
        detail=", ".join(sorted(names - {""})),
    )


def _advice(kind: str, reason: str, state: str) -> str:
    text = reason.lower()
    if kind == "AWS::S3::Bucket" and "exist" in text:
        return "a bucket of this name is there already: choose another BUCKET_NAME, or STACK_NAME where it is empty"
    if kind == "AWS::S3::BucketPolicy" and ("denied" in text or "block" in text):
        return (
            "the account or organisation blocks public buckets: use INFRA_MODE=cdn, which needs none, "
            "or lift the account's public access block"
        )
    if kind == "AWS::IAM::OIDCProvider" and "exist" in text:
        return "the provider was made meanwhile; run again, and it is used as it is"
    if kind == "AWS::CloudFront::Distribution" and ("cname" in text or "alias" in text):
        return "another distribution serves this DOMAIN: take it out there first"
    if state.endswith("ROLLBACK_COMPLETE"):
        return "nothing is left half done; mend what it says and run again"
    if state in _HALF:
        return "some of it still stands; mend what it says, and `mirror infra down` goes on where this ended"
    return "mend what it says; `mirror infra status` shows the stack as it stands"
