"""What a month costs, side by side: S3 alone, CloudFront by use, a CloudFront flat plan, R2.

Pure arithmetic on the manifest's sizes, the given use and a table of prices with its date (`prices.json`). Left out,
because they stay below a cent at this size: old versions of pages, listings beyond the first thousand keys, Route 53's
zone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mirror.cdn.paths import collapsed, crowded, paths
from mirror.errors import MirrorError
from mirror.layout import FRONT_PAGE, HTML, project_html_key, project_list_keys, project_page_keys, slash_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mirror.model import Manifest

Prices = dict[str, Any]

_GB = 1e9
_PAGE_FORMS = 2
_STATE_WRITES = 8
"""Lease taken and noted, two listings, release manifest, pointer, ledger of the CDN before and after."""
_REGIONS = 4
"""Edge locations that fetch a file anew each month: an estimate, it moves S3's requests by fractions of a cent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What is stored and what is asked for in a month."""

    files: int
    projects: int
    stored_gb: float
    installs: int
    """Installations of everything that is locked, on machines that had nothing cached."""
    install_gb: float
    """What one of them downloads."""
    runs: int = 30
    """Publishing runs."""
    changes: int = 20
    """Files that are new in each run."""

    @property
    def egress_gb(self) -> float:
        """Bytes to readers."""
        return self.installs * self.install_gb

    @property
    def reads(self) -> int:
        """Requests of readers: a page and a file of every project."""
        return self.installs * self.projects * 2

    @property
    def writes(self) -> int:
        """Requests that store or list: new files with their metadata, pages as they are and as they were, the state."""
        if not self.changes:
            return 0
        twins = tuple(slash_key(key) for key in self.pages if key.endswith(f"/{HTML}"))
        return self.runs * (2 * self.changes + 2 * len(self.pages) + len(twins) + _STATE_WRITES)

    @property
    def invalidations(self) -> int:
        """Paths that a CDN is told to forget."""
        spelled = paths(self.pages)
        return self.runs * len(collapsed(spelled) if crowded(spelled) else spelled)

    @property
    def pages(self) -> tuple[str, ...]:
        """Keys of the pages that a run changes, without twins: each new file is of another project, and one is new."""
        names = [f"p{number}" for number in range(min(self.changes, self.projects))]
        if not names:
            return ()
        forms = chain.from_iterable(map(project_page_keys, names))
        return (*forms, *map(project_html_key, names), *project_list_keys(), FRONT_PAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One way to host, in USD a month."""

    name: str
    storage: float
    requests: float
    """Requests, functions and invalidations; a plan's price."""
    egress: float
    note: str = ""

    @property
    def total(self) -> float:
        """Everything together."""
        return self.storage + self.requests + self.egress


def load_prices(path: Path | None = None) -> Prices:
    """The table of prices, with what `path` (JSON, any of the same keys) overrides.

    Raise `MirrorError` for a file that cannot be read, and for keys that are none.
    """
    prices: Prices = json.loads(resources.files("mirror.infra").joinpath("prices.json").read_text("utf-8"))
    if path is None:
        return prices
    try:
        given = json.loads(path.read_text("utf-8"))
        if not isinstance(given, dict):
            raise TypeError("it is no object")
    except (OSError, ValueError, TypeError) as error:
        raise MirrorError(f"{path}: {error}", hint="write a JSON object with prices in it") from error
    unknown = sorted(set(given) - set(prices))
    wrong = [key for key in given if key in prices and not _alike(given[key], prices[key])]
    if unknown or wrong:
        names = ", ".join(unknown or wrong)
        what = "is no price" if unknown else "has another shape here"
        raise MirrorError(f"{path}: {names} {what}", hint=f"known are: {', '.join(prices)}")
    return {**prices, **given}


def _alike(given: object, known: object) -> bool:
    numbers = (int, float)
    if isinstance(known, numbers):
        return isinstance(given, numbers) and not isinstance(given, bool) and given >= 0
    return type(given) is type(known)


def use_of(manifest: Manifest, *, installs: int, runs: int, changes: int) -> Use:
    """The use that a manifest and some numbers mean: an install takes one file of each project, of its mean size."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for artifact in manifest.artifacts:
        sizes[artifact.project].append(artifact.size)
    return Use(
        files=len(manifest.artifacts),
        projects=len(sizes),
        stored_gb=sum(artifact.size + artifact.metadata_size for artifact in manifest.artifacts) / _GB,
        installs=installs,
        install_gb=sum(fmean(each) for each in sizes.values()) / _GB,
        runs=runs,
        changes=changes,
    )


def estimate(use: Use, prices: Prices) -> tuple[Cost, ...]:
    """What each way costs, in a fixed order."""
    return (_s3_only(use, prices), _cloudfront(use, prices), _plan(use, prices), _r2(use, prices))


def _s3_only(use: Use, prices: Prices) -> Cost:
    egress = max(0.0, use.egress_gb - prices["s3_free_egress_gb"])
    requests = use.writes / 1000 * prices["s3_put_1000"] + use.reads / 1000 * prices["s3_get_1000"]
    return Cost(
        name="S3 only",
        storage=_s3_storage(use, prices),
        requests=requests,
        egress=_tiers(egress, prices["s3_egress_gb"]),
        note="the free gigabytes are the whole account's",
    )


def _cloudfront(use: Use, prices: Prices) -> Cost:
    egress = max(0.0, use.egress_gb - prices["cloudfront_free_egress_gb"])
    asked = max(0, use.reads - prices["cloudfront_free_requests"])
    ran = max(0, use.reads - prices["cloudfront_free_functions"])
    purged = max(0, use.invalidations - prices["cloudfront_free_invalidations"])
    requests = (
        _origin_requests(use, prices)
        + asked / 10_000 * prices["cloudfront_https_10000"]
        + ran / 1_000_000 * prices["cloudfront_function_million"]
        + purged * prices["cloudfront_invalidation"]
    )
    return Cost(
        name="CloudFront by use",
        storage=_s3_storage(use, prices),
        requests=requests,
        egress=_tiers(egress, prices["cloudfront_egress_gb"]),
    )


def _plan(use: Use, prices: Prices) -> Cost:
    fitting = [
        plan
        for plan in prices["plans"]
        if plan["requests"] >= use.reads and plan["egress_gb"] >= use.egress_gb
    ]  # fmt: skip
    plan = min(fitting or prices["plans"], key=lambda each: each["month"] if fitting else -each["month"])
    beyond = max(0.0, use.stored_gb - plan["storage_gb"])
    note = "no charge beyond the plan" if fitting else "this use is beyond the largest plan: it would be slowed down"
    return Cost(
        name=f"CloudFront plan {plan['name']}",
        storage=beyond * prices["s3_storage_gb_month"],
        requests=plan["month"] + _origin_requests(use, prices),
        egress=0.0,
        note=note,
    )


def _r2(use: Use, prices: Prices) -> Cost:
    writes = max(0, use.writes - prices["r2_free_writes"])
    reads = max(0, use.reads - prices["r2_free_reads"])
    return Cost(
        name="R2",
        storage=max(0.0, use.stored_gb - prices["r2_free_storage_gb"]) * prices["r2_storage_gb_month"],
        requests=writes / 1e6 * prices["r2_write_million"] + reads / 1e6 * prices["r2_read_million"],
        egress=0.0,
        note="as if nothing were cached in front of it",
    )


def _s3_storage(use: Use, prices: Prices) -> float:
    return float(use.stored_gb * prices["s3_storage_gb_month"])


def _origin_requests(use: Use, prices: Prices) -> float:
    # The edge asks for a file or page only when it does not hold it.
    misses = min(use.reads, _REGIONS * (use.files + use.projects * _PAGE_FORMS))
    return float(use.writes / 1000 * prices["s3_put_1000"] + misses / 1000 * prices["s3_get_1000"])


def _tiers(amount: float, tiers: Sequence[Sequence[float | None]]) -> float:
    """What `amount` costs when each tier is (upper bound or None, price of a unit)."""
    cost, below = 0.0, 0.0
    for bound, price in tiers:
        upper = amount if bound is None else min(amount, bound)
        cost += max(0.0, upper - below) * (price or 0.0)
        below = max(below, upper)
    return cost
