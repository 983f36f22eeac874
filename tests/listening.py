"""An application behind a real listener, without a collector around it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from threading import Event, Thread
from typing import Any

from starlette.types import ASGIApp

from collector.doors.listening import listen
from tests.waiting import PATIENCE_S


@contextmanager
def serving(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Listens in a thread with a loop of its own; gives the URL. `options` are those of `listen`."""
    urls: list[str] = []
    up, end = Event(), Event()

    async def run() -> None:
        async with AsyncExitStack() as parts:
            urls.append(await listen("http", "127.0.0.1:0", app, parts, **options) or "")
            up.set()
            await asyncio.to_thread(end.wait)

    thread = Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert up.wait(PATIENCE_S)
    try:
        yield urls[0]
    finally:
        end.set()
        thread.join()
