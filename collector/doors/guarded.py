"""uvicorn's HTTP protocol with what it lacks: time and size limits on a request's head, and on connections.

Without them a client that sends nothing, or a header without end, keeps a connection and its memory for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from collector.doors.deadlines import Deadlines
from collector.doors.joined import JoinedTransport
from collector.doors.tls import certificate_names

log = logging.getLogger(__name__)

HTTP2_PREFACE = b"PRI * HTTP/2.0"
TLS_HELLO = b"\x16\x03"
LINE_BYTES = len("  HTTP/1.1\r\n")
"""Of a request line, beside its method and target."""
HEAD_END_BYTES = len("\r\n")
RESET = "reset"
"""In the scope of requests whose answers end with their connection: what resets it."""
LOOPBACK_PEERS = ("127.", "::1", "unix")
MAX_HINTED_PEERS = 1000
MOST_AHEAD = 100
"""Requests of a connection that wait for the answer to the one before. They are parsed at once, while nobody else is
served, and each takes a few kB."""


@dataclass(frozen=True, slots=True)
class HeadLimits:
    timeout_s: float = 5.0
    """For a request's head, from the connection or the head's first byte on."""
    max_bytes: int = 32 << 10
    """Request line and headers together."""
    max_headers: int = 100
    max_connections: int = 2000
    max_per_peer: int = 200
    """From one address; not from this machine's own, where everything is one."""


class Connections:
    """Open connections of one listener, oldest first."""

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._open: dict[str, dict[GuardedProtocol, None]] = {}
        self._count = 0
        self._hinted: set[str] = set()
        self.idle: Deadlines | None = None
        """Of connections on which nothing is asked for."""
        self.changed: Callable[[], None] = lambda: None
        """Told when there is one more, or one less. Must neither fail nor wait."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[GuardedProtocol]:
        for of_peer in self._open.values():
            yield from of_peer

    def add(self, peer: str, connection: GuardedProtocol) -> bool:
        """Notes a connection, at the cost of the oldest idle one if there are too many; False if none is idle."""
        of_peer = self._open.get(peer, {})
        crowded: list[GuardedProtocol] = []
        if len(of_peer) >= self._limits.max_per_peer and not peer.startswith(LOOPBACK_PEERS):
            crowded = [other for other in of_peer if other.is_idle]
        elif self._count >= self._limits.max_connections:
            crowded = [other for other in self if other.is_idle]
        else:
            self._note(peer, connection)
            return True
        if not crowded:
            return False
        min(crowded, key=lambda other: other.idle_since).transport.close()
        self._note(peer, connection)
        return True

    def close_idle(self) -> None:
        """Closes every connection on which nothing is asked."""
        for connection in [connection for connection in self if connection.is_idle]:
            connection.transport.close()

    def _note(self, peer: str, connection: GuardedProtocol) -> None:
        self._open.setdefault(peer, {})[connection] = None
        self._count += 1
        self.changed()

    def remove(self, peer: str, connection: GuardedProtocol) -> None:
        of_peer = self._open.get(peer)
        if of_peer is not None and connection in of_peer:
            del of_peer[connection]
            self._count -= 1
            if not of_peer:
                del self._open[peer]
            self.changed()

    def hint(self, peer: str, message: str) -> None:
        """Says once to a peer's owner what is wrong: such clients only see a connection that is closed."""
        if peer not in self._hinted and len(self._hinted) < MAX_HINTED_PEERS:
            self._hinted.add(peer)
            log.warning("%s: %s", peer, message)


class _ToTheEnd(int):
    """A length that is not known: whatever is sent, nothing is too much and nothing is missing."""

    def __lt__(self, sent: int) -> bool:
        return False

    def __sub__(self, sent: int) -> _ToTheEnd:
        return self

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `limits`, `table` and `end_is_leaving` are set by `guarded`."""

    limits: HeadLimits
    table: Connections
    end_is_leaving: bool

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._peer = ""
        self._names: Sequence[str] = ()
        """Of the client's certificate."""
        self._timer: asyncio.TimerHandle | None = None
        self._in_head = True
        """Between the connection or the first byte of a head, and its end."""
        self._head_bytes = 0
        self._begun = False
        self._refused = False
        self.idle_since = 0.0

    @property
    def is_idle(self) -> bool:
        """No request is being answered or on its way in."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn declares a base class of ours
        super().connection_made(JoinedTransport(transport, self.loop))
        self._peer = self.client[0] if self.client else "unix"
        self._names = certificate_names(transport.get_extra_info("peercert"))
        self.idle_since = self.loop.time()
        if not self.table.add(self._peer, self):
            self._refused = True
            transport.close()
            return
        if self.table.idle is None:
            self.table.idle = Deadlines(self.timeout_keep_alive)
        self._timer = self.loop.call_later(self.limits.timeout_s, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn always closes
        """The client sends no more. Whoever has asked for something gets it all the same (`nc -N`, probes of load
        balancers); then, and in the middle of a request or of an answer without an end, the connection is closed.

        Returns whether it stays open. TLS has no half-closed connections.
        """
        cycle = self.cycle
        if self.end_is_leaving or self.scheme == "https" or self._in_head or self.is_idle or cycle.more_body:
            return False
        if cycle.response_started and cycle.chunked_encoding:
            return False
        cycle.keep_alive = False  # the newest request's, and so the last answer's
        return True

    def handle_websocket_upgrade(self) -> None:
        self._leave()
        super().handle_websocket_upgrade()

    def _leave(self) -> None:
        self.table.remove(self._peer, self)
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        self._timer = None
        if self._begun and not self.transport.is_closing():
            self._refuse(408, "the request's head came too slowly")
        elif not self.transport.is_closing():
            self.transport.close()

    # ------------------------------------------------------------------- parsing

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._begun and self._is_another_protocol(data):
            return
        self._begun = True
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if not self._in_head:
            self._cancel_timer()
        elif self._head_bytes > self.limits.max_bytes + HEAD_END_BYTES:
            self._refuse(431, f"the request's head is larger than {self.limits.max_bytes} bytes")
        elif self._timer is None and self._head_bytes:
            self._timer = self.loop.call_later(self.limits.timeout_s, self._head_is_late)

    def _is_another_protocol(self, data: bytes) -> bool:
        if data.startswith(HTTP2_PREFACE[: len(data)]) and len(data) >= 3:
            self.table.hint(self._peer, "a gRPC client on the HTTP port; OTLP/gRPC has a port of its own")
        elif data.startswith(TLS_HELLO):
            self.table.hint(self._peer, "a TLS client on a port without TLS")
        else:
            return False
        self._refused = True
        self.transport.close()
        return True

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            self._take_no_more()
        if self._refused:
            return
        self._in_head = True
        self._head_bytes = self._head_bytes if self.cycle is None else 1
        super().on_message_begin()
        if self._names:
            self.scope["client_names"] = self._names  # type: ignore[typeddict-unknown-key]  # an ASGI extension of our own

    def _take_no_more(self) -> None:
        """Answers what was sent, and closes; clients send again what was not answered."""
        self._refused = True
        self._cancel_timer()
        self.cycle.keep_alive = False  # the newest request's, and so the last answer's

    def on_headers_complete(self) -> None:
        if self._refused:
            return
        self._in_head = False
        self._head_bytes = 0
        size = len(self.parser.get_method()) + len(self.url) + LINE_BYTES
        size += sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.limits.max_bytes:
            self._refuse(431, f"the request's head is larger than {self.limits.max_bytes} bytes")
        elif len(self.headers) > self.limits.max_headers:
            self._refuse(431, f"the request has more than {self.limits.max_headers} headers")
        elif sum(name == b"content-length" for name, _ in self.headers) > 1:
            self._refuse(400, "Content-Length is given twice")
        else:
            super().on_headers_complete()
            if self.scope["http_version"] == "1.0" and self.cycle is not None:
                self._end_answers_with_the_connection()

    def _end_answers_with_the_connection(self) -> None:
        """HTTP/1.0 knows no chunks, in which uvicorn would send an answer whose length is not known. One that is cut
        must be reset: a connection that is closed has sent all."""
        self.cycle.chunked_encoding = False
        self.cycle.expected_content_length = _ToTheEnd()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # an ASGI extension of our own
        scope[RESET] = self._reset

    def _reset(self) -> None:
        if not self.transport.is_closing():
            at_once = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """What uvicorn's own does, but with one timer for all connections, and no more is read while requests wait: of
        those that are sent ahead more would be read than are answered."""
        self.idle_since = self.loop.time()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.flow.resume_reading()
        if self.table.idle is not None:
            wait = self.table.idle.begin(self.loop, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = wait  # type: ignore[assignment]  # all that is done with it is to cancel it

    def send_400_response(self, msg: str) -> None:
        """Called where what came is no HTTP."""
        if not self._refused:
            self._refuse(400, msg)

    def _refuse(self, status: int, message: str) -> None:
        """Answers and closes; whatever else comes on this connection is not looked at."""
        self._refused = True
        self._cancel_timer()
        body = b'{"code": 3, "message": "' + message.encode() + b'"}'
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\nconnection: close\r\ncontent-length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
        )
        self.transport.close()


def guarded(limits: HeadLimits, *, end_is_leaving: bool = False) -> type[GuardedProtocol]:
    """A protocol for one listener, which counts its connections.

    Args:
        end_is_leaving: a client that sends no more is gone: what it asked for costs money as long as it goes on, and
            one that leaves can not be told from one that only listens.
    """
    own = {"limits": limits, "table": Connections(limits), "end_is_leaving": end_is_leaving}
    return type("Guarded", (GuardedProtocol,), own)
