"""Who is asking: a key on every path but health and the page, and a list of host names that the page may be asked for.
What a key may do is each route's to say.

The host check keeps a web page elsewhere from reaching the API under a name that it made point to loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from collector.api.problems import Problem
from collector.doors.gate import ForbiddenError, Gate, UnauthenticatedError, key_in
from collector.doors.keys import Scope as Ability
from collector.web.page import is_lost, is_page, nothing_here

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
OTLP_PATHS = frozenset({"/v1/traces", "/v1/logs", "/v1/metrics"})


class Access:
    """ASGI middleware.

    Args:
        gate: knows the keys and the API token.
        hosts: names under which the API may be addressed, without port; empty allows all.
        takes: paths at which telemetry is taken, from whom the receivers take it too.
    """

    def __init__(
        self, app: ASGIApp, *, gate: Gate, hosts: Collection[str], takes: Collection[str] = ()
    ) -> None:
        self._app = app
        self._gate = gate
        self._hosts = frozenset(hosts)
        self._takes = frozenset(takes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            problem = await self._refusal(scope)
            if problem is not None:
                lost = problem.status == 401 and is_lost(scope)
                answer = nothing_here() if lost else problem.response(scope)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Problem | None:
        """Why the request is not answered; None if it is, and then the scope has its `caller`."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts and name not in self._hosts:
            return Problem(421, "This address is not served under that host name.")
        if scope["path"] in OPEN_PATHS or is_page(scope["path"]):
            return None
        if scope["path"] in OTLP_PATHS:
            return Problem(404, "This is the API's port. OTLP/HTTP has one of its own, usually 4318.")
        takes = scope["method"] == "POST" and scope["path"] in self._takes
        return await stranger(self._gate, scope, sends=takes)


async def stranger(gate: Gate, scope: Scope, *, sends: bool = False) -> Problem | None:
    """Why the caller is not known; None if they are, and then the scope has its `caller`.

    Args:
        sends: telemetry, as to a receiver.
    """
    headers = dict(scope["headers"])
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    api_key = key_in(lambda name: headers.get(name.encode(), b"").decode("latin-1"))
    peer = (scope.get("client") or ("",))[0]
    try:
        if sends:
            scope["caller"] = gate.admit(Ability.INGEST, authorization, api_key, peer)
        else:
            scope["caller"] = gate.identify(authorization, api_key, peer)
    except ForbiddenError as error:
        return Problem(403, f"{str(error).capitalize()}.")
    except UnauthenticatedError:
        await asyncio.sleep(gate.pause_s(peer))
        return Problem(
            401,
            "Send the API token as `Authorization: Bearer …`; it is in the file `token` of the data directory.",
            headers={"WWW-Authenticate": 'Bearer realm="eddyline"'},
        )
    return None
