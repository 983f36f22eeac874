"""Who may use a proxy that other machines can reach: whoever has a key of ours.

`Authorization` and its like belong to the provider, so our key comes as `X-Loop-Key` or, from SDKs that can add no
header, at the beginning of the path: `/k/{key}/…` is `/…`. What it says of tenant and project holds for the call.
"""

from __future__ import annotations

import asyncio

from starlette.types import Scope

from collector.doors.gate import ANYBODY, Caller, ForbiddenError, Gate, UnauthenticatedError, key_in
from collector.doors.keys import PREFIX
from collector.doors.keys import Scope as KeyScope
from collector.proxy.errors import Error, RelayError

PATH = "/k/"
_HEADERS = frozenset({b"x-loop-key", b"x-eddyline-key"})
_OPEN = frozenset({"/-/healthz", "/-/readyz"})
OTEL = "/otel/"
NEEDED = "a key of this proxy is needed, as X-Loop-Key or as /k/{key}/ before the path"


class Admission:
    """Args:
    gate: of this door; its `ingest_needs_key` says whether a key is needed. None lets everybody in.
    """

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    def admit(self, scope: Scope, path: str) -> tuple[Caller, str, str]:
        """Whom a request comes from, its path without the key, and the key that was meant for this door.

        Raises:
            RelayError: a key is needed or was given, and it is none of ours, or may not send.
        """
        gate = self._gate
        if gate is None:
            return ANYBODY, path, ""
        key = ""
        if path.startswith(PATH) and (gate.ingest_needs_key or path.startswith(PATH + PREFIX)):
            key, slash, rest = path[len(PATH) :].partition("/")
            path = slash + rest or "/"
        for name, value in scope["headers"]:
            if name in _HEADERS:
                key = value.decode("latin-1")
        ours = key
        if path in _OPEN and not key:
            return ANYBODY, path, ""
        authorization = ""
        if path.startswith(OTEL) and not key:  # what exporters send is meant for us
            given = {name: value.decode("latin-1") for name, value in scope["headers"]}
            authorization = given.get(b"authorization", "")
            key = key_in(lambda name: given.get(name.encode(), ""))
        try:
            return gate.admit(KeyScope.INGEST, authorization, key, _peer(scope)), path, ours
        except (UnauthenticatedError, ForbiddenError):
            raise RelayError(Error.KEY, NEEDED) from None

    async def hold_back(self, scope: Scope) -> None:
        """Waits before an answer to somebody who guesses keys."""
        if self._gate is not None:
            await asyncio.sleep(self._gate.pause_s(_peer(scope)))


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""
