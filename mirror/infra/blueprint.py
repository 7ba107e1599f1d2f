"""What is to stand: the choices from which a stack's template follows, checked once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.errors import MirrorError
from mirror.model import Word

if TYPE_CHECKING:
    from mirror.infra.edge import Reader

CERTIFICATE_REGION = "us-east-1"
"""Where CloudFront looks for certificates."""

PRICE_CLASSES = ("PriceClass_100", "PriceClass_200", "PriceClass_All")
"""Sets of edges, the smallest and cheapest first."""

_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{4,253}}$){_LABEL}(?:\.{_LABEL})+")
_ZONE = re.compile(r"Z[A-Z0-9]{1,31}")
_CERTIFICATE = re.compile(rf"arn:aws:acm:{CERTIFICATE_REGION}:\d{{12}}:certificate/[A-Za-z0-9-]+", re.ASCII)
_GITHUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
_GITLAB = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+")
_NUMBER = re.compile(r"[1-9]\d{0,19}", re.ASCII)
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_HOST = re.compile(rf"https://({_LABEL}(?:\.{_LABEL})+)(?::\d{{1,5}})?", re.ASCII)


class Mode(Word):
    """How the mirror is reached."""

    CDN = "cdn"
    """A private bucket behind CloudFront."""
    S3_ONLY = "s3-only"
    """A bucket whose pages and packages everybody may read, over https."""


class Identity(Word):
    """Who publishes."""

    GITHUB = "github"
    """GitHub Actions, without any secret (OpenID Connect)."""
    GITLAB = "gitlab"
    """GitLab CI, without any secret (OpenID Connect)."""
    USER = "user"
    """An IAM user with an access key."""
    NONE = "none"
    """Nobody is made; publish with credentials of your own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """The deploy identity. `check` tells whether its parts fit together."""

    identity: Identity = Identity.NONE
    repository: str = ""
    """`owner/name` on GitHub, `group/…/project` on GitLab."""
    repository_id: str = ""
    """GitHub's own number of the repository: it stays when names are given to others."""
    owner_id: str = ""
    """GitHub's own number of the owner."""
    environment: str = "mirror"
    """The GitHub environment that a publishing job runs in."""
    branch: str = "main"
    """The GitLab branch that publishes."""
    host: str = "https://gitlab.com"
    """The GitLab."""
    own_provider: bool = True
    """Whether the stack makes the OpenID Connect provider; an account holds one per address."""

    @property
    def issuer(self) -> str:
        """Host and path of the OpenID Connect provider, as condition keys spell it."""
        if self.identity is Identity.GITHUB:
            return "token.actions.githubusercontent.com"
        return self.host.removeprefix("https://")

    @property
    def audience(self) -> str:
        """Whom a job's token is meant for; the job asks for it by this name (`.ci/gitlab.yml`)."""
        return "sts.amazonaws.com"

    @property
    def subjects(self) -> tuple[str, ...]:
        """Who may assume the role, spelled exactly.

        GitHub has two spellings: repositories made, renamed or moved since July 2026 carry the numbers of owner
        and repository in the subject.
        """
        if self.identity is Identity.GITLAB:
            return (f"project_path:{self.repository}:ref_type:branch:ref:{self.branch}",)
        owner, _, name = self.repository.partition("/")
        where = f"environment:{self.environment}"
        return (
            f"repo:{owner}/{name}:{where}",
            f"repo:{owner}@{self.owner_id}/{name}@{self.repository_id}:{where}",
        )

    def check(self) -> None:
        """Raise `MirrorError` naming the setting that is wrong."""
        if self.identity is Identity.GITHUB:
            _require(_GITHUB, "DEPLOY_REPOSITORY", self.repository, "write owner/name as GitHub shows it")
            for name, value in (
                ("DEPLOY_REPOSITORY_ID", self.repository_id),
                ("DEPLOY_OWNER_ID", self.owner_id),
            ):
                _require(
                    _NUMBER, name, value,
                    f"gh api repos/{self.repository} shows it (id, owner.id); with gh at hand it is looked up for you",
                )  # fmt: skip
            _require(_REF, "DEPLOY_ENVIRONMENT", self.environment, "write the name of a GitHub environment")
        elif self.identity is Identity.GITLAB:
            _require(_GITLAB, "DEPLOY_REPOSITORY", self.repository, "write group/project as GitLab shows it")
            _require(_REF, "DEPLOY_BRANCH", self.branch, "write the name of the branch that publishes")
            _require(_HOST, "GITLAB_URL", self.host, "write https:// and the host, without a path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything that a template depends on."""

    mode: Mode = Mode.CDN
    stack: str = "mirror"
    region: str
    bucket: str = ""
    """Empty: a name made of the stack's, the account's number and the region."""
    domain: str = ""
    """Host name under which CloudFront serves; empty: CloudFront's own."""
    zone: str = ""
    """Route 53 hosted zone of the domain, where the alias is written; empty: you write it."""
    certificate: str = ""
    """ARN of a certificate for the domain; empty: one is made, proven through the hosted zone."""
    readers: tuple[Reader, ...] = ()
    """Who may read; empty: everybody."""
    retention: int = 90
    """Days that replaced and deleted versions are kept."""
    price_class: str = PRICE_CLASSES[0]
    publisher: Publisher = Publisher()

    @property
    def makes_certificate(self) -> bool:
        """Whether a certificate is part of the stack."""
        return bool(self.domain) and not self.certificate

    def check(self) -> None:
        """Raise `MirrorError` naming the setting that is wrong, or that does not go with another."""
        _require(_STACK, "STACK_NAME", self.stack, "use up to 32 letters, digits and '-', a letter first")
        if not self.region:
            raise MirrorError("AWS_REGION is not set", hint=f"set it in config.env, e.g. {CERTIFICATE_REGION}")
        if self.bucket:
            # Dots would break the certificate of the bucket's own host name.
            _require(_BUCKET, "BUCKET_NAME", self.bucket, "use 3 to 63 lower-case letters, digits and '-'")
        if self.mode is Mode.S3_ONLY:
            self._refuse_what_needs_cloudfront()
        else:
            self._check_domain()
        self.publisher.check()

    def _refuse_what_needs_cloudfront(self) -> None:
        for name, value in (("DOMAIN", self.domain), ("BASIC_AUTH", self.readers)):
            if value:
                raise MirrorError(f"{name} needs CloudFront", hint=f"set INFRA_MODE={Mode.CDN}, or leave {name} empty")

    def _check_domain(self) -> None:
        for name, value in (("HOSTED_ZONE_ID", self.zone), ("CERTIFICATE_ARN", self.certificate)):
            if value and not self.domain:
                raise MirrorError(f"{name} is set, and DOMAIN is not", hint="set DOMAIN too")
        if not self.domain:
            return
        _require(_DOMAIN, "DOMAIN", self.domain, "write a host name in lower case, such as packages.corp.example")
        if self.zone:
            _require(_ZONE, "HOSTED_ZONE_ID", self.zone, "write it as Route 53 shows it, such as Z0123456789ABC")
        if self.certificate:
            hint = f"CloudFront takes certificates of {CERTIFICATE_REGION} only, arn:aws:acm:{CERTIFICATE_REGION}:…"
            _require(_CERTIFICATE, "CERTIFICATE_ARN", self.certificate, hint)
        elif not self.zone:
            raise MirrorError(
                f"no certificate for {self.domain}",
                hint="set HOSTED_ZONE_ID to have one made and proven, or CERTIFICATE_ARN to use one that is there",
            )
        elif self.region != CERTIFICATE_REGION:
            raise MirrorError(
                f"the certificate for {self.domain} can only be made in {CERTIFICATE_REGION}, not in {self.region}",
                hint=f"set AWS_REGION={CERTIFICATE_REGION}, or make one there and set CERTIFICATE_ARN",
            )


def _require(pattern: re.Pattern[str], name: str, value: str, hint: str) -> None:
    if not value:
        raise MirrorError(f"{name} is not set", hint=hint)
    if not pattern.fullmatch(value):
        raise MirrorError(f"{name}: {value!r} is not what it should be", hint=hint)
