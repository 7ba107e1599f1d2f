"""The CloudFormation template of a blueprint: plain values, the same bytes for the same blueprint.

A template holds exactly what its blueprint asks for, so there are no conditions that could leave a statement without
a resource, and what `mirror infra plan` shows is what there will be. Numbers of managed policies, header names and
limits are CloudFront's own (Developer Guide, "Managed cache policies", "Response headers policies").
"""

from __future__ import annotations

import json
from typing import Any

from mirror.infra import policy
from mirror.infra.blueprint import Blueprint, Identity, Mode
from mirror.infra.edge import edge_function
from mirror.layout import FRONT_PAGE, PACKAGES, SIMPLE
from mirror.simple.site import PEOPLE_POLICY

Resource = dict[str, Any]

LIMIT = 51_200
"""Bytes that CloudFormation takes as a template in the request itself."""
TAG = "mirror:stack"
"""The tag by which a stack is known as ours, and a bucket as that stack's."""
USER = "PublisherUser"
"""The publishing user. Another name than the role's: CloudFormation does not change the type of a resource."""
PRUNE_POLICY = "PrunePolicy"
"""The policy that is attached by hand."""

_CLOUDFRONT_ZONE = "Z2FDTNDATAQYW2"
_CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
_DAY = 86_400
_YEAR = 365 * _DAY
_ERROR_SECONDS = 10
"""How long the edge remembers that something was not there: it may be published at any moment."""
_MULTIPART_DAYS = 7
_PAGE_POLICY = "default-src 'none'; sandbox allow-downloads"
_INTERNAL = ("x-amz-meta-cache-tag", "x-amz-server-side-encryption", "x-amz-version-id")
"""What the bucket says of objects, and no reader needs."""


def render(blueprint: Blueprint) -> str:
    """The template as JSON. Raise `MirrorError` for a blueprint whose parts do not fit together."""
    return json.dumps(template(blueprint), indent=1) + "\n"


def template(blueprint: Blueprint) -> dict[str, Any]:
    """The template as plain values. Raise `MirrorError` for a blueprint whose parts do not fit together."""
    blueprint.check()
    cdn = blueprint.mode is Mode.CDN
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"A mirror of what lock files pin ({blueprint.mode})",
        "Resources": {
            "Bucket": _bucket(blueprint),
            "BucketPolicy": _bucket_policy(blueprint),
            **(_delivery(blueprint) if cdn else {}),
            **(_domain(blueprint) if cdn and blueprint.domain else {}),
            **_identity(blueprint),
        },
        "Outputs": _outputs(blueprint),
    }


# --- the bucket ---------------------------------------------------------------------------------


def _bucket(blueprint: Blueprint) -> Resource:
    private = blueprint.mode is Mode.CDN
    return {
        "Type": "AWS::S3::Bucket",
        # A bucket outlives its stack, but not a stack that never came to be: that could not be tried again.
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        "Properties": {
            "BucketName": blueprint.bucket or _sub("${AWS::StackName}-${AWS::AccountId}-${AWS::Region}"),
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
            },
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": private,
                "RestrictPublicBuckets": private,
            },
            "VersioningConfiguration": {"Status": "Enabled"},
            "CorsConfiguration": {
                "CorsRules": [{"AllowedMethods": ["GET", "HEAD"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}]
            },
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "Id": "old-versions",
                        "Status": "Enabled",
                        "NoncurrentVersionExpiration": {"NoncurrentDays": blueprint.retention},
                        "ExpiredObjectDeleteMarker": True,
                    },
                    {
                        "Id": "broken-uploads",
                        "Status": "Enabled",
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _MULTIPART_DAYS},
                    },
                ]
            },
            "Tags": [{"Key": TAG, "Value": blueprint.stack}],
        },
    }


def _bucket_policy(blueprint: Blueprint) -> Resource:
    bucket = _arn("Bucket")
    if blueprint.mode is Mode.CDN:
        objects = _objects(policy.PUBLIC)
        reads = policy.distribution_reads(bucket, objects, _distribution_arn(), _ref("AWS::AccountId"))
    else:
        reads = policy.everybody_reads(bucket, _objects(policy.PUBLIC))
    secure = policy.secure_transport(bucket, _objects(("*",))[0])
    return {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {"Bucket": _ref("Bucket"), "PolicyDocument": policy.document(secure, *reads)},
    }


# --- the distribution ---------------------------------------------------------------------------


def _delivery(blueprint: Blueprint) -> dict[str, Resource]:
    return {
        "OriginAccess": {
            "Type": "AWS::CloudFront::OriginAccessControl",
            "Properties": {
                "OriginAccessControlConfig": {
                    "Name": _named(""),
                    "OriginAccessControlOriginType": "s3",
                    "SigningProtocol": "sigv4",
                    # Always: a reader's own Authorization header must never reach the bucket instead.
                    "SigningBehavior": "always",
                }
            },
        },
        "EdgeFunction": {
            "Type": "AWS::CloudFront::Function",
            "Properties": {
                "Name": _named(""),
                "AutoPublish": True,
                "FunctionCode": edge_function(blueprint.readers),
                "FunctionConfig": {"Comment": "index pages, names, negotiation", "Runtime": "cloudfront-js-2.0"},
            },
        },
        "PageCache": _page_cache(),
        "FrontHeaders": _headers("front", content=PEOPLE_POLICY),
        # CloudFront writes a Vary of its own wherever it answers CORS, so here the bucket does.
        "PageHeaders": _headers("pages", content=_PAGE_POLICY, vary="Accept, Origin"),
        "FileHeaders": _headers("files", cors=True),
        "Distribution": {
            "Type": "AWS::CloudFront::Distribution",
            "Properties": {"DistributionConfig": _distribution(blueprint)},
        },
    }


def _page_cache() -> Resource:
    # Pages stay at the edge until they are invalidated; a day is the limit should an invalidation ever be lost.
    # The function puts the form of a page into its path, so that no cookie and no query is part of the key; the origin
    # of a request is, since the bucket answers CORS. Installers state none: all of them share one copy.
    return {
        "Type": "AWS::CloudFront::CachePolicy",
        "Properties": {
            "CachePolicyConfig": {
                "Name": _named("-pages"),
                "MinTTL": _DAY,
                "DefaultTTL": _DAY,
                "MaxTTL": _YEAR,
                "ParametersInCacheKeyAndForwardedToOrigin": {
                    "EnableAcceptEncodingBrotli": True,
                    "EnableAcceptEncodingGzip": True,
                    "CookiesConfig": {"CookieBehavior": "none"},
                    "HeadersConfig": {"HeaderBehavior": "whitelist", "Headers": ["Origin"]},
                    "QueryStringsConfig": {"QueryStringBehavior": "none"},
                },
            }
        },
    }


def _headers(what: str, *, content: str = "", vary: str = "", cors: bool = False) -> Resource:
    config: dict[str, Any] = {
        "Name": _named(f"-{what}"),
        "SecurityHeadersConfig": {
            "ContentTypeOptions": {"Override": True},
            "StrictTransportSecurity": {"AccessControlMaxAgeSec": _YEAR, "Override": True},
        },
        "RemoveHeadersConfig": {"Items": [{"Header": name} for name in _INTERNAL]},
    }
    if content:
        config["SecurityHeadersConfig"]["ContentSecurityPolicy"] = {"ContentSecurityPolicy": content, "Override": True}
    if vary:
        config["CustomHeadersConfig"] = {"Items": [{"Header": "Vary", "Value": vary, "Override": True}]}
    if cors:
        # As a custom header CloudFront refuses each of these.
        config["CorsConfig"] = {
            "AccessControlAllowCredentials": False,
            "AccessControlAllowHeaders": {"Items": ["*"]},
            "AccessControlAllowMethods": {"Items": ["GET", "HEAD"]},
            "AccessControlAllowOrigins": {"Items": ["*"]},
            "OriginOverride": True,
        }
    return {"Type": "AWS::CloudFront::ResponseHeadersPolicy", "Properties": {"ResponseHeadersPolicyConfig": config}}


def _distribution(blueprint: Blueprint) -> dict[str, Any]:
    config: dict[str, Any] = {
        "Enabled": True,
        "Comment": _ref("AWS::StackName"),
        "HttpVersion": "http2and3",
        "IPV6Enabled": True,
        "PriceClass": blueprint.price_class,
        # Whoever may list the bucket would be shown its listing at "/".
        "DefaultRootObject": FRONT_PAGE,
        "Origins": [
            {
                "Id": "bucket",
                "DomainName": {"Fn::GetAtt": ["Bucket", "RegionalDomainName"]},
                "OriginAccessControlId": {"Fn::GetAtt": ["OriginAccess", "Id"]},
                "S3OriginConfig": {},
            }
        ],
        "DefaultCacheBehavior": _behavior(_ref("PageCache"), "FrontHeaders", compress=True),
        "CacheBehaviors": [
            {"PathPattern": f"/{SIMPLE}*", **_behavior(_ref("PageCache"), "PageHeaders", compress=True)},
            {"PathPattern": f"/{PACKAGES}*", **_behavior(_CACHING_OPTIMIZED, "FileHeaders", compress=False)},
        ],
        "CustomErrorResponses": [
            {"ErrorCode": code, "ErrorCachingMinTTL": _ERROR_SECONDS} for code in (403, 404, 500, 502, 503, 504)
        ],
        "CacheTagConfig": {"HeaderName": "x-amz-meta-cache-tag"},
        "ViewerCertificate": {"CloudFrontDefaultCertificate": True},
    }
    if blueprint.domain:
        config["Aliases"] = [blueprint.domain]
        config["ViewerCertificate"] = {
            "AcmCertificateArn": blueprint.certificate or _ref("Certificate"),
            "MinimumProtocolVersion": "TLSv1.2_2021",
            "SslSupportMethod": "sni-only",
        }
    return config


def _behavior(cache: Any, headers: str, *, compress: bool) -> dict[str, Any]:
    return {
        "TargetOriginId": "bucket",
        "ViewerProtocolPolicy": "redirect-to-https",
        "AllowedMethods": ["GET", "HEAD"],
        "CachedMethods": ["GET", "HEAD"],
        "Compress": compress,
        "CachePolicyId": cache,
        "ResponseHeadersPolicyId": _ref(headers),
        "FunctionAssociations": [
            {"EventType": "viewer-request", "FunctionARN": {"Fn::GetAtt": ["EdgeFunction", "FunctionARN"]}}
        ],
    }


def _domain(blueprint: Blueprint) -> dict[str, Resource]:
    made: dict[str, Resource] = {}
    if blueprint.makes_certificate:
        made["Certificate"] = {
            "Type": "AWS::CertificateManager::Certificate",
            "Properties": {
                "DomainName": blueprint.domain,
                "ValidationMethod": "DNS",
                "DomainValidationOptions": [{"DomainName": blueprint.domain, "HostedZoneId": blueprint.zone}],
            },
        }
    if blueprint.zone:
        made |= {
            f"Alias{family}": {
                "Type": "AWS::Route53::RecordSet",
                "Properties": {
                    "HostedZoneId": blueprint.zone,
                    "Name": blueprint.domain,
                    "Type": kind,
                    "AliasTarget": {
                        "DNSName": {"Fn::GetAtt": ["Distribution", "DomainName"]},
                        "HostedZoneId": _CLOUDFRONT_ZONE,
                    },
                },
            }
            for family, kind in (("IPv4", "A"), ("IPv6", "AAAA"))
        }
    return made


# --- who publishes ------------------------------------------------------------------------------


def _identity(blueprint: Blueprint) -> dict[str, Resource]:
    kind = blueprint.publisher.identity
    if kind is Identity.NONE:
        return {}
    attached = [_ref("PublishPolicy")]
    if kind is Identity.USER:
        who = {USER: {"Type": "AWS::IAM::User", "Properties": {"ManagedPolicyArns": attached}}}
    else:
        who = _role(blueprint, attached)
    objects = _objects((*policy.PUBLISHED, *policy.REMOVED))
    distribution = _distribution_arn() if blueprint.mode is Mode.CDN else None
    return {
        "PublishPolicy": _managed_policy(
            "Publish a mirror: sync, rollback, invalidate",
            policy.document(*policy.publisher(_arn("Bucket"), objects, distribution)),
        ),
        # Attached to nobody: removing artifacts for good is asked for by hand, or granted on purpose.
        PRUNE_POLICY: _managed_policy(
            "Remove what no release of a mirror needs", policy.document(*policy.pruner(_objects(policy.PRUNED)))
        ),
        **who,
    }


def _managed_policy(description: str, document: policy.Document) -> Resource:
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"Description": description, "PolicyDocument": document},
    }


def _role(blueprint: Blueprint, attached: list[Any]) -> dict[str, Resource]:
    publisher = blueprint.publisher
    claims = {}
    if publisher.identity is Identity.GITHUB:
        claims = {"repository_id": publisher.repository_id, "environment": publisher.environment}
    provider: Any = _sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:oidc-provider/" + publisher.issuer)
    made: dict[str, Resource] = {}
    if publisher.own_provider:
        provider = _ref("Provider")
        made["Provider"] = {
            "Type": "AWS::IAM::OIDCProvider",
            # Other roles of the account may have come to use it.
            "DeletionPolicy": "RetainExceptOnCreate",
            "UpdateReplacePolicy": "Retain",
            "Properties": {"Url": f"https://{publisher.issuer}", "ClientIdList": [publisher.audience]},
        }
    trust = policy.web_identity(provider, publisher.issuer, publisher.audience, publisher.subjects, **claims)
    made["Publisher"] = {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": policy.document(trust), "ManagedPolicyArns": attached},
    }
    return made


# --- outputs ------------------------------------------------------------------------------------


def _outputs(blueprint: Blueprint) -> dict[str, Any]:
    values: dict[str, Any] = {"BucketName": _ref("Bucket"), "Region": _ref("AWS::Region")}
    if blueprint.mode is Mode.CDN:
        host = {"Fn::GetAtt": ["Distribution", "DomainName"]}
        values["DistributionId"] = _ref("Distribution")
        values["DistributionDomain"] = host
        values["BaseUrl"] = (
            f"https://{blueprint.domain}/" if blueprint.domain else _sub("https://${Distribution.DomainName}/")
        )
    else:
        values["BaseUrl"] = _sub("https://${Bucket.RegionalDomainName}/")
    if blueprint.publisher.identity is Identity.USER:
        values["UserName"] = _ref(USER)
    elif blueprint.publisher.identity is not Identity.NONE:
        values["RoleArn"] = _arn("Publisher")
    if blueprint.publisher.identity is not Identity.NONE:
        values["PrunePolicyArn"] = _ref(PRUNE_POLICY)
    return {name: {"Value": value} for name, value in values.items()}


# --- intrinsic functions ------------------------------------------------------------------------


def _ref(name: str) -> dict[str, str]:
    return {"Ref": name}


def _arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}


def _sub(text: str) -> dict[str, str]:
    return {"Fn::Sub": text}


def _named(suffix: str) -> dict[str, str]:
    # These names are the account's, in all regions.
    return _sub("${AWS::StackName}-${AWS::Region}" + suffix)


def _objects(patterns: tuple[str, ...]) -> list[dict[str, str]]:
    return [_sub("${Bucket.Arn}/" + pattern) for pattern in patterns]


def _distribution_arn() -> dict[str, str]:
    return _sub("arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Distribution}")
