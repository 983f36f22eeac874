"""Several processes that take up connections from one listening socket, about as many each.

Whoever of them comes first takes what there is, and a client keeps its connection for hours: of a thousand that came at
once two workers had 350 and 650, so that the one was at work twice as long as the other until all were answered.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import select
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from typing import IO

from collector.doors.guarded import Connections, GuardedProtocol

log = logging.getLogger(__name__)

ABSENT = -1
MARGIN_OF = 16
"""Who has one connection more than who has least of all, and a sixteenth, is ahead."""
LOOK_AGAIN_S = 0.001
PATIENCE_S = 0.02
"""Longest wait of who is ahead for the others, which may be busy or stopped, to take up who waits."""
OUT_OF_HANDLES_S = 0.1


class Shares:
    """How many connections each of several processes has, in memory that they share. Each writes its own place only,
    and whoever started it that it is gone.

    Args:
        descriptor: a file as `file` makes them.
        number: of the place of this process, from 0 on; -1 if it has none.
    """

    def __init__(self, descriptor: int, number: int = -1) -> None:
        self._counts = memoryview(mmap.mmap(descriptor, 0)).cast("i")
        self._number = number

    @staticmethod
    def file(processes: int) -> IO[bytes]:
        """A file for so many, without a name; until they say otherwise none of them is there."""
        file = (
            os.fdopen(os.memfd_create("shares"), "w+b")  # needs no directory that can be written
            if sys.platform == "linux"
            else tempfile.TemporaryFile()  # noqa: SIM115  # it is given to who asked
        )
        file.write(ABSENT.to_bytes(4, sys.byteorder, signed=True) * processes)
        file.flush()
        return file

    def note(self, count: int) -> None:
        """This process has so many."""
        self._counts[self._number] = count

    def gone(self, number: int) -> None:
        """The process of that place takes none up, so that nobody waits for it."""
        self._counts[number] = ABSENT

    def is_ahead(self) -> bool:
        """Whether another should take up who comes next."""
        least = min((count for count in self._counts if count != ABSENT), default=0)
        return self._counts[self._number] > least + least // MARGIN_OF

    def counts(self) -> list[int]:
        return list(self._counts)


class Accepting:
    """Takes up connections, as one of asyncio's servers does.

    Args:
        connections: those that there are.
        protocol: makes what serves one.
        at_once: so many are taken up in one round of the event loop.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        connections: Connections,
        protocol: Callable[[], GuardedProtocol],
        shares: Shares,
        *,
        at_once: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._connections = connections
        self._protocol = protocol
        self._shares = shares
        self._at_once = at_once
        self._tls = tls
        self._opening: dict[asyncio.Task[None], GuardedProtocol] = {}
        self._until = 0.0
        """When it has waited long enough for others."""
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = select.poll()
        self._waiting.register(listener, select.POLLIN)
        listener.setblocking(False)
        connections.changed = self._note
        self._note()
        self._listen()

    def close(self) -> None:
        """Takes up none any more; those that there are stay."""
        self._loop.remove_reader(self._listener)
        if self._timer is not None:
            self._timer.cancel()
        self._listener.close()

    async def wait_closed(self) -> None:
        """A server of asyncio has it: here there is nothing to wait for."""

    def _listen(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listener, self._somebody_waits)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(seconds, then)

    def _somebody_waits(self) -> None:
        if self._shares.is_ahead():
            self._until = self._loop.time() + PATIENCE_S
            self._rest(LOOK_AGAIN_S, self._look_again)
        else:
            self._take_up(anyway=False)

    def _look_again(self) -> None:
        if not self._waiting.poll(0):
            self._listen()
        elif not self._shares.is_ahead():
            self._listen()
            self._take_up(anyway=False)
        elif self._loop.time() < self._until:
            self._timer = self._loop.call_later(LOOK_AGAIN_S, self._look_again)
        else:
            self._listen()
            self._take_up(anyway=True)

    def _take_up(self, *, anyway: bool) -> None:
        for _ in range(self._at_once):
            try:
                connected, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):  # another was faster, or the client has gone
                return
            except OSError as error:
                log.error("no connection can be taken up: %s", error)
                self._rest(OUT_OF_HANDLES_S, self._listen)
                return
            protocol = self._protocol()
            task = self._loop.create_task(self._open(connected, protocol))
            self._opening[task] = protocol
            task.add_done_callback(self._opened)
            self._note()
            if not anyway and self._shares.is_ahead():
                return

    async def _open(self, connected: socket.socket, protocol: GuardedProtocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connected, ssl=self._tls)
        except OSError as error:  # the client has gone, or speaks no TLS
            log.debug("a connection was not opened: %s", error)
            connected.close()

    def _opened(self, task: asyncio.Task[None]) -> None:
        del self._opening[task]
        self._note()

    def _note(self) -> None:
        begun = sum(protocol.transport is None for protocol in self._opening.values())
        self._shares.note(len(self._connections) + begun)
