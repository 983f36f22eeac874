"""The proxy alone: beside a program, with a collector elsewhere that gets its spans by OTLP/HTTP."""

from __future__ import annotations

import asyncio
import http.client
import logging
import queue
import secrets
import signal
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send
from yarl import URL

from collector.config import ProxyExport, Settings
from collector.config.meaning import not_understood
from collector.doors.exposure import proxy_needs_key
from collector.doors.gate import Gate
from collector.doors.keys import Keys, KeysError, keys_file
from collector.doors.listening import ListenError, take_file_handles
from collector.pipeline.redaction import ProjectRules
from collector.process.interpreter import dump_nothing, take_short_turns
from collector.proxy.capture import installation_salt
from collector.proxy.door import SPOOL, ProxyDoor, session_file, wire_capture
from collector.proxy.errors import RelayError, answer
from collector.proxy.gate import Gate as TargetGate
from collector.proxy.recorder import Owner, RetryingOutlet
from collector.proxy.relay import Relay
from collector.proxy.routes import Route, Upstream
from collector.proxy.spool import Spool

log = logging.getLogger(__name__)

EX_UNAVAILABLE, EX_CONFIG = 69, 78
EXPORT_TIMEOUT_S = 10.0
BATCH_BYTES = 1 << 20
"""From this size on a request to the collector is full."""
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may be taken (OTLP/HTTP: 429, 502, 503, 504; the others are proxies')."""


class SidecarError(Exception):
    """It can not run here as it is configured. `exit_code` is one of sysexits."""

    def __init__(self, message: str, exit_code: int = EX_CONFIG) -> None:
        super().__init__(message)
        self.exit_code = exit_code


async def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Runs the proxy until SIGTERM or SIGINT. `announce` is called with its URL once it listens.

    Raises:
        SidecarError.
    """
    endpoint = settings.proxy.endpoint
    if endpoint is None:
        raise SidecarError("proxy.endpoint is off; there is nothing to run")
    keys = _keys(settings, endpoint)
    if found := not_understood(settings):
        raise SidecarError("\n".join(found))
    dump_nothing()
    take_file_handles()
    take_short_turns()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as parts:
        forward = _Forward(settings.proxy.export, settings)
        parts.push_async_callback(forward.close)
        exporter = Exporter(settings.proxy.export)
        outlet = RetryingOutlet(exporter.take, Spool(settings.data_dir / SPOOL))
        door = ProxyDoor(
            settings.proxy,
            outlet,
            _salt(settings),
            wire_capture(settings, ProjectRules(settings.redaction)),
            keys=keys,
            sessions=session_file(settings),
        )
        try:
            url = await door.open(otlp=forward, ready=lambda: True, own_ports=set(), parts=parts)
        except ListenError as error:
            raise SidecarError(str(error), EX_UNAVAILABLE) from None
        announce(url or "")
        await stopping.wait()


def _salt(settings: Settings) -> bytes:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return installation_salt(settings.data_dir)
    except OSError:
        log.warning("%s can not be written; keys get other names after a restart", settings.data_dir)
        return secrets.token_bytes(32)


def _keys(settings: Settings, endpoint: str) -> Gate:
    """Raises: SidecarError: other machines could use the proxy, and there is no key for them."""
    try:
        keys = Keys(keys_file(settings.data_dir))
    except KeysError as error:
        raise SidecarError(str(error)) from None
    needed = proxy_needs_key(settings)
    if needed and not len(keys):
        raise SidecarError(
            f"the proxy would listen on {endpoint}: without API keys only loopback addresses are served; make a key "
            "with `eddyline token create NAME`, or set auth.insecure"
        )
    return Gate(keys, ingest_needs_key=needed)


_Item = tuple[Owner, bytes, Callable[[bool, bool], None]]
"""(owner, OTLP request, what is told how it went)"""


class Exporter:
    """Sends requests to the collector, one after the other over one connection, from a thread of its own.

    Raises:
        SidecarError: the collector's address is none.
    """

    MAX_WAITING = 1024

    def __init__(self, settings: ProxyExport) -> None:
        where = urlsplit(settings.endpoint)
        if where.scheme not in ("http", "https") or not where.hostname:
            raise SidecarError("proxy.export.endpoint: a collector is http(s)://host[:port][/path]")
        secure = where.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = connect(where.hostname, where.port, timeout=EXPORT_TIMEOUT_S)
        self._path = where.path.rstrip("/") + "/v1/traces"
        self._headers = settings.headers
        self._waiting: queue.Queue[_Item] = queue.Queue(self.MAX_WAITING)
        self._failing = False
        threading.Thread(target=self._run, name="proxy-export", daemon=True).start()

    def take(self, owner: Owner, body: bytes, done: Callable[[bool, bool], None]) -> None:
        try:
            self._waiting.put_nowait((owner, body, done))
        except queue.Full:
            done(False, True)

    def _run(self) -> None:
        held: _Item | None = None
        while True:
            batch = [held or self._waiting.get()]
            held = None
            size = len(batch[0][1])
            while size < BATCH_BYTES and not self._waiting.empty():
                item = self._waiting.get()
                if item[0] != batch[0][0]:
                    held = item
                    break
                batch.append(item)
                size += len(item[1])
            safe, again = self._send(batch[0][0][1], batch)
            for _, _, done in batch:
                done(safe, again)

    def _send(self, project: str, batch: list[_Item]) -> tuple[bool, bool]:
        """(whether it is safe, whether another try makes sense). Requests one after the other are one request."""
        try:
            status = self._post(project, b"".join(body for _, body, _ in batch))
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._tell(f"the collector can not be reached ({type(error).__name__})")
            return False, True
        if status == 200:
            self._failing = False
        else:
            self._tell(f"the collector answers {status}")
        return status == 200, status in RETRYABLE

    def _post(self, project: str, body: bytes) -> int:
        headers = {"Content-Type": "application/x-protobuf", **self._headers}
        if project:
            headers["X-Loop-Project"] = project
        self._connection.request("POST", self._path, body, headers)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def _tell(self, what: str) -> None:
        """Once for each time that it begins to fail."""
        if not self._failing:
            log.warning("%s; spans are kept for another try, within bounds", what)
        self._failing = True


class _Forward:
    """What comes in below `/otel/`, on its way to the collector."""

    def __init__(self, export: ProxyExport, settings: Settings) -> None:
        self._upstream = Upstream("collector", export.endpoint.rstrip("/"), "")
        self._settings = settings
        self._relay: Relay | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._relay is None:
            self._relay = Relay(TargetGate(), self._settings.proxy.timeouts)
        path = scope["raw_path"].decode("latin-1").removeprefix("/otel")
        route = Route(self._upstream, URL(self._upstream.url + path, encoded=True), path)
        try:
            await self._relay.relay(scope, receive, send, route, None, [], ours=True)
        except RelayError as error:
            headers, body = answer(error.error, str(error), "openai")
            # Exporters try again after 503, not after all of our answers.
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def close(self) -> None:
        if self._relay is not None:
            await self._relay.close()
