"""The report as JSON; `report.schema.json` beside this module says what every field means.

The number `format` is raised when an older reader would misunderstand the document; new fields may come without that.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirror.reports.report import Report

FORMAT = 1


def render(report: Report) -> bytes:
    """The document, ordered as its schema says, and ASCII, so that two of them can be compared line by line."""
    document = {
        "format": FORMAT,
        "verified": report.verified,
        "policy": sorted(report.policy),
        "locks": [
            {
                "lock": locked.label,
                "path": locked.path,
                "packages": [
                    {"package": package, "version": version, "line": line}
                    for (package, version), line in sorted(locked.lines.items())
                ],
            }
            for locked in sorted(report.locks, key=lambda locked: locked.label)
        ],
        "destinations": [coverage.to_json(report.policy) for coverage in report.coverages],
    }
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document."""
    text = resources.files("mirror.reports").joinpath("report.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
