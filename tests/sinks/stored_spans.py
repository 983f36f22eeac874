"""What is stored of spans."""

from __future__ import annotations

from typing import Any

from sinks.clickhouse import Store


def rows(store: Store, owner: str) -> list[list[tuple[str, Any]]]:
    """All that is stored of a tenant, but for whose it is and when it came."""
    columns = [
        name
        for (name,) in store.query(
            "SELECT name FROM system.columns WHERE database = 'otel' AND table = 'otel_traces'"
        )
        if name not in ("IngestedAt", "Tenant")
    ]
    exact = {
        "Timestamp": "toUnixTimestamp64Nano(Timestamp)",
        "Events.Timestamp": "arrayMap(t -> toUnixTimestamp64Nano(t), `Events.Timestamp`)",
    }
    selected = ", ".join(exact.get(name, f"`{name}`") for name in columns)
    found = store.query(
        f"SELECT {selected} FROM otel.otel_traces WHERE Tenant = {{o:String}}"
        " ORDER BY TraceId, SpanId, Timestamp, SpanName",
        {"o": owner},
    )
    place = columns.index("Project")
    assert {row[place] for row in found} <= {owner}
    return [[pair for pair in zip(columns, row, strict=True) if pair[0] != "Project"] for row in found]
