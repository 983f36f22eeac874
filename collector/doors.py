"""Every door of the collector: those that take OTLP, and the API's, the administrator's and the proxy's."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.types import ASGIApp

from collector.api.app import admin_app, api_app
from collector.api.base import Api
from collector.config import Settings
from collector.endpoints import Endpoints
from collector.exposure import LOOPBACK_HOSTS, exposed
from collector.intake import Intake
from collector.listening import REQUEST_GRACE_S, UNIX, ListenError, listen
from collector.proxy.door import ProxyDoor
from collector.receivers.opening import http_options, open_grpc, open_http
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


async def open_receivers(
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
        grpc_address = protocols.grpc.endpoint if unix else f"{_host(protocols.grpc.endpoint)}:{port}"
    http, take_over = open_http(protocols.http, intake)
    reloadable.tell(take_over)
    where = await listen("http", protocols.http.endpoint, http, parts, **http_options(protocols.http))
    return Receivers(grpc_address, where, http)


async def open_others(
    settings: Settings,
    intake: Intake,
    api: Api,
    proxy: ProxyDoor,
    received: Receivers,
    parts: AsyncExitStack,
) -> Endpoints:
    """Opens every door but the receivers'.

    Raises: ListenError.
    """
    # A name that is not loopback can only come from a page that made it point here.
    api_door = api_app(
        api, gate=intake.gate, hosts=_api_hosts(settings), local="api" not in exposed(settings)
    )
    doors = {
        "http": received.http,
        "api": await listen("api", settings.api.endpoint, api_door, parts),
        "admin": await listen("admin", settings.admin.endpoint, admin_app(api), parts),
    }
    doors["proxy"] = await proxy.open(
        otlp=received.application,
        ready=lambda: not intake.draining,
        own_ports={
            int(where.rpartition(":")[2])
            for where in (*doors.values(), received.grpc)
            if where and not where.startswith(UNIX)
        },
        parts=parts,
    )
    return Endpoints(grpc=received.grpc, pid=os.getpid(), **doors)


def _api_hosts(settings: Settings) -> set[str]:
    """Names under which the API may be addressed; none if any may be used."""
    names = {*LOOPBACK_HOSTS, *settings.api.hosts, _host(settings.api.endpoint or "")}
    return set() if "*" in names else {name.lower() for name in names}


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0]
