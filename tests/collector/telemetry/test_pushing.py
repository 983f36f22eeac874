"""The collector's own metrics by OTLP: what is pushed, where to, and what goes on when nobody takes it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from collector.config import ConfigError, OtlpTarget, PushedMetrics, Settings, load
from collector.config.meaning import not_understood
from collector.doors.circles import own_door
from collector.telemetry.families import CUMULATIVE, request_of
from collector.telemetry.otelvariables import named_target, resource_attributes
from collector.telemetry.pushing import Pusher
from sinks.otlp import METHODS
from tests.collector.test_forwarding import GrpcTarget, HttpTarget, grpc_target, target
from tests.waiting import PATIENCE_S, until

__all__ = ["grpc_target", "target"]
LOOPBACK = "127.0.0.1"


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    taken = Counter("spans_taken", "Spans.", ["door"], registry=registry)
    taken.labels("http").inc(3)
    taken.labels("grpc").inc(0.5)
    Gauge("memory_bytes", "Memory.", registry=registry).set(1 << 20)
    took = Histogram("took_seconds", "Time.", ["signal"], buckets=(0.1, 1), registry=registry)
    for seconds in (0.05, 0.06, 0.5, 7):
        took.labels("traces").observe(seconds)
    took.labels("logs")
    return registry


def by_name(body: bytes) -> dict[str, Any]:
    request = ExportMetricsServiceRequest.FromString(body)
    return {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}


def labels(point: Any) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in point.attributes}


def settings(*sets: str, interval_s: float | None = None) -> Settings:
    """`interval_s` may be less than is allowed."""
    found = load(sets=[f"service.telemetry.metrics.{one}" for one in sets])
    if interval_s is None:
        return found
    metrics = found.service.telemetry.metrics.model_copy(update={"interval": interval_s})
    telemetry = found.service.telemetry.model_copy(update={"metrics": metrics})
    return found.model_copy(update={"service": found.service.model_copy(update={"telemetry": telemetry})})


@pytest.fixture
def pusher(registry: CollectorRegistry) -> Iterator[Pusher]:
    pusher = Pusher(registry.collect, "1.2.3", "an-instance")
    yield pusher
    pusher.close()


# --------------------------------------------------------------------------- what


def test_metrics_are_the_same_by_otlp(registry: CollectorRegistry) -> None:
    body = request_of(registry.collect(), {"service.name": "me"}, version="1.2.3", started_ns=5, now_ns=9)
    found = by_name(body)
    assert set(found) == {"spans_taken", "memory_bytes", "took_seconds"}

    counter = found["spans_taken"]
    assert (counter.description, counter.sum.is_monotonic) == ("Spans.", True)
    assert counter.sum.aggregation_temporality == CUMULATIVE
    points = counter.sum.data_points
    assert [(labels(point), point.as_double) for point in points] == [
        ({"door": "http"}, 3.0),
        ({"door": "grpc"}, 0.5),
    ]
    assert {(point.start_time_unix_nano, point.time_unix_nano) for point in points} == {(5, 9)}

    [gauge] = found["memory_bytes"].gauge.data_points
    assert (labels(gauge), gauge.as_double, gauge.time_unix_nano) == ({}, 1 << 20, 9)

    assert found["took_seconds"].histogram.aggregation_temporality == CUMULATIVE
    traces, logs = found["took_seconds"].histogram.data_points
    assert (labels(traces), labels(logs)) == ({"signal": "traces"}, {"signal": "logs"})
    assert list(traces.explicit_bounds) == [0.1, 1.0]
    assert list(traces.bucket_counts) == [2, 1, 1]
    assert (traces.count, traces.sum) == (4, pytest.approx(7.61))
    assert (logs.count, list(logs.bucket_counts)) == (0, [0, 0, 0])

    request = ExportMetricsServiceRequest.FromString(body)
    assert labels(request.resource_metrics[0].resource) == {"service.name": "me"}
    scope = request.resource_metrics[0].scope_metrics[0].scope
    assert (scope.name, scope.version) == ("eddyline", "1.2.3")


# --------------------------------------------------------------------------- where to


def test_metrics_are_pushed_each_interval_and_once_at_the_end(pusher: Pusher, target: HttpTarget) -> None:
    pusher.take_over(settings(f"endpoint={target.url}/in", "headers={api-key: k}", interval_s=0.05))
    until(lambda: len(target.taken) >= 2)
    pusher.close()
    assert len(target.taken) >= 3
    assert {path for path, _, _ in target.taken} == {"/in/v1/metrics"}
    assert {headers["api-key"] for _, headers, _ in target.taken} == {"k"}
    bodies = [ExportMetricsServiceRequest.FromString(body) for _, _, body in target.taken]
    resources = [labels(body.resource_metrics[0].resource) for body in bodies]
    assert {one["service.name"] for one in resources} == {"eddyline"}
    assert {one["service.version"] for one in resources} == {"1.2.3"}
    assert {one["service.instance.id"] for one in resources} == {"an-instance"}
    assert "metrics-push" not in {thread.name for thread in threading.enumerate()}


def test_metrics_are_pushed_over_grpc(pusher: Pusher, grpc_target: GrpcTarget) -> None:
    where = f"endpoint=http://{LOOPBACK}:{grpc_target.port}"
    pusher.take_over(settings(where, "protocol=grpc", "interval=60"))
    pusher.close()
    [(method, _, body)] = grpc_target.taken
    assert method == METHODS["metrics"]
    assert "spans_taken" in by_name(body)


def test_another_configuration_holds_at_once(pusher: Pusher, target: HttpTarget) -> None:
    pusher.take_over(settings())
    assert "metrics-push" not in {thread.name for thread in threading.enumerate()}
    pusher.take_over(settings(f"endpoint={target.url}/first", interval_s=0.05))
    until(lambda: target.taken)
    pusher.take_over(settings(f"endpoint={target.url}/second", interval_s=0.05))
    until(lambda: any(path.startswith("/second") for path, _, _ in target.taken))
    pusher.take_over(settings())
    until(lambda: "metrics-push" not in {thread.name for thread in threading.enumerate()})


def test_who_does_not_take_them_is_named_once_and_holds_up_nobody(
    pusher: Pusher, target: HttpTarget, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collector.telemetry.pushing")
    partial = ExportMetricsServiceResponse()
    partial.partial_success.rejected_data_points = 2
    partial.partial_success.error_message = "too old"
    target.answers = [(503, {}, b""), (400, {}, b"no"), None, (200, {}, partial.SerializeToString())]
    pusher.take_over(settings(f"endpoint={target.url}", interval_s=0.05))
    until(lambda: len(target.taken) >= 2)
    pusher.close()
    told = [line.getMessage() for line in caplog.records if line.name == "collector.telemetry.pushing"]
    assert told == ["own metrics can not be pushed: answered 503", "own metrics are pushed again"]


def test_the_end_does_not_wait_for_who_does_not_answer(
    pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.telemetry.pushing.LAST_S", 0.2)
    with socket.create_server((LOOPBACK, 0)) as silent:
        pusher.take_over(settings(f"endpoint=http://{LOOPBACK}:{silent.getsockname()[1]}", "timeout=300"))
        began = time.monotonic()
        pusher.close()
        assert time.monotonic() - began < PATIENCE_S


# --------------------------------------------------------------------------- not to ourselves


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        (LOOPBACK, 4317, "grpc"),
        ("localhost", 4318, "http"),
        (LOOPBACK, 4318, "http"),
        (LOOPBACK, 4319, ""),
        ("192.0.2.1", 4318, ""),
        ("127.0.0.2", 4318, ""),
        ("127.0.0.2", 4320, "api"),
        ("0.0.0.0", 4320, "api"),
        ("192.0.2.1", 4320, ""),
        ("nowhere.invalid", 4318, ""),
    ],
)
def test_own_doors_are_known_by_any_name(host: str, port: int, name: str) -> None:
    doors = {
        "grpc": f"{LOOPBACK}:4317",
        "http": f"http://{LOOPBACK}:4318",
        "api": "0.0.0.0:4320",
        "proxy": None,
        "admin": "unix:/tmp/admin.sock",
    }
    assert own_door(host, port, doors) == name


def test_telemetry_is_not_passed_on_to_ourselves() -> None:
    def found(endpoint: str, *more: str) -> list[str]:
        return not_understood(load(sets=[f"sinks.otlp.team.endpoint={endpoint}", *more]))

    assert found("http://localhost:4318") == [
        "sinks.otlp.team.endpoint: that is this collector itself (http)"
    ]
    grpc = "sinks.otlp.team.protocol=grpc"
    assert found("http://127.0.0.1", grpc) == [
        "sinks.otlp.team.endpoint: that is this collector itself (grpc)"
    ]
    assert found("http://127.0.0.1:4319") == found("http://collector.invalid:4318") == []
    [said] = found("http://localhost:99999")
    assert said.startswith("sinks.otlp.team.endpoint: Port out of range")


def test_metrics_are_not_pushed_to_ourselves(pusher: Pusher, target: HttpTarget) -> None:
    wrong = settings("endpoint=http://localhost:4318")
    assert not_understood(wrong) == [
        "service.telemetry.metrics.endpoint: that is this collector itself (http)"
    ]
    assert not_understood(settings("endpoint=http://localhost:4319")) == []
    [said] = not_understood(settings("endpoint=http://localhost:99999"))
    assert said.startswith("service.telemetry.metrics.endpoint: Port out of range")
    pusher.doors = {"http": f"http://{LOOPBACK}:4318"}
    pusher.take_over(settings(f"endpoint={target.url}", interval_s=0.05))
    with pytest.raises(ConfigError, match="this collector itself"):
        pusher.take_over(wrong)
    until(lambda: target.taken)  # as before


# --------------------------------------------------------------------------- variables


def read(**variables: str) -> OtlpTarget:
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    return named_target(environ, "metrics", PushedMetrics(headers={"of": "settings"}, timeout=3.0))


def test_variables_say_where_metrics_go() -> None:
    found = read(ENDPOINT="http://there:4318/in", HEADERS="api-key=a%20b, x = y ", TIMEOUT="2500")
    assert (found.endpoint, found.protocol) == ("http://there:4318/in", "http")
    assert (found.headers, found.timeout, found.compression) == ({"api-key": "a b", "x": "y"}, 2.5, "gzip")
    found = read(
        ENDPOINT="http://there:4318", METRICS_ENDPOINT="https://m.example/otlp/v1/metrics", COMPRESSION="none"
    )
    assert (found.endpoint, found.compression) == ("https://m.example/otlp", "off")
    assert (found.headers, found.timeout) == ({"of": "settings"}, 3.0)
    found = read(ENDPOINT="there:4317", PROTOCOL="grpc", INSECURE="true", CERTIFICATE="/ca.pem")
    assert (found.endpoint, found.protocol, found.tls.ca_file) == ("http://there:4317", "grpc", "/ca.pem")
    assert read(METRICS_ENDPOINT="there:4317", PROTOCOL="grpc").endpoint == "https://there:4317"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "ENDPOINT is not set"),
        ({"ENDPOINT": "http://there", "PROTOCOL": "http/json"}, "one of grpc, http/protobuf"),
        ({"ENDPOINT": "http://there", "COMPRESSION": "zip"}, "one of gzip, none"),
        ({"ENDPOINT": "http://there", "TIMEOUT": "5s"}, "milliseconds"),
        ({"METRICS_ENDPOINT": "http://there/elsewhere"}, "ends in /v1/metrics"),
        ({"ENDPOINT": "http:// secret"}, "endpoint"),
        ({"ENDPOINT": "http://there", "HEADERS": "a b=secret"}, "headers"),
        ({"ENDPOINT": "http://there", "CLIENT_KEY": "/key"}, "tls"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_variables_that_say_nothing_are_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        read(**variables)
    assert "secret" not in str(raised.value)


def test_variables_alone_push_nothing(monkeypatch: pytest.MonkeyPatch, target: HttpTarget) -> None:
    """They are set in the shells from which programs send to us."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert not_understood(settings()) == []
    assert not_understood(settings("endpoint=env")) != []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", target.url)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=water,service.name=other,odd")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "eddyline-eu")
    assert not_understood(settings("endpoint=env")) == []
    pusher = Pusher(list, "1.2.3", "an-instance")
    pusher.take_over(settings("endpoint=env"))
    pusher.close()
    [(_, _, body)] = target.taken
    told = labels(ExportMetricsServiceRequest.FromString(body).resource_metrics[0].resource)
    assert told.pop("service.instance.id") == "an-instance"
    assert told == {"service.name": "eddyline-eu", "service.version": "1.2.3", "team": "water"}
    assert resource_attributes({"OTEL_RESOURCE_ATTRIBUTES": "a=b%2Cc"}) == {"a": "b,c"}
