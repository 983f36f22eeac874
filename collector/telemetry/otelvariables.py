"""The variables of the OpenTelemetry SDKs, which say here where the collector's own metrics and traces go and what they
are of, and nothing else: programs that run beside it have the same ones set to reach it.

Names and meanings: OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter Configuration".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import ValidationError

from collector.config import ConfigError, OtlpTarget

OwnSignal = Literal["metrics", "traces"]
_PROTOCOLS = {"grpc": "grpc", "http/protobuf": "http"}
_COMPRESSIONS = {"gzip": "gzip", "none": "off"}
_FILES = {"CERTIFICATE": "ca_file", "CLIENT_CERTIFICATE": "cert_file", "CLIENT_KEY": "key_file"}


def named_target(environ: Mapping[str, str], signal: OwnSignal, otherwise: OtlpTarget) -> OtlpTarget:
    """Where a signal goes by `OTEL_EXPORTER_OTLP_METRICS_…` or `…_TRACES_…`, and `OTEL_EXPORTER_OTLP_…`; what they
    leave out is as it is `otherwise`, but for the endpoint.

    Raises: ConfigError, without a value in it: headers hold keys.
    """

    def given(name: str) -> str:
        return environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}") or environ.get(
            f"OTEL_EXPORTER_OTLP_{name}", ""
        )

    said = given("PROTOCOL")
    protocol = _among(_PROTOCOLS, "PROTOCOL", said) if said else otherwise.protocol
    found: dict[str, Any] = {name: getattr(otherwise, name) for name in OtlpTarget.model_fields}
    found |= {"protocol": protocol, "endpoint": _endpoint(environ, signal, given, protocol)}
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


def _endpoint(environ: Mapping[str, str], signal: OwnSignal, given: Any, protocol: str) -> str:
    """Raises: ConfigError."""
    endpoint = str(given("ENDPOINT"))
    if not endpoint:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT is not set")
    if "://" not in endpoint:
        insecure = str(given("INSECURE")).lower() == "true"
        endpoint = f"{'http' if insecure else 'https'}://{endpoint}"
    own, path = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", f"/v1/{signal}"
    if protocol == "http" and environ.get(own):  # it is the whole address
        if not endpoint.rstrip("/").endswith(path):
            raise ConfigError(f"{own}: over HTTP it ends in {path}")
        endpoint = endpoint.rstrip("/").removesuffix(path)
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


_SAMPLERS: Mapping[str, float | None] = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}


def sample_ratio(environ: Mapping[str, str], otherwise: float) -> float:
    """How many traces of one are told, by `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, which is 1 unless given;
    `otherwise` if they say nothing. `parentbased_…` is the same: what a caller decided holds anyway.

    Raises: ConfigError.
    """
    said = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not said:
        return otherwise
    sampler = said.removeprefix("parentbased_")
    if sampler not in _SAMPLERS:
        names = ", ".join(f"{before}{name}" for before in ("", "parentbased_") for name in _SAMPLERS)
        raise ConfigError(f"OTEL_TRACES_SAMPLER: it is one of {names}")
    share = _SAMPLERS[sampler]
    if share is not None:
        return share
    try:
        ratio = float(environ.get("OTEL_TRACES_SAMPLER_ARG") or 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ConfigError("OTEL_TRACES_SAMPLER_ARG: it is a number from 0 to 1")
    return ratio
