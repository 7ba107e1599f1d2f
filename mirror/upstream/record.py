"""What is kept of project pages between runs: only what concerns files that some lock names."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mirror.files import write
from mirror.model import Digest, ProjectStatus
from mirror.simple.page import PageFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FORMAT = 2
DEFAULT_FRESHNESS = 600.0
"""Seconds for which a page that states nothing is not asked for again; what PyPI states."""
_LONGEST_FRESHNESS = 86_400.0
"""Seconds; yank state changes, so a day is the longest that a page may be believed."""
_FORGOTTEN_AFTER = 90 * 86_400.0
"""Seconds after which a page that no run has asked about is dropped."""
_MAX_AGE = re.compile(r"max-age=\"?(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One project on one index, as it was last read."""

    fetched: float
    """Seconds since the epoch."""
    freshness: float = DEFAULT_FRESHNESS
    """Seconds from then on during which it is not asked for again."""
    etag: str = ""
    present: bool = True
    """Whether the index has the project at all."""
    status: ProjectStatus = ProjectStatus()
    files: Mapping[str, tuple[PageFile, ...]] = field(default_factory=dict)
    """By filename, for every file that was ever asked about; empty when the page does not list it."""

    def fresh(self, now: float) -> bool:
        """Whether it may be used without asking. A clock that was set back proves nothing."""
        return 0 <= now - self.fetched < self.freshness

    def knows(self, filenames: Iterable[str]) -> bool:
        """Whether it says of each file that it is there or that it is not."""
        return not self.present or all(filename in self.files for filename in filenames)

    def renewed(self, now: float, headers: Mapping[str, str]) -> Record:
        """The same after a 304."""
        return replace(self, fetched=now, freshness=freshness(headers), etag=headers.get("ETag", self.etag))


def freshness(headers: Mapping[str, str]) -> float:
    """Seconds for which an answer may be used unasked (RFC 9111 section 5.2.2).

    `no-cache` and `no-store` ask for a question each time; what has aged in a cache on its way counts.
    """
    directives = headers.get("Cache-Control", "").lower()
    if "no-cache" in directives or "no-store" in directives:
        return 0.0
    stated = _MAX_AGE.search(directives)
    seconds = float(stated[1]) if stated else DEFAULT_FRESHNESS
    age = headers.get("Age", "")
    return max(0.0, min(seconds, _LONGEST_FRESHNESS) - (float(age) if age.isdecimal() else 0.0))


class Records:
    """All records, in one JSON file. It is a cache: a lost or corrupt one costs time only. Safe for several threads."""

    def __init__(self, path: Path) -> None:
        """Read `path`, if it is there and makes sense."""
        self._path = path
        self._lock = threading.Lock()
        self._raw = _load(path)
        self._changed = False

    def get(self, index: str, project: str) -> Record | None:
        """What is kept; None when nothing usable is."""
        with self._lock:
            raw = self._raw.get(index, {}).get(project)
        return None if raw is None else _decode(raw)

    def put(self, index: str, project: str, record: Record) -> None:
        """Keep a record instead of the one before."""
        with self._lock:
            self._raw.setdefault(index, {})[project] = _encode(record)
            self._changed = True

    def save(self, now: float) -> None:
        """Write what is new, without what nobody has asked about for long. Raise `MirrorError` as `files.write`."""
        with self._lock:
            if not self._changed:
                return
            for projects in self._raw.values():
                for project in [name for name, raw in projects.items() if _forgotten(raw, now)]:
                    del projects[project]
            data = json.dumps({"format": FORMAT, "indexes": self._raw}, separators=(",", ":"), sort_keys=True)
            self._changed = False
        write(self._path, data.encode())


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        loaded = json.loads(path.read_bytes())
        if loaded["format"] == FORMAT:
            return {str(index): dict(projects) for index, projects in loaded["indexes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def _forgotten(raw: object, now: float) -> bool:
    fetched = raw.get("fetched") if isinstance(raw, dict) else None
    return not isinstance(fetched, (int, float)) or now - fetched > _FORGOTTEN_AFTER


def _encode(record: Record) -> dict[str, Any]:
    return {
        "fetched": record.fetched,
        "freshness": record.freshness,
        "etag": record.etag,
        "present": record.present,
        "status": [record.status.status, record.status.reason],
        "files": {name: [_encode_file(file) for file in files] for name, files in record.files.items()},
    }


def _encode_file(file: PageFile) -> dict[str, Any]:
    facts = asdict(file)
    facts["digests"] = [str(digest) for digest in file.digests]
    facts["core_metadata"] = str(file.core_metadata) if file.core_metadata else None
    return {
        key: value
        for key, value in facts.items()
        if (value not in ("", None, []) and value is not False) or (key, value) == ("yanked", "")
    }


def _decode(raw: Any) -> Record | None:
    try:
        return Record(
            fetched=float(raw["fetched"]),
            freshness=float(raw["freshness"]),
            etag=str(raw["etag"]),
            present=bool(raw["present"]),
            status=ProjectStatus(status=str(raw["status"][0]), reason=str(raw["status"][1])),
            files={str(name): tuple(map(_decode_file, files)) for name, files in raw["files"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None


def _decode_file(raw: dict[str, Any]) -> PageFile:
    facts = dict(raw)
    facts["digests"] = tuple(Digest.parse(text) for text in facts.get("digests", ()))
    metadata = facts.get("core_metadata")
    facts["core_metadata"] = Digest.parse(metadata) if metadata else None
    return PageFile(**facts)


def listed(files: Iterable[PageFile], known: Iterable[str]) -> dict[str, tuple[PageFile, ...]]:
    """What a page says of the files in `known`: those that it lists, and those that it does not."""
    found: dict[str, tuple[PageFile, ...]] = dict.fromkeys(known, ())
    for file in files:
        if file.filename in found:
            found[file.filename] = (*found[file.filename], file)
    return found
