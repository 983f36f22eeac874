from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from collector.demo import captured
from tests.clickhouse_front import Front
from tests.corpus import select
from tests.deploy.manifests import SECRETS
from tests.sending import http_protobuf
from tests.server import Server

PAYLOADS = (
    "openinference/openai-agents/",
    "gen_ai/genai-openai-both/",
    "gen_ai/genai-openai-span/",
    "gen_ai/strands-native/tools",
)
USERS = {"eddyline": "writes", "reader": "reads"}


@pytest.fixture(scope="package")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Server]]:
    """A ClickHouse server, and a collector that stored captured payloads in it and met a fault of it."""
    folder = tmp_path_factory.mktemp("deployed")
    front = Front(folder / "store", users=USERS).start()
    environ = {
        "EDDYLINE_SINKS__CLICKHOUSE__URL": front.url,
        "EDDYLINE_SINKS__CLICKHOUSE__USERNAME": "eddyline",
        "EDDYLINE_SINKS__CLICKHOUSE__PASSWORD": USERS["eddyline"],
        "EDDYLINE_AUTH__KEYS__INGEST__KEY": SECRETS["ingest-key"],
        "EDDYLINE_TOKEN": SECRETS["token"],
    }
    server = Server(folder / "data", environ=environ).start()
    server.api.headers["Authorization"] = f"Bearer {SECRETS['token']}"
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
    server.settled()
    yield front, server
    assert server.stop() == 0
    front.stop()


@pytest.fixture(scope="package")
def told(deployed: tuple[Front, Server]) -> dict[str, set[str]]:
    """Names of samples as Prometheus knows them, and their labels."""
    _, server = deployed
    labels: dict[str, set[str]] = {}
    text = httpx.get(f"{server.endpoints['admin']}/metrics").text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels
