"""The proxy alone, in a thread of its own, in front of a provider on loopback."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Any

from collector.config import ProxySettings
from collector.doors.gate import Gate
from collector.process.interpreter import event_loop
from collector.proxy.app import Recorder
from collector.proxy.door import ProxyDoor
from collector.proxy.recorder import RetryingOutlet
from collector.proxy.wire import WireCapture
from tests.collector.proxy.collected import Collected
from tests.waiting import PATIENCE_S


class RunningProxy:
    """Listens while it is entered."""

    def __init__(
        self,
        recorder: Recorder | None = None,
        wire: WireCapture | None = None,
        keys: Gate | None = None,
        **settings: Any,
    ) -> None:
        self._keys = keys
        self.url = ""
        self.collected = Collected()
        self.door: ProxyDoor
        self.otlp: list[tuple[str, bytes]] = []
        self.otlp_headers: dict[bytes, bytes] = {}
        self._recorder = recorder
        self._wire = wire
        self._settings = ProxySettings(**{"endpoint": "127.0.0.1:0", **settings})
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: event_loop()(self._run()), daemon=True)

    def __enter__(self) -> RunningProxy:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE_S)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with AsyncExitStack() as parts:
            self.door = ProxyDoor(
                self._settings,
                RetryingOutlet(self.collected.take),
                b"salt",
                self._wire,
                recorder=self._recorder,
                keys=self._keys,
            )
            url = await self.door.open(otlp=self._take_otlp, ready=lambda: True, own_ports=set(), parts=parts)
            self.url = url or ""
            self._ready.set()
            await self._stopping.wait()

    async def _take_otlp(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.otlp.append((scope["path"], message["body"]))
        self.otlp_headers = dict(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
