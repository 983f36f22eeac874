"""The running collector: what takes telemetry is opened first and closed last, so that nothing which was acknowledged
is left without a taker."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from collector.config import ConfigError, Settings
from collector.config.meaning import no_engine, not_understood
from collector.config.reload import Reloadable
from collector.config.sources import ConfigFiles
from collector.doors.listening import take_file_handles
from collector.process.endpoints import Endpoints
from collector.process.exits import EX_CONFIG, ServiceError
from collector.process.interpreter import calm_garbage_collection, dump_nothing, take_short_turns
from collector.process.priority import giving_way
from collector.process.supervisor import READY, STOPPING, tell
from collector.receiving import open_receiving
from collector.understanding.prices import load_prices

log = logging.getLogger(__name__)


async def serve(
    settings: Settings,
    announce: Callable[[Endpoints], None],
    read: Callable[[], Settings],
    files: ConfigFiles,
) -> None:
    """Runs the collector until SIGTERM or SIGINT, then drains it. `announce` is called once all doors are open; `read`
    reads the configuration anew, on SIGHUP and as its `files` say.

    Raises:
        ServiceError: the data directory is in use, a port is taken, the store can not be opened.
    """
    dump_nothing()
    take_file_handles()
    take_short_turns()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stopping)
    reloadable = Reloadable(settings)
    loop.add_signal_handler(signal.SIGHUP, files.ask)
    files.named_by(settings)
    async with collector(settings, reloadable) as endpoints:
        following = asyncio.create_task(files.follow(reloadable, read), name="reload")
        announce(endpoints)
        tell(READY)
        await asyncio.to_thread(_load_price_list)
        calm_garbage_collection()
        await stopping.wait()
        tell(STOPPING)
        following.cancel()
        log.info("draining")


def _stop(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        log.warning("ending at once; what was acknowledged is in the journal")
        os._exit(0)
    stopping.set()


@asynccontextmanager
async def collector(settings: Settings, reloadable: Reloadable | None = None) -> AsyncIterator[Endpoints]:
    """A running collector. Leaving the block drains it; `reloadable` tells it of new settings until then.

    Raises: ServiceError.
    """
    reloadable = reloadable or Reloadable(settings)
    try:
        prices = load_prices(settings.pricing.overrides)
    except ConfigError as error:
        raise ServiceError(str(error), EX_CONFIG) from None
    if found := not_understood(settings) + no_engine(settings):
        raise ServiceError("\n".join(found), EX_CONFIG)
    async with AsyncExitStack() as parts:
        receiving = await open_receiving(settings, reloadable, parts)
        if (way := giving_way(settings)) is not None:
            parts.push_async_callback(asyncio.to_thread, way.stop)
            way.start()
        working = await asyncio.to_thread(_working)
        yield await working.open_working(settings, prices, receiving, reloadable, parts)


def _working() -> Any:
    """The other half of the collector: imported when this half is at work."""
    from collector import working

    return working


def _load_price_list() -> None:
    """It takes a while: a batch that needs it sooner waits for it, and nothing else does."""
    from mappers.cost import load_price_list

    load_price_list()
