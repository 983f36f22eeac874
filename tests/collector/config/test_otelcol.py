"""Configuration in the OpenTelemetry Collector's shape says the same as ours, or why it can not be used here."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from collector.config import ConfigError, load

WHOLE: dict[str, Any] = {
    "receivers": {
        "otlp": {"protocols": {"grpc": {"endpoint": "0.0.0.0:1"}, "http": {"endpoint": "0.0.0.0:2"}}}
    },
    "exporters": {
        "clickhouse": {"url": "http://clickhouse:8123"},
        "otlp/jaeger": {"endpoint": "http://jaeger:4318"},
    },
    "extensions": {
        "health_check": {"endpoint": "0.0.0.0:8888", "path": "/healthz"},
        "eddyline": {"loops": {"replicas": 3}, "service": {"shutdown": {"drain_delay": "5s"}}},
    },
    "service": {
        "extensions": ["health_check", "eddyline"],
        "pipelines": {
            "traces": {"receivers": ["otlp"], "exporters": ["clickhouse", "otlp/jaeger"]},
            "logs/all": {"receivers": ["otlp"], "processors": [], "exporters": ["otlp/jaeger", "clickhouse"]},
        },
        "telemetry": {
            "logs": {"level": "WARNING"},
            "metrics": {
                "readers": [{"pull": {"exporter": {"prometheus": {"host": "0.0.0.0", "port": 8888}}}}]
            },
        },
    },
}


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    document = copy.deepcopy(WHOLE)
    change(document)
    return "yaml:" + json.dumps(document)


def test_everything_that_it_says_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_CONFIG", json.dumps(WHOLE))
    settings = load(["env:OTEL_CONFIG", "yaml:api: {endpoint: 127.0.0.1:3}"])
    protocols = settings.receivers.otlp.protocols
    assert (protocols.grpc.endpoint, protocols.http.endpoint) == ("0.0.0.0:1", "0.0.0.0:2")
    assert settings.sinks.clickhouse.url == "http://clickhouse:8123"
    assert settings.sinks.otlp["jaeger"].endpoint == "http://jaeger:4318"
    assert (settings.admin.endpoint, settings.api.endpoint) == ("0.0.0.0:8888", "127.0.0.1:3")
    assert settings.loops.replicas == 3
    assert settings.service.shutdown.drain_delay == 5.0
    assert settings.service.telemetry.log_level == "warning"


def test_a_protocol_that_is_not_named_is_off_and_one_without_settings_is_not() -> None:
    settings = load([changed(lambda d: d["receivers"]["otlp"].update(protocols={"http": None}))])
    protocols = settings.receivers.otlp.protocols
    assert (protocols.grpc.endpoint, protocols.http.endpoint) == (None, "127.0.0.1:4318")


def test_the_least_of_it_is_the_embedded_database() -> None:
    settings = load(
        [
            "yaml:{receivers: {otlp: null}, exporters: {eddyline: {}},"
            " service: {pipelines: {traces: {receivers: [otlp], exporters: [eddyline]}}}}"
        ]
    )
    assert settings.sinks.clickhouse.embedded
    assert settings.admin.endpoint == "127.0.0.1:13133"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda d: d.update(processors={"batch": {}}), "processors: there are none", id="processor"
        ),
        pytest.param(
            lambda d: d.update(connectors={"count": {}}), "connectors: there are none", id="connector"
        ),
        pytest.param(
            lambda d: d.update(sinks={}), "sinks: unknown key. There are receivers", id="ours-beside"
        ),
        pytest.param(
            lambda d: d["service"]["pipelines"].pop("traces"), "there is none for traces", id="no-traces"
        ),
        pytest.param(
            lambda d: d["service"]["pipelines"].update(profiles={}), "there are pipelines for", id="profiles"
        ),
        pytest.param(
            lambda d: d["service"]["pipelines"]["traces"].update(processors=["batch"]),
            "service.pipelines.traces.processors: there are none",
            id="pipeline-with-a-processor",
        ),
        pytest.param(
            lambda d: d["service"]["pipelines"]["traces"].update(receivers=["jaeger"]),
            "jaeger is not among the receivers",
            id="undefined-receiver",
        ),
        pytest.param(
            lambda d: d["service"]["pipelines"]["traces"].update(exporters=["clickhouse"]),
            "all that comes goes to every one, so name clickhouse, otlp/jaeger",
            id="not-every-exporter",
        ),
        pytest.param(
            lambda d: d["service"]["pipelines"].update(traces=["otlp"]),
            "service.pipelines.traces: it must be a mapping",
            id="pipeline-that-is-a-list",
        ),
        pytest.param(
            lambda d: d["service"]["extensions"].append("zpages"),
            "zpages is not among the extensions",
            id="zpages",
        ),
        pytest.param(
            lambda d: d["exporters"].update(debug={}),
            "service.pipelines.traces.exporters: all",
            id="unused-exporter",
        ),
        pytest.param(
            lambda d: d["extensions"]["health_check"].update(path="/"),
            "extensions.health_check.path: there are /healthz and /readyz",
            id="path-of-health",
        ),
        pytest.param(
            lambda d: d["extensions"]["health_check"].update(endpoint="0.0.0.0:13133"),
            "one address: extensions.health_check says 0.0.0.0:13133 and service.telemetry",
            id="two-addresses",
        ),
        pytest.param(
            lambda d: d["service"]["telemetry"]["metrics"].update(readers=[{"periodic": {}}]),
            "metrics are pulled by Prometheus",
            id="pushed-metrics",
        ),
        pytest.param(
            lambda d: d["extensions"]["eddyline"].update(sinks={}),
            "extensions.eddyline.sinks",
            id="sinks-inside",
        ),
        pytest.param(
            lambda d: d["exporters"]["clickhouse"].update(endpoint="tcp://clickhouse:9000"),
            "sinks.clickhouse.endpoint: unknown key",
            id="setting-of-the-exporter",
        ),
    ],
)
def test_what_there_is_not_is_named(change: Callable[[dict[str, Any]], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        load([changed(change)])


def test_an_unknown_exporter_is_named_with_those_that_there_are() -> None:
    document = (
        "{receivers: {otlp: {}}, exporters: {debug: {}}, service: {pipelines: {traces: {receivers: [otlp], "
    )
    with pytest.raises(ConfigError, match="debug: there are clickhouse, otlp/NAME, jsonl/NAME, and eddyline"):
        load([f"yaml:{document}exporters: [debug]}}}}}}}}"])


# --------------------------------------------------------------------------- own traces


def with_traces(**traces: Any) -> str:
    def change(document: dict[str, Any]) -> None:
        document["service"]["telemetry"]["traces"] = traces
        document["extensions"]["eddyline"]["service"]["telemetry"] = {"traces": {"requests_ratio": 0.5}}

    return changed(change)


def batched(**otlp: Any) -> list[dict[str, Any]]:
    return [{"batch": {"schedule_delay": 2000, "exporter": {"otlp": otlp}}}]


def test_own_traces_are_sent_where_it_says() -> None:
    settings = load(
        [
            with_traces(
                processors=batched(
                    protocol="http/protobuf",
                    endpoint="https://there:4318/in/v1/traces",
                    headers=[{"name": "api-key", "value": "k"}],
                    compression="none",
                    timeout=2500,
                    certificate="/ca.pem",
                ),
                sampler={"parent_based": {"root": {"trace_id_ratio_based": {"ratio": 0.25}}}},
                propagators=["tracecontext"],
            )
        ]
    )
    traces = settings.service.telemetry.traces
    assert (traces.endpoint, traces.protocol, traces.headers) == (
        "https://there:4318/in",
        "http",
        {"api-key": "k"},
    )
    assert (traces.compression, traces.timeout, traces.tls.ca_file) == ("off", 2.5, "/ca.pem")
    assert (traces.interval, traces.sample_ratio, traces.requests_ratio) == (2.0, 0.25, 0.5)
    assert settings.service.telemetry.log_level == "warning"
    assert settings.service.shutdown.drain_delay == 5.0

    grpc = batched(protocol="grpc", endpoint="there:4317", insecure=True, headers={"a": "b"})
    traces = load([with_traces(processors=grpc, sampler={"always_off": {}})]).service.telemetry.traces
    assert (traces.endpoint, traces.protocol, traces.headers) == ("http://there:4317", "grpc", {"a": "b"})
    assert (traces.sample_ratio, traces.compression) == (0.0, "gzip")


@pytest.mark.parametrize(
    "traces", [{}, {"level": "none", "processors": batched(endpoint="http://there")}, {"processors": []}]
)
def test_own_traces_are_off_where_it_says_so(traces: dict[str, Any]) -> None:
    assert load([with_traces(**traces)]).service.telemetry.traces.endpoint == ""


@pytest.mark.parametrize(
    ("traces", "message"),
    [
        ({"processors": [*batched(endpoint="http://a"), *batched(endpoint="http://b")]}, "go to one place"),
        ({"processors": [{"batch": {"exporter": {"console": {}}}}]}, "go to one place"),
        ({"processors": batched(endpoint="http://a", protocol="http/json")}, "the protocol is one of"),
        ({"processors": batched(endpoint="http://a", retry=1)}, "exporter.otlp.retry: unknown key"),
        ({"processors": batched(endpoint="http://a", headers=["a"])}, "headers: it must be"),
        (
            {"processors": batched(endpoint="http://a"), "sampler": {"jaeger_remote": {}}},
            "sampler: it is always_on",
        ),
        ({"limits": {}}, "traces.limits: unknown key"),
    ],
)
def test_what_own_traces_can_not_do_is_named(traces: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load([with_traces(**traces)])
