"""The templates of every mode: what no server here can enforce is read from the resolved template."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mirror.errors import MirrorError
from mirror.infra.blueprint import Blueprint, Identity, Mode, Publisher
from mirror.infra.edge import LIMIT as FUNCTION_LIMIT
from mirror.infra.edge import new_reader
from mirror.infra.template import LIMIT, render, template
from tests.clients import make_environment
from tests.templates import ACCOUNT, Resolver, refuse_headers

CACHE = Path(__file__).parent.parent / ".cache" / "cfn-lint"
DISTRIBUTION = f"arn:aws:cloudfront::{ACCOUNT}:distribution/EDFDVBD6EXAMPLE"
BUCKET = f"arn:aws:s3:::mirror-{ACCOUNT}-eu-west-1"

GITHUB = Publisher(identity=Identity.GITHUB, repository="acme/app", repository_id="123", owner_id="45")
PUBLISHERS = {
    "nobody": Publisher(),
    "github": GITHUB,
    "github-given": replace(GITHUB, own_provider=False),
    "gitlab": Publisher(identity=Identity.GITLAB, repository="acme/team/app"),
    "user": Publisher(identity=Identity.USER),
}
PLACES = {
    "cdn": Blueprint(region="eu-west-1"),
    "named": Blueprint(region="eu-west-1", bucket="acme-wheels", price_class="PriceClass_All", retention=30),
    "readers": Blueprint(region="eu-west-1", readers=(new_reader("ci")[0], new_reader("laptop")[0])),
    "zone": Blueprint(region="us-east-1", domain="packages.corp.example", zone="Z0123456789ABC"),
    "certificate": Blueprint(
        region="eu-west-1", domain="packages.corp.example",
        certificate=f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/12345678-1234-1234-1234-123456789012",
    ),
    "s3-only": Blueprint(region="eu-west-1", mode=Mode.S3_ONLY),
}  # fmt: skip
MODES = {
    f"{place}-{publisher}": replace(PLACES[place], publisher=PUBLISHERS[publisher])
    for place, publisher in product(PLACES, PUBLISHERS)
}
CDN = {name: blueprint for name, blueprint in MODES.items() if blueprint.mode is Mode.CDN}

every = pytest.mark.parametrize("blueprint", MODES.values(), ids=MODES)
every_cdn = pytest.mark.parametrize("blueprint", CDN.values(), ids=CDN)


def resolver(blueprint: Blueprint) -> Resolver:
    return Resolver(template(blueprint), region=blueprint.region)


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    assert document["Version"] == "2012-10-17"
    return list(document["Statement"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def policies(found: Resolver) -> list[dict[str, Any]]:
    """Every policy document of a template, resolved."""
    keys = ("PolicyDocument", "AssumeRolePolicyDocument")
    return [found.resolve(each["Properties"][key]) for each in found.resources.values() for key in keys
            if key in each.get("Properties", {})]  # fmt: skip


@every
def test_the_same_blueprint_gives_the_same_small_template(blueprint: Blueprint) -> None:
    text = render(blueprint)
    assert text == render(blueprint)
    assert len(text.encode("utf-8")) <= LIMIT
    found = Resolver(json.loads(text), region=blueprint.region)
    assert found.resolve(found.resources)
    assert all(found.outputs().values())


@every
def test_no_statement_is_without_effect_action_or_resource(blueprint: Blueprint) -> None:
    found = resolver(blueprint)
    for document in policies(found):
        for statement in statements(document):
            assert statement["Effect"] in ("Allow", "Deny")
            assert all(listed(statement["Action"]))
            if "AssumeRole" not in statement["Action"]:
                assert statement["Resource"]
                assert all(
                    isinstance(each, str) and each.startswith("arn:aws:") for each in listed(statement["Resource"])
                )


@every
def test_the_bucket_keeps_what_is_replaced_and_outlives_the_stack(blueprint: Blueprint) -> None:
    found = resolver(blueprint)
    bucket, properties = found.resources["Bucket"], found.properties("Bucket")
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    rules = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert rules["old-versions"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": blueprint.retention}
    assert rules["broken-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert not any("ExpirationInDays" in rule for rule in rules.values())
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    encryption = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


@every
def test_nobody_is_answered_without_tls(blueprint: Blueprint) -> None:
    found = resolver(blueprint)
    bucket = found.attribute("Bucket", "Arn")
    [deny] = [
        each for each in statements(found.properties("BucketPolicy")["PolicyDocument"]) if each["Effect"] == "Deny"
    ]
    assert deny["Principal"] == "*"
    assert deny["Action"] == "s3:*"
    assert deny["Resource"] == [bucket, f"{bucket}/*"]
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@every_cdn
def test_only_this_distribution_reads_the_private_bucket_and_never_its_state(blueprint: Blueprint) -> None:
    found = resolver(blueprint)
    bucket = found.attribute("Bucket", "Arn")
    block = found.properties("Bucket")["PublicAccessBlockConfiguration"]
    assert len(block) == 4
    assert all(block.values())
    allowed = [
        each for each in statements(found.properties("BucketPolicy")["PolicyDocument"]) if each["Effect"] == "Allow"
    ]
    for statement in allowed:
        assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
        only = {"AWS:SourceArn": DISTRIBUTION, "AWS:SourceAccount": ACCOUNT}
        assert statement["Condition"] == {"StringEquals": only}
    read, see = allowed
    assert (read["Action"], see["Action"]) == ("s3:GetObject", "s3:ListBucket")
    assert read["Resource"] == [f"{bucket}/{key}" for key in ("index.html", "projects/*", "simple/*", "packages/*")]
    assert see["Resource"] == bucket


def test_everybody_reads_pages_and_packages_of_a_public_bucket_over_https_only() -> None:
    found = resolver(PLACES["s3-only"])
    block = found.properties("Bucket")["PublicAccessBlockConfiguration"]
    assert block == {"BlockPublicAcls": True, "IgnorePublicAcls": True,
                     "BlockPublicPolicy": False, "RestrictPublicBuckets": False}  # fmt: skip
    allowed = [
        each for each in statements(found.properties("BucketPolicy")["PolicyDocument"]) if each["Effect"] == "Allow"
    ]
    read = allowed[0]
    assert (read["Principal"], read["Action"]) == ("*", "s3:GetObject")
    assert read["Resource"] == [f"{BUCKET}/{key}" for key in ("index.html", "projects/*", "simple/*", "packages/*")]
    assert all(each["Condition"]["Bool"] == {"aws:SecureTransport": "true"} for each in allowed)
    assert not any(each["Type"].startswith("AWS::CloudFront::") for each in found.resources.values())


@every_cdn
def test_the_distribution_signs_always_and_serves_no_listing(blueprint: Blueprint) -> None:
    found = resolver(blueprint)
    access = found.properties("OriginAccess")["OriginAccessControlConfig"]
    assert (access["SigningProtocol"], access["SigningBehavior"]) == ("sigv4", "always")
    config = found.properties("Distribution")["DistributionConfig"]
    [origin] = config["Origins"]
    assert origin["OriginAccessControlId"] == "OriginAccess-id"
    assert f".s3.{blueprint.region}." in origin["DomainName"]
    assert config["DefaultRootObject"] == "index.html"
    assert (config["HttpVersion"], config["IPV6Enabled"]) == ("http2and3", True)
    assert config["CacheTagConfig"] == {"HeaderName": "x-amz-meta-cache-tag"}
    errors = {each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in config["CustomErrorResponses"]}
    assert errors[403] == errors[404] == 10
    behaviors = [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]
    for behavior in behaviors:
        assert behavior["TargetOriginId"] == origin["Id"]
        assert behavior["ViewerProtocolPolicy"] == "redirect-to-https"
        assert [each["EventType"] for each in behavior["FunctionAssociations"]] == ["viewer-request"]
        assert "ForwardedValues" not in behavior
    pages = next(each for each in behaviors if each.get("PathPattern") == "/simple/*")
    assert pages["ResponseHeadersPolicyId"] == "PageHeaders-id"
    headers = found.properties("PageHeaders")["ResponseHeadersPolicyConfig"]
    assert headers["CustomHeadersConfig"]["Items"] == [{"Header": "Vary", "Value": "Accept, Origin", "Override": True}]
    assert headers["SecurityHeadersConfig"]["ContentTypeOptions"] == {"Override": True}
    assert headers["SecurityHeadersConfig"]["StrictTransportSecurity"]["AccessControlMaxAgeSec"] > 0
    cache = found.properties("PageCache")["CachePolicyConfig"]
    assert cache["MinTTL"] >= 1
    key = cache["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Origin"]}
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "none"}


@every_cdn
def test_no_header_is_stated_in_a_way_that_cloudfront_refuses(blueprint: Blueprint) -> None:
    found = resolver(blueprint)
    refuse_headers(found)
    files = found.properties("FileHeaders")["ResponseHeadersPolicyConfig"]
    assert files["CorsConfig"]["AccessControlAllowOrigins"] == {"Items": ["*"]}
    assert files["CorsConfig"]["AccessControlAllowCredentials"] is False
    pages = found.properties("PageHeaders")["ResponseHeadersPolicyConfig"]
    assert "CorsConfig" not in pages, "CloudFront would write a Vary of its own over ours"
    [rule] = found.properties("Bucket")["CorsConfiguration"]["CorsRules"]
    assert (rule["AllowedOrigins"], rule["AllowedMethods"]) == (["*"], ["GET", "HEAD"])


@pytest.mark.parametrize(
    "name",
    ["Access-Control-Allow-Origin", "access-control-max-age", "Strict-Transport-Security", "Content-Security-Policy",
     "X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "X-XSS-Protection", "Via", "X-Amz-Cf-Id"],
)  # fmt: skip
def test_the_stand_in_refuses_headers_as_cloudfront_does(name: str) -> None:
    made = template(PLACES["cdn"])
    config = made["Resources"]["FileHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]
    config["CustomHeadersConfig"] = {"Items": [{"Header": name, "Value": "1", "Override": True}]}
    with pytest.raises(ValueError, match=name):
        refuse_headers(Resolver(made))


@every_cdn
def test_the_function_fits_and_knows_its_readers(blueprint: Blueprint) -> None:
    properties = resolver(blueprint).properties("EdgeFunction")
    code = properties["FunctionCode"]
    assert len(code.encode("utf-8")) < FUNCTION_LIMIT
    assert properties["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
    assert properties["AutoPublish"] is True
    assert all(f"'{reader.digest}'" in code for reader in blueprint.readers)


def test_too_many_readers_are_refused() -> None:
    with pytest.raises(MirrorError, match="readers"):
        template(replace(PLACES["cdn"], readers=tuple(new_reader(f"r{number}")[0] for number in range(200))))


def test_a_domain_of_ones_own_has_a_proven_certificate_and_both_aliases() -> None:
    found = resolver(PLACES["zone"])
    config = found.properties("Distribution")["DistributionConfig"]
    assert config["Aliases"] == ["packages.corp.example"]
    assert config["ViewerCertificate"]["AcmCertificateArn"].startswith("arn:aws:acm:us-east-1:")
    assert config["ViewerCertificate"]["SslSupportMethod"] == "sni-only"
    options = found.properties("Certificate")["DomainValidationOptions"]
    assert options == [{"DomainName": "packages.corp.example", "HostedZoneId": "Z0123456789ABC"}]
    kinds = {found.properties(name)["Type"] for name in ("AliasIPv4", "AliasIPv6")}
    assert kinds == {"A", "AAAA"}
    assert found.properties("AliasIPv6")["AliasTarget"]["HostedZoneId"] == "Z2FDTNDATAQYW2"
    assert found.outputs()["BaseUrl"] == "https://packages.corp.example/"


def test_a_given_certificate_is_used_as_it_is() -> None:
    found = resolver(PLACES["certificate"])
    viewer = found.properties("Distribution")["DistributionConfig"]["ViewerCertificate"]
    assert viewer["AcmCertificateArn"] == PLACES["certificate"].certificate
    assert not {"Certificate", "AliasIPv4"} & set(found.resources)


WRONG = {
    "certificate-elsewhere": (replace(PLACES["zone"], region="eu-west-1"), "us-east-1"),
    "certificate-of-another-region": (
        replace(PLACES["certificate"], certificate=f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/1"), "CERTIFICATE_ARN",
    ),
    "domain-without-proof": (replace(PLACES["zone"], zone=""), "certificate"),
    "zone-without-domain": (replace(PLACES["zone"], domain=""), "HOSTED_ZONE_ID"),
    "domain-without-cdn": (replace(PLACES["s3-only"], domain="a.example"), "DOMAIN"),
    "readers-without-cdn": (replace(PLACES["s3-only"], readers=(new_reader("ci")[0],)), "BASIC_AUTH"),
    "bucket-with-a-dot": (replace(PLACES["cdn"], bucket="a.b.c"), "BUCKET_NAME"),
    "stack-with-a-space": (replace(PLACES["cdn"], stack="my mirror"), "STACK_NAME"),
    "no-region": (replace(PLACES["cdn"], region=""), "AWS_REGION"),
    "repository": (replace(PLACES["cdn"], publisher=replace(GITHUB, repository="acme/*")), "DEPLOY_REPOSITORY"),
    "no-number": (replace(PLACES["cdn"], publisher=replace(GITHUB, repository_id="")), "DEPLOY_REPOSITORY_ID"),
    "environment": (replace(PLACES["cdn"], publisher=replace(GITHUB, environment="*")), "DEPLOY_ENVIRONMENT"),
}  # fmt: skip


@pytest.mark.parametrize(("blueprint", "named"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named_before_anything_is_made(blueprint: Blueprint, named: str) -> None:
    with pytest.raises(MirrorError, match=named) as caught:
        template(blueprint)
    assert caught.value.exit_code == 2
    assert caught.value.hint


@pytest.mark.parametrize("own", [True, False], ids=["own-provider", "given-provider"])
def test_both_spellings_of_the_github_subject_are_trusted_and_nothing_looser(own: bool) -> None:
    found = resolver(replace(PLACES["cdn"], publisher=replace(GITHUB, own_provider=own)))
    [trust] = statements(found.properties("Publisher")["AssumeRolePolicyDocument"])
    issuer = "token.actions.githubusercontent.com"
    assert trust["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"}
    assert trust["Condition"] == {
        "StringEquals": {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": ["repo:acme/app:environment:mirror", "repo:acme@45/app@123:environment:mirror"],
            f"{issuer}:repository_id": "123",
            f"{issuer}:environment": "mirror",
        }
    }
    assert ("Provider" in found.resources) is own


def test_gitlab_is_trusted_for_one_branch_of_one_project() -> None:
    found = resolver(replace(PLACES["cdn"], publisher=PUBLISHERS["gitlab"]))
    [trust] = statements(found.properties("Publisher")["AssumeRolePolicyDocument"])
    equals = trust["Condition"]["StringEquals"]
    assert equals["gitlab.com:sub"] == ["project_path:acme/team/app:ref_type:branch:ref:main"]
    assert equals["gitlab.com:aud"] == "sts.amazonaws.com"
    assert found.properties("Provider")["ClientIdList"] == ["sts.amazonaws.com"]


def allowed(found: Resolver, name: str) -> dict[str, set[str]]:
    """Action -> the resources that it is allowed on."""
    granted: dict[str, set[str]] = {}
    for statement in statements(found.properties(name)["PolicyDocument"]):
        for action in listed(statement["Action"]):
            granted.setdefault(action, set()).update(listed(statement["Resource"]))
    return granted


def test_a_publisher_may_do_what_it_must_and_nothing_else() -> None:
    found = resolver(MODES["cdn-github"])
    assert found.properties("Publisher")["ManagedPolicyArns"] == [f"arn:aws:iam::{ACCOUNT}:policy/PublishPolicy"]
    granted = allowed(found, "PublishPolicy")
    keys = {f"{BUCKET}/{key}" for key in ("index.html", "projects/*", "simple/*", "packages/*", ".mirror/*")}
    assert granted["s3:PutObject"] == granted["s3:GetObject"] == keys
    removed = {f"{BUCKET}/{key}" for key in ("projects/*", "simple/*", ".mirror/lock.json", ".mirror/probe/*")}
    assert granted["s3:DeleteObject"] == removed
    assert granted["s3:ListBucket"] == {BUCKET}
    assert all(granted[action] == {DISTRIBUTION} for action in granted if action.startswith("cloudfront:"))
    assert {"cloudfront:CreateInvalidation", "cloudfront:GetInvalidation"} <= set(granted)
    assert not any("*" in action for action in granted)
    assert not {"s3:PutObjectAcl", "s3:DeleteObjectVersion", "s3:PutBucketPolicy"} & set(granted)
    assert allowed(found, "PrunePolicy") == {"s3:DeleteObject": {f"{BUCKET}/packages/*", f"{BUCKET}/.mirror/*"}}


def test_without_a_cdn_a_publisher_has_no_business_with_one() -> None:
    found = resolver(MODES["s3-only-user"])
    assert not any(action.startswith("cloudfront:") for action in allowed(found, "PublishPolicy"))


@pytest.mark.clients
@pytest.mark.timeout(900)
def test_cfn_lint_finds_nothing_in_any_mode(tmp_path: Path, machine_environment: dict[str, str]) -> None:
    for name, blueprint in MODES.items():
        (tmp_path / f"{name}.json").write_text(render(blueprint), "utf-8")
    broken = template(PLACES["cdn"])
    broken["Resources"]["OriginAccess"]["Properties"]["OriginAccessControlConfig"]["SigningBehavior"] = "sometimes"
    (tmp_path / "broken.json").write_text(json.dumps(broken), "utf-8")
    linter = _linter(machine_environment)
    good = sorted(str(path) for path in tmp_path.glob("*.json") if path.name != "broken.json")
    assert len(good) == len(MODES)
    done = subprocess.run(
        [str(linter), "--regions", "us-east-1", "--", *good], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    done = subprocess.run(
        [str(linter), "--", str(tmp_path / "broken.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "sometimes" in done.stdout


def _linter(environment: dict[str, str]) -> Path:
    """cfn-lint, fetched once and kept under `.cache/cfn-lint`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        if not (CACHE / "ready").exists():
            python = make_environment(CACHE / "venv")
            command = [str(python), "-m", "pip", "install", "-q", "cfn-lint>=1.50,<2"]
            subprocess.run(command, check=True, env=environment)
            (CACHE / "ready").touch()
    return CACHE / "venv" / ("Scripts" if os.name == "nt" else "bin") / "cfn-lint"
