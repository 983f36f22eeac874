"""The configuration: what can be set (`settings`), where it is read from (`loading`), and how it is shown."""

from collector.config.documents import ConfigError, files_among, merge
from collector.config.loading import load, problems_in
from collector.config.proxy import ProxyCapture, ProxyExport, ProxyPlugin, ProxySettings, ProxyTimeouts
from collector.config.receivers import GrpcProtocol, HttpProtocol, OtlpLimits, TlsSettings
from collector.config.settings import (
    DOORS,
    GivenKey,
    JournalSettings,
    LoggingSettings,
    LoopSettings,
    MemorySettings,
    PricingSettings,
    QuotaRules,
    QuotaSettings,
    RedactionRules,
    RedactionSettings,
    Settings,
    Webhook,
    default_data_dir,
)
from collector.config.showing import printed, redacted
from collector.config.sinks import (
    ClickHouseSink,
    ForwardSettings,
    JsonlSink,
    OtlpSink,
    OtlpTarget,
    PushedMetrics,
    PushedTraces,
    Sinks,
)

__all__ = [
    "DOORS",
    "ClickHouseSink",
    "ConfigError",
    "ForwardSettings",
    "GivenKey",
    "GrpcProtocol",
    "HttpProtocol",
    "JournalSettings",
    "JsonlSink",
    "LoggingSettings",
    "LoopSettings",
    "MemorySettings",
    "OtlpLimits",
    "OtlpSink",
    "OtlpTarget",
    "PricingSettings",
    "ProxyCapture",
    "ProxyExport",
    "ProxyPlugin",
    "ProxySettings",
    "ProxyTimeouts",
    "PushedMetrics",
    "PushedTraces",
    "QuotaRules",
    "QuotaSettings",
    "RedactionRules",
    "RedactionSettings",
    "Settings",
    "Sinks",
    "TlsSettings",
    "Webhook",
    "default_data_dir",
    "files_among",
    "load",
    "merge",
    "printed",
    "problems_in",
    "redacted",
]
