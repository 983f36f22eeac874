"""Where a ClickHouse server is, and how it is spoken to."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from sinks.clickhouse.layout import Layout

PORTS = {"http": 8123, "https": 8443}
COMMAND_TIMEOUT_S = 900.0
"""Deletions and changes of tables answer when they are done."""

Compression = Literal["zstd", "gzip", "off"]


@dataclass(frozen=True, slots=True)
class Server:
    """One server, or any server of a cluster."""

    url: str = field(repr=False)
    """`http(s)://[user:password@]host[:port][/path]`; a path is that of a proxy before it."""
    username: str = ""
    """Instead of the URL's."""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    """PEM file with the authorities that its certificate must be signed by; empty: the system's."""
    cert_file: str = ""
    key_file: str = ""
    """PEM files of a certificate to show."""
    connect_timeout_s: float = 10.0
    timeout_s: float = 60.0
    """Longest silence while an answer is awaited."""
    compression: Compression = "zstd"
    """Of what is sent and answered."""
    insert_quorum: str = ""
    """Replicas that must have a row before it counts as stored: a number, or `auto`; empty: one."""
    create_schema: bool = True
    """Whether tables are made and changed here; otherwise they must be there."""
    layout: Layout = field(default_factory=Layout)

    @property
    def target(self) -> dict[str, Any]:
        """Options of `clickhouse_connect.get_client`.

        Raises: ValueError, if the URL is none.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("the URL of a ClickHouse server is http(s)://[user:password@]host[:port]")
        options: dict[str, Any] = {
            "interface": parts.scheme,
            "host": parts.hostname,
            "port": parts.port or PORTS[parts.scheme],
            "username": self.username or unquote(parts.username or "") or "default",
            "password": self.password or unquote(parts.password or ""),
            "proxy_path": parts.path.strip("/"),
            "connect_timeout": _whole(self.connect_timeout_s),
            "send_receive_timeout": _whole(self.timeout_s),
            "compress": self.compression if self.compression != "off" else False,
            "client_name": "eddyline",
            # A session binds its statements to one server and to one at a time.
            "autogenerate_session_id": False,
        }
        if parts.scheme == "https":
            files = {"ca_cert": self.ca_file, "client_cert": self.cert_file, "client_cert_key": self.key_file}
            options |= {name: file for name, file in files.items() if file}
            if self.cert_file:
                options["tls_mode"] = "strict"  # the password is still told
        return options

    @property
    def place(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def write_settings(self) -> Mapping[str, Any]:
        return ({"insert_quorum": self.insert_quorum} if self.insert_quorum else {}) | dict(
            self.layout.write_settings
        )

    def packed(self, chunks: Iterable[bytes]) -> tuple[bytes, str | None]:
        """The body of an insert, and its encoding."""
        if self.compression == "zstd":
            import zstandard

            packing = zstandard.ZstdCompressor(level=1).compressobj()
            return b"".join([*map(packing.compress, chunks), packing.flush()]), "zstd"
        if self.compression == "gzip":
            return gzip.compress(b"".join(chunks), 1), "gzip"
        return b"".join(chunks), None


def _whole(seconds: float) -> int:
    """The client cuts fractions off, and takes 0 for a mistake."""
    return max(1, math.ceil(seconds))
