"""The whole configuration: one strict model. Unknown keys are errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from collector.config.proxy import ProxySettings
from collector.config.receivers import Receivers
from collector.config.sinks import PushedMetrics, PushedTraces, Sinks
from collector.config.values import Endpoint, Seconds, Section


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


class DeriverSettings(Section):
    max_events: Annotated[int, Field(ge=0)] = 50_000
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


class QuotaRules(Section):
    items_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Spans and log records a second over time that OTLP clients may send for one project; more are answered 429 or \
RESOURCE_EXHAUSTED. Unset: any number."""
    items_burst: Annotated[int, Field(ge=1)] | None = None
    """How many may come at once; unless set ten seconds' worth, as exporters send every five."""
    bytes_per_second: Annotated[ByteSize, Field(ge=1)] | None = None
    """The same in bytes of requests, decompressed."""
    bytes_burst: Annotated[ByteSize, Field(ge=1)] | None = None
    """How many bytes may come at once; unless set ten seconds' worth."""

    @model_validator(mode="after")
    def _bursts_have_rates(self) -> QuotaRules:
        for what in ("items", "bytes"):
            if getattr(self, f"{what}_burst") and not getattr(self, f"{what}_per_second"):
                raise ValueError(f"{what}_burst needs {what}_per_second")
        return self


class QuotaSettings(QuotaRules):
    projects: dict[str, QuotaRules] = {}
    """Other quotas for projects, by name or pattern (`team-*`); the first that fits holds alone."""


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
    metrics: PushedMetrics = PushedMetrics()
    traces: PushedTraces = PushedTraces()


class ServiceSettings(Section):
    niceness: Annotated[int, Field(ge=0, le=19)] = 10
    """How far what works on batches and answers questions gives way to doors (Linux): without `workers` the database \
engine's threads, with them all but doors; 0: not at all."""
    reload_interval: Seconds = 0.0
    """How often the configuration's files are looked at; when one has changed, all are read anew. 0: only on SIGHUP."""
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
    quotas: QuotaSettings = QuotaSettings()
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
