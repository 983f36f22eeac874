"""Dashboards and alerts: SQL shows what a collector stored on a server, to a user who may only read; PromQL asks for
metrics that it tells; and what dashboards refer to is provisioned."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from collector.api.jaeger.routes import V1
from collector.demo import captured
from tests.clickhouse_front import Front
from tests.corpus import select
from tests.deploy.render import CHART
from tests.deploy.told import BY_PROMETHEUS, NOT_OURS, asked
from tests.sending import http_protobuf
from tests.server import Server, with_schema

GRAFANA = CHART.parents[1] / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
PAYLOADS = (
    "openinference/openai-agents/",
    "gen_ai/genai-openai-both/",
    "gen_ai/genai-openai-span/",
    "gen_ai/strands-native/tools",
)
USERS = {"eddyline": "writes", "reader": "reads"}
BUCKET_S = 3600


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    board: str
    panel: dict[str, Any]
    query: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.board}-{self.panel['title']}-{self.query['refId']}".replace(" ", "-")


def boards() -> list[dict[str, Any]]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in FILES]


def targets(kind: str) -> list[Target]:
    return [
        Target(board["uid"], panel, query)
        for board in boards()
        for panel in board["panels"]
        for query in panel.get("targets", ())
        if query["datasource"]["type"] == kind
    ]


def expanded(sql: str, project: str | None) -> str:
    """What Grafana's data source makes of its macros: all of the time, all projects or one."""
    sql = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 >= toDateTime(0) AND \1 <= toDateTime(4102444800)", sql)
    sql = re.sub(
        r"\$__timeInterval\((\w+)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {BUCKET_S} second)", sql
    )
    condition = r"\1" if project else "1=1"
    sql = re.sub(r"\$__conditionalAll\((.*?\)), \$\w+\)", condition, sql)
    sql = sql.replace("${project:singlequote}", f"'{project}'")
    assert "$" not in sql, f"a macro that is not known: {sql}"
    return sql


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Server]]:
    """A ClickHouse server, and a collector that stored captured payloads in it, met a fault of it, and refused what was
    over a quota."""
    folder = tmp_path_factory.mktemp("deployed")
    with_schema(folder / "store")
    front = Front(folder / "store", users=USERS).start()
    environ = {
        "EDDYLINE_SINKS__CLICKHOUSE__URL": front.url,
        "EDDYLINE_SINKS__CLICKHOUSE__USERNAME": "eddyline",
        "EDDYLINE_SINKS__CLICKHOUSE__PASSWORD": USERS["eddyline"],
        "EDDYLINE_QUOTAS__PROJECTS": '{"demo": {"items_per_second": 0.001}}',
    }
    server = Server(folder / "data", environ=environ).start()
    front.fault("INSERT INTO otel", status=503, body="too busy")
    http_protobuf(server, captured()[1], "demo")
    for scenario in select(*PAYLOADS):
        for file in scenario.traces:
            http_protobuf(server, file.read_bytes(), "corpus")
        for file in scenario.logs:
            http_protobuf(server, file.read_bytes(), "corpus", "logs")
    unknown = ExportTraceServiceRequest()
    scope = unknown.resource_spans.add().scope_spans.add()
    scope.scope.name = "somebody's own"
    scope.spans.add(
        trace_id=b"t" * 16, span_id=b"s" * 8, name="unknown", start_time_unix_nano=1, end_time_unix_nano=2
    )
    http_protobuf(server, unknown.SerializeToString(), "corpus")
    greedy = {"Content-Type": "application/x-protobuf", "X-Loop-Project": "demo"}
    url = f"{server.endpoints['http']}/v1/traces"
    assert httpx.post(url, content=unknown.SerializeToString(), headers=greedy).status_code == 429
    server.settled()
    yield front, server
    assert server.stop() == 0
    front.stop()


@pytest.fixture(scope="module")
def told(deployed: tuple[Front, Server]) -> dict[str, set[str]]:
    """Names of samples as Prometheus knows them, and their labels."""
    _, server = deployed
    labels: dict[str, set[str]] = {}
    text = httpx.get(f"{server.endpoints['admin']}/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.fixture(scope="module")
def reader(deployed: tuple[Front, Server]) -> Iterator[Any]:
    """A client of the store that may only read, as Grafana's."""
    front, _ = deployed
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=front.port, username="reader", password=USERS["reader"]
    )
    yield client
    client.close()


@pytest.mark.parametrize("target", targets("grafana-clickhouse-datasource"), ids=str)
def test_a_panel_shows_what_is_stored(target: Target, reader: Any) -> None:
    everything = reader.query(expanded(target.query["rawSql"], None))
    assert everything.result_rows
    if target.query["format"] == 0:
        assert everything.column_names[0] == "time"
        assert [row[0] for row in everything.result_rows] == sorted(row[0] for row in everything.result_rows)
    values = [value for row in everything.result_rows for value in row[target.query["format"] == 0 :]]
    assert any(value is not None and value != 0 for value in values)
    named = set(everything.column_names)
    for override in target.panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["options"] in named
    nothing = reader.query(expanded(target.query["rawSql"], "nobody")).result_rows
    assert all(not value or value != value for row in nothing for value in row)


def test_the_projects_to_choose_from_are_those_that_there_are(reader: Any) -> None:
    [variable] = [
        item for board in boards() for item in board["templating"]["list"] if item["name"] == "project"
    ]
    assert {row[0] for row in reader.query(variable["query"]).result_rows} == {"corpus", "demo"}


# --------------------------------------------------------------------------- what is told by metrics


@pytest.mark.parametrize("target", targets("prometheus"), ids=str)
def test_a_panel_asks_for_what_is_told(target: Target, told: dict[str, set[str]]) -> None:
    metrics = asked(target.query["expr"])
    assert metrics
    for name, labels in metrics.items():
        known = NOT_OURS[name] if name in NOT_OURS else told[name]
        assert labels - BY_PROMETHEUS <= known, name
    legend = set(re.findall(r"\{\{(\w+)\}\}", target.query["legendFormat"]))
    grouped = {label for labels in metrics.values() for label in labels} | {"instance"}
    assert legend <= grouped


# --------------------------------------------------------------------------- what they refer to


def provisioned() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load(
        (GRAFANA / "provisioning/datasources/eddyline.yaml").read_text(encoding="utf-8")
    )
    return {source["uid"]: source for source in document["datasources"]}


@pytest.mark.parametrize("board", boards(), ids=lambda board: board["uid"])
def test_a_dashboard_refers_to_sources_that_are_provisioned_and_lays_its_panels_side_by_side(
    board: dict[str, Any],
) -> None:
    sources = provisioned()
    used = [panel["datasource"] for panel in board["panels"] if panel["type"] != "row"]
    used += [query["datasource"] for panel in board["panels"] for query in panel.get("targets", ())]
    used += [item["datasource"] for item in board["templating"]["list"] if item["type"] == "query"]
    assert {source["uid"] for source in used} <= set(sources)
    assert all(sources[source["uid"]]["type"] == source["type"] for source in used)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        covered = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not covered & places, f"{panel['title']} lies on another panel"
        places |= covered
    text = json.dumps(board)
    known = {item["name"] for item in board["templating"]["list"]} | {"__all", "__value", "__rate_interval"}
    assert (
        set(re.findall(r"\$\{?(\w+)", re.sub(r"\$__(timeFilter|timeInterval|conditionalAll)", "", text)))
        <= known
    )


def test_grafana_finds_traces_where_the_collector_answers_as_jaeger() -> None:
    source = provisioned()["eddyline-jaeger"]
    assert source["url"] == "${EDDYLINE_URL}" + V1.removesuffix("/api")
    assert source["secureJsonData"] == {"httpHeaderValue1": "Bearer ${EDDYLINE_TOKEN}"}


# --------------------------------------------------------------------------- alerts


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((CHART / "files/alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_what_is_told(alert: dict[str, Any], told: dict[str, set[str]]) -> None:
    metrics = asked(alert["expr"])
    assert metrics
    for name, labels in metrics.items():
        known = NOT_OURS[name] if name in NOT_OURS else told[name]
        assert labels - BY_PROMETHEUS <= known, name
    said = " ".join(alert["annotations"].values())
    for label in set(re.findall(r"\$labels\.(\w+)", said)) - BY_PROMETHEUS:
        assert any(label in (told.get(name) or ()) for name in metrics), label
    assert alert["labels"]["severity"] in ("info", "warning", "critical")


def test_every_alert_is_tried_by_promtool() -> None:
    text = (Path(__file__).parent / "validators/alerts.yaml").read_text(encoding="utf-8")
    for alert in alerts():
        assert f"alertname: {alert['alert']}}}" in text
        assert f'{{alertname="{alert["alert"]}"}}' in text
