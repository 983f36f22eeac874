"""The variables of the OpenTelemetry SDKs, which say here where the collector's own metrics go and what they are of,
and nothing else: programs that run beside it have the same ones set to reach it.

Names and meanings: OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter Configuration".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from collector.config import ConfigError, OtlpTarget

PATH = "/v1/metrics"
_PROTOCOLS = {"grpc": "grpc", "http/protobuf": "http"}
_COMPRESSIONS = {"gzip": "gzip", "none": "off"}
_FILES = {"CERTIFICATE": "ca_file", "CLIENT_CERTIFICATE": "cert_file", "CLIENT_KEY": "key_file"}


def metrics_target(environ: Mapping[str, str], otherwise: OtlpTarget) -> OtlpTarget:
    """Where metrics go by `OTEL_EXPORTER_OTLP_METRICS_…` and `OTEL_EXPORTER_OTLP_…`; what they leave out is as it is
    `otherwise`, but for the endpoint.

    Raises: ConfigError, without a value in it: headers hold keys.
    """

    def given(name: str) -> str:
        return environ.get(f"OTEL_EXPORTER_OTLP_METRICS_{name}") or environ.get(
            f"OTEL_EXPORTER_OTLP_{name}", ""
        )

    said = given("PROTOCOL")
    protocol = _among(_PROTOCOLS, "PROTOCOL", said) if said else otherwise.protocol
    found: dict[str, Any] = {name: getattr(otherwise, name) for name in OtlpTarget.model_fields}
    found |= {"protocol": protocol, "endpoint": _endpoint(environ, given, protocol)}
    if headers := given("HEADERS"):
        pairs = (entry.partition("=") for entry in headers.split(",") if entry.strip())
        found["headers"] = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    if compression := given("COMPRESSION"):
        found["compression"] = _among(_COMPRESSIONS, "COMPRESSION", compression)
    if timeout := given("TIMEOUT"):
        if not timeout.isdigit():
            raise ConfigError("OTEL_EXPORTER_OTLP_TIMEOUT: it is a number of milliseconds")
        found["timeout"] = int(timeout) / 1000
    if files := {field: given(name) for name, field in _FILES.items() if given(name)}:
        found["tls"] = otherwise.tls.model_dump() | files
    try:
        return OtlpTarget(**found)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        where = ", ".join(".".join(map(str, item["loc"])) or item["msg"] for item in wrong)
        raise ConfigError(f"OTEL_EXPORTER_OTLP_*: what they say can not be used: {where}") from None


def _endpoint(environ: Mapping[str, str], given: Any, protocol: str) -> str:
    """Raises: ConfigError."""
    endpoint = str(given("ENDPOINT"))
    if not endpoint:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT is not set")
    if "://" not in endpoint:
        insecure = str(given("INSECURE")).lower() == "true"
        endpoint = f"{'http' if insecure else 'https'}://{endpoint}"
    if protocol == "http" and environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):  # it is the whole address
        if not endpoint.rstrip("/").endswith(PATH):
            raise ConfigError(f"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: over HTTP it ends in {PATH}")
        endpoint = endpoint.rstrip("/").removesuffix(PATH)
    return endpoint


def _among(choices: Mapping[str, str], name: str, value: str) -> str:
    """Raises: ConfigError."""
    if value not in choices:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_{name}: it is one of {', '.join(choices)}")
    return choices[value]


def resource_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """What `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say of this process."""
    pairs = (entry.partition("=") for entry in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    found = {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}
    if service := environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = service
    return found
