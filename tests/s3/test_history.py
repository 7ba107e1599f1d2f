"""Releases, rollback and prune on a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.history_suite import HistorySuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirror.stores.s3 import S3Store
    from tests.s3.conftest import Bucket


@pytest.mark.parametrize("server", ["rgw", "localstack"])
class TestBucket(HistorySuite):
    """A gateway that removes whatever the condition, and one that knows no condition on removals."""

    @pytest.fixture
    def store(self, server: str, make_bucket: Callable[[str], Bucket]) -> S3Store:
        return make_bucket(server).store()
