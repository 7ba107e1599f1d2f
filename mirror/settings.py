"""The settings: flags beat the environment, which beats `config.env`, which beats the defaults.

The one door to environment variables and dotenv files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from packaging.utils import canonicalize_name
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mirror import destination as place
from mirror.cdn.paths import base_of
from mirror.coverage import parse_policy
from mirror.errors import MirrorError
from mirror.infra.blueprint import PRICE_CLASSES, Identity, Mode
from mirror.infra.edge import Reader
from mirror.layout import SlashKeys
from mirror.model import HOLES, Reason, Scope, Word
from mirror.selection import SdistPolicy
from mirror.targets import DEFAULT_TARGETS, NOARCH, TARGETS, Baseline, Target

CONFIG = "config.env"
_MINOR = re.compile(r"[1-9][0-9]?\.(0|[1-9][0-9]?)", re.ASCII)
_DISTRIBUTION = re.compile(r"[A-Z0-9]{1,64}", re.ASCII)
_ENCODING = "utf-8-sig"
"""UTF-8; editors of one system put a byte order mark in front."""


def _split(separator: str) -> BeforeValidator:
    def split(value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(separator) if part.strip())
        return value

    return BeforeValidator(split)


def _known_targets(names: tuple[str, ...]) -> tuple[str, ...]:
    known = (*TARGETS, NOARCH)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown target {', '.join(unknown)}; known are {', '.join(known)}")
    if not set(names) - {NOARCH}:
        raise ValueError(f"no platform is named: {NOARCH} only says where files for all of them lie")
    return names


def _minors(versions: tuple[str, ...]) -> tuple[str, ...]:
    for version in versions:
        if not _MINOR.fullmatch(version):
            raise ValueError(f"{version!r} is no Python version such as 3.11")
    return versions


def _address(url: str) -> str:
    try:
        _ = urlsplit(url).port  # read only when it is asked for
    except ValueError as error:
        # The error quotes the URL, which may hold a password.
        raise ValueError("it is no URL, or its port is no number") from error
    return url


def _distribution(identity: str) -> str:
    if identity and not _DISTRIBUTION.fullmatch(identity):
        raise ValueError(f"{identity!r} is no id of a distribution, such as EDFDVBD6EXAMPLE")
    return identity


def _domain(domain: str) -> str:
    try:
        base_of(domain.rpartition("://")[2].partition("/")[2])
    except MirrorError as error:
        raise ValueError(str(error)) from error
    return domain


def _mode(mode: str) -> str:
    if mode and mode not in set(Mode):
        raise ValueError(f"{mode!r} is no mode; known are {', '.join(Mode)}")
    return mode


def _price_class(name: str) -> str:
    if name not in PRICE_CLASSES:
        raise ValueError(f"{name!r} is none; known are {', '.join(PRICE_CLASSES)}")
    return name


def _readers(texts: tuple[str | Reader, ...]) -> tuple[Reader, ...]:
    return tuple(text if isinstance(text, Reader) else Reader.parse(text) for text in texts)


Names = Annotated[tuple[str, ...], NoDecode, _split(",")]
Readers = Annotated[tuple[Reader, ...], NoDecode, BeforeValidator(_readers), _split(",")]
Paths = Annotated[tuple[Path, ...], NoDecode, _split(os.pathsep)]
TargetNames = Annotated[tuple[str, ...], NoDecode, _split(","), AfterValidator(_known_targets)]
Minors = Annotated[tuple[str, ...], NoDecode, _split(","), AfterValidator(_minors)]


class DownloaderName(Word):
    """What fetches wheels."""

    PIP = "pip"
    """pip itself, with everything that it is configured to do."""
    DIRECT = "direct"
    """Plain HTTP with pip's indexes, proxies and certificates: about twice as fast on a fast network."""


class Settings(BaseSettings):
    """Everything that can be configured; `config.env.example` explains each for users, and a test compares them."""

    model_config = SettingsConfigDict(env_file_encoding=_ENCODING, env_ignore_empty=True, extra="ignore", frozen=True)

    project: Paths = (Path(),)
    """Folders with a lock file, or lock files."""
    destination: Names = ("./site",)
    """Where to publish: folders, and buckets as `s3://bucket/prefix`; if there is none, `BUCKET_NAME`."""
    bucket_name: Annotated[str, AfterValidator(place.bucket)] = ""
    aws_profile: str = ""
    """Empty: as the user's own AWS configuration says."""
    aws_region: str = ""
    endpoint_url: Annotated[str, AfterValidator(place.endpoint)] = ""
    """Of a store that is compatible with S3; empty: AWS."""
    bucket_owner: Annotated[str, AfterValidator(place.account)] = ""
    """The account that every bucket must belong to; empty: not checked."""
    slash_keys: SlashKeys = SlashKeys.AUTO
    work_dir: Path = Path()
    """Holds `packages/`, `index/` and `.mirror/`."""
    targets: TargetNames = DEFAULT_TARGETS
    python_versions: Minors = ()
    """Empty: every CPython minor that the lock admits."""
    glibc: str = "2.28"
    macos: str = "14.0"
    musl: str = "1.2"
    groups: Names = ()
    """Empty: every dependency group of the lock."""
    extras: Names = ()
    """Empty: every extra."""
    sdists: SdistPolicy = SdistPolicy.FALLBACK
    downloader: DownloaderName = DownloaderName.PIP
    index_url: Annotated[str, AfterValidator(_address)] = ""
    """Empty: whatever pip is configured to use."""
    jobs: int = Field(default=16, ge=1, le=256)
    """Requests at once: for index pages, and for what a mirror serves when it is verified."""
    offline: bool = False
    cloudfront_distribution_id: Annotated[str, AfterValidator(_distribution)] = ""
    """Empty: no CDN is told of changes."""
    cloudfront_domain: Annotated[str, AfterValidator(_domain)] = ""
    """The name under which the distribution is reached, with the path of the mirror when it is not at the root."""
    invalidation_wait: float = Field(default=300, ge=0, le=86400, allow_inf_nan=False)
    """Seconds; 0 does not wait."""
    base_url: Annotated[str, AfterValidator(_address)] = ""
    """Where installers find the mirror, possibly with a user and a password; empty: not known."""
    infra_mode: Annotated[str, AfterValidator(_mode)] = ""
    """A `Mode`; empty: `setup` makes no infrastructure."""
    stack_name: str = "mirror"
    domain: str = ""
    hosted_zone_id: str = ""
    certificate_arn: str = ""
    price_class: Annotated[str, AfterValidator(_price_class)] = PRICE_CLASSES[0]
    retention_days: int = Field(default=90, ge=1, le=3650)
    """Days that old versions in the bucket are kept."""
    basic_auth: Readers = ()
    """Who may read through the CDN; empty: everybody."""
    deploy_identity: Identity = Identity.GITHUB
    deploy_repository: str = ""
    """Empty: neither GitHub nor GitLab publishes."""
    deploy_repository_id: str = ""
    deploy_owner_id: str = ""
    deploy_environment: str = "mirror"
    deploy_branch: str = "main"
    gitlab_url: str = "https://gitlab.com"
    fail_on: Names = tuple(sorted(HOLES))
    """Coverage reasons that make `verify` end with exit code 1."""

    @property
    def platforms(self) -> tuple[Target, ...]:
        """The targets that are platforms, in the fixed order in which a shared file finds its home."""
        return tuple(target for name, target in TARGETS.items() if name in self.targets)

    @property
    def baseline(self) -> Baseline:
        """The oldest systems served. Raise `MirrorError` for a setting that is no version."""
        return Baseline.parse(glibc=self.glibc, macos=self.macos, musl=self.musl)

    @property
    def scope(self) -> Scope:
        """The part of each lock that is mirrored."""
        return Scope(groups=_names(self.groups), extras=_names(self.extras))

    @property
    def address(self) -> str:
        """Where the mirror is served, with the credentials that stand in it; empty when that is not configured."""
        domain = self.cloudfront_domain.strip("/")
        return self.base_url or (f"https://{domain.rpartition('://')[2]}/" if domain else "")

    @property
    def policy(self) -> frozenset[Reason]:
        """What `--fail-on` counts. Raise `MirrorError` for a word that is no reason to fail."""
        try:
            return parse_policy(",".join(self.fail_on))
        except MirrorError as error:
            raise MirrorError(f"FAIL_ON: {error}", hint=error.hint) from error

    @model_validator(mode="before")
    @classmethod
    def _publish_to_the_bucket(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("bucket_name") and not given.get("destination"):
            return {**given, "destination": (f"s3://{given['bucket_name']}",)}
        return given

    @model_validator(mode="after")
    def _refuse_late_surprises(self) -> Settings:
        # Read now: what is wrong with them should not be noticed after an hour of downloads.
        _ = self.baseline, self.policy
        return self


def _names(names: tuple[str, ...]) -> frozenset[Any] | None:
    return frozenset(canonicalize_name(name) for name in names) or None


def load(config: Path | None, flags: dict[str, Any]) -> Settings:
    """Build the settings; `flags` holds what was given on the command line, None for what was not.

    Raise `MirrorError` naming the setting that is wrong, or the config file that is named but not there.
    """
    if config is not None and not config.is_file():
        raise MirrorError(f"there is no {config}", hint="copy config.env.example to it, or leave --config out")
    _keys(config)
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(_env_file=config or CONFIG, **given)  # type: ignore[call-arg] # of pydantic-settings, not a field
    except ValidationError as error:
        raise MirrorError("\n".join(_explain(problem) for problem in error.errors())) from error


def _explain(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"][:1]).upper()
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def unknown_keys(config: Path | None) -> tuple[str, ...]:
    """Name the keys of a config file that are no setting, so that a typing error is noticed; sorted.

    Raise `MirrorError` for a file that cannot be read.
    """
    return tuple(sorted(key for key in _keys(config) if key.lower() not in Settings.model_fields))


def _keys(config: Path | None) -> frozenset[str]:
    """Every key of a config file; a line that is none would be left out silently, so it is refused here."""
    path = config or Path(CONFIG)
    if not path.is_file():
        return frozenset()
    try:
        with path.open(encoding=_ENCODING) as stream:
            bindings = tuple(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise MirrorError(f"cannot read {path}: {error}", hint="write it anew, as text in UTF-8") from error
    for binding in bindings:
        if binding.error:
            # The line itself is not shown: it may hold a password. Blank lines in front are taken as part of it.
            text = binding.original.string
            blank = text[: len(text) - len(text.lstrip())].count("\n")
            raise MirrorError(
                f"{path}:{binding.original.line + blank}: this line is no setting",
                hint="write KEY=value, quote a value with spaces or quotes in it, and start a comment with #",
            )
    return frozenset(binding.key for binding in bindings if binding.key)
