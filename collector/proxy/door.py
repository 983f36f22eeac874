"""Opens the proxy's listener: within the collector, and alone as a sidecar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from collector.config import ProxySettings
from collector.listening import ListenError, listen
from collector.proxy.app import Proxy, Recorder
from collector.proxy.relay import quiet_cut_responses

KEEP_ALIVE_S = 120
"""SDKs keep their connections for minutes; one that we close while a request is on its way fails it."""
MAX_FRAME = 64 << 20
"""Bytes of a WebSocket message from the client."""


async def open_proxy(
    settings: ProxySettings,
    *,
    otlp: ASGIApp,
    recorder: Recorder | None,
    ready: Callable[[], bool],
    own_ports: set[int],
    parts: AsyncExitStack,
) -> tuple[Proxy, str | None]:
    """The proxy, and its URL; None if it is off. Its own port is added to `own_ports`.

    Raises:
        ListenError: the address is taken, or the settings can not be used.
    """
    try:
        proxy = Proxy(settings, otlp=otlp, recorder=recorder, ready=ready, own_ports=lambda: own_ports)
    except ValueError as error:
        raise ListenError(str(error)) from None
    if settings.endpoint is None:
        return proxy, None
    parts.callback(quiet_cut_responses())
    parts.push_async_callback(proxy.close)
    url = await listen(
        "proxy",
        settings.endpoint,
        proxy,
        parts,
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME,
        timeout_keep_alive=KEEP_ALIVE_S,
        date_header=False,  # the provider's own comes through
    )
    if url is not None:
        own_ports.add(urlsplit(url).port or 0)
    return proxy, url
