"""What the collector says of itself: metrics, the state of its parts, log lines."""

from __future__ import annotations

import io
import json
import logging
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.demo import captured
from collector.intake.clients import client_name
from collector.intake.counted import MOST_CLIENTS, IntakeStats
from collector.intake.intake import Intake, Submission
from collector.intake.outcome import Outcome
from collector.otlp import Signal, decode_traces
from collector.telemetry.telemetry import (
    Health,
    _JsonLines,
    _NotTooOften,
    _PlainLines,
    about,
    configure_logging,
)
from tests.collector.receivers.test_http import broken
from tests.corpus import select
from tests.otlp_json import to_json
from tests.sending import http_protobuf, over_grpc, renamed
from tests.server import Server
from tests.test_documentation import table
from tests.waiting import until

BODY = next(select("openinference/openai/tools")).traces[0].read_bytes()


def metrics(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = httpx.get(f"{server.endpoints['admin']}/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def of(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_metrics_say_what_the_status_says(server: Server) -> None:
    http_protobuf(server, renamed(BODY, 99), "metrics")
    over_grpc(server, renamed(BODY, 98), "metrics")
    status = server.settled()
    found = metrics(server)
    for signal, balance in (("traces", status["pipeline"]), ("logs", status["pipeline"]["logs"])):
        for fate in ("accepted", "stored", "queued", "dead_lettered", "duplicates", "filtered", "damaged"):
            assert of(found, "eddyline_items", signal=signal, fate=fate) == balance[fate]
    for transport in ("http", "grpc"):
        accepted = status["receivers"][transport]["traces"]["accepted"]
        assert accepted > 0
        name = "otelcol_receiver_accepted_spans_total"
        assert of(found, name, receiver="otlp", transport=transport) == accepted
    assert of(found, "eddyline_stored", what="spans") == status["stored"]["spans"]
    assert of(found, "otelcol_exporter_queue_size", exporter="clickhouse", data_type="traces") == 0
    assert of(found, "eddyline_wal_fsync_seconds_count", signal="traces") > 0
    assert of(found, "eddyline_sink_insert_seconds_count", signal="traces") > 0
    assert of(found, "otelcol_process_memory_rss") > 1 << 20


def test_every_metric_is_in_the_reference(server: Server) -> None:
    http_protobuf(server, renamed(BODY, 96), "metrics")
    server.settled()
    shown = httpx.get(f"{server.endpoints['admin']}/metrics").text
    families = {family.name.removesuffix("_created") for family in text_string_to_metric_families(shown)}
    of_items = re.compile("_(log_records|metric_points)$")
    listed = {name.removesuffix("_total") for name in table("collector/README.md", "Metrics")}
    assert {of_items.sub("_spans", name) for name in families} == listed


def test_metrics_tell_of_clients_conventions_and_lags(server: Server) -> None:
    before = metrics(server)
    mapped = {"convention": "openinference", "kind": "LLM"}
    agent = "OTel-OTLP-Exporter-Python/1.27.0"
    url = f"{server.endpoints['http']}/v1/traces"
    headers = {"Content-Type": "application/x-protobuf", "User-Agent": agent}
    made = captured()[1]
    captured_spans = len(decode_traces(made))
    for _ in range(2):
        assert httpx.post(url, content=made, headers=headers).status_code == 200
    wrong = broken(0x6700001, span_id=b"short").SerializeToString()
    assert httpx.post(url, content=wrong, headers=headers | {"User-Agent": "another"}).status_code == 200
    server.settled()
    lags = "eddyline_loop_lag_seconds_count", frozenset[tuple[str, str]]()
    until(lambda: metrics(server)[lags] > before.get(lags, 0), every_s=0.1)
    found = metrics(server)

    def more(name: str, **labels: str) -> float:
        key = name, frozenset(labels.items())
        return found[key] - before.get(key, 0)

    assert more("eddyline_client_requests_total", sdk="OTel-OTLP-Exporter-Python", version="1.27.0") == 2
    assert more("eddyline_duplicate_requests_total", transport="http", signal="traces") == 1
    assert sum(value for (name, _), value in found.items() if name == "eddyline_spans_mapped_total") > 0
    assert ("eddyline_spans_mapped_total", frozenset(mapped.items())) in found
    assert more("eddyline_ingest_lag_seconds_count", signal="traces") >= 1
    assert more("eddyline_partial_rejections_total", signal="traces", reason="span id is not 8 bytes") == 1
    mapper = {"processor": "genai_mapper", "signal": "traces"}
    assert more("otelcol_processor_incoming_items_total", **mapper) == captured_spans + 2
    assert more("otelcol_processor_outgoing_items_total", **mapper) >= captured_spans
    batch = {"processor": "batch", "signal": "traces"}
    batches = more("otelcol_processor_batch_batch_send_size_count", **batch)
    assert batches == more("otelcol_processor_batch_batch_send_size_bytes_count", **batch)
    assert batches == more("otelcol_processor_batch_timeout_trigger_send_total", **batch)
    assert more("otelcol_processor_batch_batch_size_trigger_send_total", **batch) == 0
    assert of(found, "eddyline_wal_records", signal="traces") == 0
    assert of(found, "otelcol_exporter_in_flight_requests", exporter="clickhouse") == 0
    workers = bool(server.workers())
    assert of(found, "eddyline_wal_capacity_bytes", signal="traces") == (10 << 30) * (1 + workers)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("OTel-OTLP-Exporter-Python/1.39.1", "OTel-OTLP-Exporter-Python/1.39.1"),
        ("OTel-OTLP-Exporter-JavaScript/0.223.0 grpc-node-js/1.14", "OTel-OTLP-Exporter-JavaScript/0.223.0"),
        ("OpenTelemetry Collector Contrib/0.135.0 (linux/amd64)", "Contrib/0.135.0"),
        ("OpenTelemetry Collector/0.135.0 (linux/amd64)", "OpenTelemetry-Collector/0.135.0"),
        ("python-httpx/0.28.1", "python-httpx/0.28.1"),
        ("curl", "other"),
        ("", "other"),
        ("x" * 5000 + "/1", "other"),
    ],
)
def test_clients_are_known_by_their_first_product(agent: str, name: str) -> None:
    assert client_name(agent) == name


def test_clients_and_scopes_can_not_make_up_metrics_without_end() -> None:
    stats = IntakeStats()
    for number in range(1000):
        stats.saw_client(f"made-up/{number}")
    assert len(stats.clients) <= MOST_CLIENTS + 1
    assert stats.clients.total() == 1000


def test_a_label_never_holds_what_clients_sent(server: Server) -> None:
    http_protobuf(server, renamed(BODY, 97), "a-project-nobody-else-has")
    server.settled()
    assert "a-project-nobody-else-has" not in httpx.get(f"{server.endpoints['admin']}/metrics").text


def test_every_part_tells_its_state(server: Server) -> None:
    document = httpx.get(f"{server.endpoints['admin']}/status").json()
    assert document["status"] == "StatusOK"
    lanes = [f"{part}/{signal}" for part in ("journal", "pipeline") for signal in ("traces", "logs")]
    of_workers = [f"{lane}/worker-{number + 1}" for lane in lanes for number in range(len(server.workers()))]
    assert set(document["components"]) == {"receivers", "dead_letters", *lanes, *of_workers}
    assert all(part == {"status": "StatusOK", "error": None} for part in document["components"].values())


def test_what_is_vital_is_needed_to_be_ready_too() -> None:
    moves = [True]
    health = Health({"store": lambda: False}, {"journal": lambda: moves[0]})
    assert (health.dying(), health.failing()) == ([], ["store"])
    moves[0] = False
    assert (health.dying(), health.failing()) == (["journal"], ["journal", "store"])


def record(message: str, *arguments: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("collector.pipeline.pipeline", level, __file__, 1, message, arguments, None)


def test_a_log_line_is_one_json_object() -> None:
    line = json.loads(_JsonLines().format(record("%s is away\n\x1b[31m", "the store")))
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "warning",
        "event": "the store is away\n\x1b[31m",
        "component": "collector.pipeline.pipeline",
    }
    assert "\n" not in _JsonLines().format(record("a\nb"))


def test_a_log_line_says_whose_it_is_and_of_which_trace_where_that_is_known() -> None:
    said = record("an item is lost")
    vars(said).update(about("acme\x1b[31m", "ab" * 16))
    line = json.loads(_JsonLines().format(said))
    assert (line["tenant"], line["trace_id"]) == ("acme ", "ab" * 16)
    assert _PlainLines().format(said).endswith(f": an item is lost (tenant acme , trace_id {'ab' * 16})")
    assert about(trace_id="what somebody asked for") == {}


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_what_is_rejected_is_logged_with_its_tenant_and_trace(
    caplog: pytest.LogCaptureFixture, encoding: str
) -> None:
    wrong = broken(0x6700002, span_id=b"short")
    trace_id = wrong.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    body = to_json(wrong) if encoding == "json" else wrong.SerializeToString()
    outcomes: list[Outcome] = []
    request = Submission(Signal.TRACES, body, "http", json=encoding == "json", tenant="acme")
    Intake({}).take(request, outcomes.append)
    assert outcomes[0].rejected == 1
    [said] = caplog.records
    assert (vars(said)["tenant"], vars(said)["trace_id"]) == ("acme", trace_id)


@pytest.mark.parametrize("on_a_terminal", [False, True])
def test_what_clients_send_does_no_harm_in_a_log_line(
    monkeypatch: pytest.MonkeyPatch, *, on_a_terminal: bool
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: on_a_terminal, raising=False)
    monkeypatch.setattr("sys.stderr", written)
    evil = 'a\r\n2026-01-01 ERROR forged\x1b[2J\x1b]0;title\x07\x9b31m\x00\u2028"' + "x" * 10_000
    try:
        configure_logging("info")
        log = logging.getLogger("collector.test")
        log.warning("%s said %d things to %s", evil, 3, ValueError(evil))
        try:
            raise ValueError(evil)
        except ValueError:
            log.exception("%(what)s failed", {"what": evil})
    finally:
        root.handlers[:], _ = before, root.setLevel(level)
    said, failed = written.getvalue().split("failed", 1)
    assert said.count("\n") == 1  # two lines of our own
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028]", written.getvalue())
    assert len(said) < 1500
    assert "x" * 257 not in failed
    assert "said 3 things to a" in said
    assert "ValueError: a" in failed
    if not on_a_terminal:
        assert all(json.loads(line)["component"] for line in written.getvalue().splitlines())


def test_a_warning_is_said_once_in_ten_seconds_and_how_many_were_not() -> None:
    now = 0.0
    rarely = _NotTooOften(lambda: now)
    assert rarely.filter(record("%s is away", "a"))
    assert not any(rarely.filter(record("%s is away", name)) for name in "bcd")
    assert rarely.filter(record("another thing"))
    assert rarely.filter(record("%s is away", "e", level=logging.INFO))
    now = 10.0
    last = record("%s is away", "f")
    assert rarely.filter(last)
    assert last.getMessage() == "f is away (3 more like it)"
