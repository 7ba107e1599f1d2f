"""The settings: flags beat the environment, which beats `config.env`, which beats the defaults.

The one door to environment variables and dotenv files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from dotenv import dotenv_values
from packaging.utils import canonicalize_name
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mirror.coverage import parse_policy
from mirror.errors import MirrorError
from mirror.model import HOLES, Reason, Scope
from mirror.selection import SdistPolicy
from mirror.targets import DEFAULT_TARGETS, NOARCH, TARGETS, Baseline, Target

CONFIG = "config.env"


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
        major, dot, minor = version.partition(".")
        if not (dot and major.isdecimal() and minor.isdecimal()):
            raise ValueError(f"{version!r} is no Python version such as 3.11")
    return versions


Names = Annotated[tuple[str, ...], NoDecode, _split(",")]
Paths = Annotated[tuple[Path, ...], NoDecode, _split(os.pathsep)]
TargetNames = Annotated[tuple[str, ...], NoDecode, _split(","), AfterValidator(_known_targets)]
Minors = Annotated[tuple[str, ...], NoDecode, _split(","), AfterValidator(_minors)]


class Settings(BaseSettings):
    """Everything that can be configured; `config.env.example` explains each for users, and a test compares them."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    project: Paths = (Path(),)
    """Folders with a lock file, or lock files."""
    destination: Names = ("./site",)
    """Where to publish: folders."""
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
    index_url: str = ""
    """Empty: whatever pip is configured to use."""
    jobs: int = Field(default=16, ge=1, le=256)
    """Requests at once."""
    offline: bool = False
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
    def policy(self) -> frozenset[Reason]:
        """What `--fail-on` counts. Raise `MirrorError` for a word that is no reason."""
        return parse_policy(",".join(self.fail_on))


def _names(names: tuple[str, ...]) -> frozenset[Any] | None:
    return frozenset(canonicalize_name(name) for name in names) or None


def load(config: Path | None, flags: dict[str, Any]) -> Settings:
    """Build the settings; `flags` holds what was given on the command line, None for what was not.

    Raise `MirrorError` naming the setting that is wrong, or the config file that is named but not there.
    """
    if config is not None and not config.is_file():
        raise MirrorError(f"there is no {config}", hint="copy config.env.example to it, or leave --config out")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(_env_file=config or CONFIG, **given)
    except ValidationError as error:
        raise MirrorError("\n".join(_explain(problem) for problem in error.errors())) from error


def _explain(problem: Any) -> str:  # noqa: ANN401 - pydantic's own shape
    name = ".".join(str(part) for part in problem["loc"][:1]).upper()
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def unknown_keys(config: Path | None) -> tuple[str, ...]:
    """Name the keys of a config file that are no setting, so that a typing error is noticed; sorted."""
    path = config or Path(CONFIG)
    keys = dotenv_values(path) if path.is_file() else {}
    return tuple(sorted(key for key in keys if key.lower() not in Settings.model_fields))
