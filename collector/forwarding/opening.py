"""The sinks that the configuration names."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collector.config import ForwardSettings, JsonlSink, Sinks
from collector.forwarding.forwarder import Forwarder
from collector.forwarding.naming import SEGMENTS_WAITING, cursor_name, forwards_of
from collector.forwarding.passage import Prepare
from collector.journal import Cursor, Readable
from collector.outlets import outlet_of
from collector.telemetry.operations import Operations
from sinks.base import Outlet

log = logging.getLogger(__name__)

LEAVE_S = 2.0
"""How long a sink that is changed may send what waits, as it was."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One journal's way to one sink."""

    lane: str
    forwarder: Forwarder
    outlet: Outlet
    journal: Readable
    cursor: Cursor

    def leave(self, deadline: float) -> None:
        """Sends what it can until then (`time.monotonic`), and no more."""
        self.forwarder.drain(deadline)
        self.outlet.close()


@dataclass(frozen=True, slots=True)
class _Running:
    """A sink as it was asked for, and its ways."""

    settings: ForwardSettings
    ways: Sequence[_Way]


class Forwards:
    """All sinks that telemetry is passed on to.

    Args:
        journals: by lane; a signal may have several.
        passage: makes what prepares a signal for a sink.
        operations: notes how long it took to pass requests on.
    """

    def __init__(
        self,
        sinks: Sinks,
        journals: Mapping[str, Readable],
        passage: Callable[[str, ForwardSettings], Prepare],
        operations: Operations | None = None,
    ) -> None:
        self._journals = journals
        self._passage = passage
        self._operations = operations or Operations()
        self._changing = threading.Lock()
        self._changes: list[threading.Thread] = []
        self._ended = False
        self._running: dict[str, _Running] = {}
        for name, settings in forwards_of(sinks):
            cursors = {
                lane: journals[lane].cursor(cursor_name(name), counts=False) for lane in self._lanes(settings)
            }
            self._running[name] = self._opened(name, settings, cursors, self._outlets(settings))

    @property
    def forwarders(self) -> list[Forwarder]:
        return [way.forwarder for running in list(self._running.values()) for way in running.ways]

    def start(self) -> None:
        for forwarder in self.forwarders:
            forwarder.start()

    def take_over(self, sinks: Sinks) -> None:
        """Other sinks, or the same ones otherwise, from now on. One that is changed goes on where it was; a new one
        gets what comes from now on; those that stay as they are notice nothing."""
        wanted = dict(forwards_of(sinks))
        change = threading.Thread(target=self._change, args=(wanted,), name="forwards-change")
        self._changes = [*(one for one in self._changes if one.is_alive()), change]
        change.start()

    def _change(self, wanted: Mapping[str, ForwardSettings]) -> None:
        with self._changing:
            for name in [*self._running, *(name for name in wanted if name not in self._running)]:
                before = self._running.get(name)
                if not self._ended and (before is None or before.settings != wanted.get(name)):
                    try:
                        self._replace(name, before, wanted.get(name))
                    except Exception:  # the others are to be changed all the same
                        log.exception("%s can not be changed; it is as it was until the next start", name)

    def _replace(self, name: str, before: _Running | None, wanted: ForwardSettings | None) -> None:
        outlets = self._outlets(wanted) if wanted is not None else {}
        ways = before.ways if before is not None else ()
        kept: dict[str, Cursor] = {}
        self._running = {other: running for other, running in self._running.items() if other != name}
        deadline = time.monotonic() + LEAVE_S
        for way in ways:
            way.leave(deadline)
            if wanted is not None and way.forwarder.signal in wanted.signals:
                kept[way.lane] = way.cursor
            else:
                way.journal.dismiss(way.cursor)
        if wanted is None:
            return
        for lane in self._lanes(wanted):
            journal = self._journals[lane]
            journal.keep_segments_below(wanted.max_waiting_bytes // SEGMENTS_WAITING)
            if lane not in kept:
                kept[lane] = journal.cursor_from_now(cursor_name(name))
        running = self._opened(name, wanted, kept, outlets)
        for way in running.ways:
            way.forwarder.start()
        self._running = {**self._running, name: running}

    def _opened(
        self,
        name: str,
        settings: ForwardSettings,
        cursors: Mapping[str, Cursor],
        outlets: Mapping[str, Outlet],
    ) -> _Running:
        """Not started yet."""
        ways = []
        for lane, cursor in cursors.items():
            journal = self._journals[lane]
            forwarder = Forwarder(
                name,
                journal.signal,
                journal,
                cursor,
                self._passage(journal.signal, settings),
                outlets[lane],
                self._operations.of(f"pass on {lane} to {name}"),
                max_items=settings.batch.max_items,
                max_bytes=settings.batch.max_bytes,
                flush_timeout=settings.batch.flush_timeout,
                max_waiting_bytes=settings.max_waiting_bytes,
            )
            ways.append(_Way(lane, forwarder, outlets[lane], journal, cursor))
        return _Running(settings, ways)

    async def drain(self, timeout: float) -> None:
        """All at once, for at most so many seconds; nothing is changed any more."""
        self._ended = True
        for change in self._changes:
            await asyncio.to_thread(change.join)
        deadline = time.monotonic() + timeout
        ways = [way for running in self._running.values() for way in running.ways]
        await asyncio.gather(*(asyncio.to_thread(way.leave, deadline) for way in ways))

    def document(self) -> dict[str, Any]:
        """For the status: by sink and signal."""
        found: dict[str, dict[str, Any]] = {}
        for forwarder in self.forwarders:
            told = forwarder.told
            counts = {
                "sent": told.sent,
                "rejected": told.rejected,
                "failed": told.failed,
                "given_up": told.given_up,
                "retries": told.retries,
                "waiting": forwarder.waiting_items,
                "waiting_bytes": forwarder.waiting_bytes,
            }
            of_sink = found.setdefault(forwarder.name, {})
            before = of_sink.get(forwarder.signal, {})  # from the journal of another process
            summed = {name: before.get(name, 0) + count for name, count in counts.items()}
            of_sink[forwarder.signal] = summed | {
                "last_error": before.get("last_error") or told.last_error or None
            }
        return found

    def _lanes(self, settings: ForwardSettings) -> list[str]:
        """Of the signals that a sink gets."""
        return [lane for lane, journal in self._journals.items() if journal.signal in settings.signals]

    def _outlets(self, settings: ForwardSettings) -> dict[str, Outlet]:
        """One for each lane; but a signal has one file, whichever journal it comes from."""
        if isinstance(settings, JsonlSink):
            files: dict[str, Outlet] = {signal: outlet_of(settings) for signal in settings.signals}
            return {lane: files[self._journals[lane].signal] for lane in self._lanes(settings)}
        return {lane: outlet_of(settings) for lane in self._lanes(settings)}
