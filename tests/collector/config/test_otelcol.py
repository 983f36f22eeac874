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
