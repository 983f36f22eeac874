"""HTTP servers of the collector: several in one process, each on its own endpoint, ended with the process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from collector.config import TlsSettings
from collector.doors.accepting import Accepting, Shares
from collector.doors.guarded import GuardedProtocol, HeadLimits, guarded
from collector.doors.tls import TlsError, keep_fresh, server_context

UNIX = "unix:"
FIRST_HANDED_DOWN = 3
BACKLOG = 1024
ACCEPTS = 16
"""Connections that a door takes up in one round of the event loop. libuv takes one for each handle, and a round with
hundreds of requests is long: a thousand clients that come at once would be kept waiting for ten seconds."""
KEEP_ALIVE_S = 75
"""Longer than any exporter's pause between batches, so that connections are kept."""
LOOK_AGAIN_S = 0.02
REQUEST_GRACE_S = 8
"""What a request in flight may take when we end; exporters give up at 10 s."""


MOST_HANDLES = 1 << 16


def take_file_handles() -> None:
    """Has the process use as many file handles as it may, instead of the 1,024 that are usual: the event loop resets
    connections for which there is none, and old exporters drop what they were about to send."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_HANDLES if hard == resource.RLIM_INFINITY else min(hard, MOST_HANDLES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class ListenError(Exception):
    """The endpoint can not be listened on; the message says which and why."""


class _Server(uvicorn.Server):
    """uvicorn's server, with the signals left to us: one process, several servers, one shutdown."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def accept(self, listener: socket.socket, shares: Shares) -> None:
        """Takes up its share of the connections, once it has started."""
        config, state = self.config, self.server_state
        protocol: type[GuardedProtocol] = config.http_protocol_class  # type: ignore[assignment]  # what `listen` gave

        def served() -> GuardedProtocol:
            return protocol(config=config, server_state=state, app_state={})

        loop = asyncio.get_running_loop()
        accepting = Accepting(loop, listener, protocol.table, served, shares, at_once=ACCEPTS, tls=config.ssl)
        self.servers.append(accepting)  # type: ignore[arg-type]  # it has what is asked of a server at the end


async def listen(
    name: str,
    endpoint: str | None,
    app: ASGIApp,
    parts: AsyncExitStack,
    *,
    tls: TlsSettings | None = None,
    socket_mode: str = "0660",
    listener: socket.socket | None = None,
    shares: Shares | None = None,
    **options: Any,
) -> str | None:
    """Serves the application on the endpoint, `HOST:PORT` or `unix:/path`; returns its URL, or the endpoint of a Unix
    socket, None for a door that is off.

    Args:
        parts: gets the closing of the server.
        tls: certificates, if the door has any.
        socket_mode: permissions of a Unix socket, octal.
        listener: the socket of the endpoint, if it is open already.
        shares: of the processes that take connections from it, if these are several.
        options: of uvicorn, over those that all doors share.

    Raises:
        ListenError: the address is taken or not ours, or the certificates can not be used.
    """
    if endpoint is None:
        return None
    listener = listener or bound(name, endpoint, socket_mode)
    shared: dict[str, Any] = {
        "http": guarded(HeadLimits()),
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": REQUEST_GRACE_S,
    }
    config = uvicorn.Config(app, **shared | options)
    config.load()
    if tls is not None and tls.cert_file:
        try:
            config.ssl = server_context(tls)
        except TlsError as error:
            listener.close()
            raise ListenError(f"{name}: {error}") from None
        freshness = asyncio.create_task(keep_fresh(config.ssl, tls), name=f"certificates-{name}")
        parts.callback(freshness.cancel)
    server = _Server(config)
    try:
        handles = [] if shares else [listener, *(listener.dup() for _ in range(ACCEPTS - 1))]
    except OSError as error:
        raise ListenError(f"{name}: {error.strerror}; `ulimit -n` says how many a process may have") from None
    task = asyncio.create_task(server.serve(sockets=handles), name=f"door-{name}")

    async def close() -> None:
        server.should_exit = True
        await task

    parts.push_async_callback(close)
    while not server.started:
        if task.done():
            await task
        await asyncio.sleep(0.005)
    if shares:
        server.accept(listener, shares)
    return url_of(endpoint, listener, secure=config.ssl is not None)


def url_of(endpoint: str, listener: socket.socket, *, secure: bool) -> str:
    """The URL of an endpoint that is listened on; a Unix socket has none and is named as it is."""
    if endpoint.startswith(UNIX):
        return endpoint
    scheme = "https" if secure else "http"
    return f"{scheme}://{host_of(endpoint)}:{listener.getsockname()[1]}"


def host_of(endpoint: str) -> str:
    """`host` of `host:port`; an IPv6 address keeps its brackets."""
    return endpoint.rpartition(":")[0]


def bound(name: str, endpoint: str, socket_mode: str = "0660", *, patience_s: float = 0.0) -> socket.socket:
    """A socket that listens on the endpoint. One that is taken is tried again for so many seconds.

    Raises: ListenError.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return _listener(endpoint, socket_mode)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= give_up_at:
                raise ListenError(f"{name} can not listen on {endpoint}: {error.strerror}") from None
        time.sleep(LOOK_AGAIN_S)


def _listener(endpoint: str, socket_mode: str) -> socket.socket:
    """Raises: OSError."""
    if (given := _handed_down(endpoint)) is not None:
        return given
    if endpoint.startswith(UNIX):
        path = clear_socket(endpoint)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address: Any = str(path)
    else:
        host, _, port = endpoint.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address = host.strip("[]"), int(port)
    try:
        listener.bind(address)
        if endpoint.startswith(UNIX):
            path.chmod(int(socket_mode, 8))
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener


def _handed_down(endpoint: str) -> socket.socket | None:
    """The socket on this endpoint that who started us holds open (`LISTEN_FDS`, as systemd does), if there is one.

    It listens while we do not: who connects during a restart waits, where old exporters would drop what they have.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    host, _, port = endpoint.rpartition(":")
    wanted = endpoint.removeprefix(UNIX) if endpoint.startswith(UNIX) else (host.strip("[]"), int(port))
    for number in range(FIRST_HANDED_DOWN, FIRST_HANDED_DOWN + int(os.environ.get("LISTEN_FDS", "0"))):
        given = socket.socket(fileno=os.dup(number))
        address = given.getsockname()
        if (address[:2] if isinstance(address, tuple) else address) == wanted:
            return given
        given.close()
    return None


def clear_socket(endpoint: str) -> Path:
    """The path of a Unix socket, where nothing is any more: who was killed has left theirs.

    Raises: OSError: somebody listens there, or there is something else.
    """
    path = Path(endpoint.removeprefix(UNIX))
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return path
    if path.exists():
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    return path
