from __future__ import annotations

from collections.abc import Iterator

import pytest

import sinks.clickhouse.store as store_module
from sinks.clickhouse import Store
from tests.server import with_schema


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The embedded engine. A process can have one directory open, so all tests of the package share it."""
    database = tmp_path_factory.mktemp("clickhouse") / "data"
    with_schema(database)
    opened = store_module.Store.open(database)
    yield opened
    opened.close()
