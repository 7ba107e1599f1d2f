"""The settings: flags beat the environment, which beats `config.env`, which beats the defaults.

The one door to environment variables and dotenv files.
"""

# No postponed annotations: those of `Settings` hold what reads each value.

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from packaging.utils import canonicalize_name

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

_Value = TypeVar("_Value")

CONFIG = "config.env"
_MINOR = re.compile(r"[1-9][0-9]?\.(0|[1-9][0-9]?)", re.ASCII)
_DISTRIBUTION = re.compile(r"[A-Z0-9]{1,64}", re.ASCII)
_ENCODING = "utf-8-sig"
"""UTF-8; editors of one system put a byte order mark in front."""
_ON = ("1", "true", "t", "yes", "y", "on")
_OFF = ("0", "false", "f", "no", "n", "off")


# What reads a value, which is a text, or what a flag made of it. Each raises `ValueError` or `MirrorError`.


def _several(read: Callable[[Any], _Value], separator: str = ",") -> Callable[[Any], tuple[_Value, ...]]:
    def split(value: Any) -> tuple[_Value, ...]:
        parts = value.split(separator) if isinstance(value, str) else map(str, value)
        return tuple(read(part.strip()) for part in parts if part.strip())

    return split


def _one_of(words: Iterable[str], kind: Callable[[str], _Value]) -> Callable[[str], _Value]:
    known = tuple(map(str, words))

    def read(word: str) -> _Value:
        if word not in known:
            raise ValueError(f"{word!r} is none; known are {', '.join(known)}")
        return kind(word)

    return read


def _number(kind: Callable[[Any], Any], least: int, most: int) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        with suppress(ValueError):
            number = kind(value)
            if least <= number <= most:
                return number
        raise ValueError(f"{value!r} is no number from {least} to {most}")

    return read


def _switch(value: Any) -> bool:
    word = str(value).lower()
    if word not in (*_ON, *_OFF):
        raise ValueError(f"{value!r} is neither true nor false")
    return word in _ON


def _targets(value: Any) -> tuple[str, ...]:
    names = _several(_one_of((*TARGETS, NOARCH), str))(value)
    if not set(names) - {NOARCH}:
        raise ValueError(f"no platform is named: {NOARCH} only says where files for all of them lie")
    return names


def _destinations(value: Any) -> tuple[str, ...]:
    places = _several(str)(value)
    if not places:
        raise ValueError("it names no place; write a path such as ./site, or s3://bucket")
    return places


def _minor(version: str) -> str:
    if not _MINOR.fullmatch(version):
        raise ValueError(f"{version!r} is no Python version such as 3.11")
    return version


def _address(url: str) -> str:
    try:
        _ = urlsplit(url).port  # read only when it is asked for
    except ValueError as error:
        # The error quotes the URL, which may hold a password.
        raise ValueError("it is no URL, or its port is no number") from error
    return url


def _distribution(identity: str) -> str:
    if not _DISTRIBUTION.fullmatch(identity):
        raise ValueError(f"{identity!r} is no id of a distribution, such as EDFDVBD6EXAMPLE")
    return identity


def _domain(domain: str) -> str:
    base_of(domain.rpartition("://")[2].partition("/")[2])
    return domain


Names = Annotated[tuple[str, ...], _several(str)]


class DownloaderName(Word):
    """What fetches wheels."""

    PIP = "pip"
    """pip itself, with everything that it is configured to do."""
    DIRECT = "direct"
    """Plain HTTP with pip's indexes, proxies and certificates: about twice as fast on a fast network."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be configured; `config.env.example` explains each for users, and a test compares them."""

    project: Annotated[tuple[Path, ...], _several(Path, os.pathsep)] = (Path(),)
    """Folders with a lock file, or lock files."""
    destination: Annotated[tuple[str, ...], _destinations] = ("./site",)
    """Where to publish: folders, and buckets as `s3://bucket/prefix`; if there is none, `BUCKET_NAME`."""
    bucket_name: Annotated[str, place.bucket] = ""
    aws_profile: str = ""
    """Empty: as the user's own AWS configuration says."""
    aws_region: str = ""
    endpoint_url: Annotated[str, place.endpoint] = ""
    """Of a store that is compatible with S3; empty: AWS."""
    bucket_owner: Annotated[str, place.account] = ""
    """The account that every bucket must belong to; empty: not checked."""
    slash_keys: Annotated[SlashKeys, _one_of(SlashKeys, SlashKeys)] = SlashKeys.AUTO
    work_dir: Path = Path()
    """Holds `packages/`, `index/` and `.mirror/`."""
    targets: Annotated[tuple[str, ...], _targets] = DEFAULT_TARGETS
    python_versions: Annotated[tuple[str, ...], _several(_minor)] = ()
    """Empty: every CPython minor that the lock admits."""
    glibc: str = "2.28"
    macos: str = "14.0"
    musl: str = "1.2"
    groups: Names = ()
    """Empty: every dependency group of the lock."""
    extras: Names = ()
    """Empty: every extra."""
    sdists: Annotated[SdistPolicy, _one_of(SdistPolicy, SdistPolicy)] = SdistPolicy.FALLBACK
    downloader: Annotated[DownloaderName, _one_of(DownloaderName, DownloaderName)] = DownloaderName.PIP
    index_url: Annotated[str, _address] = ""
    """Empty: whatever pip is configured to use."""
    jobs: Annotated[int, _number(int, 1, 256)] = 16
    """Requests at once: for index pages, to a destination, and for what a mirror serves when it is verified."""
    offline: Annotated[bool, _switch] = False
    cloudfront_distribution_id: Annotated[str, _distribution] = ""
    """Empty: no CDN is told of changes."""
    cloudfront_domain: Annotated[str, _domain] = ""
    """The name under which the distribution is reached, with the path of the mirror when it is not at the root."""
    invalidation_wait: Annotated[float, _number(float, 0, 86400)] = 300.0
    """Seconds; 0 does not wait."""
    base_url: Annotated[str, _address] = ""
    """Where installers find the mirror, possibly with a user and a password; empty: not known."""
    infra_mode: Annotated[str, _one_of(Mode, str)] = ""
    """A `Mode`; empty: `setup` makes no infrastructure."""
    stack_name: str = "mirror"
    domain: str = ""
    hosted_zone_id: str = ""
    certificate_arn: str = ""
    price_class: Annotated[str, _one_of(PRICE_CLASSES, str)] = PRICE_CLASSES[0]
    retention_days: Annotated[int, _number(int, 1, 3650)] = 90
    """Days that old versions in the bucket are kept."""
    basic_auth: Annotated[tuple[Reader, ...], _several(Reader.parse)] = ()
    """Who may read through the CDN; empty: everybody."""
    deploy_identity: Annotated[Identity, _one_of(Identity, Identity)] = Identity.GITHUB
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


def _names(names: tuple[str, ...]) -> frozenset[Any] | None:
    return frozenset(canonicalize_name(name) for name in names) or None


NAMES = tuple(field.name for field in fields(Settings))
"""Every setting; in a file and in the environment in any case."""


def load(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Build the settings; `flags` holds what was given on the command line, None for what was not.

    Raise `MirrorError` naming every setting that is wrong, or the config file that is named but not there.
    """
    if config is not None and not config.is_file():
        raise MirrorError(f"there is no {config}", hint="copy config.env.example to it, or leave --config out")
    told = {**_told(_file(config)), **_told(os.environ)}
    given: dict[str, Any] = {**told, **{name: value for name, value in flags.items() if value is not None}}
    if "bucket_name" in given and not given.get("destination"):
        given["destination"] = (f"s3://{given['bucket_name']}",)
    values, problems = {}, []
    for field in fields(Settings):
        if field.name in given:
            try:
                values[field.name] = _reader(field)(given[field.name])
            except (ValueError, MirrorError) as error:
                problems.append(f"{field.name.upper()}: {error}")
    if problems:
        raise MirrorError("\n".join(problems), hint="correct it: it stands in a flag, the environment or config.env")
    settings = Settings(**values)
    # Read now: what is wrong with them should not be noticed after an hour of downloads.
    _ = settings.baseline, settings.policy
    return settings


def _told(variables: Mapping[str, str | None]) -> dict[str, str]:
    """The settings among some variables; one that is left empty is none."""
    named = {name.lower(): value for name, value in variables.items() if value}
    return {name: named[name] for name in NAMES if name in named}


def _reader(field: Field[Any]) -> Callable[[Any], Any]:
    """What reads its value: what stands beside its type, or the type itself."""
    kind: Any = field.type
    reader: Callable[[Any], Any] = kind.__metadata__[0] if hasattr(kind, "__metadata__") else kind
    return reader


def unknown_keys(config: Path | None) -> tuple[str, ...]:
    """Name the keys of a config file that are no setting, so that a typing error is noticed; sorted.

    Raise `MirrorError` for a file that cannot be read.
    """
    return tuple(sorted(key for key in _file(config) if key.lower() not in NAMES))


def _file(config: Path | None) -> Mapping[str, str | None]:
    """What a config file says; a line that is no setting would be left out silently, so it is refused here."""
    path = config or Path(CONFIG)
    if not path.is_file():
        return {}
    try:
        text = path.read_text(_ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        raise MirrorError(f"cannot read {path}: {error}", hint="write it anew, as text in UTF-8") from error
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            # The line itself is not shown: it may hold a password. Blank lines in front are taken as part of it.
            line = binding.original.string
            blank = line[: len(line) - len(line.lstrip())].count("\n")
            raise MirrorError(
                f"{path}:{binding.original.line + blank}: this line is no setting",
                hint="write KEY=value, quote a value with spaces or quotes in it, and start a comment with #",
            )
    return dotenv_values(stream=StringIO(text))
