"""Which doors are open to other machines, and whether they may be."""

from __future__ import annotations

from collections.abc import Mapping

from collector.config import DOORS, Settings

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "[::1]", "localhost"})
"""Names of this machine, as they stand in endpoints and in `Host`."""


class ExposureError(Exception):
    """A door would be open to other machines without keys; the message says which, and what to do."""


def endpoints_of(settings: Settings) -> dict[str, str | None]:
    """Where each door is to listen, by its short name; None for one that is off."""
    endpoints: dict[str, str | None] = {}
    for name, path in DOORS.items():
        found: object = settings
        for part in path:
            found = getattr(found, part)
        endpoints[name] = found if isinstance(found, str) else None
    return endpoints


def exposed(settings: Settings) -> Mapping[str, str]:
    """Endpoints that other machines can reach, by door."""
    return {
        name: endpoint
        for name, endpoint in endpoints_of(settings).items()
        if endpoint and not endpoint.startswith("unix:") and endpoint.rpartition(":")[0] not in LOOPBACK_HOSTS
    }


def ingest_needs_key(settings: Settings, *, keys: int) -> bool:
    """Whether telemetry is only taken with a key.

    Args:
        keys: how many there are.

    Raises:
        ExposureError: doors are open to other machines, and there are no keys for them.
    """
    doors = exposed(settings)
    auth = settings.auth
    ingest = [f"{name} on {doors[name]}" for name in ("grpc", "http") if name in doors]
    needed = bool(ingest) if auth.required is None else auth.required
    if "proxy" in doors:
        ingest.append(f"proxy on {doors['proxy']}")
    if ingest and not auth.insecure:
        if auth.required is False:
            raise ExposureError(
                f"auth.required is off, and {' and '.join(ingest)} are open to other machines"
            )
        if not keys:
            raise ExposureError(
                f"{' and '.join(ingest)} would be open to other machines: without API keys only loopback addresses "
                "are served; make a key with `eddyline token create NAME`, or set auth.insecure"
            )
    return needed and not (auth.insecure and auth.required is None)


def proxy_needs_key(settings: Settings) -> bool:
    """Whether the LLM proxy relays only for those who have a key: it is open to other machines. On this machine it is
    used as if it were the provider."""
    return "proxy" in exposed(settings) and not settings.auth.insecure
