"""The doors of the collector but for the receivers': the API's, the administrator's and the proxy's."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack

from collector.api.app import admin_app, api_app
from collector.api.base import Api
from collector.config import Settings
from collector.doors.exposure import LOOPBACK_HOSTS, exposed
from collector.doors.listening import UNIX, host_of, listen
from collector.intake.intake import Intake
from collector.process.endpoints import Endpoints
from collector.proxy.door import ProxyDoor
from collector.receiving import Receivers


async def open_others(
    settings: Settings,
    intake: Intake,
    api: Api,
    proxy: ProxyDoor,
    received: Receivers,
    parts: AsyncExitStack,
) -> Endpoints:
    """Opens them, and says where every door is.

    Raises: ListenError.
    """
    # A name that is not loopback can only come from a page that made it point here.
    api_door = api_app(
        api, gate=intake.gate, hosts=_api_hosts(settings), local="api" not in exposed(settings)
    )
    doors = {
        "http": received.http,
        "api": await listen("api", settings.api.endpoint, api_door, parts),
        "admin": await listen("admin", settings.admin.endpoint, admin_app(api, gate=intake.gate), parts),
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
    names = {*LOOPBACK_HOSTS, *settings.api.hosts, host_of(settings.api.endpoint or "")}
    return set() if "*" in names else {name.lower() for name in names}
