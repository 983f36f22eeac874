"""ClickHouse, embedded or as a server: schema, writing, reading."""

from sinks.clickhouse.exchanges import Exchanges
from sinks.clickhouse.reader import Page, Reader, RunFilter
from sinks.clickhouse.settings import Setting, StoredSettings
from sinks.clickhouse.store import Store
from sinks.clickhouse.writer import ClickHouseSink

__all__ = ["ClickHouseSink", "Exchanges", "Page", "Reader", "RunFilter", "Setting", "Store", "StoredSettings"]
