"""Keeps web pages out: any page that somebody opens can send requests to this machine's own addresses.

Programs send no `Origin`; browsers do, or say that they come from elsewhere, or call us by a name that a page's
owner pointed here. Plain Node sends `Sec-Fetch-Mode`, which therefore says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from collector.proxy.errors import Error, RelayError


class Guard:
    """Args:
    hosts: names, without port, under which we may be addressed; None: any, since a key is needed that no page has.
    origins: web origins that may call; none by default.
    """

    def __init__(self, hosts: Collection[str] | None, origins: Collection[str] = ()) -> None:
        self._hosts = frozenset(host.lower().encode() for host in hosts) if hosts is not None else None
        self._origins = frozenset(origin.lower().rstrip("/").encode() for origin in origins)

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises: RelayError (denied) for what only a browser sends."""
        for name, value in headers:
            if name == b"host":
                if self._hosts is not None and _without_port(value.lower()) not in self._hosts:
                    raise RelayError(
                        Error.DENIED, "this proxy is not served under that host name (proxy.hosts)"
                    )
            elif name == b"origin":
                if value.lower().rstrip(b"/") not in self._origins:
                    raise RelayError(Error.DENIED, "web pages may not use this proxy (proxy.origins)")
            elif name == b"sec-fetch-site" and value.lower() == b"cross-site" and not self._origins:
                raise RelayError(Error.DENIED, "web pages may not use this proxy (proxy.origins)")


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host
