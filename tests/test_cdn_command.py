"""`mirror refresh` and `mirror invalidate` with a CDN in front, as a user runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests import cloudfront_stand_in as cloud
from tests import project as projects
from tests.cloudfront_stand_in import DISTRIBUTION, CloudFrontStandIn
from tests.faulty_index import FaultyIndex

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project

WHOLE = ("/", "/index.html", "/projects/*", "/simple/*")


@pytest.fixture
def stand_in() -> Iterator[CloudFrontStandIn]:
    with CloudFrontStandIn() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with FaultyIndex() as index:
        yield projects.make(tmp_path, index)


def run(
    project: Project, stand_in: CloudFrontStandIn, name: str, *flags: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    configured = {"CLOUDFRONT_DISTRIBUTION_ID": DISTRIBUTION, **stand_in.environment, **settings}
    return project.mirror(name, *flags, **configured)


def test_refresh_invalidates_what_changed_between_sync_and_verify(
    project: Project, stand_in: CloudFrontStandIn
) -> None:
    done = run(project, stand_in, "refresh")
    assert done.returncode == 0, done.stderr
    order = [done.stderr.index(words) for words in ("published release", "invalidating 4 paths", "every edge serves")]
    assert order == sorted(order)
    assert [made.paths for made in stand_in.invalidations] == [WHOLE]
    stand_in.requests.clear()
    again = run(project, stand_in, "refresh")
    assert again.returncode == 0, again.stderr
    assert "nothing to invalidate" in again.stderr
    assert stand_in.requests == []


def test_without_a_distribution_nobody_is_asked(project: Project, stand_in: CloudFrontStandIn) -> None:
    assert project.mirror("refresh", **stand_in.environment).returncode == 0
    assert stand_in.requests == []
    assert not (project.site / ".mirror" / "edges").exists()
    done = project.mirror("invalidate", **stand_in.environment)
    assert done.returncode == 2
    assert "CLOUDFRONT_DISTRIBUTION_ID" in done.stderr


def test_not_confirmed_ends_in_3_and_the_next_run_waits_on_for_nothing(
    project: Project, stand_in: CloudFrontStandIn
) -> None:
    stand_in.takes = 600
    done = run(project, stand_in, "refresh", INVALIDATION_WAIT="0.2")
    assert done.returncode == 3
    assert "has not confirmed" in done.stderr
    stand_in.takes = 0
    again = run(project, stand_in, "refresh")
    assert again.returncode == 0, again.stderr
    assert "asked for before" in again.stderr
    assert stand_in.billed == len(WHOLE)


def test_a_refusal_names_the_permission_and_invalidate_makes_up_for_it(
    project: Project, stand_in: CloudFrontStandIn
) -> None:
    stand_in.denied = {"CreateInvalidation"}
    done = run(project, stand_in, "refresh")
    assert done.returncode == 3
    assert "cloudfront:CreateInvalidation" in done.stderr
    assert cloud.CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in done.stderr
    stand_in.denied.clear()
    assert run(project, stand_in, "invalidate").returncode == 0
    assert [made.paths for made in stand_in.invalidations] == [WHOLE]


def test_invalidate_shows_and_does_everything_when_told(project: Project, stand_in: CloudFrontStandIn) -> None:
    assert run(project, stand_in, "refresh").returncode == 0
    shown = run(project, stand_in, "invalidate", "--all", "--dry-run", CLOUDFRONT_DOMAIN="cdn.example/pypi")
    assert shown.returncode == 0
    assert "(cdn.example): would invalidate 4 paths" in shown.stderr
    assert "/pypi/simple/*" in shown.stderr
    assert len(stand_in.invalidations) == 1
    assert run(project, stand_in, "invalidate").returncode == 0
    assert len(stand_in.invalidations) == 1
    assert run(project, stand_in, "invalidate", "--all").returncode == 0
    assert len(stand_in.invalidations) == 2


def test_one_destination_that_fails_keeps_no_other_from_its_cdn(
    project: Project, stand_in: CloudFrontStandIn, tmp_path: Path
) -> None:
    spare = tmp_path / "spare"
    spare.write_text("a file where a folder should be")
    places = ("--destination", str(project.site), "--destination", str(spare))
    done = run(project, stand_in, "refresh", *places)
    assert done.returncode == 3
    assert [made.paths for made in stand_in.invalidations] == [WHOLE]
    ledger = json.loads((project.site / ".mirror" / "edges" / f"{DISTRIBUTION}.json").read_bytes())
    assert ledger["release"].startswith("000001-")
