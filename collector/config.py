"""Configuration: one strict model, filled from flags, `--set`, environment, documents and defaults, in that order.

Every leaf can be set by the environment as `EDDYLINE_` + its path in capitals joined by two underscores
(`EDDYLINE_RECEIVERS__OTLP__PROTOCOLS__HTTP__ENDPOINT`). Unknown keys are errors.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from collector.documents import ConfigError, merge, read_all, read_assignment

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: object) -> object:
    if isinstance(value, str):
        match = _DURATION.match(value)
        if not match:
            raise ValueError("a duration is a number and a unit: 200ms, 5s, 10m, 1h")
        return float(match[1]) * _SECONDS[match[2]]
    return value


_HEADER = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_SERVER_URL = re.compile(r"^https?://[^/\s]+(?:/\S*)?$")
MAX_SOCKET_PATH = 100
"""Bytes; the system takes no more than 107."""
_ENDPOINT = re.compile(r"^(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]*):)?(?P<port>\d{1,5})$")


def _endpoint(value: object) -> object:
    """`HOST:PORT` or `PORT` as `HOST:PORT`; `off` as None."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "off") or value is False:
        return None  # YAML reads a bare `off` as false
    match = _ENDPOINT.match(str(value).strip())
    if not match or int(match["port"]) > 65535:
        raise ValueError("an endpoint is HOST:PORT, or `off`; port 0 takes a free one")
    return f"{match['host'] or '127.0.0.1'}:{match['port']}"


def _or_unix_socket(value: object) -> object:
    """As `_endpoint`, or `unix:/path/of.sock`."""
    if isinstance(value, str) and value.strip().startswith("unix:"):
        path = value.strip().removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH:
            raise ValueError(f"a Unix socket is unix:/ABSOLUTE/PATH, of at most {MAX_SOCKET_PATH} bytes")
        return f"unix:{path}"
    return _endpoint(value)


def _bare_off(value: object) -> object:
    """YAML reads a bare `off` as false."""
    if isinstance(value, dict):
        return {key: _bare_off(item) for key, item in value.items()}
    return "off" if value is False else value


def _text(value: object) -> object:
    """YAML reads a bare number as one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _mode(value: object) -> object:
    """Permissions as they are written, in octal digits."""
    text = f"{value:o}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError('permissions are three octal digits, in quotes: "0660"')
    return text.rjust(4, "0")


Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
Endpoint = Annotated[str | None, BeforeValidator(_endpoint)]
OtlpEndpoint = Annotated[str | None, BeforeValidator(_or_unix_socket)]
Permissions = Annotated[str, BeforeValidator(_mode)]


class Section(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )


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
was."""
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


class GivenKey(Section):
    """One entry of `auth.keys`."""

    key: Annotated[str, Field(repr=False, pattern=r"^edl_[!-~]{32,}$")]
    """The key's text: `edl_` and at least 32 characters that nobody can guess."""
    scopes: list[Literal["ingest", "read", "content", "delete", "admin"]] = ["ingest"]
    project: str = ""
    """What it sends and reads belongs to this project; any if empty."""
    tenant: str = ""


class AuthSettings(Section):
    required: bool | None = None
    """Whether telemetry is only taken with a key; unless set, only where a door is open to other machines."""
    insecure: bool = False
    """Whether doors may be open to other machines without keys."""
    keys: dict[str, GivenKey] = {}
    """API keys by name, each with its `key`, beside those of the data directory: for collectors that share them."""


class MemorySettings(Section):
    limit: ByteSize | None = None
    """What the process may use; its cgroup's limit, else the machine's memory, unless set."""
    inflight: ByteSize | None = None
    """Bytes of requests on their way at a time; a quarter of the limit, at least 64MiB, unless set."""
    refuse_percentage: Annotated[int, Field(ge=10, le=100)] = 75
    """Of the limit: when the collector uses more, new requests are refused until there is room again."""
    shed_percentage: Annotated[int, Field(ge=10, le=100)] = 90
    """Of the limit: when it uses even more, those that have begun are refused too, and idle connections closed; never \
below the other mark."""


class JournalSettings(Section):
    ack: Literal["sink", "fsync", "write", "memory"] = "fsync"
    """What an acknowledgement says: `sink` stored, `fsync` outlives power loss, `write` `kill -9`, `memory` queued."""
    segment_size: ByteSize = ByteSize(64 << 20)
    """Size at which a new segment is begun."""
    max_queue_size: ByteSize = ByteSize(256 << 20)
    """Bytes that may wait for the disk before requests are refused."""
    max_bytes: ByteSize = ByteSize(10 << 30)
    """Bytes that may wait for the store: requests are refused from 95 % on, until 85 % are left."""
    on_full: Literal["refuse", "drop_oldest"] = "refuse"
    """What happens then: new requests are refused, or the oldest segments are given up, and counted."""
    min_free_bytes: ByteSize = ByteSize(1 << 30)
    """What the disk keeps free for the store, but at most a tenth of the disk; below it requests are refused."""

    @model_validator(mode="after")
    def _kept_or_dropped(self) -> JournalSettings:
        if self.on_full == "drop_oldest" and self.ack == "sink":
            raise ValueError(
                "ack: sink promises that all is stored; on_full: drop_oldest gives some of it up"
            )
        return self


class BatchSettings(Section):
    max_items: Annotated[int, Field(ge=1)] = 8192
    """Spans and log records written at once."""
    max_bytes: ByteSize = ByteSize(16 << 20)
    """Journal bytes written at once."""
    flush_timeout: Seconds | None = None
    """Longest wait for a batch to fill while the store has time; 200ms if embedded and 1s for a server unless set."""


class DeadLetterSettings(Section):
    max_bytes: ByteSize = ByteSize(1 << 30)
    """Bytes of what can not be stored that are kept; when it is full, the rest waits in the journal."""


class ClientTlsSettings(Section):
    """Towards a server."""

    ca_file: str = ""
    """PEM file with the authorities that its certificate must be signed by; empty: the system's."""
    cert_file: str = ""
    """PEM file with a certificate to show it."""
    key_file: str = ""
    """PEM file with that certificate's private key."""

    @model_validator(mode="after")
    def _both_files(self) -> ClientTlsSettings:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together")
        return self


Name = Annotated[str, Field(pattern=r"^[\w.{}-]*$")]
"""Of something that a server knows."""


class ClickHouseCluster(Section):
    name: Name = ""
    """Cluster to make tables on, with the macros `shard` and `replica`; empty: one server, or ClickHouse Cloud."""
    layout: Literal["sharded", "replicated"] = "sharded"
    """Whether rows are spread over its shards by trace, or all of them lie on every server."""
    insert_quorum: Annotated[str, Field(pattern=r"^(auto|[1-9]\d{0,3})?$"), BeforeValidator(_text)] = ""
    """Replicas that must have a row before it counts as stored: a number, or `auto` for most; empty: one."""


class ClickHouseStorage(Section):
    policy: Name = ""
    """Storage policy of the server for tables that are made; empty: its usual one."""
    cold_volume: Name = ""
    """Volume of the policy, such as one on S3, to which old rows move."""
    cold_after_days: Annotated[int, Field(ge=1)] = 7
    """How old, counted from when they were written."""

    @model_validator(mode="after")
    def _of_a_policy(self) -> ClickHouseStorage:
        if self.cold_volume and not self.policy:
            raise ValueError("cold_volume needs policy")
        return self


class ClickHouseSink(Section):
    url: Annotated[str, Field(repr=False)] = ""
    """`http(s)://user:password@host:port` of a server; empty: the embedded engine, in the data directory."""
    username: str = ""
    """Instead of the URL's."""
    password: Annotated[str, Field(repr=False)] = ""
    """Instead of the URL's."""
    tls: ClientTlsSettings = ClientTlsSettings()
    connect_timeout: Seconds = 10.0
    """Longest wait for a connection to the server."""
    timeout: Seconds = 60.0
    """Longest silence of the server while an answer is awaited."""
    compression: Annotated[Literal["zstd", "gzip", "off"], BeforeValidator(_bare_off)] = "zstd"
    """Of what is sent to the server and answered."""
    create_schema: bool = True
    """Whether the server's tables are made and changed at the start; otherwise `eddyline db migrate` does that."""
    cluster: ClickHouseCluster = ClickHouseCluster()
    storage: ClickHouseStorage = ClickHouseStorage()
    batch: BatchSettings = BatchSettings()
    dead_letter: DeadLetterSettings = DeadLetterSettings()

    @model_validator(mode="after")
    def _of_a_server(self) -> ClickHouseSink:
        if not self.url and (self.cluster.name or self.storage.policy):
            raise ValueError("a cluster and a storage policy are those of a server: url is missing")
        if self.url and not _SERVER_URL.match(self.url):
            raise ValueError("url is http(s)://[user:password@]host[:port]")
        return self

    @property
    def embedded(self) -> bool:
        return not self.url

    @property
    def flush_timeout(self) -> float:
        """Seconds."""
        if self.batch.flush_timeout is not None:
            return self.batch.flush_timeout
        return 0.2 if self.embedded else 1.0


class ForwardBatch(Section):
    max_items: Annotated[int, Field(ge=1)] = 2048
    """Spans or log records sent at once, but a request that came is never cut."""
    max_bytes: ByteSize = ByteSize(4 << 20)
    """Journal bytes sent at once."""
    flush_timeout: Seconds = 1.0
    """Longest wait for a request to fill."""


class ForwardSettings(Section):
    """What all sinks have that telemetry is passed on to."""

    signals: Annotated[list[Literal["traces", "logs"]], Field(min_length=1)] = ["traces", "logs"]
    """What is passed on."""
    attributes: Literal["received", "gen_ai"] = "received"
    """Whether spans go as they came, or also carry the attributes of the GenAI conventions that they lack."""
    max_waiting_bytes: Annotated[ByteSize, Field(ge=1 << 10)] = ByteSize(1 << 30)
    """Bytes of the journal that wait for this sink; of more, the oldest are not passed on."""
    batch: ForwardBatch = ForwardBatch()


class OtlpSink(ForwardSettings):
    """One entry of `sinks.otlp`."""

    endpoint: Annotated[str, Field(repr=False, pattern=r"^https?://[^/\s]+(/\S*)?$")]
    """`http(s)://host[:port]`; over HTTP a path may follow, below which `/v1/traces` and `/v1/logs` are."""
    protocol: Literal["http", "grpc"] = "http"
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """Sent along, such as the target's API key."""
    compression: Annotated[Literal["gzip", "zstd", "off"], BeforeValidator(_bare_off)] = "gzip"
    timeout: Seconds = 10.0
    """Longest wait for an answer."""
    tls: ClientTlsSettings = ClientTlsSettings()

    @model_validator(mode="after")
    def _of_its_protocol(self) -> OtlpSink:
        if self.protocol == "grpc" and self.compression == "zstd":
            raise ValueError("compression: zstd is for protocol: http")
        if self.protocol == "grpc" and urlsplit(self.endpoint).path.strip("/"):
            raise ValueError("over gRPC the endpoint has no path")
        for name, value in self.headers.items():
            if not _HEADER.match(name) or not value.isprintable() or not value.isascii():
                raise ValueError(f"headers: {name!r} can not be sent")
        return self


class JsonlSink(ForwardSettings):
    """One entry of `sinks.jsonl`."""

    path: Path
    """Directory of the files."""
    max_bytes: Annotated[ByteSize, Field(ge=1 << 10)] = ByteSize(100 << 20)
    """Size at which a file is closed and the next one begun."""
    max_files: Annotated[int, Field(ge=0)] = 10
    """Closed files of a signal that are kept."""


SinkName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Sinks(Section):
    clickhouse: ClickHouseSink = ClickHouseSink()
    otlp: dict[SinkName, OtlpSink] = {}
    """Collectors and backends that telemetry is passed on to by OTLP, by name; see below."""
    jsonl: dict[SinkName, JsonlSink] = {}
    """Directories that it is written to as OTLP/JSON, by name; see below."""


class DeriverSettings(Section):
    max_events: Annotated[int, Field(ge=0)] = 100_000
    """Events of recent runs kept in memory (1,000 characters count as one more); older runs are read back."""


class RedactionRules(Section):
    mask: list[Literal["email", "phone", "card"]] = []
    """Personal data that is masked in everything stored, beside secrets, which always are."""
    capture_input: bool = True
    """Whether what calls, tools and agents read is stored."""
    capture_output: bool = True
    """Whether what they write is stored."""


class RedactionSettings(RedactionRules):
    projects: dict[str, RedactionRules] = {}
    """Other rules for projects, by name or pattern (`shop-*`); the first that fits holds alone."""


class Webhook(Section):
    url: Annotated[str, Field(repr=False)]
    """Where to send; https, unless private addresses are allowed."""
    secret: Annotated[str, Field(repr=False)] = ""
    """Signs each request: `X-Eddyline-Signature`."""
    format: Literal["json", "slack"] = "json"
    min_severity: Literal["info", "warning", "critical"] = "warning"
    categories: list[Literal["loop", "waste"]] = ["loop"]
    projects: list[str] = []
    """Only of these; empty: of all."""
    allow_private: bool = False
    """Whether the address may lie within the network, and speak http."""

    @property
    def server(self) -> str:
        """The URL without its path, in which services like Slack keep a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}"


class NotificationSettings(Section):
    webhooks: list[Webhook] = []
    """Who hears of loops, once for each incident and change of it; each has `url`, `secret`, `format`, …; see below."""


class LoopSettings(Section):
    detectors: dict[str, dict[str, Any]] = {}
    """Thresholds by detector and name: `{exact_repeat: {chain: 4}}`; all are listed in `mappers/loops/README.md`."""
    disabled: list[str] = []
    """Detectors that are not asked."""
    replicas: Annotated[int, Field(ge=1)] = 1
    """Collectors that write to one ClickHouse; of several each looks for loops in its share of the runs."""
    sweep_interval: Seconds = 5.0
    """How often it does so."""


class MappingSettings(Section):
    processes: Annotated[int, Field(ge=0, le=64)] | None = None
    """Processes that map spans while batches wait; 0: none. Usually one for each core but one, at most four."""


class PricingSettings(Section):
    overrides: Path | None = None
    """YAML file with prices of one's own, which come before list prices."""


class ApiSettings(Section):
    endpoint: Endpoint = "127.0.0.1:4320"
    """Where the JSON API is served."""
    hosts: list[str] = []
    """Names beside localhost under which the API may be addressed; `*` is any."""


class AdminSettings(Section):
    endpoint: Endpoint = "127.0.0.1:13133"
    """Where health is served for probes, without a token."""


class ProxyTimeouts(Section):
    connect: Seconds = 10.0
    """Longest wait for a connection to the provider."""
    first_byte: Seconds = 600.0
    """Longest wait for the provider's answer to begin; there is no limit to how long it takes in all."""
    idle: Seconds = 600.0
    """Longest silence within an answer."""


class ProxyUpstream(Section):
    """One entry of `proxy.upstreams`."""

    url: str
    """`http(s)://host[:port][/path]`, before what the client asks for."""
    provider: str = ""
    """`gen_ai.provider.name` of its spans; the provider whose address it is, else the entry's name."""
    format: Literal["auto", "openai", "anthropic", "gemini", "ollama", "cohere"] = "auto"
    """Whose API it speaks, where the path does not tell."""
    strip_prefix: bool = True
    """Whether the entry's name is taken off the path."""
    ca: str = ""
    """File with the certificates that its own must be signed by, instead of the system's."""
    propagation: Literal["passthrough", "inject", "strip"] = "passthrough"
    """Whether `traceparent`, `tracestate` and `baggage` are passed on as they came, with our span as parent, or not."""
    timeouts: ProxyTimeouts | None = None


class ProxyLocal(Section):
    enabled: bool = True
    """Whether clients may name a server as `/openai/http/{host}:{port}`."""
    allow: list[str] = []
    """Servers beside this machine's: names, addresses and networks, each with or without `:port`."""
    paths: list[str] = ["/v1", "/v1beta", "/api", "/openai", "/health", "/props", "/tokenize"]
    """Beginnings of the paths that are open on such a server."""


class ProxyCapture(Section):
    content: Annotated[Literal["full", "meta", "off"], BeforeValidator(_bare_off)] = "full"
    """What is kept of calls: everything, everything but what was said, or nothing."""
    projects: Annotated[dict[str, Literal["full", "meta", "off"]], BeforeValidator(_bare_off)] = {}
    """The same for single projects."""
    input: bool = True
    """Whether prompts and tool results are kept."""
    output: bool = True
    """Whether answers, tool arguments and reasoning are kept."""
    tokens: bool = True
    """Whether token counts are kept."""
    cost: bool = True
    """Whether costs that the provider reports are kept."""
    named_keys: Annotated[dict[str, str], Field(repr=False)] = {}
    """Names of API keys, by which calls are told apart; nothing of the keys themselves is kept."""
    skip: list[str] = [
        "*/files*", "*/batches*", "*/uploads*", "*/fine_tuning/*", "*/vector_stores*", "*/assistants*",
        "*/threads*", "*/api/show", "*/api/pull", "*/api/push", "*/api/create", "*/api/copy",
    ]  # fmt: skip
    """Paths, at the provider, of calls that are relayed and counted only; `*` stands for anything."""
    max_body_bytes: ByteSize = ByteSize(8 << 20)
    """How much is kept of a body, each way; longer ones pass, and their copy is marked."""
    max_queue_bytes: ByteSize = ByteSize(256 << 20)
    """How much of all calls may wait to be read; beyond that the copies lose their content, never the traffic."""
    max_queue_calls: Annotated[int, Field(ge=1)] = 1000
    """How many calls may wait to be read."""


class ProxyUsage(Section):
    inject: Annotated[Literal["off", "auto"], BeforeValidator(_bare_off)] = "off"
    """Whether OpenAI and Azure are asked for the token counts of streams whose clients did not ask."""


class ProxyRun(Section):
    split: Annotated[Literal["off", "user_turn"], BeforeValidator(_bare_off)] = "off"
    """Whether each message of a user begins a run of its own, of the same session: some last for days."""


class ProxyTool(Section):
    pending_ttl: Seconds = 3600.0
    """How long a tool call may wait for its result before its run says that it is unanswered."""


class ProxyExport(Section):
    endpoint: str = "http://127.0.0.1:4318"
    """Collector that gets the spans of `eddyline proxy`, by OTLP/HTTP."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """Headers for it, such as its API key."""


class ProxyPlugin(Section):
    """One entry of `proxy.plugins`."""

    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
    """Its name, which calls that it changed carry."""
    type: Literal["path-filter", "text-replace", "text-append"]
    enabled: bool = True
    paths: Annotated[list[str], Field(max_length=200)] = []
    """Provider's paths that it concerns, `*` stands for anything; all if empty."""
    projects: Annotated[list[str], Field(max_length=200)] = []
    """Projects that it concerns; all if empty."""
    where: Literal["request", "response", "both"] = "request"
    """What a text is replaced in."""
    find: Annotated[str, Field(max_length=10_000)] = ""
    """The text that is replaced, letter by letter."""
    replace: Annotated[str, Field(max_length=10_000)] = ""
    text: Annotated[str, Field(max_length=10_000)] = ""
    """The text that is added."""
    to: Literal["user", "system"] = "user"
    """What it is added to: the last user message, or the system prompt."""

    @model_validator(mode="after")
    def _is_whole(self) -> ProxyPlugin:
        needed = {"path-filter": "paths", "text-replace": "find", "text-append": "text"}[self.type]
        if not getattr(self, needed):
            raise ValueError(f"{self.type} needs {needed}")
        if self.type == "text-append" and self.where != "request":
            raise ValueError("text-append adds to requests only")
        return self


class ProxySettings(Section):
    endpoint: Endpoint = "127.0.0.1:31300"
    """Where LLM traffic is relayed to its provider."""
    project: str = ""
    """Project of calls that name none."""
    upstream: str = ""
    """One URL to which every path goes, instead of the route table."""
    upstreams: dict[str, ProxyUpstream] = {}
    """Providers by the first segment of their path, beside or instead of those that are built in."""
    azure_suffixes: list[str] = ["openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"]
    """Domains of Azure resources; the first one unless the path says more than the resource's name."""
    hosts: list[str] = []
    """Names beside localhost under which the proxy may be addressed."""
    origins: list[str] = []
    """Web origins whose pages may use the proxy."""
    response_headers: bool = True
    """Whether answers carry `X-Loop-Span-Id` and, where it is known by then, `X-Loop-Trace-Id`."""
    sse_hints: bool = False
    """Whether streams carry `X-Accel-Buffering: no`, for clients behind nginx, which would hold them back."""
    timeouts: ProxyTimeouts = ProxyTimeouts()
    local: ProxyLocal = ProxyLocal()
    capture: ProxyCapture = ProxyCapture()
    usage: ProxyUsage = ProxyUsage()
    run: ProxyRun = ProxyRun()
    tool: ProxyTool = ProxyTool()
    plugins: list[ProxyPlugin] = []
    """Calls that are not recorded and, on request, what is changed in calls; see `proxy/README.md`."""
    export: ProxyExport = ProxyExport()


class LoggingSettings(Section):
    capture_file: str = ""
    """File that all traffic of the proxy is written to, for debugging; `WIRE_CAPTURE_FILE` sets it, too."""
    capture_format: Literal["jsonl", "cbor", "text"] = "jsonl"
    """One JSON document a line, CBOR with the exact bytes, or text for people."""
    capture_buffer_size: ByteSize = ByteSize(64 << 10)
    """Bytes that are gathered before they are written."""
    capture_flush_interval: Seconds = 1.0
    """How long they are gathered at most."""
    capture_max_entries_per_flush: Annotated[int, Field(ge=1)] = 100
    """How many records are gathered at most."""
    capture_max_bytes: Annotated[ByteSize, Field(ge=1 << 10)] = ByteSize(100 << 20)
    """Size at which the file is rotated and compressed."""
    capture_max_files: Annotated[int, Field(ge=0)] = 5
    """Rotated files that are kept."""
    capture_total_max_bytes: Annotated[ByteSize, Field(ge=2 << 10)] = ByteSize(500 << 20)
    """Bytes of all of them together; the oldest goes before more is written."""


class Shutdown(Section):
    drain_delay: Seconds = 0.0
    """How long requests are still taken once the collector says that it is not ready: as long as it takes until \
nobody is sent here any more, in Kubernetes 5s."""
    timeout: Seconds = 25.0
    """Longest wait for the stores on SIGTERM; what is left stays in the journal."""


class Telemetry(Section):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log lines written: debug, info, warning, error."""


class ServiceSettings(Section):
    shutdown: Shutdown = Shutdown()
    telemetry: Telemetry = Telemetry()


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/eddyline`, else `~/.local/share/eddyline`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return root / "eddyline"


class Settings(BaseSettings):
    """The whole configuration."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="EDDYLINE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    """Journal, embedded database, token and `endpoints.json`."""
    token: Annotated[str | None, Field(repr=False)] = None
    """API token; made on first start if it is not given."""
    receivers: Receivers = Receivers()
    auth: AuthSettings = AuthSettings()
    memory: MemorySettings = MemorySettings()
    journal: JournalSettings = JournalSettings()
    sinks: Sinks = Sinks()
    deriver: DeriverSettings = DeriverSettings()
    loops: LoopSettings = LoopSettings()
    mapping: MappingSettings = MappingSettings()
    notifications: NotificationSettings = NotificationSettings()
    pricing: PricingSettings = PricingSettings()
    redaction: RedactionSettings = RedactionSettings()
    api: ApiSettings = ApiSettings()
    admin: AdminSettings = AdminSettings()
    proxy: ProxySettings = ProxySettings()
    logging: LoggingSettings = LoggingSettings()
    service: ServiceSettings = ServiceSettings()
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that receive OTLP, each with journals of its own; with 0 the collector receives it itself."""

    @model_validator(mode="after")
    def _workers_can_answer(self) -> Settings:
        if self.workers and self.journal.ack == "sink":
            raise ValueError(
                "workers: with journal.ack: sink only the collector itself can answer: workers: 0"
            )
        return self


DOORS: Mapping[str, tuple[str, ...]] = {
    "grpc": ("receivers", "otlp", "protocols", "grpc", "endpoint"),
    "http": ("receivers", "otlp", "protocols", "http", "endpoint"),
    "api": ("api", "endpoint"),
    "admin": ("admin", "endpoint"),
    "proxy": ("proxy", "endpoint"),
}
"""The listeners by their short names, and where each is configured."""


_FLAGS: Mapping[str, tuple[str, ...]] = {
    "data_dir": ("data_dir",),
    "upstream": ("proxy", "upstream"),
    "collector": ("proxy", "export", "endpoint"),
    "capture_file": ("logging", "capture_file"),
}
CAPTURE_VARIABLE = "WIRE_CAPTURE_FILE"
"""Sets `logging.capture_file`, as its own variable does, which is above it."""


def load(
    configs: Sequence[str | Path] = (), *, sets: Sequence[str] = (), flags: Mapping[str, Any] | None = None
) -> Settings:
    """Reads and checks the configuration.

    Args:
        configs: documents, see `documents.read_all`; later ones are above earlier ones.
        sets: `a.b.c=value`, above the environment.
        flags: names of `DOORS` and `_FLAGS` with values given on the command line; None is "not given". The
            environment has the same short names (`EDDYLINE_GRPC`).

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    short: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for name, path in {**DOORS, **_FLAGS}.items():
        if name in DOORS and (value := os.environ.get(f"EDDYLINE_{name.upper()}")) is not None:
            _put(short, path, value)
        if (value := (flags or {}).get(name)) is not None:
            _put(given, path, value)
    if (file := os.environ.get(CAPTURE_VARIABLE)) and "EDDYLINE_LOGGING__CAPTURE_FILE" not in os.environ:
        _put(short, _FLAGS["capture_file"], file)
    for text in sets:
        short = merge(short, read_assignment(text))
    document = read_all(configs)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if isinstance(env_settings, EnvSettingsSource):  # EDDYLINE_API is a door, not the section `api`
                env_settings.env_vars = {
                    name: value
                    for name, value in env_settings.env_vars.items()
                    if name.lower().removeprefix("eddyline_") not in DOORS
                }
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=document)

    try:
        settings = Loaded(**merge(short, given))
    except (ValidationError, SettingsError) as error:
        lines = _lines(error) if isinstance(error, ValidationError) else [str(error)]
        raise ConfigError("\n".join(lines)) from None
    if unknown := _unknown_variables():
        raise ConfigError("\n".join(unknown))
    return settings


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


class _Alone(Settings):
    """What a document says, and nothing else: no variables are read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def problems_in(document: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """The configuration that a document alone makes, and what is wrong with it, a line for each thing."""
    try:
        return _Alone(**document), []
    except (ValidationError, SettingsError) as error:
        return None, _lines(error) if isinstance(error, ValidationError) else [str(error)]


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key{_advice(item['loc'])}")
        elif item["type"].startswith("byte_size"):
            lines.append(
                f"{where}: a size is a number of bytes, or a number and a unit: 512KiB, 64MiB, 10GiB"
            )
        else:
            lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return lines


_ELSEWHERE = {
    "exporters": "sinks",
    "extensions": "auth, api and admin",
    "processors": "memory, deriver and redaction",
    "sending_queue": "journal",
    "memory_limiter": "memory",
    "max_recv_msg_size_mib": "max_recv_msg_size, such as 64MiB",
}
"""What other collectors call things, and what they are called here."""


def _advice(location: tuple[int | str, ...]) -> str:
    """What may have been meant, and what there is."""
    model: Any = Settings
    for part in location[:-1]:
        field = model.model_fields.get(part) if _is_section(model) else None
        model = field.annotation if field is not None else None
    if not _is_section(model):
        return ""
    known = list(model.model_fields)
    wrong = str(location[-1])
    # What others call so is meant, unless it is nearly a name of ours.
    likeness = 0.8 if wrong in _ELSEWHERE else 0.6
    if meant := difflib.get_close_matches(wrong, known, n=1, cutoff=likeness):
        advice = f"; did you mean {meant[0]!r}?"
    else:
        advice = f"; here it is {_ELSEWHERE[wrong]}." if wrong in _ELSEWHERE else ";"
    return f"{advice} There are {', '.join(known)}"


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _unknown_variables() -> list[str]:
    """Variables that look like settings and are none: with a mistake in their first part, nobody would notice."""
    return [
        f"{name}: there is no setting {name.removeprefix('EDDYLINE_').partition('__')[0].lower()!r}"
        for name in sorted(os.environ)
        if name.startswith("EDDYLINE_")
        and "__" in name
        and name.removeprefix("EDDYLINE_").partition("__")[0].lower() not in Settings.model_fields
    ]


# --------------------------------------------------------------------------- shown

REDACTED = "[redacted]"
_SECRET_NAMES = re.compile(r"(?:^|_)(?:token|password|secret|key|named_keys|headers|authorization)$")
_URL_SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=\?)\S+")
"""User and password, and what is asked for, which may be a key."""


def redacted(settings: Settings) -> dict[str, Any]:
    """The configuration as a document that can be shown, and loaded again but for its secrets."""
    shown: dict[str, Any] = _shown("", settings)
    for path in DOORS.values():
        door = shown
        for part in path[:-1]:
            door = door[part]
        door[path[-1]] = door[path[-1]] or "off"
    return shown


def _shown(name: str, value: Any) -> Any:
    if value and isinstance(value, (str, dict)) and _SECRET_NAMES.search(name):
        return REDACTED
    if isinstance(value, Webhook):
        shown = {key: _shown(key, getattr(value, key)) for key in Webhook.model_fields if key != "url"}
        return {"url": f"{value.server}/{REDACTED}"} | shown
    if isinstance(value, BaseModel):
        return {key: _shown(key, getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, dict):
        return {key: _shown(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(name, item) for item in value]
    if isinstance(value, ByteSize):
        return next(
            (f"{value >> bits}{unit}" for bits, unit in _UNITS if value and value % (1 << bits) == 0),
            int(value),
        )
    if isinstance(value, str):
        return _URL_SECRETS.sub(REDACTED, value) if "://" in value else value
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


_UNITS = ((30, "GiB"), (20, "MiB"), (10, "KiB"))
