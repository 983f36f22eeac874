"""The sinks that telemetry is passed on to, by their names in the configuration and in the journals."""

from __future__ import annotations

from collections.abc import Iterator

from collector.config import ForwardSettings, Sinks

SEGMENTS_WAITING = 4
"""A sink that can not keep up gives whole segments up: of what may wait for it, none is more than this part."""


def forwards_of(sinks: Sinks) -> Iterator[tuple[str, ForwardSettings]]:
    """Each sink by its full name."""
    for name, otlp in sinks.otlp.items():
        yield f"otlp/{name}", otlp
    for name, jsonl in sinks.jsonl.items():
        yield f"jsonl/{name}", jsonl


def cursor_name(name: str) -> str:
    """Of a sink in the journals."""
    return "forward-" + name.replace("/", "-")
