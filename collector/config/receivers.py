"""Settings of the OTLP receivers: doors, TLS, limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ByteSize, Field, model_validator

from collector.config.values import OtlpEndpoint, Permissions, Seconds, Section


class TlsSettings(Section):
    cert_file: str = ""
    """PEM file with the door's certificate and those that vouch for it; empty: no TLS. Read anew when it changes."""
    key_file: str = ""
    """PEM file with the certificate's private key."""
    client_ca_file: str = ""
    """PEM file with the authorities whose certificates clients must have; empty: clients need none."""
    client_projects: dict[str, str] = {}
    """Projects of clients by the names in their certificates (DNS, e-mail, URI or IP); of what others send, headers \
and resources say the project."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest version of TLS that is spoken."""

    @model_validator(mode="after")
    def _both_files(self) -> TlsSettings:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together")
        if self.client_projects and not self.client_ca_file:
            raise ValueError(
                "client_projects needs client_ca_file: without it nobody vouches for a client's name"
            )
        return self


class CorsSettings(Section):
    allowed_origins: list[str] = []
    """Web origins whose pages may send telemetry, such as `https://*.example.com`."""


class GrpcKeepalive(Section):
    min_recv_ping_interval: Seconds = 5.0
    """How often clients may ping an idle connection."""
    max_connection_age: Seconds = 3600.0
    """When clients are asked to connect anew, so that load balancers can spread them."""
    max_connection_age_grace: Seconds = 30.0
    """What calls in flight may take then."""
    max_concurrent_streams: Annotated[int, Field(ge=1)] = 100
    """Calls at a time on one connection."""


class GrpcProtocol(Section):
    endpoint: OtlpEndpoint = "127.0.0.1:4317"
    """Where OTLP/gRPC is received; may be `unix:/path/of.sock`."""
    socket_mode: Permissions = "0660"
    """Permissions of a Unix socket."""
    max_recv_msg_size: ByteSize = ByteSize(64 << 20)
    """Largest message, after decompression."""
    connect_timeout: Seconds = 5.0
    """Longest wait for the first words of a client that has connected."""
    max_header_size: ByteSize = ByteSize(32 << 10)
    """Largest metadata of a call."""
    max_connections: Annotated[int, Field(ge=1)] = 2000
    """Connections at a time; further ones are closed."""
    workers: Annotated[int, Field(ge=1)] = 16
    """Requests handled at a time."""
    reflection: bool = False
    """Whether anybody may ask which services there are, as grpcurl does; needs the package `eddyline[reflection]`."""
    keepalive: GrpcKeepalive = GrpcKeepalive()
    tls: TlsSettings = TlsSettings()

    @model_validator(mode="after")
    def _what_grpc_can(self) -> GrpcProtocol:
        if self.tls.min_version != "1.2":
            raise ValueError("tls.min_version: gRPC speaks 1.2 and 1.3, and can not be kept from the former")
        return self


class HttpProtocol(Section):
    endpoint: OtlpEndpoint = "127.0.0.1:4318"
    """Where OTLP/HTTP is received; may be `unix:/path/of.sock`."""
    socket_mode: Permissions = "0660"
    """Permissions of a Unix socket."""
    traces_url_path: str = ""
    """Path at which traces are taken besides all that end in `/v1/traces`."""
    logs_url_path: str = ""
    """The same for logs and `/v1/logs`."""
    metrics_url_path: str = ""
    """The same for metrics and `/v1/metrics`."""
    max_request_body_size: ByteSize = ByteSize(64 << 20)
    """Largest body, on the wire and after decompression."""
    read_header_timeout: Seconds = 5.0
    """Longest wait for a request's head, from the connection or the request's first byte on."""
    body_idle_timeout: Seconds = 5.0
    """Longest silence within a body."""
    body_timeout: Seconds = 30.0
    """Longest time for a body; one second more for each 256 KiB."""
    keep_alive_timeout: Seconds = 75.0
    """How long an idle connection is kept."""
    max_header_size: ByteSize = ByteSize(32 << 10)
    """Largest request line and headers together."""
    max_headers: Annotated[int, Field(ge=1)] = 100
    """Most headers of a request."""
    max_connections: Annotated[int, Field(ge=1)] = 2000
    """Connections at a time; beyond, the oldest idle one is closed."""
    max_connections_per_peer: Annotated[int, Field(ge=1)] = 200
    """Connections at a time from one address, but this machine's."""
    cors: CorsSettings = CorsSettings()
    tls: TlsSettings = TlsSettings()

    @model_validator(mode="after")
    def _paths_are_told_apart(self) -> HttpProtocol:
        paths = [path for path in (self.traces_url_path, self.logs_url_path, self.metrics_url_path) if path]
        if any(not path.startswith("/") for path in paths) or len({*paths}) < len(paths):
            raise ValueError("each url_path begins with / and is another")
        return self


class OtlpLimits(Section):
    """Of one request and its parts."""

    spans_per_request: Annotated[int, Field(ge=1)] = 100_000
    """Most spans or log records; further ones are rejected."""
    resources_per_request: Annotated[int, Field(ge=1)] = 10_000
    """Most resources; a request with more is refused."""
    scopes_per_request: Annotated[int, Field(ge=1)] = 10_000
    """Most scopes; a request with more is refused."""
    span_bytes: ByteSize = ByteSize(8 << 20)
    """Largest span or log record, its long values cut; a larger one is rejected."""
    attributes_per_span: Annotated[int, Field(ge=1)] = 1024
    """Attributes kept of a span, event, link or log record; the others are counted as dropped."""
    events_per_span: Annotated[int, Field(ge=1)] = 1024
    """Events kept of a span."""
    links_per_span: Annotated[int, Field(ge=1)] = 256
    """Links kept of a span."""
    attribute_key_bytes: Annotated[int, Field(ge=128)] = 256
    """Longest key stored of an attribute of a span or log record; the rest is cut off, and a marker says how long it \
was. Keys as long as each other that differ in the rest alone become one."""
    attribute_value_bytes: ByteSize = ByteSize(1 << 20)
    """Longest value stored; the rest is cut off, and a marker says how long it was."""
    attribute_value_depth: Annotated[int, Field(ge=1, le=30)] = 16
    """Levels of lists and maps in a value; deeper ones are stored as JSON text."""
    json_depth: Annotated[int, Field(ge=32, le=512)] = 128
    """Levels of a JSON body; a deeper one is refused."""
    json_values: Annotated[int, Field(ge=1000)] = 1_000_000
    """Most objects, lists and commas of a JSON body, texts aside; each takes 150 bytes of memory for a moment."""
    inflate_ratio: Annotated[int, Field(ge=2)] = 200
    """How many times its size a compressed body of OTLP/HTTP may take, beyond the first MiB."""


class OtlpProtocols(Section):
    grpc: GrpcProtocol = GrpcProtocol()
    http: HttpProtocol = HttpProtocol()


class OtlpReceiver(Section):
    protocols: OtlpProtocols = OtlpProtocols()
    limits: OtlpLimits = OtlpLimits()


class Receivers(Section):
    otlp: OtlpReceiver = OtlpReceiver()
