"""From settings to the intake and its doors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import ASGIApp

from collector.config import GrpcProtocol, HttpProtocol, MemorySettings, OtlpLimits, Settings
from collector.doors.gate import Gate
from collector.doors.guarded import HeadLimits, guarded
from collector.intake.intake import Intake
from collector.intake.memory import INFLIGHT_SHARE, SMALLEST_BUDGET, Budget, available_bytes
from collector.intake.quota import Debts, Quotas
from collector.journal import Journal
from collector.otlp import Signal
from collector.otlp.limits import Limits
from collector.receivers.cors import Cors
from collector.receivers.grpc import Connections, GrpcReceiver
from collector.receivers.http import BodyLimits, HttpReceiver
from collector.telemetry.operations import Operations


def open_intake(
    settings: Settings,
    journals: Mapping[str, Journal],
    gate: Gate,
    debts: Debts | None = None,
    operations: Operations | None = None,
    *,
    processes: int = 1,
) -> Intake:
    """An intake of as many `processes`, which share what requests on their way may hold.

    Args:
        debts: what projects owe of their quotas, to all processes; None: to this one alone.
        operations: notes how long requests took.
    """
    otlp = settings.receivers.otlp
    return Intake(
        journals,
        limits=item_limits(otlp.limits),
        gate=gate,
        quotas=Quotas(settings.quotas, debts),
        operations=operations,
        budget=Budget(*memory_bounds(settings.memory, processes)),
        max_body_bytes=otlp.protocols.http.max_request_body_size,
    )


def memory_bounds(memory: MemorySettings, processes: int) -> tuple[int, int, int]:
    """What a `Budget` is given in each of so many processes."""
    limit = memory.limit or available_bytes()
    inflight = memory.inflight or max(SMALLEST_BUDGET, round(limit * INFLIGHT_SHARE))
    return (
        inflight // processes,
        limit * memory.refuse_percentage // 100,
        limit * max(memory.shed_percentage, memory.refuse_percentage) // 100,
    )


def item_limits(limits: OtlpLimits) -> Limits:
    return Limits(
        items=limits.spans_per_request,
        resources=limits.resources_per_request,
        scopes=limits.scopes_per_request,
        item_bytes=limits.span_bytes,
        attributes=limits.attributes_per_span,
        events=limits.events_per_span,
        links=limits.links_per_span,
        key_bytes=limits.attribute_key_bytes,
        value_bytes=limits.attribute_value_bytes,
        value_depth=limits.attribute_value_depth,
        json_depth=limits.json_depth,
        json_values=limits.json_values,
        inflate_ratio=limits.inflate_ratio,
    )


def open_grpc(protocol: GrpcProtocol, intake: Intake, *, shares_port: bool = False) -> GrpcReceiver:
    keepalive = protocol.keepalive
    return GrpcReceiver(
        intake,
        max_message_bytes=protocol.max_recv_msg_size,
        workers=protocol.workers,
        connections=Connections(
            keepalive.min_recv_ping_interval,
            keepalive.max_connection_age,
            keepalive.max_connection_age_grace,
            keepalive.max_concurrent_streams,
            protocol.connect_timeout,
            protocol.max_header_size,
            protocol.max_connections,
            shares_port,
        ),
        client_projects=protocol.tls.client_projects,
        reflection=protocol.reflection,
    )


def open_http(protocol: HttpProtocol, intake: Intake) -> tuple[ASGIApp, Callable[[Settings], None]]:
    """The application, and what tells it of new settings."""
    paths = {
        protocol.traces_url_path: Signal.TRACES,
        protocol.logs_url_path: Signal.LOGS,
        protocol.metrics_url_path: Signal.METRICS,
    }
    paths.pop("", None)
    receiver = HttpReceiver(intake, _body_limits(protocol), protocol.tls.client_projects, paths)
    door = Cors(receiver, protocol.cors.allowed_origins)

    def take_over(settings: Settings) -> None:
        changed = settings.receivers.otlp.protocols.http
        receiver.limits = _body_limits(changed)
        door.allow(changed.cors.allowed_origins)

    return door, take_over


def _body_limits(protocol: HttpProtocol) -> BodyLimits:
    return BodyLimits(protocol.max_request_body_size, protocol.body_idle_timeout, protocol.body_timeout)


def http_options(protocol: HttpProtocol) -> dict[str, Any]:
    """Options of `listen` for the OTLP door."""
    limits = HeadLimits(
        protocol.read_header_timeout,
        protocol.max_header_size,
        protocol.max_headers,
        protocol.max_connections,
        protocol.max_connections_per_peer,
    )
    return {
        "http": guarded(limits),
        "timeout_keep_alive": protocol.keep_alive_timeout,
        "tls": protocol.tls,
        "socket_mode": protocol.socket_mode,
    }
