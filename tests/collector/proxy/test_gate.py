"""Which servers a client may name, by address, name, port, path and method."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from collector.proxy.errors import RelayError
from collector.proxy.gate import Gate, GateResolver, Target

PATHS = ["/v1", "/api"]


def admits(authority: str, allow: Sequence[str] = (), path: str = "/v1/x", method: str = "POST") -> bool:
    gate = Gate(allow=allow, paths=PATHS, own_ports=lambda: {31300})
    try:
        gate.admit(Target.parse("http", authority), method, path)
    except RelayError:
        return False
    return True


@pytest.mark.parametrize(
    "authority",
    [
        "localhost",
        "localhost:11434",
        "LOCALHOST:1",
        "127.0.0.1:8080",
        "127.8.8.8:80",
        "[::1]:1234",
        "%5B::1%5D:1234",
        "host.docker.internal:11434",
    ],
)
def test_this_machine_is_open(authority: str) -> None:
    assert admits(authority)


@pytest.mark.parametrize(
    "authority",
    [
        "169.254.169.254", "169.254.169.254:80", "[fe80::1]:80", "[fd00:ec2::254]:80",
        "metadata.google.internal", "0.0.0.0:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80",
        "10.0.0.1:80", "192.168.1.1:80", "8.8.8.8:80", "example.com", "example.com:443", "[2001:db8::1]:80",
        "[::ffff:127.0.0.1]:80", "[::ffff:169.254.169.254]:80", "[2002:7f00:1::]:80", "2130706433:80",
        "0x7f000001:80", "0x7f.0.0.1:80", "017700000001:80", "127.1:80", "127.0.0.01:80",
        "user@127.0.0.1:80", "127.0.0.1:80@evil.com", "127.0.0.1%23.evil.com:80", "evil.com#:80",
        "evil.com%2f:80", "evil.com\\:80", "lоcalhost:80", "localhost.:80", "-a.b:80", "", ":80",
        "localhost:0", "localhost:65536", "localhost:-1", "localhost:80:80", "127.0.0.1:22",
        "127.0.0.1:6379", "127.0.0.1:8123", "127.0.0.1:9000", "127.0.0.1:31300", "[::1]:31300", "::1:80",
    ],
)  # fmt: skip
def test_what_is_not_this_machine_or_not_safe_is_closed(authority: str) -> None:
    assert not admits(authority)


@pytest.mark.parametrize(
    ("authority", "allow", "open_"),
    [
        ("gpu.lan:8000", ["gpu.lan"], True),
        ("gpu.lan:8000", ["gpu.lan:8000"], True),
        ("gpu.lan:8001", ["gpu.lan:8000"], False),
        ("other.lan:8000", ["gpu.lan"], False),
        ("10.1.2.3:80", ["10.0.0.0/8"], True),
        ("11.1.2.3:80", ["10.0.0.0/8"], False),
        ("10.1.2.3:81", ["10.0.0.0/8:80"], False),
        ("169.254.169.254:80", ["169.254.0.0/16"], False),
        ("169.254.169.254:80", ["169.254.169.254"], False),
        ("169.254.169.254:80", ["169.254.169.254:80"], True),
        ("127.0.0.1:8123", ["127.0.0.1:8123"], True),
        ("127.0.0.1:8123", ["127.0.0.1"], False),
        ("[fd12::1]:80", ["fd12::/16"], True),
    ],
)
def test_the_list_opens_more(authority: str, allow: list[str], open_: bool) -> None:
    assert admits(authority, allow) is open_


@pytest.mark.parametrize(
    ("path", "method", "open_"),
    [
        ("/v1/chat/completions", "POST", True),
        ("/api/chat", "POST", True),
        ("/v1", "GET", True),
        ("/v1/x", "DELETE", True),
        ("/v1/x", "PUT", False),
        ("/v1/x", "CONNECT", False),
        ("/v1x", "POST", False),
        ("/admin", "POST", False),
        ("/", "GET", False),
        ("/v1/../admin", "GET", False),
        ("/v1/%2e%2E/admin", "GET", False),
        ("/v1/..", "GET", False),
        ("/v1/..%5cadmin", "GET", False),
    ],
)
def test_paths_and_methods(path: str, method: str, open_: bool) -> None:
    assert admits("localhost:80", path=path, method=method) is open_


def test_the_route_can_be_closed() -> None:
    with pytest.raises(RelayError, match="switched off"):
        Gate(enabled=False, paths=PATHS).admit(Target.parse("http", "localhost"), "GET", "/v1/x")


@pytest.mark.parametrize("written", ["", "a b", "http://x", "*.lan", "10.0.0.0/33"])
def test_a_rule_that_is_none_is_named(written: str) -> None:
    with pytest.raises(ValueError, match=r"proxy\.local\.allow"):
        Gate(allow=[written])


class Names(AbstractResolver):
    """Resolves every name to the given addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "addresses", "allow", "open_"),
    [
        ("localhost", ["127.0.0.1", "::1"], [], True),
        ("localhost", ["127.0.0.1", "10.0.0.1"], [], False),
        ("host.docker.internal", ["192.168.65.2"], [], True),
        ("host.docker.internal", ["169.254.169.254"], [], False),
        ("gpu.lan", ["10.0.0.5"], ["gpu.lan"], True),
        ("gpu.lan", ["169.254.169.254"], ["gpu.lan"], False),
        ("gpu.lan", ["10.0.0.5"], ["10.0.0.0/8"], True),
        ("gpu.lan", ["10.0.0.5", "8.8.8.8"], ["10.0.0.0/8"], False),
        ("gpu.lan", ["127.0.0.1"], ["10.0.0.0/8"], False),
        ("gpu.lan", ["::ffff:169.254.169.254"], ["gpu.lan"], False),
        ("gpu.lan", ["64:ff9b::a9fe:a9fe"], ["gpu.lan"], False),
        ("gpu.lan", ["64:ff9b:1::a9fe:a9fe"], ["gpu.lan"], False),
        ("gpu.lan", ["2002:a9fe:a9fe::1"], ["gpu.lan"], False),
        ("gpu.lan", ["64:ff9b::808:808"], ["8.8.8.0/24"], True),
        ("gpu.lan", ["64:ff9b::808:808"], ["10.0.0.0/8"], False),
        *(
            ("gpu.lan", [metadata], ["gpu.lan"], False)
            for metadata in (
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "fd20:ce::254",
                "fd00:ec2::254",
            )
        ),
    ],
)
def test_every_address_that_a_name_resolves_to_is_judged(
    name: str, addresses: list[str], allow: list[str], open_: bool
) -> None:
    resolver = GateResolver(Gate(allow=allow, paths=PATHS), Names(*addresses))
    if open_:
        found = asyncio.run(resolver.resolve(name, 80))
        assert [result["host"] for result in found] == addresses
    else:
        with pytest.raises(RelayError):
            asyncio.run(resolver.resolve(name, 80))
