"""Which servers a client may name in a path: this machine's by default, others by a list, some never.

A path that chooses a host is how proxies are turned against the network they stand in. Names are resolved once,
every address is judged, and the connection goes to an address that was judged: a name that changes its mind
between the two (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from collector.proxy.errors import Error, RelayError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METHODS = frozenset({"GET", "POST", "DELETE", "HEAD"})
DEFAULT_NAMES = frozenset({"localhost", "host.docker.internal"})
METADATA_NAMES = frozenset({"metadata.google.internal", "metadata"})
NEVER: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "0.0.0.0/8",
        "::/128",
        "255.255.255.255/32",
    )
)
"""Cloud metadata (of Amazon, Google, Alibaba, Azure, Oracle), link-local, "any": open to an exact `host:port` of the
list only. So is multicast."""
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
"""What a network translates to IPv4, whose address ends it (RFC 6052, RFC 8215)."""
REFUSED_PORTS = frozenset(
    {
        22,
        25,
        53,
        111,
        135,
        139,
        445,
        2375,
        2376,
        3306,
        5432,
        6379,
        6443,
        8123,
        9000,
        9200,
        10250,
        11211,
        27017,
    }
)
"""Services that take orders over HTTP, or mistake HTTP for orders; 8123 and 9000 are ClickHouse's own."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_AUTHORITY = re.compile(
    r"(?P<host>\[[0-9a-f:.]+\]|%5b[0-9a-f:.]+%5d|[^\[\]:]+)(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE
)
_DOT_SEGMENT = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)|\\|%5c|%00", re.IGNORECASE)


def _denied(message: str) -> RelayError:
    return RelayError(Error.DENIED, message)


@dataclass(frozen=True, slots=True)
class Target:
    """A server that a path names. `host` is lower case, an IPv6 address without brackets."""

    host: str
    port: int
    address: Address | None
    """None for a name."""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, scheme: str, authority: str) -> Target:
        """The target of `{host}[:{port}]`.

        Raises:
            RelayError: it is none, or written so that two readers may disagree about it.
        """
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            raise _denied("after /openai/http/ comes host:port")
        host = match["host"].lower()
        port = int(match["port"] or (443 if scheme == "https" else 80))
        if not 0 < port < 65536:
            raise _denied("the port is none")
        bracketed = host.startswith(("[", "%5b"))
        if bracketed:
            host = host.removeprefix("%5b").removesuffix("%5d").strip("[]")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if (address is not None and address.version == 6) != bracketed:
            raise _denied("the host is no name and no address")
        if isinstance(address, ipaddress.IPv6Address):
            if _inner(address) is not None:
                raise _denied("write an IPv4 address as one")
            return cls(str(address), port, address)
        if address is None and (not _NAME.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2])):
            raise _denied("the host is no name and no address")
        return cls(host, port, address)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One entry of the list: a name or a network, for one port or for all."""

    name: str
    network: Network | None
    port: int | None

    @classmethod
    def parse(cls, written: str) -> _Rule:
        """Raises: ValueError."""
        host, _, port = written.rpartition(":")
        if not port.isdigit() or (host.count(":") > 0 and not host.startswith("[")):
            host, port = written, ""
        host = host.strip("[]").lower()
        number = int(port) if port else None
        try:
            return cls("", ipaddress.ip_network(host, strict=False), number)
        except ValueError:
            pass
        if not _NAME.fullmatch(host):
            raise ValueError(
                f"proxy.local.allow: {written!r} is no host, address or network, with or without :port"
            )
        return cls(host, None, number)

    def covers(self, address: Address) -> bool:
        return (
            self.network is not None and address.version == self.network.version and address in self.network
        )

    @property
    def exact(self) -> bool:
        """Names one server and one port: who writes that means it."""
        return self.port is not None and (self.network is None or self.network.num_addresses == 1)


@dataclass(slots=True)
class Gate:
    """Judges targets.

    Args:
        allow: hosts, addresses and networks beside this machine's, each with or without a port.
        paths: beginnings of paths that are open on a server.
        own_ports: ports of our listeners: asking ourselves would go round in circles.
    """

    enabled: bool = True
    allow: Sequence[str] = ()
    paths: Sequence[str] = ()
    own_ports: Callable[[], Collection[int]] = frozenset
    _rules: list[_Rule] = field(init=False)

    def __post_init__(self) -> None:
        self._rules = [_Rule.parse(written) for written in self.allow]

    def admit(self, target: Target, method: str, path: str) -> None:
        """Raises: RelayError (denied)."""
        if not self.enabled:
            raise _denied("servers named by the client are switched off (proxy.local.enabled)")
        if method not in METHODS:
            raise _denied(f"{method[:16]} is not forwarded to servers that the client names")
        if _DOT_SEGMENT.search(path) or not self._open_path(path):
            raise _denied("this path is not open on servers that the client names (proxy.local.paths)")
        listed = self._listed(target.host, target.port)
        if target.port in REFUSED_PORTS and not any(rule.port == target.port for rule in listed):
            raise _denied(f"port {target.port} is not forwarded to (proxy.local.allow)")
        if target.address is not None:
            self.admit_address(target.host, target.port, target.address)
        elif target.host in METADATA_NAMES and not any(rule.exact for rule in listed):
            raise _denied("the cloud's metadata server is not forwarded to")
        elif (
            target.host not in DEFAULT_NAMES and not listed and not any(rule.network for rule in self._rules)
        ):
            raise _denied("this host is not on the list of local servers (proxy.local.allow)")

    def admit_address(self, host: str, port: int, address: Address) -> None:
        """Judges an address that `host` is, or has resolved to.

        Raises:
            RelayError: denied.
        """
        rules = [rule for rule in self._rules if rule.port in (None, port)]
        covering = [rule for rule in rules if rule.name == host or rule.covers(address)]
        exact = any(rule.exact for rule in covering)
        if address.is_loopback and port in self.own_ports():
            raise _denied("that is this collector itself")
        if not exact and (
            address.is_multicast
            or any(address in never for never in NEVER if never.version == address.version)
        ):
            raise _denied("addresses of this kind are not forwarded to")
        if covering or host == "host.docker.internal":
            return
        if not address.is_loopback or (host != "localhost" and host != str(address)):
            raise _denied("this host is not on the list of local servers (proxy.local.allow)")

    def _listed(self, host: str, port: int) -> list[_Rule]:
        return [rule for rule in self._rules if rule.port in (None, port) and _names(rule, host)]

    def _open_path(self, path: str) -> bool:
        return any(path == open_ or path.startswith(open_.rstrip("/") + "/") for open_ in self.paths)


def _names(rule: _Rule, host: str) -> bool:
    if rule.name:
        return rule.name == host
    try:
        return rule.covers(ipaddress.ip_address(host))
    except ValueError:
        return False


class GateResolver(AbstractResolver):
    """Resolves names for the connections of gated requests: only addresses that were admitted come out."""

    def __init__(self, gate: Gate, resolver: AbstractResolver | None = None) -> None:
        self._gate = gate
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises: RelayError (denied) if any of the addresses is."""
        found = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
        for address in _addresses(found):
            self._gate.admit_address(host, port, address)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _addresses(found: Iterable[ResolveResult]) -> Iterable[Address]:
    for result in found:
        address = ipaddress.ip_address(result["host"].partition("%")[0])
        yield (_inner(address) or address) if isinstance(address, ipaddress.IPv6Address) else address


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, if it is only another way to write one."""
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
