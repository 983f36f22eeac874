"""Who is asking, and whether they may: one way for every door and both transports.

A key comes as `Authorization: Bearer …`, as `x-api-key` or one of its like, or as either half of
`Authorization: Basic …` (as Langfuse's exporters send theirs). The tenant comes from the key alone, and so does the
project if the key has one. Who has the API token, and nobody else, may name the tenant: to put back what this collector
kept for it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from collector.doors.keys import PREFIX, Keys, Scope

EVERYTHING = frozenset(Scope)
FAILURES_PER_MINUTE = 100
TARPIT_S = 1.0
MAX_PEERS = 10_000


KEY_HEADERS = ("x-api-key", "api-key", "api_key", "x-auth-token")
"""Headers that carry a key and nothing else: with what exporters for Phoenix, Arize and LangWatch are set up, too."""


class UnauthenticatedError(Exception):
    """No key, or none of ours."""


class ForbiddenError(Exception):
    """The key may not do this."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request comes from."""

    scopes: frozenset[Scope]
    tenant: str = ""
    project: str = ""
    """Their only project; any if empty."""
    key_id: str = ""

    def may(self, scope: Scope) -> bool:
        if scope is Scope.READ and Scope.CONTENT in self.scopes:  # content is more of the same
            return True
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def is_owner(self) -> bool:
        """They have the API token: everything on this collector is theirs."""
        return not self.key_id and Scope.ADMIN in self.scopes

    def of_tenant(self, tenant: str | None) -> Caller:
        """The caller in the name of a tenant, None for their own.

        Raises: ForbiddenError: the tenant is another than theirs.
        """
        if tenant is None or tenant == self.tenant:
            return self
        if not self.is_owner:
            raise ForbiddenError("only the API token may send for another tenant")
        return replace(self, tenant=tenant)


ANYBODY = Caller(frozenset({Scope.INGEST}))
"""Who sends without a key where none is needed."""


class Gate:
    """Args:
    token: the API token, which may do everything; None if there is none.
    ingest_needs_key: whether telemetry is only taken with a key.
    """

    def __init__(
        self, keys: Keys | None, *, token: str | None = None, ingest_needs_key: bool = False
    ) -> None:
        self._keys = keys
        self._token = token.encode() if token else None
        self.ingest_needs_key = ingest_needs_key
        self._failures = _Failures()
        self.failures = 0
        """Requests that needed a key and had none that holds."""

    def of_another_door(self, *, needs_key: bool) -> Gate:
        """With the same keys, for a door that asks for them when this one does not, or the other way round."""
        gate = Gate(self._keys, ingest_needs_key=needs_key)
        gate._token = self._token
        return gate

    def admit(self, scope: Scope, authorization: str, api_key: str, peer: str) -> Caller:
        """Whom the request comes from.

        Raises:
            UnauthenticatedError: a key is needed, or the one given is not ours.
            ForbiddenError: the key does not have the scope.
        """
        given = _given(authorization, api_key)
        if caller := self._first(given):
            if not caller.may(scope):
                raise ForbiddenError(forbidden(scope))
            return caller
        # Where none is needed, keys of others are no mistake: exporters set up for another backend send theirs.
        ours = any(secret.startswith(PREFIX) for secret in given)
        if scope is Scope.INGEST and not self.ingest_needs_key and not ours:
            return ANYBODY
        raise self._stranger(given, peer)

    def identify(self, authorization: str, api_key: str, peer: str) -> Caller:
        """Whom the request comes from, whatever they may do.

        Raises:
            UnauthenticatedError: there is no key, or none of ours.
        """
        given = _given(authorization, api_key)
        caller = self._first(given)
        if caller is None:
            raise self._stranger(given, peer)
        return caller

    def pause_s(self, peer: str) -> float:
        """For how long an answer to this peer should be held back: it guesses too often."""
        return self._failures.pause_s(peer)

    def _stranger(self, given: Sequence[str], peer: str) -> UnauthenticatedError:
        self._failures.add(peer)
        self.failures += 1
        return UnauthenticatedError(
            "this key is not known" if given else "send a key: Authorization: Bearer …"
        )

    def _first(self, given: Sequence[str]) -> Caller | None:
        return next((caller for secret in given if (caller := self._caller(secret))), None)

    def _caller(self, secret: str) -> Caller | None:
        if self._token is not None and hmac.compare_digest(secret.encode(), self._token):
            return Caller(EVERYTHING)
        key = self._keys.find(secret) if self._keys is not None and secret.startswith(PREFIX) else None
        return Caller(frozenset(key.scopes), key.tenant, key.project, key.id) if key else None


def key_in(header: Callable[[str], str]) -> str:
    """The key in one of `KEY_HEADERS`; "" if there is none. `header` gives a header's text or ""."""
    return next((value for name in KEY_HEADERS if (value := header(name))), "")


def forbidden(scope: Scope) -> str:
    """What to say to a caller who does not have the scope."""
    return f"this key may not {_DEEDS[scope]}"


_DEEDS = {
    Scope.INGEST: "send telemetry",
    Scope.READ: "read",
    Scope.CONTENT: "read inputs, outputs and attributes",
    Scope.DELETE: "delete",
    Scope.ADMIN: "manage the collector",
}


def _given(authorization: str, api_key: str) -> list[str]:
    """What may be a key, the likeliest first."""
    scheme, _, rest = authorization.strip().partition(" ")
    rest = rest.strip()
    given: list[str] = []
    if scheme.lower() == "bearer":
        given.append(rest)
    elif scheme.lower() == "basic":
        try:
            user, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
            given += [password, user] if colon else [rest]
        except (binascii.Error, UnicodeDecodeError):
            given.append(rest)
    elif scheme.startswith(PREFIX):
        given.append(scheme)
    if api_key:
        given.append(api_key.strip())
    return [secret for secret in given if secret]


class _Failures:
    """Refused keys by peer, in windows of a minute."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, peer: str) -> None:
        minute = _minute()
        with self._lock:
            window, count = self._counts.pop(peer, (minute, 0))
            self._counts[peer] = (minute, count + 1 if window == minute else 1)
            if len(self._counts) > MAX_PEERS:
                self._counts.popitem(last=False)

    def pause_s(self, peer: str) -> float:
        window, count = self._counts.get(peer, (0, 0))
        return TARPIT_S if count > FAILURES_PER_MINUTE and window == _minute() else 0.0


def _minute() -> int:
    return int(time.monotonic() // 60)
