"""Settings of the stores, and of where telemetry is passed on to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ByteSize, Field, model_validator

from collector.config.values import Seconds, Section, bare_off

_HEADER = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_SERVER_URL = re.compile(r"^https?://[^/\s]+(?:/\S*)?$")


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


def _text(value: object) -> object:
    """YAML reads a bare number as one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
    compression: Annotated[Literal["zstd", "gzip", "off"], BeforeValidator(bare_off)] = "zstd"
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


class OtlpTarget(Section):
    """Who takes OTLP."""

    endpoint: Annotated[str, Field(repr=False, pattern=r"^https?://[^/\s]+(/\S*)?$")]
    """`http(s)://host[:port]`; over HTTP a path may follow, below which `/v1/traces` and `/v1/logs` are."""
    protocol: Literal["http", "grpc"] = "http"
    """OTLP over HTTP, as protobuf, or over gRPC."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """Sent along, such as the target's API key."""
    compression: Annotated[Literal["gzip", "zstd", "off"], BeforeValidator(bare_off)] = "gzip"
    """Of what is sent; zstd over HTTP only."""
    timeout: Seconds = 10.0
    """Longest wait for an answer."""
    tls: ClientTlsSettings = ClientTlsSettings()

    @model_validator(mode="after")
    def _of_its_protocol(self) -> OtlpTarget:
        if self.protocol == "grpc" and self.compression == "zstd":
            raise ValueError("compression: zstd is for protocol: http")
        has_path = "://" in self.endpoint and urlsplit(self.endpoint).path.strip("/")
        if self.protocol == "grpc" and has_path:
            raise ValueError("over gRPC the endpoint has no path")
        for name, value in self.headers.items():
            if not _HEADER.match(name) or not value.isprintable() or not value.isascii():
                raise ValueError(f"headers: {name!r} can not be sent")
        return self


class OtlpSink(OtlpTarget, ForwardSettings):
    """One entry of `sinks.otlp`."""


class PushedMetrics(OtlpTarget):
    endpoint: Annotated[str, Field(repr=False, pattern=r"^(|env|https?://[^/\s]+(/\S*)?)$")] = ""
    """Where own metrics are pushed: `http(s)://host[:port]`, or `env` for what `OTEL_EXPORTER_OTLP_*` say, before \
what is said here; empty: nowhere."""
    interval: Annotated[Seconds, Field(ge=1)] = 60.0
    """How often."""


class PushedTraces(OtlpTarget):
    endpoint: Annotated[str, Field(repr=False, pattern=r"^(|env|https?://[^/\s]+(/\S*)?)$")] = ""
    """Where own traces are sent: `http(s)://host[:port]`, or `env` for what `OTEL_EXPORTER_OTLP_*` and \
`OTEL_TRACES_SAMPLER*` say, before what is said here; empty: nowhere."""
    interval: Annotated[Seconds, Field(ge=1)] = 5.0
    """How long spans wait for others."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How many of all batches, requests to the API and pieces of other work are traced: 1 is all."""
    requests_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How many of the requests that bring telemetry are; never more than `sample_ratio`."""


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
