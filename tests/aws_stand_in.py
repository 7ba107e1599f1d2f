"""A strict stand-in for the control plane of AWS over real HTTP: CloudFormation, IAM, STS, and S3's versions.

It keeps to the rules that moto does not: a change set without changes fails, named IAM needs its capability, a stack
whose creation failed can only be deleted, no resource changes its type, a user with keys and a policy that somebody has
are not deleted, states take several looks, lists come in pages, a user has two keys at most, a new key is unknown for a
while. It computes no signatures: who asks is read from the credential's name.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.templates import ACCOUNT, REGION, Resolver, refuse_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADMIN = "ADMINEXAMPLE"
_LOOKS = 2
"""How often a state is looked at before it moves on."""
_PAGE = 3
_STRIDE = 12
"""Resources that move on between two looks."""


class RefusedError(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Stack:
    name: str
    arn: str
    state: str
    template: dict[str, Any] = field(default_factory=lambda: {"Resources": {}, "Outputs": {}})
    events: list[dict[str, str]] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    kept: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What it let go of and left in the account: name -> type and identity."""


@dataclass
class ChangeSet:
    arn: str
    stack: str
    template: dict[str, Any]
    status: str
    reason: str
    changes: list[dict[str, str]]
    tags: dict[str, str]
    looks: int = 0
    execution: str = "AVAILABLE"


@dataclass
class Bucket:
    tags: dict[str, str]
    versions: list[tuple[str, str, int | None]] = field(default_factory=list)
    """Key, version id, size; None is a marker."""
    uploads: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Aws:
    """The account."""

    url: str = ""
    stacks: dict[str, Stack] = field(default_factory=dict)
    """Those that are there, by name."""
    gone: dict[str, Stack] = field(default_factory=dict)
    """Deleted ones, by ARN."""
    sets: dict[str, ChangeSet] = field(default_factory=dict)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    providers: dict[str, list[str]] = field(default_factory=dict)
    """Those of OpenID Connect by ARN, and the audiences that each takes tokens for."""
    holders: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Policy -> who has it by somebody's hand: User, Group or Role, and the name."""
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    """User -> key -> status."""
    unknown: Counter[str] = field(default_factory=Counter)
    """How often a new key is refused before it is known."""
    broken: dict[str, str] = field(default_factory=dict)
    """Resource -> the reason why it cannot be made."""
    stubborn: set[str] = field(default_factory=set)
    """Keys of objects that are not deleted."""
    refuse: Counter[str] = field(default_factory=Counter)
    """Action -> how often it is answered with an error."""
    calls: list[str] = field(default_factory=list)
    on_call: Any = None
    """Called with each action before it is answered."""
    on_stack: Any = None
    """Called with the resolved template of a stack that has come to be or was changed."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _count: int = 0

    def number(self) -> int:
        self._count += 1
        return self._count

    # --- CloudFormation

    def find(self, name: str) -> Stack:
        found = self.gone.get(name) or next((s for s in self.stacks.values() if name in (s.name, s.arn)), None)
        if found is None:
            raise RefusedError("ValidationError", f"Stack with id {name} does not exist")
        return found

    def CreateChangeSet(self, ask: dict[str, str]) -> str:  # noqa: N802 - as the API spells it
        name, body = ask["StackName"], ask["TemplateBody"]
        if len(body.encode()) > 51_200:
            raise RefusedError("ValidationError", "template is too long")
        template = json.loads(body)
        Resolver(template, stack=name).resolve(template["Resources"])
        capabilities = {value for key, value in ask.items() if key.startswith("Capabilities.")}
        if any(r["Type"].startswith("AWS::IAM::") for r in template["Resources"].values()) and not capabilities:
            raise RefusedError("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]")
        there = self.stacks.get(name)
        if ask["ChangeSetType"] == "CREATE":
            if there is not None and there.state != "REVIEW_IN_PROGRESS":
                raise RefusedError("ValidationError", f"Stack [{name}] already exists and cannot be created again")
            there = there or self.stacks.setdefault(
                name, Stack(name, f"arn:stack/{name}/{self.number()}", "REVIEW_IN_PROGRESS")
            )
        elif there is None:
            raise RefusedError("ValidationError", f"Stack [{name}] does not exist")
        elif there.state not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"):
            raise RefusedError(
                "ValidationError", f"Stack:{there.arn} is in {there.state} state and can not be updated."
            )
        before = there.template["Resources"]
        changes = list(_changes(before, template["Resources"]))
        reason = ""
        if not changes and template["Outputs"] == there.template["Outputs"]:
            reason = (
                "The submitted information didn't contain changes. Submit different information to create a change set."
            )
        other = [key for key, each in template["Resources"].items() if before.get(key, each)["Type"] != each["Type"]]
        if other:
            reason = ("Update of resource type is not permitted. The new template modifies resource type of the "
                      f"following resources: [{', '.join(other)}]")  # fmt: skip
        made = ChangeSet(
            arn=f"arn:changeSet/{ask['ChangeSetName']}/{self.number()}", stack=name, template=template,
            status="FAILED" if reason else "CREATE_COMPLETE", changes=changes, reason=reason,
            tags={ask[key]: ask[key.removesuffix("Key") + "Value"] for key in ask
                  if key.startswith("Tags.") and key.endswith(".Key")},
            execution="UNAVAILABLE" if reason else "AVAILABLE",
        )  # fmt: skip
        self.sets[made.arn] = made
        return f"<Id>{made.arn}</Id><StackId>{there.arn}</StackId>"

    def DescribeChangeSet(self, ask: dict[str, str]) -> str:  # noqa: N802
        found = self.sets.get(ask["ChangeSetName"])
        if found is None:
            raise RefusedError("ChangeSetNotFound", "ChangeSet does not exist")
        found.looks += 1
        status = found.status if found.looks > 1 else "CREATE_IN_PROGRESS"
        start = int(ask.get("NextToken", "0"))
        shown = found.changes[start : start + _PAGE] if found.looks > 1 else []
        more = f"<NextToken>{start + _PAGE}</NextToken>" if shown and len(found.changes) > start + _PAGE else ""
        entries = "".join(
            f"<member><Type>Resource</Type><ResourceChange>{_fields(change)}<Details>"
            + "".join(
                f"<member><Target><Attribute>Properties</Attribute><Name>{name}</Name></Target></member>"
                for name in names
            )
            + "</Details></ResourceChange></member>"
            for change, names in ((each, each.get("_names", ())) for each in shown)
        )
        return (
            f"<ChangeSetId>{found.arn}</ChangeSetId><Status>{status}</Status><ExecutionStatus>{found.execution}"
            f"</ExecutionStatus><StatusReason>{escape(found.reason)}</StatusReason><Changes>{entries}</Changes>{more}"
        )

    def DeleteChangeSet(self, ask: dict[str, str]) -> str:  # noqa: N802
        self.sets.pop(ask["ChangeSetName"])
        return ""

    def ExecuteChangeSet(self, ask: dict[str, str]) -> str:  # noqa: N802
        found = self.sets[ask["ChangeSetName"]]
        if found.execution != "AVAILABLE":
            raise RefusedError("InvalidChangeSetStatus", f"ChangeSet [{found.arn}] cannot be executed")
        for other in self.sets.values():
            other.execution = "OBSOLETE"
        stack = self.stacks[found.stack]
        self._start(stack, "UPDATE" if stack.template["Resources"] else "CREATE", found)
        return ""

    def _start(self, stack: Stack, verb: str, change: ChangeSet) -> None:
        stack.state = f"{verb}_IN_PROGRESS"
        stack.tags = change.tags
        steps: list[Any] = []
        failed = False
        for each in change.changes:
            name, kind = each["LogicalResourceId"], each["ResourceType"]
            steps.append((name, kind, f"{verb}_IN_PROGRESS", ""))
            reason = self._refused(stack, change.template, name, each["Action"])
            if reason:
                failed = True
                steps.append((name, kind, f"{verb}_FAILED", reason))
                steps.append(("Later", "AWS::IAM::Role", f"{verb}_FAILED", "Resource creation cancelled"))
                break
            steps.append((name, kind, f"{verb}_COMPLETE", ""))
        if failed:
            end = "ROLLBACK_COMPLETE" if verb == "CREATE" else "UPDATE_ROLLBACK_COMPLETE"
            steps += [end.replace("COMPLETE", "IN_PROGRESS"), end]
        else:
            steps.append((change, f"{verb}_COMPLETE"))
        stack.steps = steps

    def _refused(self, stack: Stack, template: dict[str, Any], name: str, action: str) -> str:
        """Why a resource cannot be made or changed; empty when it can."""
        if name in self.broken:
            return self.broken[name]
        resources = template["Resources"]
        if name not in resources:
            return ""
        resolver = Resolver({"Resources": {name: resources[name]}}, stack=stack.name)
        try:
            refuse_headers(resolver)
        except ValueError as error:
            return str(error)
        if name == "Provider" and action == "Add" and resolver.reference(name) in self.providers:
            return "Provider with url already exists. (Service: Iam, Status Code: 409)"
        return ""

    def _let_go(self, stack: Stack, name: str, each: dict[str, Any]) -> str:
        """Delete a resource, or leave it in the account as it says; return why it cannot be deleted."""
        kind = each["Type"]
        identity = Resolver({"Resources": {name: each}}, stack=stack.name).reference(name)
        if each.get("DeletionPolicy", "").startswith("Retain"):
            stack.kept[name] = kind, identity
        elif self.keys.get(identity):
            return "Cannot delete entity, must delete access keys first. (Service: Iam, Status Code: 409)"
        elif self.holders.get(identity):
            return "Cannot delete a policy attached to entities. (Service: Iam, Status Code: 409)"
        elif any((kind.rpartition(":")[2], identity) in holders for holders in self.holders.values()):
            return "Cannot delete entity, must detach all policies first. (Service: Iam, Status Code: 409)"
        else:
            self.keys.pop(identity, None)
            self.holders.pop(identity, None)
        return ""

    def _end(self, stack: Stack) -> None:
        left = {}
        for name, each in stack.template["Resources"].items():
            reason = self._let_go(stack, name, each)
            state = "DELETE_FAILED" if reason else "DELETE_SKIPPED" if name in stack.kept else "DELETE_COMPLETE"
            self._event(stack, name, each["Type"], state, reason)
            if reason:
                left[name] = each
        stack.template = {"Resources": left, "Outputs": {}}
        if left:
            stack.state = "DELETE_FAILED"

    def _look(self, stack: Stack) -> None:
        """One look moves things on a little."""
        for _ in range(_STRIDE):
            if not stack.steps:
                return
            step = stack.steps.pop(0)
            if isinstance(step, str):
                stack.state = step
                return
            if callable(step):
                step(stack)
                return
            if len(step) == 4:
                self._event(stack, *step)
                continue
            change, state = step
            for name, each in stack.template["Resources"].items():
                if name not in change.template["Resources"]:
                    # What cannot be deleted after an update is forgotten, and stays.
                    self._let_go(stack, name, each)
            stack.template, stack.state = change.template, state
            resolver = Resolver(change.template, stack=stack.name)
            stack.outputs = resolver.outputs()
            bucket = resolver.properties("Bucket")
            tags = {tag["Key"]: tag["Value"] for tag in bucket["Tags"]}
            self.buckets.setdefault(bucket["BucketName"], Bucket(tags))
            if self.on_stack is not None:
                self.on_stack(resolver)
            if "Provider" in resolver.resources:
                self.providers[resolver.reference("Provider")] = resolver.properties("Provider")["ClientIdList"]
            for name, each in resolver.resources.items():
                if each["Type"] == "AWS::IAM::User":
                    self.keys.setdefault(resolver.reference(name), {})
                if each["Type"] == "AWS::IAM::ManagedPolicy":
                    self.holders.setdefault(resolver.reference(name), [])
            return

    def _event(self, stack: Stack, name: str, kind: str, state: str, reason: str) -> None:
        stack.events.insert(0, {
            "EventId": f"{name}-{self.number()}", "StackId": stack.arn, "StackName": stack.name,
            "LogicalResourceId": name, "ResourceType": kind, "ResourceStatus": state,
            "ResourceStatusReason": reason, "Timestamp": "2026-01-02T03:04:05Z",
        })  # fmt: skip

    def DescribeStacks(self, ask: dict[str, str]) -> str:  # noqa: N802
        stack = self.find(ask["StackName"])
        self._look(stack)
        if stack.state == "DELETE_IN_PROGRESS" and not stack.steps:
            stack.state = "DELETE_COMPLETE"
            self.gone[stack.arn] = self.stacks.pop(stack.name)
        outputs = "".join(f"<member><OutputKey>{key}</OutputKey><OutputValue>{escape(value)}</OutputValue></member>"
                          for key, value in stack.outputs.items())  # fmt: skip
        tags = "".join(f"<member><Key>{key}</Key><Value>{value}</Value></member>" for key, value in stack.tags.items())
        return (
            f"<Stacks><member><StackId>{stack.arn}</StackId><StackName>{stack.name}</StackName>"
            f"<CreationTime>2026-01-02T03:04:05Z</CreationTime><StackStatus>{stack.state}</StackStatus>"
            f"<Outputs>{outputs}</Outputs><Tags>{tags}</Tags></member></Stacks>"
        )

    def DescribeStackEvents(self, ask: dict[str, str]) -> str:  # noqa: N802
        events = self.find(ask["StackName"]).events
        start = int(ask.get("NextToken", "0"))
        more = f"<NextToken>{start + _PAGE}</NextToken>" if len(events) > start + _PAGE else ""
        shown = "".join(f"<member>{_fields(event)}</member>" for event in events[start : start + _PAGE])
        return f"<StackEvents>{shown}</StackEvents>{more}"

    def DescribeStackResources(self, ask: dict[str, str]) -> str:  # noqa: N802
        stack = self.find(ask["StackName"])
        resolver = Resolver(stack.template, stack=stack.name)
        failed = stack.state == "DELETE_FAILED"
        found = {name: (*kept, "DELETE_SKIPPED") for name, kept in stack.kept.items()}
        for name, each in stack.template["Resources"].items():
            found[name] = each["Type"], resolver.reference(name), "DELETE_FAILED" if failed else "CREATE_COMPLETE"
        shown = "".join(
            f"<member><LogicalResourceId>{name}</LogicalResourceId><PhysicalResourceId>{identity}"
            f"</PhysicalResourceId><ResourceType>{kind}</ResourceType><ResourceStatus>{state}"
            "</ResourceStatus><Timestamp>2026-01-02T03:04:05Z</Timestamp></member>"
            for name, (kind, identity, state) in found.items()
        )
        return f"<StackResources>{shown}</StackResources>"

    def DeleteStack(self, ask: dict[str, str]) -> str:  # noqa: N802
        stack = self.find(ask["StackName"])
        if stack.state == "REVIEW_IN_PROGRESS":
            self.gone[stack.arn] = self.stacks.pop(stack.name)
            return ""
        stack.state = "DELETE_IN_PROGRESS"
        stack.steps = ["DELETE_IN_PROGRESS"] * (_LOOKS - 1) + [self._end]
        return ""

    # --- IAM and STS

    def ListOpenIDConnectProviders(self, ask: dict[str, str]) -> str:  # noqa: N802
        shown = "".join(f"<member><Arn>{arn}</Arn></member>" for arn in sorted(self.providers))
        return f"<OpenIDConnectProviderList>{shown}</OpenIDConnectProviderList>"

    def GetOpenIDConnectProvider(self, ask: dict[str, str]) -> str:  # noqa: N802
        audiences = self.providers[ask["OpenIDConnectProviderArn"]]
        return f"<ClientIDList>{''.join(f'<member>{each}</member>' for each in audiences)}</ClientIDList>"

    def ListEntitiesForPolicy(self, ask: dict[str, str]) -> str:  # noqa: N802
        holders = self.holders.get(ask["PolicyArn"])
        if holders is None:
            raise RefusedError("NoSuchEntity", f"Policy {ask['PolicyArn']} does not exist", 404)
        start = int(ask.get("Marker", "0"))
        shown = "".join(
            f"<Policy{kind}s><member><{kind}Name>{name}</{kind}Name></member></Policy{kind}s>"
            for kind, name in holders[start:][:1]
        )
        more = f"<IsTruncated>true</IsTruncated><Marker>{start + 1}</Marker>" if start + 1 < len(holders) else ""
        return shown + (more or "<IsTruncated>false</IsTruncated>")

    def _detach(self, kind: str, ask: dict[str, str]) -> str:
        held = kind, ask[f"{kind}Name"]
        if held not in self.holders[ask["PolicyArn"]]:
            raise RefusedError("NoSuchEntity", f"Policy {ask['PolicyArn']} was not found", 404)
        self.holders[ask["PolicyArn"]].remove(held)
        return ""

    def DetachUserPolicy(self, ask: dict[str, str]) -> str:  # noqa: N802
        return self._detach("User", ask)

    def DetachGroupPolicy(self, ask: dict[str, str]) -> str:  # noqa: N802
        return self._detach("Group", ask)

    def DetachRolePolicy(self, ask: dict[str, str]) -> str:  # noqa: N802
        return self._detach("Role", ask)

    def _of(self, ask: dict[str, str]) -> dict[str, str]:
        if ask["UserName"] not in self.keys:
            raise RefusedError("NoSuchEntity", "The user cannot be found", 404)
        return self.keys[ask["UserName"]]

    def CreateAccessKey(self, ask: dict[str, str]) -> str:  # noqa: N802
        keys = self._of(ask)
        if len(keys) >= 2:
            raise RefusedError("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2", 409)
        name = f"KEY{self.number():08d}EXAMPLE"
        keys[name] = "Active"
        self.unknown[name] = _LOOKS
        return (
            f"<AccessKey><UserName>{ask['UserName']}</UserName><AccessKeyId>{name}</AccessKeyId><Status>Active</Status>"
            f"<SecretAccessKey>secret-of-{name}</SecretAccessKey></AccessKey>"
        )

    def ListAccessKeys(self, ask: dict[str, str]) -> str:  # noqa: N802
        shown = "".join(
            f"<member><UserName>{ask['UserName']}</UserName><AccessKeyId>{name}</AccessKeyId><Status>{status}</Status></member>"
            for name, status in self._of(ask).items()
        )
        return f"<AccessKeyMetadata>{shown}</AccessKeyMetadata><IsTruncated>false</IsTruncated>"

    def UpdateAccessKey(self, ask: dict[str, str]) -> str:  # noqa: N802
        keys = self._of(ask)
        if ask["AccessKeyId"] not in keys:
            raise RefusedError("NoSuchEntity", "no such key", 404)
        keys[ask["AccessKeyId"]] = ask["Status"]
        return ""

    def DeleteAccessKey(self, ask: dict[str, str]) -> str:  # noqa: N802
        if self._of(ask).pop(ask["AccessKeyId"], None) is None:
            raise RefusedError("NoSuchEntity", "no such key", 404)
        return ""

    def GetCallerIdentity(self, ask: dict[str, str]) -> str:  # noqa: N802
        key = ask["credential"]
        user = next((user for user, keys in self.keys.items() if keys.get(key) == "Active"), None)
        if self.unknown[key] > 0:
            self.unknown[key] -= 1
            user = None
        if user is None and key != _ADMIN:
            raise RefusedError("InvalidClientTokenId", "The security token included in the request is invalid", 403)
        return f"<Arn>arn:aws:iam::{ACCOUNT}:user/{user or 'admin'}</Arn><Account>{ACCOUNT}</Account><UserId>U</UserId>"

    # --- S3

    def s3(self, method: str, name: str, query: dict[str, str], body: bytes) -> str:
        bucket = self.buckets.get(name)
        if bucket is None:
            raise RefusedError("NoSuchBucket", "The specified bucket does not exist", 404)
        if method == "GET" and "tagging" in query:
            if not bucket.tags:
                raise RefusedError("NoSuchTagSet", "The TagSet does not exist", 404)
            tags = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in bucket.tags.items())
            return f"<Tagging><TagSet>{tags}</TagSet></Tagging>"
        if method == "GET" and "versions" in query:
            return self._versions(bucket, query)
        if method == "GET" and "uploads" in query:
            shown = "".join(
                f"<Upload><Key>{key}</Key><UploadId>{each}</UploadId></Upload>" for key, each in bucket.uploads
            )
            return f"<ListMultipartUploadsResult>{shown}<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
        if method == "POST" and "delete" in query:
            return self._delete(bucket, body)
        if method == "DELETE":
            if bucket.versions or bucket.uploads:
                raise RefusedError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
            del self.buckets[name]
        return ""

    def _versions(self, bucket: Bucket, query: dict[str, str]) -> str:
        after = query.get("key-marker", ""), query.get("version-id-marker", "")
        limit = min(int(query.get("max-keys", "1000")), 1000)
        left = sorted(each for each in bucket.versions if each[:2] > after)
        shown = "".join(
            f"<DeleteMarker><Key>{escape(key)}</Key><VersionId>{version}</VersionId></DeleteMarker>" if size is None else  # noqa: E501
            f"<Version><Key>{escape(key)}</Key><VersionId>{version}</VersionId><Size>{size}</Size></Version>"
            for key, version, size in left[:limit]
        )  # fmt: skip
        more = ""
        if len(left) > limit:
            key, version, _ = left[limit - 1]
            more = f"<NextKeyMarker>{escape(key)}</NextKeyMarker><NextVersionIdMarker>{version}</NextVersionIdMarker>"
        return f"<ListVersionsResult><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{shown}</ListVersionsResult>"  # noqa: E501

    def _delete(self, bucket: Bucket, body: bytes) -> str:
        asked = [
            (each.findtext("{*}Key") or "", each.findtext("{*}VersionId") or "")
            for each in ElementTree.fromstring(body).iter()
            if each.tag.rpartition("}")[2] == "Object"
        ]
        if len(asked) > 1000 or not all(version for _, version in asked):
            raise RefusedError("MalformedXML", "The XML you provided was not well-formed")
        stay = [key for key, _ in asked if key in self.stubborn]
        bucket.versions = [each for each in bucket.versions if each[:2] not in asked or each[0] in stay]
        errors = "".join(
            f"<Error><Key>{key}</Key><Code>AccessDenied</Code><Message>no</Message></Error>" for key in stay
        )
        return f"<DeleteResult>{errors}</DeleteResult>"


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[dict[str, Any]]:
    resolver = Resolver({"Resources": old})
    for name, each in new.items():
        if name not in old:
            yield {"Action": "Add", "LogicalResourceId": name, "ResourceType": each["Type"]}
        elif old[name] != each:
            before, after = old[name].get("Properties", {}), each.get("Properties", {})
            names = [key for key in {**before, **after} if before.get(key) != after.get(key)]
            yield {"Action": "Modify", "LogicalResourceId": name, "ResourceType": each["Type"], "_names": names,
                   "PhysicalResourceId": resolver.reference(name), "Replacement": "True" if "BucketName" in names else "False"}  # fmt: skip  # noqa: E501
    for name, each in old.items():
        if name not in new:
            yield {"Action": "Remove", "LogicalResourceId": name, "ResourceType": each["Type"],
                   "PhysicalResourceId": resolver.reference(name)}  # fmt: skip


def _fields(values: dict[str, Any]) -> str:
    return "".join(
        f"<{key}>{escape(value)}</{key}>" for key, value in values.items() if isinstance(value, str) and value
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    aws: Aws

    def do_POST(self) -> None:
        self._answer("POST")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        credential = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
        status = 200
        with self.aws.lock:
            try:
                if url.path == "/" and method == "POST":
                    ask = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
                    action = ask["Action"]
                    self._called(action)
                    inner = getattr(self.aws, action)({**ask, "credential": credential[1] if credential else ""})
                    text = f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"
                else:
                    query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
                    self._called(f"{method} {next(iter(query), 'bucket')}")
                    owner = self.headers.get("x-amz-expected-bucket-owner")
                    if owner != ACCOUNT:
                        raise RefusedError("AccessDenied", f"expected owner is {owner}", 403)
                    text = self.aws.s3(method, unquote(url.path.split("/")[1]), query, body)
            except RefusedError as error:
                status = error.status
                inner = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
                text = inner if url.path != "/" else f"<ErrorResponse>{inner}</ErrorResponse>"
        data = b"" if method == "HEAD" else (f'<?xml version="1.0"?>{text}' if text else "").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _called(self, action: str) -> None:
        self.aws.calls.append(action)
        if self.aws.on_call is not None:
            self.aws.on_call(action)
        if self.aws.refuse[action] > 0:
            self.aws.refuse[action] -= 1
            raise RefusedError("AccessDenied", f"not authorized to perform {action}", 403)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed leave in the middle."""


@contextmanager
def running() -> Iterator[Aws]:
    """Serve an empty account on a free loopback port."""
    aws = Aws()
    handler = type("Handler", (_Handler,), {"aws": aws})
    server = _Server(("127.0.0.1", 0), handler)
    aws.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield aws
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def environment(aws: Aws) -> dict[str, str]:
    """What makes boto3 talk to it."""
    return {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": _ADMIN,
        "AWS_SECRET_ACCESS_KEY": "EXAMPLE",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
