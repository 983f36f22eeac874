"""Where telemetry is taken and made safe: journals, keys, the intake and its doors.

It is opened first, and imports nothing that it does not need: what exporters send to a port that is closed is lost,
and the rest of the collector takes a second to import and to open. At the end it is closed last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.types import ASGIApp

from collector.config import Settings
from collector.documents import ConfigError
from collector.endpoints import api_token, withdraw
from collector.exits import EX_CONFIG, EX_TEMPFAIL, EX_UNAVAILABLE, ServiceError, making
from collector.exposure import ExposureError, ingest_needs_key
from collector.forwarding.naming import SEGMENTS_WAITING, cursor_name, forwards_of
from collector.gate import Gate
from collector.intake import Intake
from collector.journal import SINK_CURSOR, Journal, JournalLockedError
from collector.keys import Keys, KeysError, keys_file
from collector.listening import REQUEST_GRACE_S, UNIX, ListenError, host_of, listen
from collector.receivers.opening import http_options, item_limits, open_grpc, open_http, open_intake
from collector.redaction import masking
from collector.reload import Reloadable
from collector.telemetry import Health
from collector.tls import TlsError, grpc_credentials


@dataclass(frozen=True, slots=True)
class Receivers:
    """Where OTLP is received; None for a door that is off."""

    grpc: str | None
    http: str | None
    application: ASGIApp
    """Of OTLP/HTTP, for the doors that have it too."""


@dataclass(frozen=True, slots=True)
class Receiving:
    """What takes telemetry."""

    journals: Mapping[str, Journal]
    """By signal."""
    keys: Keys
    intake: Intake
    health: Health
    receivers: Receivers


async def open_receiving(settings: Settings, reloadable: Reloadable, parts: AsyncExitStack) -> Receiving:
    """Opens all of it.

    Args:
        parts: gets the closing of each.

    Raises:
        ServiceError: the data directory is in use or can not be written, a port is taken, keys are missing.
    """
    directory = settings.data_dir
    with making(directory):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    journals = {signal: _journal(settings, signal, parts) for signal in ("traces", "logs")}
    with making(directory):
        withdraw(directory)
        token = api_token(directory, settings.token)
    parts.callback(withdraw, directory)
    keys, gate = _gate(settings, token)
    parts.callback(keys.note_use)
    intake = open_intake(settings, journals, gate)
    reloadable.tell(
        lambda changed: _take_over(changed, intake, keys, journals),
        "auth",
        "receivers.otlp.limits",
        "receivers.otlp.protocols.http.max_request_body_size",
        "redaction",
        "service.telemetry.log_level",
    )
    health = Health()
    try:
        receivers = await _open_doors(settings, intake, reloadable, health, parts)
    except ListenError as error:
        raise ServiceError(str(error), EX_UNAVAILABLE) from None
    return Receiving(journals, keys, intake, health, receivers)


async def _open_doors(
    settings: Settings, intake: Intake, reloadable: Reloadable, health: Health, parts: AsyncExitStack
) -> Receivers:
    """Raises: ListenError."""
    protocols = settings.receivers.otlp.protocols
    grpc_address = None
    if protocols.grpc.endpoint:
        receiver = open_grpc(protocols.grpc, intake)
        try:
            tls = protocols.grpc.tls
            credentials = grpc_credentials(tls) if tls.cert_file else None
            port = receiver.start(
                protocols.grpc.endpoint, credentials, socket_mode=protocols.grpc.socket_mode
            )
        except (OSError, TlsError) as error:
            raise ListenError(f"grpc can not listen on {protocols.grpc.endpoint}: {error}") from None
        health.leaving.append(receiver.leave)
        parts.push_async_callback(asyncio.to_thread, receiver.stop, REQUEST_GRACE_S)
        unix = protocols.grpc.endpoint.startswith(UNIX)
        grpc_address = protocols.grpc.endpoint if unix else f"{host_of(protocols.grpc.endpoint)}:{port}"
    http, take_over = open_http(protocols.http, intake)
    reloadable.tell(
        take_over,
        "receivers.otlp.protocols.http.body_idle_timeout",
        "receivers.otlp.protocols.http.body_timeout",
        "receivers.otlp.protocols.http.cors",
        "receivers.otlp.protocols.http.max_request_body_size",
    )
    where = await listen("http", protocols.http.endpoint, http, parts, **http_options(protocols.http))
    return Receivers(grpc_address, where, http)


def _gate(settings: Settings, token: str) -> tuple[Keys, Gate]:
    """Raises: ServiceError."""
    try:
        keys = Keys(keys_file(settings.data_dir), settings.auth.keys)
        needed = ingest_needs_key(settings, keys=len(keys))
    except (KeysError, ExposureError) as error:
        raise ServiceError(str(error), EX_CONFIG) from None
    return keys, Gate(keys, token=token, ingest_needs_key=needed)


def _take_over(settings: Settings, intake: Intake, keys: Keys, journals: Mapping[str, Journal]) -> None:
    """Raises: ConfigError."""
    keys.give(settings.auth.keys)
    try:
        needed = ingest_needs_key(settings, keys=len(keys))
    except ExposureError as error:
        raise ConfigError(str(error)) from None
    intake.gate.ingest_needs_key = needed
    intake.limits = item_limits(settings.receivers.otlp.limits)
    for journal in journals.values():
        journal.quarantine.mask = masking(settings.redaction)
    intake.max_body_bytes = settings.receivers.otlp.protocols.http.max_request_body_size
    logging.getLogger().setLevel(settings.service.telemetry.log_level.upper())


def _journal(settings: Settings, signal: str, parts: AsyncExitStack) -> Journal:
    journal = Journal(
        settings.data_dir / "journal" / signal,
        segment_bytes=min(
            [
                settings.journal.segment_size,
                *(
                    forward.max_waiting_bytes // SEGMENTS_WAITING
                    for _, forward in forwards_of(settings.sinks)
                ),
            ]
        ),
        ack=settings.journal.ack,
        max_queue_bytes=settings.journal.max_queue_size,
        max_bytes=settings.journal.max_bytes,
        min_free_bytes=settings.journal.min_free_bytes,
        on_full=settings.journal.on_full,
        mask=masking(settings.redaction),
    )
    try:
        with making(journal.directory):
            journal.open()
    except JournalLockedError as error:
        raise ServiceError(f"another collector runs on {settings.data_dir}", EX_TEMPFAIL) from error
    parts.callback(journal.close)
    with making(journal.directory):
        # Before anything is appended.
        journal.cursor(SINK_CURSOR)
        for name, forward in forwards_of(settings.sinks):
            if signal in forward.signals:
                journal.cursor(cursor_name(name), counts=False)
    return journal
