"""Whether an address is one of the collector's own doors: what it told itself of itself would go round in circles."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  to be compared with, not to listen on


def own_door(host: str, port: int, doors: Mapping[str, str | None]) -> str:
    """The name of the door that is reached there; "" if none is.

    Args:
        doors: `HOST:PORT` or URLs by name. Names are looked up only if the port is one of theirs; what leads here from
            elsewhere, such as a load balancer, can not be told.
    """
    for name, door in doors.items():
        if not door or door.startswith("unix:"):
            continue
        parts = urlsplit(door if "://" in door else f"//{door}")
        if parts.port != port:
            continue
        listens = _addresses(parts.hostname or "")
        for address in _addresses(host):
            if address in listens or (listens & EVERYWHERE and (address in EVERYWHERE or _is_here(address))):
                return name
    return ""


def own_door_of(endpoint: str, protocol: str, doors: Mapping[str, str | None]) -> str:
    """The name of the door that a target of OTLP is, by its URL and whether its `protocol` is http or grpc; "" if it is
    none.

    Raises: ValueError: the URL names no port that there can be.
    """
    parts = urlsplit(endpoint)
    usual = 443 if parts.scheme == "https" else 4317 if protocol == "grpc" else 80
    return own_door(parts.hostname or "", parts.port or usual, doors)


def _addresses(host: str) -> set[str]:
    """Of a name or an address; none if it is not known."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _is_here(address: str) -> bool:
    """Whether it belongs to this machine: only then can it be listened on."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
