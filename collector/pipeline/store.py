"""The store that the configuration names."""

from __future__ import annotations

from collector.config import ClickHouseSink
from sinks.clickhouse.layout import Layout
from sinks.clickhouse.server import Server

EMBEDDED = "clickhouse"
"""Where in the data directory the embedded engine's files are."""


def server_of(settings: ClickHouseSink, *, create_schema: bool | None = None) -> Server | None:
    """The server; None: the embedded engine is used. `create_schema` instead of what is configured."""
    if settings.embedded:
        return None
    return Server(
        settings.url,
        username=settings.username,
        password=settings.password,
        ca_file=settings.tls.ca_file,
        cert_file=settings.tls.cert_file,
        key_file=settings.tls.key_file,
        connect_timeout_s=settings.connect_timeout,
        timeout_s=settings.timeout,
        compression=settings.compression,
        insert_quorum=settings.cluster.insert_quorum,
        create_schema=settings.create_schema if create_schema is None else create_schema,
        layout=Layout(
            cluster=settings.cluster.name,
            sharded=settings.cluster.layout == "sharded",
            storage_policy=settings.storage.policy,
            cold_volume=settings.storage.cold_volume,
            cold_after_days=settings.storage.cold_after_days,
        ),
    )
