"""The values that flow through the pipeline: frozen, and right once they are made.

A plain constructor does not parse; `Digest.parse` and its like do, and refuse with the exact place.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

# Not for the type checker alone: `state` reads the fields' types to decode them.
from packaging.utils import NormalizedName  # noqa: TC002
from packaging.version import Version  # noqa: TC002

_HEX_LENGTH = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
# No user before the host: `https://known.example@other.example/` leads to the second.
_LINK = re.compile(r"https?://[A-Za-z0-9\[][^\s\"'<>@\\/]*(?:/[^\s\"'<>\\]*|[?#][^\s\"'<>\\]*)?", re.ASCII)

STRONG_ALGORITHMS = ("sha256", "sha384", "sha512")
"""What pip accepts in hash-checking mode (pip documentation, "Secure installs")."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest of a file's bytes, e.g. sha256 and 64 lowercase hex digits."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>`; bare hex is sha256 (poetry.lock of 2020). Raise `ValueError` for anything else."""
        algorithm, colon, value = text.strip().lower().rpartition(":")
        algorithm = algorithm if colon else "sha256"
        if len(value) != _HEX_LENGTH.get(algorithm) or not _HEX.fullmatch(value):
            raise ValueError(f"not a digest: {text!r}")
        return cls(algorithm, value)

    @property
    def strong(self) -> bool:
        """Whether installers accept it as proof."""
        return self.algorithm in STRONG_ALGORITHMS

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


class Level(enum.IntEnum):
    """How loud a notice is: an error stops the run, a warning is shown, a note is for the report."""

    NOTE = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the user should know: what, about which package, and where it stands."""

    level: Level
    code: str
    """A short stable slug such as `stale-lock` or `git-source`."""
    message: str
    package: str = ""
    where: str = ""
    """File and line or key, e.g. `poetry.lock:120`."""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.where, self.package) if part)
        return f"{place}: {self.message}" if place else self.message


class Word(str, enum.Enum):
    """An enumeration whose members are the words that stand in files and reports."""

    __str__ = str.__str__


class SourceKind(Word):
    """Where a locked package comes from. The last four are direct references; no index serves them."""

    INDEX = "index"
    """The project's default index: whatever pip is configured to use."""
    LEGACY = "legacy"
    """Another simple index, named by its URL in the lock."""
    GIT = "git"
    URL = "url"
    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The origin of a locked package."""

    kind: SourceKind = SourceKind.INDEX
    url: str = ""
    """Simple index for `legacy`, repository for `git`, archive for `url`, relative path for `file`, `directory`."""
    reference: str = ""
    resolved_reference: str = ""
    """The full commit of a `git` source."""
    subdirectory: str = ""
    editable: bool = False

    @property
    def direct(self) -> bool:
        """Whether it is a direct reference (PEP 440), which no index can serve."""
        return self.kind not in (SourceKind.INDEX, SourceKind.LEGACY)


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file that the lock names for a release, with the digest that its bytes must have."""

    filename: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One release that the lock pins. Identity is name, version and source, not the name alone."""

    name: NormalizedName
    version: Version
    files: tuple[LockedFile, ...]
    """Wheels and sdists only, each with a strong digest and a filename that passed `filenames.parse`."""
    source: Source = Source()
    groups: tuple[NormalizedName, ...] = ()
    line: int = 0
    """Where its table starts in the lock, counted from 1."""

    def __hash__(self) -> int:
        # It is a key in every answer of a lock, and may name a hundred files: those need not be hashed each time.
        return hash((self.name, self.line))

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which part of a lock is meant. `None` means every group (or extra) that the lock or project knows."""

    groups: frozenset[NormalizedName] | None = None
    extras: frozenset[NormalizedName] | None = None


class Membership(enum.Enum):
    """What the lock says about one package in one environment."""

    SELECTED = "selected"
    BY_MARKER = "excluded-by-marker"
    BY_PYTHON = "excluded-by-python"


class Reason(Word):
    """Why a coverage cell is what it is (DESIGN section 3.5)."""

    COVERED = "covered"
    YANKED = "yanked"
    EXCLUDED_BY_MARKER = "excluded-by-marker"
    EXCLUDED_BY_PYTHON = "excluded-by-python"
    SDIST_ONLY = "sdist-only"
    NO_WHEEL = "no-wheel"
    NOT_OFFERED = "not-offered"
    DIGEST_MISMATCH = "digest-mismatch"
    DOWNLOAD_FAILED = "download-failed"
    NOT_PUBLISHED = "not-published"
    DIRECT = "direct"

    @property
    def excluded(self) -> bool:
        """Whether the package is not wanted there at all."""
        return self in (Reason.EXCLUDED_BY_MARKER, Reason.EXCLUDED_BY_PYTHON)

    @property
    def covered(self) -> bool:
        """Whether an installer finds a file for it there without building one."""
        return self in (Reason.COVERED, Reason.YANKED)


HOLES = frozenset(
    reason
    for reason in Reason
    if not (reason.covered or reason.excluded or reason in (Reason.SDIST_ONLY, Reason.DIRECT))
)
"""What `--fail-on` counts by default: whatever is neither covered nor excluded nor sdist-only nor direct."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One locked package in one environment, with the reason why it has a file or none."""

    lock: str
    """The lock's path as the user named it."""
    package: NormalizedName
    version: str
    target: str
    python: str
    reason: Reason
    filename: str = ""
    """The file chosen for it; empty when there is none."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A lock that a mirror stands for, as people may see it: by names, never by a path of somebody's machine."""

    digest: str
    """`sha256:<hex>` of the file's bytes."""
    file: str
    """Its filename, e.g. `poetry.lock`."""
    project: str = ""
    """The name of the project that it belongs to; empty when that has none."""
    packages: int = 0
    """Locked packages that some environment wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCoverage:
    """What a mirror holds of what one target wants, counted in cells: packages x Python versions x locks."""

    target: str
    pythons: tuple[str, ...]
    """The Python versions that were asked for, in order."""
    wanted: int
    """Cells that are not excluded."""
    wheels: int
    """Cells with a wheel."""
    sdists: int = 0
    """Cells that have to build an sdist."""
    direct: int = 0
    """Cells that no index can serve."""

    @property
    def missing(self) -> int:
        """Cells that should have a file, and have none."""
        return self.wanted - self.wheels - self.sdists - self.direct


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file to hold, fetched once, whatever number of environments want it."""

    filename: str
    project: NormalizedName
    version: str
    digest: Digest
    home: str
    """The target whose folder it is downloaded to; `noarch` for wheels tagged `any` and for sdists."""
    python: str
    """A Python minor of its home that accepts it, for pip's own compatibility check."""
    url: str = ""
    """Absolute; empty when no page that we can read offers it (then pip is asked by name, or the pool holds it)."""
    index: str = ""
    """The simple index whose page offered it, without credentials."""
    size: int | None = None
    """Bytes, when the index tells."""
    upload_time: str = ""
    requires_python: str = ""
    yanked: str | None = None
    """None when not yanked; otherwise the reason, possibly empty."""
    cells: tuple[tuple[str, int], ...] = ()
    """How many cells of each target use it, by target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectStatus:
    """A project's status marker (PEP 792) as upstream states it."""

    status: str = "active"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """For each environment and locked package the one file chosen, or the reason why there is none."""

    files: tuple[PlannedFile, ...] = ()
    """Sorted by filename, each once."""
    cells: tuple[Cell, ...] = ()
    statuses: tuple[tuple[NormalizedName, ProjectStatus], ...] = ()
    """Projects whose status is not `active`."""
    notices: tuple[Notice, ...] = ()
    locks: tuple[str, ...] = ()
    """Digest of each lock that it was made from, `sha256:<hex>`, sorted."""
    origins: tuple[Origin, ...] = ()
    """Those locks by name, sorted."""
    coverage: tuple[TargetCoverage, ...] = ()
    """What there is for each target once every file was downloaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A planned file that could not be had: `reason` is not-offered, digest-mismatch or download-failed."""

    filename: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A wheel or sdist that we hold, with everything that the index says about it."""

    filename: str
    project: NormalizedName
    version: str
    sha256: str
    size: int
    requires_python: str = ""
    upload_time: str = ""
    """`yyyy-mm-ddThh:mm:ss[.ffffff]Z` as upstream stated it, or empty."""
    yanked: str | None = None
    metadata_sha256: str = ""
    """Digest of the `.metadata` sidecar (PEP 658); empty when none is offered."""
    metadata_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a project says of itself in the core metadata of its newest release; each text on one line, shortened."""

    filename: str
    """The artifact whose metadata says so."""
    summary: str = ""
    license: str = ""
    """An SPDX expression where the project states one, else the name that it gives."""
    links: tuple[tuple[str, str], ...] = ()
    """Label and URL, in the project's order; http and https only, so that a link cannot run anything."""

    def __post_init__(self) -> None:
        """Refuse a link that is more than a link."""
        for _, url in self.links:
            if not _LINK.fullmatch(url):
                raise ValueError(f"{url!r:.80} is no link to a page")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that the index is made of; what comes after it knows only names, digests and keys."""

    artifacts: tuple[Artifact, ...] = ()
    """Sorted by filename."""
    statuses: tuple[tuple[NormalizedName, ProjectStatus], ...] = ()
    locks: tuple[str, ...] = field(default=())
    """Digest of each lock that it stands for, `sha256:<hex>`, sorted."""
    about: tuple[tuple[NormalizedName, About], ...] = ()
    """Of each project whose metadata was read, by name."""
    origins: tuple[Origin, ...] = ()
    """Those locks by name, sorted."""
    coverage: tuple[TargetCoverage, ...] = ()
    """What is here for each target."""
