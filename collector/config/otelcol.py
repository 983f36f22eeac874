"""Configuration in the shape of the OpenTelemetry Collector's, as its Kubernetes operator writes it: what it says in
our settings.

There is one way here, from the OTLP receiver to all sinks: `service.pipelines` may say nothing else. An exporter is a
sink (`clickhouse`, `otlp/NAME`, `jsonl/NAME`; `eddyline` is the embedded database), the extension `eddyline` holds
settings for which the shape has no place, `health_check` and the reader of metrics say where the admin door is, and
`service.telemetry.traces` where own traces are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

RECEIVER = "otlp"
EMBEDDED = "eddyline"
NAMED_SINKS = ("otlp", "jsonl")
SIGNALS = ("traces", "logs", "metrics")
HEALTH_PATHS = ("/healthz", "/readyz")
PROTOCOLS = {"http/protobuf": "http", "grpc": "grpc", "grpc/protobuf": "grpc"}
FILES = {"certificate": "ca_file", "client_certificate": "cert_file", "client_key": "key_file"}
ANY, ADMIN_PORT, METRICS_PORT = "0.0.0.0", 13133, 8888  # noqa: S104  the shape's own defaults, in a container


def is_otelcol(document: Mapping[str, Any]) -> bool:
    """Whether the document has this shape: ours has no pipelines."""
    service = document.get("service")
    return isinstance(service, dict) and "pipelines" in service


def translated(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a document of ours, which the settings still have to accept.

    Raises:
        ValueError: it asks for something that there is not here; the message names it.
    """
    _only(document, "", ("receivers", "exporters", "extensions", "processors", "connectors", "service"))
    for name in ("processors", "connectors"):
        if _map(document, name):
            raise ValueError(
                f"{name}: there are none; what they do, settings do: memory, deriver and redaction"
            )
    receivers, exporters = _map(document, "receivers"), _map(document, "exporters")
    extensions, service = _map(document, "extensions"), _map(document, "service")
    _only(service, "service.", ("pipelines", "extensions", "telemetry"))
    _check_pipelines(service, receivers, exporters)
    _among(service.get("extensions"), extensions, "service.extensions", "extensions")
    _only(extensions, "extensions.", (EMBEDDED, "health_check"))
    ours = dict(_map(extensions, EMBEDDED, "extensions."))
    for name in ("receivers", "sinks"):
        if name in ours:
            raise ValueError(
                f"extensions.{EMBEDDED}.{name}: that is `receivers` or `exporters` of this document"
            )
    ours["receivers"] = {name: _receiver(receivers, name) for name in receivers}
    if sinks := _sinks(exporters):
        ours["sinks"] = sinks
    telemetry = _map(service, "telemetry", "service.")
    if admin := _admin(extensions, telemetry):
        ours["admin"] = {"endpoint": admin} | _map(ours, "admin", f"extensions.{EMBEDDED}.")
    own = _map(ours, "service", f"extensions.{EMBEDDED}.")
    own_telemetry = _map(own, "telemetry", f"extensions.{EMBEDDED}.service.")
    told: dict[str, Any] = {}
    if level := _map(telemetry, "logs", "service.telemetry.").get("level"):
        told["log_level"] = str(level).lower()
    if traces := _own_traces(_map(telemetry, "traces", "service.telemetry.")):
        more = _map(own_telemetry, "traces", f"extensions.{EMBEDDED}.service.telemetry.")
        told["traces"] = own_telemetry["traces"] = traces | more
    if told:
        ours["service"] = own | {"telemetry": told | own_telemetry}
    return ours


def _check_pipelines(
    service: Mapping[str, Any], receivers: Mapping[str, Any], exporters: Mapping[str, Any]
) -> None:
    """Raises: ValueError, unless every pipeline leads from the one receiver to every sink."""
    pipelines = _map(service, "pipelines", "service.")
    if not any(name.partition("/")[0] == "traces" for name in pipelines):
        raise ValueError("service.pipelines: there is none for traces")
    for name in pipelines:
        where = f"service.pipelines.{name}"
        pipeline = _map(pipelines, name, "service.pipelines.")
        if name.partition("/")[0] not in SIGNALS:
            raise ValueError(f"{where}: there are pipelines for {', '.join(SIGNALS)}")
        _only(pipeline, f"{where}.", ("receivers", "exporters", "processors"))
        if pipeline.get("processors"):
            raise ValueError(f"{where}.processors: there are none")
        _among(pipeline.get("receivers"), receivers, f"{where}.receivers", "receivers")
        _among(pipeline.get("exporters"), exporters, f"{where}.exporters", "exporters")
        if pipeline.get("receivers") != [RECEIVER]:
            raise ValueError(f"{where}.receivers: there is one, {RECEIVER}")
        if set(pipeline.get("exporters") or ()) != set(exporters):
            raise ValueError(
                f"{where}.exporters: all that comes goes to every one, so name {', '.join(exporters)}"
            )


def _receiver(receivers: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The receiver, with what the shape leaves out said: a protocol that is not named is off."""
    where = f"receivers.{name}."
    receiver = _map(receivers, name, "receivers.")
    if "protocols" in receiver:
        protocols = _map(receiver, "protocols", where)
        receiver["protocols"] = {
            protocol: _map(protocols, protocol, f"{where}protocols.")
            if protocol in protocols
            else {"endpoint": "off"}
            for protocol in {**protocols, "grpc": None, "http": None}
        }
    return receiver


def _sinks(exporters: Mapping[str, Any]) -> dict[str, Any]:
    sinks: dict[str, Any] = {}
    for name in exporters:
        kind, _, own_name = name.partition("/")
        body = _map(exporters, name, "exporters.")
        if kind in NAMED_SINKS:
            sinks.setdefault(kind, {})[own_name or kind] = body
        elif name == "clickhouse":
            sinks[name] = body
        elif name != EMBEDDED or body:
            raise ValueError(
                f"exporters.{name}: there are clickhouse, {', '.join(f'{kind}/NAME' for kind in NAMED_SINKS)}, "
                f"and {EMBEDDED} without settings, which is the embedded database"
            )
    if EMBEDDED in exporters and "clickhouse" in sinks:
        raise ValueError(
            f"exporters: {EMBEDDED} and clickhouse are the same database, embedded or on a server"
        )
    return sinks


def _admin(extensions: Mapping[str, Any], telemetry: Mapping[str, Any]) -> str:
    """Where health and metrics are asked for; "" if that is not said.

    Raises: ValueError: at two addresses, or under a path that is not there.
    """
    asked = {}
    if "health_check" in extensions:
        health = _map(extensions, "health_check", "extensions.")
        _only(health, "extensions.health_check.", ("endpoint", "path"))
        if health.get("path", "/healthz") not in HEALTH_PATHS:
            raise ValueError(f"extensions.health_check.path: there are {' and '.join(HEALTH_PATHS)}")
        asked["extensions.health_check"] = str(health.get("endpoint") or f"{ANY}:{ADMIN_PORT}")
    _only(telemetry, "service.telemetry.", ("metrics", "logs", "traces", "resource"))
    metrics = _map(telemetry, "metrics", "service.telemetry.")
    if address := metrics.get("address"):
        asked["service.telemetry.metrics.address"] = str(address)
    for reader in metrics.get("readers") or ():
        try:
            prometheus = reader["pull"]["exporter"]["prometheus"]
            endpoint = f"{prometheus.get('host') or ANY}:{prometheus.get('port') or METRICS_PORT}"
        except (KeyError, TypeError, AttributeError):
            raise ValueError(
                "service.telemetry.metrics.readers: metrics are pulled by Prometheus; what pushes them is "
                f"service.telemetry.metrics in extensions.{EMBEDDED}"
            ) from None
        asked["service.telemetry.metrics.readers"] = endpoint
    if len(set(asked.values())) > 1:
        told = " and ".join(f"{where} says {endpoint}" for where, endpoint in asked.items())
        raise ValueError(f"health and metrics are served at one address: {told}")
    return next(iter(asked.values()), "")


def _own_traces(traces: Mapping[str, Any]) -> dict[str, Any]:
    """Where own traces are sent, and how many: the OpenTelemetry SDKs' declarative configuration, version 0.3.

    Raises: ValueError: there is more than one target, or one that is not spoken to here.
    """
    where = "service.telemetry.traces."
    _only(traces, where, ("processors", "sampler", "level", "propagators"))
    processors = traces.get("processors") or []
    if traces.get("level") == "none" or not processors:
        return {}
    try:
        [processor] = processors
        [(kind, body)] = processor.items()
        exporter = body["exporter"]["otlp"]
        endpoint = str(exporter["endpoint"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(
            f"{where}processors: own traces go to one place, as `batch: {{exporter: {{otlp: {{endpoint: …}}}}}}`; what "
            f"else can be said is service.telemetry.traces in extensions.{EMBEDDED}"
        ) from None
    known = ("protocol", "endpoint", "headers", "compression", "timeout", "certificate", "client_certificate")
    _only(exporter, f"{where}processors.{kind}.exporter.otlp.", (*known, "client_key", "insecure"))
    protocol = str(exporter.get("protocol", "http/protobuf"))
    if protocol not in PROTOCOLS:
        raise ValueError(f"{where}processors: the protocol is one of {', '.join(PROTOCOLS)}")
    if "://" not in endpoint:
        endpoint = f"{'http' if exporter.get('insecure') else 'https'}://{endpoint}"
    ours = {
        "endpoint": endpoint.rstrip("/").removesuffix("/v1/traces"),
        "protocol": PROTOCOLS[protocol],
        "headers": _headers(exporter.get("headers"), f"{where}processors.{kind}.exporter.otlp.headers"),
        "compression": "off" if exporter.get("compression") == "none" else exporter.get("compression"),
        "timeout": f"{exporter['timeout']}ms" if "timeout" in exporter else None,
        "tls": {name: exporter[said] for said, name in FILES.items() if exporter.get(said)},
        "interval": f"{body['schedule_delay']}ms" if "schedule_delay" in body else None,
        "sample_ratio": _ratio(traces.get("sampler"), f"{where}sampler"),
    }
    return {name: value for name, value in ours.items() if value not in (None, {})}


def _headers(said: Any, where: str) -> dict[str, str]:
    """Headers as a map, or as a list of `{name, value}`."""
    try:
        pairs = (
            said.items() if isinstance(said, dict) else ((one["name"], one["value"]) for one in said or ())
        )
        return {str(name): str(value) for name, value in pairs}
    except (TypeError, KeyError):
        raise ValueError(f"{where}: it must be a mapping, or a list of name and value") from None


def _ratio(sampler: Any, where: str) -> float | None:
    """How many of one are sampled; None if that is not said."""
    if sampler is None:
        return None
    try:
        [(kind, body)] = sampler.items()
        if kind == "parent_based":
            [(kind, body)] = body["root"].items()
        if kind == "trace_id_ratio_based":
            return float(body["ratio"])
        return {"always_on": 1.0, "always_off": 0.0}[kind]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(
            f"{where}: it is always_on, always_off or trace_id_ratio_based, each also as root of parent_based"
        ) from None


def _map(document: Mapping[str, Any], name: str, where: str = "") -> dict[str, Any]:
    """Raises: ValueError, unless it is a map or nothing."""
    found = document.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{where}{name}: it must be a mapping")
    return {str(key): value for key, value in found.items()}


def _only(document: Mapping[str, Any], where: str, known: Sequence[str]) -> None:
    for name in document:
        if name not in known:
            raise ValueError(f"{where}{name}: unknown key. There are {', '.join(known)}")


def _among(names: Any, known: Mapping[str, Any], where: str, what: str) -> None:
    if names is not None and not isinstance(names, list):
        raise ValueError(f"{where}: it must be a list")
    for name in names or ():
        if name not in known:
            raise ValueError(f"{where}: {name} is not among the {what}")
