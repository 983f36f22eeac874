"""What this collector is made of, for `eddyline components`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from collector.understanding.plugins import load_conventions
from mappers.conventions import BUILTIN


def components() -> dict[str, Any]:
    """Receivers, conventions, sinks and what is told of the collector itself, by name, with their stability;
    plugins that could not be loaded, with why."""
    plugged_in, failures = load_conventions()
    conventions = [
        *({"name": convention.id, "stability": "stable"} for convention in BUILTIN),
        *({"name": convention.id, "stability": "plugin"} for convention in plugged_in),
    ]
    document: dict[str, Any] = {
        "version": version("eddyline"),
        "receivers": [
            {"name": "otlp", "transports": ["grpc", "http"], "stability": "stable"},
            {"name": "proxy", "transports": ["http"], "stability": "beta"},
        ],
        "conventions": conventions,
        "sinks": [
            {"name": "clickhouse", "stability": "stable"},
            {"name": "otlp", "transports": ["grpc", "http"], "stability": "stable"},
            {"name": "jsonl", "stability": "stable"},
        ],
        "telemetry": [
            {"name": "metrics", "transports": ["prometheus", "grpc", "http"], "stability": "stable"},
            {"name": "traces", "transports": ["grpc", "http"], "stability": "beta"},
        ],
    }
    return document | ({"not_loaded": failures} if failures else {})
