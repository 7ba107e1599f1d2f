"""Releases, rollback and prune on a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.history_suite import HistorySuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirror.stores.s3 import S3Store
    from tests.s3.conftest import Bucket


class TestBucket(HistorySuite):
    @pytest.fixture
    def store(self, make_bucket: Callable[[str], Bucket]) -> S3Store:
        return make_bucket("moto").store()
