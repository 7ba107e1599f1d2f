"""The monthly estimate: the worked example by hand, the tiers, and prices of one's own."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.cdn.cloudfront import CloudFront
from mirror.errors import MirrorError
from mirror.infra.cost import Use, estimate, load_prices, use_of
from mirror.phases.invalidate import invalidate
from mirror.progress import Silence
from tests.buckets import Bucket
from tests.cloudfront_stand_in import DISTRIBUTION, CloudFrontStandIn
from tests.oddities import artifact, manifest
from tests.sites import make_site
from tests.watched import Watched
from tests.wheels import make_wheel

README = Path(__file__).resolve().parent.parent / "README.md"

USE = Use(files=300, projects=150, stored_gb=3.0, installs=2000, install_gb=0.15, runs=30, changes=50)


def test_the_worked_example() -> None:
    s3, cdn, plan, r2 = estimate(USE, load_prices())
    assert USE.egress_gb == 300
    assert s3.egress == pytest.approx(18.0), "200 GB past the free hundred"
    assert s3.storage == cdn.storage == pytest.approx(0.069)
    assert cdn.egress == r2.egress == plan.egress == 0
    assert (plan.name, r2.total) == ("CloudFront plan Pro", 0)
    # Three spellings of each project and of the list, all pages for people, two spellings of the front page.
    assert USE.invalidations == 30 * (50 * 3 + 3 + 1 + 2)
    assert cdn.requests == pytest.approx((USE.invalidations - 1000) * 0.005, abs=0.15)


def test_readme_shows_the_worked_example() -> None:
    rows = [line for line in README.read_text("utf-8").splitlines() if line.startswith("|")]
    for each in estimate(USE, load_prices()):
        numbers = (f"{value:.2f}" for value in (each.storage, each.requests, each.egress, each.total))
        assert f"| {each.name} | {' | '.join(numbers)} |" in rows


@pytest.mark.parametrize("count", [2, 5, 305])
def test_the_counts_are_those_of_a_run(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release in which every project has a new file, and one project is new; told to a CDN that bills by the path."""
    names, store = [f"a{number}" for number in range(count)], Bucket(time.time)
    with CloudFrontStandIn() as cloudfront:
        for name, value in cloudfront.environment.items():
            monkeypatch.setenv(name, value)
        cdn = CloudFront.open(DISTRIBUTION)

        def run(version: str, *projects: str) -> tuple[int, int]:
            watched, before = Watched(store), cloudfront.billed
            folder = tmp_path / version
            made = make_site(folder, [make_wheel(folder / "made", name, version) for name in projects])
            made.publish(watched, allow_shrink=True, slash_keys=True)
            invalidate(watched, cdn, Silence(), wait=10, interval=0.01)
            return len((*watched.keys("put"), *watched.keys("list"))), cloudfront.billed - before

        run("1.0", *names[1:])
        writes, paths = run("2.0", *names)
    use = Use(files=count, projects=count, stored_gb=1, installs=1, install_gb=1, runs=1, changes=count)
    assert paths == use.invalidations
    # What a new project did not have before needs not be kept.
    assert writes <= use.writes <= writes + 3


def test_runs_without_changes_cost_nothing() -> None:
    idle = replace(USE, changes=0)
    assert (idle.writes, idle.invalidations) == (0, 0)
    assert replace(USE, projects=1).invalidations == USE.runs * (3 + 3 + 1 + 2), "many files of one project"


def test_egress_is_priced_tier_by_tier() -> None:
    s3 = estimate(replace(USE, installs=1, install_gb=100 + 10240 + 1000), load_prices())[0]
    assert s3.egress == pytest.approx(10240 * 0.09 + 1000 * 0.085)


def test_more_than_the_largest_plan_is_said() -> None:
    plan = estimate(replace(USE, installs=10_000_000), load_prices())[2]
    assert "Premium" in plan.name
    assert "beyond" in plan.note


def test_an_install_takes_one_file_of_each_project() -> None:
    held = manifest(
        replace(artifact("demo-1.0-cp311-cp311-win_amd64.whl"), size=3_000_000, metadata_size=0),
        replace(artifact("demo-1.0-py3-none-any.whl"), size=1_000_000, metadata_size=0),
    )
    use = use_of(held, installs=10, runs=1, changes=0)
    assert (use.files, use.projects) == (2, 1)
    assert use.stored_gb == pytest.approx(0.004)
    assert use.install_gb == pytest.approx(0.002)


def test_prices_are_overridden_and_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"s3_storage_gb_month": 1, "as_of": "2027-01"}))
    assert estimate(USE, load_prices(path))[0].storage == 3.0
    for wrong in ({"s3_storage": 1}, {"s3_storage_gb_month": "1"}, {"s3_storage_gb_month": -1}, [1], {"plans": 3}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(MirrorError, match=r"prices\.json"):
            load_prices(path)
    path.write_text("{")
    with pytest.raises(MirrorError, match=r"prices\.json"):
        load_prices(path)
