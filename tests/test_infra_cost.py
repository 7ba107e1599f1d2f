"""The monthly estimate: the worked example by hand, the tiers, and prices of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.errors import MirrorError
from mirror.infra.cost import Use, estimate, load_prices, use_of
from tests.oddities import artifact, manifest

if TYPE_CHECKING:
    from pathlib import Path

USE = Use(files=300, projects=150, stored_gb=3.0, installs=2000, install_gb=0.15, runs=30, changes=50)


def test_the_worked_example() -> None:
    s3, cdn, plan, r2 = estimate(USE, load_prices())
    assert USE.egress_gb == 300
    assert s3.egress == pytest.approx(18.0), "200 GB past the free hundred"
    assert s3.storage == cdn.storage == pytest.approx(0.069)
    assert cdn.egress == r2.egress == plan.egress == 0
    assert (plan.name, r2.total) == ("CloudFront plan Pro", 0)
    assert s3.total > cdn.total
    # 30 x 51 x 3 paths, the first thousand free.
    assert cdn.requests == pytest.approx(3590 * 0.005, abs=0.05)


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
