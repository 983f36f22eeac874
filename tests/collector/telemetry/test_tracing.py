"""The collector's own traces: what is told, to whom, and that nobody is held up by it or hears of himself."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.config import ConfigError, Settings, load
from collector.config.meaning import not_understood
from collector.intake.intake import Intake, Submission
from collector.intake.outcome import Verdict
from collector.otlp import Signal
from collector.telemetry import tracing
from collector.telemetry.operations import OWN_SCOPE, Doing, Kind, Operations, is_among
from collector.telemetry.otelvariables import sample_ratio
from collector.telemetry.ownspans import request_of
from collector.telemetry.tracing import Tracer
from sinks.otlp import METHODS
from tests.collector.test_forwarding import GrpcTarget, HttpTarget, grpc_target, target
from tests.sending import TRANSPORTS
from tests.server import Server
from tests.waiting import PATIENCE_S, until

__all__ = ["grpc_target", "target"]
LOOPBACK = "127.0.0.1"


def spans(bodies: list[bytes]) -> list[Span]:
    requests = map(ExportTraceServiceRequest.FromString, bodies)
    return [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def sent_to(target: HttpTarget) -> list[Span]:
    return spans([body for _, _, body in list(target.taken)])


def attributes(told: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in told.attributes}


def settings(*sets: str, interval_s: float | None = None) -> Settings:
    """`interval_s` may be less than is allowed."""
    found = load(sets=[f"service.telemetry.traces.{one}" for one in sets])
    if interval_s is None:
        return found
    traces = found.service.telemetry.traces.model_copy(update={"interval": interval_s})
    telemetry = found.service.telemetry.model_copy(update={"traces": traces})
    return found.model_copy(update={"service": found.service.model_copy(update={"telemetry": telemetry})})


@pytest.fixture
def operations() -> Operations:
    return Operations()


@pytest.fixture
def tracer(operations: Operations) -> Iterator[Tracer]:
    tracer = Tracer(operations, "collector", "an-instance")
    yield tracer
    tracer.close()


# --------------------------------------------------------------------------- what


def test_an_operation_is_a_span_and_its_steps_are_spans_within_it(
    operations: Operations, tracer: Tracer, target: HttpTarget
) -> None:
    tracer.take_over(settings(f"endpoint={target.url}/in", "headers={api-key: k}", interval_s=0.05))
    with operations.of("store traces").doing() as doing:
        doing.told |= {"items": 3, "full": False, "lag_s": 0.5, "signal": "traces", "nothing": None}
        with doing.step("derive"):
            pass
        with doing.step("INSERT runs", **{"db.system.name": "clickhouse"}):
            pass
    until(lambda: target.taken)
    [(path, headers, body)] = target.taken
    assert (path, headers["api-key"]) == ("/in/v1/traces", "k")
    told = ExportTraceServiceRequest.FromString(body).resource_spans[0]
    resource = attributes(told.resource)
    assert resource["process.pid"] > 0
    assert {name: resource[name] for name in resource if name.startswith(("service", "eddyline"))} == {
        "service.name": "eddyline",
        "service.version": resource["service.version"],
        "service.instance.id": "an-instance",
        "eddyline.process": "collector",
    }
    assert told.scope_spans[0].scope.name == OWN_SCOPE
    whole, derive, insert = told.scope_spans[0].spans
    assert [span.name for span in (whole, derive, insert)] == ["store traces", "derive", "INSERT runs"]
    assert attributes(whole) == {
        "eddyline.items": 3,
        "eddyline.full": False,
        "eddyline.lag_s": 0.5,
        "eddyline.signal": "traces",
    }
    assert {span.trace_id for span in (whole, derive, insert)} == {doing.trace_id}
    assert [span.parent_span_id for span in (whole, derive, insert)] == [b"", whole.span_id, whole.span_id]
    assert [len(span.span_id) for span in (whole, derive, insert)] == [8, 8, 8]
    assert whole.start_time_unix_nano <= derive.start_time_unix_nano <= derive.end_time_unix_nano
    assert insert.end_time_unix_nano <= whole.end_time_unix_nano
    assert (derive.kind, insert.kind) == (Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT)


def test_the_same_record_is_a_sample_of_tracez(operations: Operations) -> None:
    with pytest.raises(KeyError), operations.of("job").doing() as doing, doing.step("half"):
        raise KeyError("what was sent")
    [sample] = operations.document()["job"]["errors"]["samples"]
    assert sample["error"] == "KeyError"
    assert [(step["name"], step["error"]) for step in sample["steps"]] == [("half", "KeyError")]


def test_what_failed_says_so(operations: Operations, tracer: Tracer, target: HttpTarget) -> None:
    tracer.take_over(settings(f"endpoint={target.url}", "requests_ratio=1"))
    operations.of("receive traces over http", Kind.REQUEST).failed(0.25, "bad: no OTLP\x1b[31m", {"bytes": 7})
    tracer.close()
    [span] = sent_to(target)
    assert (span.status.code, span.status.message) == (2, "bad: no OTLP ")
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    assert attributes(span) == {"eddyline.bytes": 7}


def test_nothing_is_told_or_kept_unless_it_is_asked_for(operations: Operations, tracer: Tracer) -> None:
    tracer.take_over(settings())
    assert tracer.document() is None
    operations.of("store traces").done(Doing())
    assert "traces-push" not in {thread.name for thread in threading.enumerate()}


def test_a_share_is_told(operations: Operations, tracer: Tracer, target: HttpTarget) -> None:
    """Of requests by chance, of the rest by the trace's id; probes never are."""
    tracer.take_over(settings(f"endpoint={target.url}", "sample_ratio=0.5", "requests_ratio=0.1"))
    kinds = {kind: operations.of(kind.value, kind) for kind in Kind}
    for _ in range(1000):
        for kind in (Kind.REQUEST, Kind.UNTOLD):
            kinds[kind].took(0.001, {})
    chosen = [Doing() for _ in range(200)]
    for doing in chosen:
        kinds[Kind.WORK].done(doing)
    tracer.close()
    told = sent_to(target)
    assert {span.trace_id for span in told if span.name == "work"} == {
        doing.trace_id for doing in chosen if is_among(doing.trace_id, 0.5)
    }
    assert 40 < sum(span.name == "request" for span in told) < 200
    assert not any(span.name == "untold" for span in told)
    assert is_among(b"\xff" * 16, 1.0)
    assert not is_among(bytes(16), 0.0)


def test_of_who_asks_the_trace_and_its_decision_hold(
    operations: Operations, tracer: Tracer, target: HttpTarget
) -> None:
    tracer.take_over(settings(f"endpoint={target.url}", "sample_ratio=0.000001"))
    answer = operations.of("answer", Kind.ANSWER)
    theirs, parent = b"\xaa" * 16, b"\xbb" * 8
    answer.done(Doing(trace_id=theirs, parent_id=parent))
    answer.done(Doing(trace_id=theirs, parent_id=parent, is_wanted=False))
    tracer.close()
    [span] = sent_to(target)
    assert (span.trace_id, span.parent_span_id) == (theirs, parent)


# --------------------------------------------------------------------------- where to


def test_spans_are_sent_over_grpc(operations: Operations, tracer: Tracer, grpc_target: GrpcTarget) -> None:
    tracer.take_over(settings(f"endpoint=http://{LOOPBACK}:{grpc_target.port}", "protocol=grpc"))
    operations.of("work").done(Doing())
    tracer.close()
    [(method, _, body)] = grpc_target.taken
    assert method == METHODS["traces"]
    assert [span.name for span in spans([body])] == ["work"]


def test_another_configuration_holds_at_once_and_what_waited_goes_where_it_was_to(
    operations: Operations, tracer: Tracer, target: HttpTarget
) -> None:
    work = operations.of("work")
    tracer.take_over(settings(f"endpoint={target.url}/first", "interval=60"))
    work.done(Doing())
    tracer.take_over(settings(f"endpoint={target.url}/second", interval_s=0.05))
    work.done(Doing())
    until(lambda: {path for path, _, _ in target.taken} == {"/first/v1/traces", "/second/v1/traces"})
    tracer.take_over(settings())
    until(lambda: "traces-push" not in {thread.name for thread in threading.enumerate()})
    assert len(sent_to(target)) == 2


def test_many_are_sent_before_the_interval_is_over(
    operations: Operations, tracer: Tracer, target: HttpTarget
) -> None:
    tracer.take_over(settings(f"endpoint={target.url}", "interval=3600"))
    for _ in range(tracing.AT_A_TIME):
        operations.of("work").done(Doing())
    until(lambda: len(sent_to(target)) == tracing.AT_A_TIME)


def test_variables_say_where_traces_go_and_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are set in the shells from which programs send to us: alone they mean nothing."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert not_understood(settings()) == []
    assert not_understood(settings("endpoint=env")) == [
        "service.telemetry.traces.endpoint: that is this collector itself (http)"
    ]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://there:4318/otlp/v1/traces")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    assert not_understood(settings("endpoint=env")) == []
    plan = tracing.plan_of(settings("endpoint=env", "requests_ratio=1").service.telemetry.traces, {})
    assert plan is not None
    assert plan.target.endpoint == "http://there:4318/otlp"
    assert plan.shares == {Kind.WORK: 0.25, Kind.ANSWER: 0.25, Kind.REQUEST: 0.25}


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        ("", "", 0.7),
        ("always_on", "0.1", 1.0),
        ("parentbased_always_off", "", 0.0),
        ("traceidratio", "", 1.0),
        ("traceidratio", "0.01", 0.01),
    ],
)
def test_the_sampler_of_the_sdks_is_understood(sampler: str, argument: str, ratio: float) -> None:
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert sample_ratio(environ, 0.7) == ratio


@pytest.mark.parametrize(("sampler", "argument"), [("jaeger_remote", ""), ("traceidratio", "2")])
def test_a_sampler_that_there_is_not_is_named(sampler: str, argument: str) -> None:
    with pytest.raises(ConfigError, match="OTEL_TRACES_SAMPLER"):
        sample_ratio({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}, 1.0)


# --------------------------------------------------------------------------- who does not take them


def test_who_is_away_for_a_while_loses_nothing(
    operations: Operations, tracer: Tracer, target: HttpTarget, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "collector.telemetry.tracing")
    target.answers = [(503, {}, b""), None, None]
    tracer.take_over(settings(f"endpoint={target.url}", interval_s=0.05))
    operations.of("work").done(Doing())
    until(lambda: target.taken)
    tracer.close()
    assert len(sent_to(target)) == 1
    assert tracer.document() == {"sent": 1, "lost": 0, "waiting": 0, "last_error": None}
    told = [line.getMessage() for line in caplog.records if line.name == "collector.telemetry.tracing"]
    assert told == ["own traces can not be sent: answered 503", "own traces are sent again"]


def test_who_does_not_want_them_costs_these_alone(
    operations: Operations, tracer: Tracer, target: HttpTarget
) -> None:
    partial = ExportTraceServiceResponse()
    partial.partial_success.rejected_spans = 1
    partial.partial_success.error_message = "too old"
    target.answers = [(400, {}, b"no"), (200, {}, partial.SerializeToString())]
    tracer.take_over(settings(f"endpoint={target.url}", interval_s=0.05))
    for lost in (1, 2):
        operations.of("work").done(Doing())
        until(lambda lost=lost: tracer.counted.lost == lost)
    assert tracer.counted.last_error == "1 spans were rejected: too old"
    operations.of("work").done(Doing())
    until(lambda: tracer.counted.sent == 1)


def test_what_waits_is_bounded(
    operations: Operations, tracer: Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MOST_WAITING", 3)
    with socket.create_server((LOOPBACK, 0)) as silent:
        tracer.take_over(settings(f"endpoint=http://{LOOPBACK}:{silent.getsockname()[1]}", "interval=60"))
        for _ in range(10):
            operations.of("work").done(Doing())
        assert tracer.document() == {"sent": 0, "lost": 7, "waiting": 3, "last_error": None}
        monkeypatch.setattr(tracing, "LAST_S", 0.2)
        began = time.monotonic()
        tracer.close()
        assert time.monotonic() - began < PATIENCE_S


# --------------------------------------------------------------------------- not to ourselves, not about ourselves


def test_traces_are_not_sent_to_ourselves(operations: Operations, tracer: Tracer, target: HttpTarget) -> None:
    wrong = settings("endpoint=http://localhost:4318")
    assert not_understood(wrong) == [
        "service.telemetry.traces.endpoint: that is this collector itself (http)"
    ]
    assert not_understood(settings("endpoint=http://localhost:4319")) == []
    tracer.doors = {"http": f"http://{LOOPBACK}:4318"}
    tracer.take_over(settings(f"endpoint={target.url}", interval_s=0.05))
    with pytest.raises(ConfigError, match="this collector itself"):
        tracer.take_over(wrong)
    operations.of("work").done(Doing())
    until(lambda: target.taken)  # as before


def own_request() -> bytes:
    operations = Operations()
    told: list[Any] = []
    operations.tell_on(told.append, {Kind.WORK: 1.0})
    operations.of("store traces").done(Doing())
    return request_of(told, {"service.instance.id": "another"}, version="1.2.3")


def span_request() -> bytes:
    request, now_ns = ExportTraceServiceRequest(), time.time_ns()
    request.resource_spans.add().scope_spans.add().spans.add(
        name="call",
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        start_time_unix_nano=now_ns,
        end_time_unix_nano=now_ns,
    )
    return request.SerializeToString()


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_own_spans_are_taken_and_not_told_of_in_turn(
    operations: Operations, tracer: Tracer, target: HttpTarget, encoding: str
) -> None:
    """Also those of another collector: two that tell each other would never end."""
    tracer.take_over(settings(f"endpoint={target.url}", "requests_ratio=1"))
    intake = Intake({}, operations=operations)
    ended = []
    for body in (own_request(), span_request()):
        packed = gzip.compress(body) if encoding else body
        intake.take(Submission(Signal.TRACES, packed, "http", encoding=encoding), ended.append)
    assert [outcome.verdict for outcome in ended] == [Verdict.ACCEPTED] * 2
    tracer.close()
    [span] = sent_to(target)
    assert attributes(span)["eddyline.items"] == 1
    [kind] = operations.document().values()
    assert sum(found["count"] for found in kind["latency"].values()) == 2  # of both there are samples


def test_what_the_proxy_tells_is_not_told_twice(
    operations: Operations, tracer: Tracer, target: HttpTarget
) -> None:
    tracer.take_over(settings(f"endpoint={target.url}", "requests_ratio=1"))
    intake = Intake({}, operations=operations)
    intake.submit(Signal.TRACES, span_request(), tenant="", project="", done=lambda outcome: None)
    tracer.close()
    assert "receive traces over proxy" in operations.document()
    assert not target.taken


# --------------------------------------------------------------------------- all of it


def traced(directory: Path, target: HttpTarget, *arguments: str) -> Server:
    config = directory.with_suffix(".yaml")
    config.write_text(f"""
service: {{telemetry: {{traces: {{endpoint: "{target.url}", interval: 1, requests_ratio: 1}}}}}}
""")
    return Server(directory, "--config", str(config), *arguments)


def named(target: HttpTarget, name: str) -> list[Span]:
    return [span for span in sent_to(target) if span.name == name]


def test_a_collector_tells_of_its_start_its_batches_its_requests_and_its_end(
    tmp_path: Path, target: HttpTarget
) -> None:
    running = traced(tmp_path / "data", target, "--set", "workers=1").start()
    TRANSPORTS["http-protobuf"](running, span_request(), "shop")
    running.settled()
    theirs, parent = "aa" * 16, "bb" * 8
    running.api.get("/api/v1/runs", headers={"traceparent": f"00-{theirs}-{parent}-01"})
    assert running.api.get("/api/v1/runs/nothing-like-it").status_code == 404
    running.get("/status")
    until(lambda: named(target, "store traces/worker-1"))
    until(lambda: running.get("/status")["own_traces"]["sent"] > 1)
    told = running.get("/status")["own_traces"]
    assert (told["lost"], told["last_error"]) == (0, None)
    assert running.stop() == 0

    batch = max(named(target, "store traces/worker-1"), key=lambda span: attributes(span)["eddyline.items"])
    said = attributes(batch)
    assert (said["eddyline.items"], said["eddyline.records"], said["eddyline.runs"]) == (1, 1, 1)
    assert said["eddyline.journal_begin"] < said["eddyline.journal_end"]
    steps = [span for span in sent_to(target) if span.parent_span_id == batch.span_id]
    assert [span.name for span in steps] == [
        "read",
        "map",
        "wait to derive",
        "derive",
        "wait to write",
        "complete",
        "begin the cursor",
        "INSERT otel_traces",
        "INSERT run_events",
        "INSERT runs",
        "advance the cursor",
    ]
    assert {span.trace_id for span in steps} == {batch.trace_id}
    insert = attributes(steps[-2])
    assert (insert["db.collection.name"], insert["db.operation.batch.size"]) == ("runs", 1)
    assert insert["eddyline.bytes"] > 100

    answers = named(target, "answer GET /api/v1/runs")
    [answer] = [span for span in answers if span.trace_id.hex() == theirs]
    assert (answer.parent_span_id.hex(), answer.kind) == (parent, Span.SPAN_KIND_SERVER)
    said = attributes(answer)
    assert (said["http.route"], said["http.response.status_code"]) == ("/api/v1/runs", 200)
    [missed] = named(target, "answer GET /api/v1/runs/{run_id}")
    assert attributes(missed)["http.response.status_code"] == 404
    assert missed.status.code == 0

    [start], [drain] = named(target, "start"), named(target, "drain")
    assert start.end_time_unix_nano < drain.start_time_unix_nano
    assert len(named(target, "receive traces over http")) == 1
    resources = [
        attributes(resource.resource)
        for _, _, body in target.taken
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
    ]
    assert {one["eddyline.process"] for one in resources} == {"collector", "worker 1"}
    assert len({one["service.instance.id"] for one in resources}) == 1
    assert len({one["process.pid"] for one in resources}) == 2
    assert not any("healthz" in span.name for span in sent_to(target))


def test_another_collector_takes_them_and_does_not_tell_of_that(tmp_path: Path, target: HttpTarget) -> None:
    far = traced(tmp_path / "far", target).start()
    where = f"service.telemetry.traces.endpoint={far.endpoints['http']}"
    near = Server(tmp_path / "near", "--set", where, "--set", "service.telemetry.traces.interval=1s").start()
    TRANSPORTS["http-protobuf"](near, span_request(), "shop")
    near.settled()
    assert near.stop() == 0
    far.settled()
    until(lambda: far.get("/status")["stored"]["spans"] > 10)
    assert {run["project"] for run in far.runs()} == {"default"}
    assert far.stop() == 0
    assert named(target, "start")
    assert named(target, "drain")
    assert not named(target, "store traces")
    assert not named(target, "receive traces over http")


def test_a_target_that_is_gone_holds_up_nothing(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as closed:
        port = closed.getsockname()[1]
    where = f"service.telemetry.traces.endpoint=http://{LOOPBACK}:{port}"
    running = Server(
        tmp_path / "data", "--set", where, "--set", "service.telemetry.traces.interval=1s"
    ).start()
    TRANSPORTS["http-protobuf"](running, span_request(), "shop")
    running.settled()
    until(lambda: running.get("/status")["own_traces"]["last_error"])
    assert running.get("/status")["stored"]["spans"] == 1
    assert running.stop() == 0
