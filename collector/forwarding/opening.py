"""The sinks that the configuration names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from collector.config import ForwardSettings, JsonlSink, OtlpSink, Sinks
from collector.forwarding.forwarder import Forwarder
from collector.forwarding.naming import cursor_name, forwards_of
from collector.forwarding.passage import Prepare
from collector.journal import Journal
from sinks.base import Outlet
from sinks.jsonl import JsonLines
from sinks.otlp import OtlpGrpc, OtlpHttp, Target


class Forwards:
    """All sinks that telemetry is passed on to."""

    def __init__(self, forwarders: list[Forwarder], outlets: list[Outlet]) -> None:
        self.forwarders = forwarders
        self._outlets = outlets

    def start(self) -> None:
        for forwarder in self.forwarders:
            forwarder.start()

    async def drain(self, timeout: float) -> None:
        """All at once, for at most so many seconds."""
        deadline = time.monotonic() + timeout
        await asyncio.gather(*(asyncio.to_thread(forwarder.drain, deadline) for forwarder in self.forwarders))
        for outlet in self._outlets:
            outlet.close()

    def document(self) -> dict[str, Any]:
        """For the status: by sink and signal."""
        found: dict[str, dict[str, Any]] = {}
        for forwarder in self.forwarders:
            told = forwarder.told
            found.setdefault(forwarder.name, {})[forwarder.signal] = {
                "sent": told.sent,
                "rejected": told.rejected,
                "failed": told.failed,
                "given_up": told.given_up,
                "retries": told.retries,
                "waiting": forwarder.waiting_items,
                "waiting_bytes": forwarder.waiting_bytes,
                "last_error": told.last_error or None,
            }
        return found


def open_forwards(
    sinks: Sinks, journals: Mapping[str, Journal], passage: Callable[[str, ForwardSettings], Prepare]
) -> Forwards:
    """Every sink, not started yet. `passage` makes what prepares a signal for a sink."""
    forwarders: list[Forwarder] = []
    outlets: list[Outlet] = []
    for name, settings in forwards_of(sinks):
        for signal in settings.signals:
            outlet = _outlet(settings)
            outlets.append(outlet)
            forwarders.append(
                Forwarder(
                    name,
                    signal,
                    journals[signal],
                    journals[signal].cursor(cursor_name(name), counts=False),
                    passage(signal, settings),
                    outlet,
                    max_items=settings.batch.max_items,
                    max_bytes=settings.batch.max_bytes,
                    flush_timeout=settings.batch.flush_timeout,
                    max_waiting_bytes=settings.max_waiting_bytes,
                )
            )
    return Forwards(forwarders, outlets)


def _outlet(settings: ForwardSettings) -> Outlet:
    if isinstance(settings, JsonlSink):
        return JsonLines(settings.path, max_bytes=settings.max_bytes, max_files=settings.max_files)
    assert isinstance(settings, OtlpSink)
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
