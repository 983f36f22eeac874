"""Who may read: a token on every route but health, and a list of host names that the page may be asked for.

The host check keeps a web page elsewhere from reaching the API under a name that it made point to loopback.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from collector.api.problems import Problem

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Access:
    """ASGI middleware.

    Args:
        token: what `Authorization: Bearer …` must carry.
        hosts: names under which the API may be addressed, without port; empty allows all.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            problem = self._refusal(scope)
            if problem is not None:
                await problem.response(scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts and name not in self._hosts:
            return Problem(421, "This address is not served under that host name.")
        if scope["path"] in OPEN_PATHS:
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            return Problem(
                401,
                "Send the API token as `Authorization: Bearer …`; it is in the file `token` of the data directory.",
                headers={"WWW-Authenticate": 'Bearer realm="eddyline"'},
            )
        return None
