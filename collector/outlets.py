"""The clients of those that telemetry is sent to, as settings name them."""

from __future__ import annotations

from collector.config import ForwardSettings, JsonlSink, OtlpSink, OtlpTarget
from sinks.base import Outlet
from sinks.jsonl import JsonLines
from sinks.otlp import OtlpGrpc, OtlpHttp, Target


def outlet_of(settings: ForwardSettings) -> Outlet:
    """The client, or the files, of a sink."""
    if isinstance(settings, JsonlSink):
        return JsonLines(settings.path, max_bytes=settings.max_bytes, max_files=settings.max_files)
    assert isinstance(settings, OtlpSink)
    return otlp_outlet(settings)


def otlp_outlet(settings: OtlpTarget) -> Outlet:
    """The client of who takes OTLP."""
    target = Target(
        settings.endpoint,
        settings.headers,
        settings.compression,
        settings.timeout,
        settings.tls.ca_file,
        settings.tls.cert_file,
        settings.tls.key_file,
    )
    return OtlpGrpc(target) if settings.protocol == "grpc" else OtlpHttp(target)
