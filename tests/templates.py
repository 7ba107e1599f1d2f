"""CloudFormation templates as CloudFormation reads them: references resolved to what a resource is called."""

from __future__ import annotations

import re
from typing import Any

ACCOUNT, REGION, STACK = "111122223333", "eu-west-1", "mirror"

_SECURITY_HEADERS = frozenset(
    {
        *("strict-transport-security", "content-security-policy", "x-frame-options"),
        *("x-content-type-options", "referrer-policy", "x-xss-protection"),
    }
)
_RESERVED_HEADERS = frozenset(
    {
        *("connection", "content-encoding", "content-length", "expect", "host", "keep-alive", "trailer", "upgrade"),
        *("proxy-authenticate", "proxy-authorization", "proxy-connection", "transfer-encoding", "via", "warning"),
        *("x-accel-redirect", "x-forwarded-proto", "x-real-ip", "x-amzn-requestid", "x-amzn-errortype"),
    }
)
_RESERVED_PREFIXES = ("x-amz-cf-", "x-edge-")


class Resolver:
    """Resolves `Ref`, `Fn::GetAtt` and `Fn::Sub`, and refuses what refers to nothing."""

    def __init__(self, template: dict[str, Any], *, stack: str = STACK, region: str = REGION) -> None:
        self.resources = template["Resources"]
        self.template = template
        self.pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": region,
            "AWS::StackName": stack,
            "AWS::Partition": "aws",
        }

    def resolve(self, value: Any) -> Any:
        """The value with every reference replaced."""
        if isinstance(value, list):
            return [self.resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Ref"}:
            return self.reference(value["Ref"])
        if set(value) == {"Fn::GetAtt"}:
            return self.attribute(*value["Fn::GetAtt"])
        if set(value) == {"Fn::Sub"}:
            return re.sub(r"\$\{([^}]+)\}", lambda match: self.named(match[1]), value["Fn::Sub"])
        assert not any(key.startswith("Fn::") for key in value), value
        return {key: self.resolve(each) for key, each in value.items()}

    def named(self, text: str) -> str:
        name, _, attribute = text.partition(".")
        return self.attribute(name, attribute) if attribute else self.reference(text)

    def reference(self, name: str) -> str:
        if name in self.pseudo:
            return self.pseudo[name]
        kind, properties = self.resources[name]["Type"], self.resources[name].get("Properties", {})
        if kind == "AWS::S3::Bucket":
            return str(self.resolve(properties["BucketName"]))
        if kind == "AWS::IAM::ManagedPolicy":
            return f"arn:aws:iam::{ACCOUNT}:policy/{name}"
        if kind == "AWS::IAM::OIDCProvider":
            return f"arn:aws:iam::{ACCOUNT}:oidc-provider/{properties['Url'].removeprefix('https://')}"
        if kind == "AWS::CertificateManager::Certificate":
            return f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/{name}"
        return {
            "Distribution": "EDFDVBD6EXAMPLE",
            "Publisher": "mirror-Publisher",
            "PublisherUser": "mirror-PublisherUser",
        }.get(name, f"{name}-id")

    def attribute(self, name: str, attribute: str) -> str:
        kind = self.resources[name]["Type"]
        own = self.reference(name)
        return {
            ("AWS::S3::Bucket", "Arn"): f"arn:aws:s3:::{own}",
            ("AWS::S3::Bucket", "RegionalDomainName"): f"{own}.s3.{self.pseudo['AWS::Region']}.amazonaws.com",
            ("AWS::CloudFront::Distribution", "DomainName"): "d111111abcdef8.cloudfront.net",
            ("AWS::CloudFront::OriginAccessControl", "Id"): own,
            ("AWS::CloudFront::Function", "FunctionARN"): f"arn:aws:cloudfront::{ACCOUNT}:function/{own}",
            ("AWS::IAM::Role", "Arn"): f"arn:aws:iam::{ACCOUNT}:role/{own}",
        }[kind, attribute]

    def properties(self, name: str) -> dict[str, Any]:
        """A resource's properties, resolved."""
        found: dict[str, Any] = self.resolve(self.resources[name]["Properties"])
        return found

    def outputs(self) -> dict[str, str]:
        """The outputs, resolved."""
        return {name: self.resolve(each["Value"]) for name, each in self.template["Outputs"].items()}


def refuse_headers(resolver: Resolver) -> None:
    """Raise `ValueError` for a response headers policy that CloudFront refuses, in its words."""
    for name, each in resolver.resources.items():
        if each["Type"] != "AWS::CloudFront::ResponseHeadersPolicy":
            continue
        config = resolver.properties(name)["ResponseHeadersPolicyConfig"]
        for header in (item["Header"] for item in config.get("CustomHeadersConfig", {}).get("Items", ())):
            plain = header.lower()
            kind = "CORS" if plain.startswith("access-control-") else "security" if plain in _SECURITY_HEADERS else ""
            if kind:
                raise ValueError(
                    f"The parameter CustomHeaders contains {header} that is a {kind} header and cannot be set as "
                    "custom header."
                )
            if plain in _RESERVED_HEADERS or plain.startswith(_RESERVED_PREFIXES):
                raise ValueError(f"The parameter CustomHeaders contains {header} that is not allowed.")
