"""What comes in is passed on to others: at least once, in order, at each one's own pace, and at nobody else's cost."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from collector.config import ConfigError, RedactionRules, RedactionSettings, Sinks, load
from collector.forwarding import forwarder as forwarder_module
from collector.forwarding.forwarder import Forwarder
from collector.forwarding.opening import Forwards
from collector.forwarding.passage import Passage
from collector.journal import SINK_CURSOR, Header, Journal
from collector.pipeline.redaction import ProjectRules, Redaction
from collector.pipeline.tombstones import Tombstones
from collector.process.environment import problems
from collector.telemetry.operations import Operation
from collector.understanding.mapping import mapping_document, read_items
from mappers.conventions import BUILTIN
from mappers.normalize import Normalizer
from sinks.base import BusyError, Outlet, PermanentError, RetryableError
from sinks.jsonl import JsonLines
from sinks.otlp import METHODS, OtlpGrpc, OtlpHttp, Target
from tests.corpus import Scenario, scenarios
from tests.sending import renamed
from tests.server import Server
from tests.waiting import PATIENCE_S, until

NUMBERS = itertools.count(1)


def request(text: str = "hello", count: int = 1, trace: int = 0) -> bytes:
    """A request of some spans, in a trace of its own unless one is named."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in range(count):
        span = scope.spans.add(
            name=f"span {number}", start_time_unix_nano=10**18, end_time_unix_nano=10**18 + 1
        )
        span.trace_id = (trace or next(NUMBERS)).to_bytes(16, "big")
        span.span_id = (number + 1).to_bytes(8, "big")
        span.attributes.add(key="said").value.string_value = text
    return message.SerializeToString()


def said(body: bytes) -> list[str]:
    """The texts of a request's spans."""
    return [
        span.attributes[0].value.string_value
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


# --------------------------------------------------------------------------- targets


class HttpTarget(ThreadingHTTPServer):
    """Answers as it is told to, one answer after the other, and then takes all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: list[tuple[int, dict[str, str], bytes] | None] = []
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.times: list[float] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpTarget

    def log_message(self, format: str, *values: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.times.append(time.monotonic())
        answer = self.server.answers.pop(0) if self.server.answers else (200, {}, b"")
        if answer is None:
            self.close_connection = True
            return
        status, headers, content = answer
        if status == 200:
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self.server.taken.append((self.path, dict(self.headers), body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def target() -> Iterator[HttpTarget]:
    running = HttpTarget()
    yield running
    running.shutdown()
    running.server_close()


class GrpcTarget(grpc.GenericRpcHandler):
    """The same over gRPC; an answer is a code with trailing metadata, or None."""

    def __init__(self, credentials: Any = None) -> None:
        self.answers: list[tuple[grpc.StatusCode, Sequence[tuple[str, bytes]]] | bytes] = []
        self.taken: list[tuple[str, dict[str, Any], bytes]] = []
        self.server = grpc.server(ThreadPoolExecutor(2), handlers=[self])
        address = "127.0.0.1:0"
        add = self.server.add_insecure_port(address) if credentials is None else 0
        self.port = add or self.server.add_secure_port(address, credentials)
        self.server.start()

    def service(self, details: Any) -> Any:
        def take(body: bytes, context: Any) -> bytes:
            answer = self.answers.pop(0) if self.answers else b""
            if isinstance(answer, tuple):
                context.set_trailing_metadata(answer[1])
                context.abort(answer[0], "as ordered")
            self.taken.append((details.method, dict(context.invocation_metadata()), body))
            return answer

        return grpc.unary_unary_rpc_method_handler(take)


@pytest.fixture
def grpc_target() -> Iterator[GrpcTarget]:
    running = GrpcTarget()
    yield running
    running.server.stop(None).wait()


# --------------------------------------------------------------------------- answers


@pytest.mark.parametrize("compression", ["gzip", "zstd", "off"])
def test_a_request_goes_over_http_with_headers_and_project(target: HttpTarget, compression: Any) -> None:
    outlet = OtlpHttp(Target(f"{target.url}/in/", {"Api-Key": "k"}, compression))
    outlet.send("traces", request("über"), "schön")
    outlet.send("logs", b"", "")

    (path, headers, body), (logs, plain_headers, _) = target.taken
    assert (path, logs) == ("/in/v1/traces", "/in/v1/logs")
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Api-Key"] == "k"
    assert headers["X-Eddyline-Project"].encode("latin-1").decode() == "schön"
    assert "X-Eddyline-Project" not in plain_headers
    assert headers.get("Content-Encoding", "off") == compression
    if compression != "zstd":
        assert said(body) == ["über"]
    outlet.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, BusyError) for status in (429, 502, 503, 504)),
        *((status, RetryableError) for status in (301, 401, 403, 404)),
        *((status, PermanentError) for status in (400, 413, 500)),
    ],
    ids=str,
)
def test_an_answer_over_http_means_what_the_protocol_says(target: HttpTarget, status: int, kind: Any) -> None:
    content = Status(code=3, message="this is why").SerializeToString()
    target.answers = [(status, {"Retry-After": "7"}, content)]
    outlet = OtlpHttp(Target(target.url))
    with pytest.raises(kind, match=f"{status} this is why") as raised:
        outlet.send("traces", request(), "")
    if isinstance(raised.value, BusyError):
        assert raised.value.after_s == 7
    outlet.close()


def test_an_idle_connection_that_was_closed_is_opened_anew_and_who_is_away_is_retried(
    target: HttpTarget,
) -> None:
    outlet = OtlpHttp(Target(target.url))
    outlet.send("traces", request("one"), "")
    target.answers = [None]
    outlet.send("traces", request("two"), "")
    assert [said(body) for _, _, body in target.taken] == [["one"], ["two"]]
    target.answers = [None, None]
    with pytest.raises(RetryableError):
        outlet.send("traces", request(), "")
    outlet.close()
    with pytest.raises(RetryableError):
        OtlpHttp(Target("http://127.0.0.1:9")).send("traces", request(), "")


def test_what_a_target_rejects_of_a_request_is_told(target: HttpTarget, grpc_target: GrpcTarget) -> None:
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    answer.partial_success.error_message = "too old"
    target.answers = [(200, {"Content-Type": "application/x-protobuf"}, answer.SerializeToString())]
    grpc_target.answers = [answer.SerializeToString()]
    over_grpc = OtlpGrpc(Target(f"http://127.0.0.1:{grpc_target.port}"))
    for outlet in (OtlpHttp(Target(target.url)), over_grpc):
        rejected = outlet.send("traces", request(count=3), "")
        assert (rejected.items, rejected.why) == (2, "too old")
        outlet.close()


def retry_info(seconds: int) -> Sequence[tuple[str, bytes]]:
    status, info = Status(), RetryInfo()
    info.retry_delay.seconds = seconds
    status.details.add().Pack(info)
    return [("grpc-status-details-bin", status.SerializeToString())]


@pytest.mark.parametrize(
    ("code", "trailers", "kind"),
    [
        ("UNAVAILABLE", (), RetryableError),
        ("UNAVAILABLE", retry_info(7), BusyError),
        ("DEADLINE_EXCEEDED", (), RetryableError),
        ("DATA_LOSS", (), RetryableError),
        ("UNAUTHENTICATED", (), RetryableError),
        ("RESOURCE_EXHAUSTED", retry_info(7), BusyError),
        ("RESOURCE_EXHAUSTED", (), PermanentError),
        ("INVALID_ARGUMENT", retry_info(7), PermanentError),
        ("INTERNAL", (), PermanentError),
    ],
    ids=lambda value: value if isinstance(value, str) else "told" if value else "untold",
)
def test_an_answer_over_grpc_means_what_the_protocol_says(
    grpc_target: GrpcTarget, code: str, trailers: Any, kind: Any
) -> None:
    grpc_target.answers = [(grpc.StatusCode[code], trailers)]
    outlet = OtlpGrpc(Target(f"http://127.0.0.1:{grpc_target.port}", {"Api-Key": "k"}))
    with pytest.raises(kind, match=f"{code}: as ordered") as raised:
        outlet.send("traces", request(), "p")
    assert type(raised.value) is kind
    if isinstance(raised.value, BusyError):
        assert raised.value.after_s == 7

    outlet.send("traces", request("again"), "p")
    method, metadata, body = grpc_target.taken[-1]
    assert (method, metadata["api-key"], metadata["x-eddyline-project"]) == (METHODS["traces"], "k", "p")
    assert said(body) == ["again"]
    outlet.close()


def test_a_target_with_tls_is_known_by_its_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    running = GrpcTarget(grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)]))
    url = f"https://localhost:{running.port}"
    OtlpGrpc(Target(url, ca_file=str(ca))).send("traces", request(), "")
    with pytest.raises(RetryableError):
        OtlpGrpc(Target(url, timeout_s=2)).send("traces", request(), "")
    running.server.stop(None).wait()


# --------------------------------------------------------------------------- from the journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "traces", segment_bytes=2_000)
    opened.open()
    opened.cursor(SINK_CURSOR)
    yield opened
    opened.close()


def append(journal: Journal, body: bytes, items: int = 1, project: str = "") -> None:
    done = threading.Event()
    journal.append(Header(time.time_ns(), "default", project, "http", items), body, lambda error: done.set())
    assert done.wait(PATIENCE_S)


def forwarding(
    journal: Journal,
    outlet: Outlet,
    name: str = "otlp/x",
    operation: Operation | None = None,
    settings: RedactionSettings | None = None,
    **changes: Any,
) -> Forwarder:
    options: dict[str, Any] = {
        "max_items": 100,
        "max_bytes": 1 << 20,
        "flush_timeout": 0.01,
        "max_waiting_bytes": 1 << 30,
    }
    started = Forwarder(
        name,
        "traces",
        journal,
        journal.cursor(name.replace("/", "-"), counts=False),
        passage(settings),
        outlet,
        operation,
        **options | changes,
    )
    started.start()
    return started


def passage(
    settings: RedactionSettings | None = None,
    deleted: Sequence[tuple[str, str]] = (),
    *,
    gen_ai: bool = False,
) -> Passage:
    redaction = Redaction(ProjectRules(settings or RedactionSettings()), BUILTIN)
    normalizer = Normalizer() if gen_ai else None
    return Passage("traces", redaction, Tombstones(deleted), lambda record: record.trace_id, normalizer)


def test_records_arrive_in_order_and_none_again_after_a_restart(journal: Journal, target: HttpTarget) -> None:
    for number, project in enumerate(("a", "a", "b", "")):
        append(journal, request(str(number)), project=project)
    first = forwarding(journal, OtlpHttp(Target(target.url)), flush_timeout=0.2)
    until(lambda: first.told.sent == 4)
    assert first.drain(time.monotonic() + PATIENCE_S)
    append(journal, request("4"))
    second = forwarding(journal, OtlpHttp(Target(target.url)))
    until(lambda: second.told.sent == 1)
    assert second.drain(time.monotonic() + PATIENCE_S)

    taken = [(headers.get("X-Eddyline-Project"), said(body)) for _, headers, body in target.taken]
    assert taken == [("a", ["0", "1"]), ("b", ["2"]), (None, ["3"]), (None, ["4"])]
    assert second.waiting_items == second.waiting_bytes == 0


def test_a_target_is_waited_for_and_one_refused_request_costs_no_other(
    journal: Journal, target: HttpTarget
) -> None:
    target.answers = [(503, {"Retry-After": "1"}, b""), (400, {}, b"never"), (401, {}, b"")]
    append(journal, request("refused", count=3), items=3)
    operation = Operation()
    forwarder = forwarding(journal, OtlpHttp(Target(target.url)), operation=operation)
    until(lambda: forwarder.told.failed == 3)
    append(journal, request("taken"))
    until(lambda: forwarder.told.sent == 1)
    assert forwarder.drain(time.monotonic() + PATIENCE_S)

    assert target.times[1] - target.times[0] >= 1
    assert [said(body) for _, _, body in target.taken] == [["taken"]]
    assert (forwarder.told.retries, forwarder.told.last_error) == (2, "")
    noted = operation.document()
    assert sum(kind["count"] for kind in noted["latency"].values()) == 1
    assert [(one["error"], one["items"]) for one in noted["errors"]["samples"]] == [
        ("to be tried again", 3),
        ("refused for good", 3),
        ("to be tried again", 1),
    ]


def test_what_is_no_request_costs_no_other(journal: Journal, target: HttpTarget) -> None:
    append(journal, b"\xff\xffnothing", items=2)
    append(journal, request("AKIAIOSFODNN7EXAMPLE whole"))
    settings = RedactionSettings(mask=["email"])
    forwarder = forwarding(journal, OtlpHttp(Target(target.url)), settings=settings, flush_timeout=0.2)
    until(lambda: forwarder.told.sent == 1)
    assert forwarder.told.failed == 2
    assert forwarder.drain(time.monotonic() + PATIENCE_S)


class Dead:
    """Takes nothing."""

    def send(self, signal: str, request: bytes, project: str) -> Any:
        raise RetryableError("away")

    def close(self) -> None:
        pass


def test_who_is_away_holds_up_nobody_and_does_not_fill_the_disk(
    journal: Journal, target: HttpTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder_module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(forwarder_module, "LONGEST_RETRY_S", 0.05)
    dead = forwarding(journal, Dead(), "otlp/dead", max_waiting_bytes=10_000)
    alive = forwarding(journal, OtlpHttp(Target(target.url)), "otlp/alive")
    store = journal.cursor(SINK_CURSOR)
    sizes = []
    for number in range(300):
        append(journal, request(str(number) * 100, trace=1))
        store.advance(journal.end)
        sizes.append(journal.size_bytes)
        time.sleep(0.002)
    until(lambda: alive.told.sent == 300)
    until(lambda: dead.waiting_bytes <= 10_000)

    assert journal.waiting_bytes == 0  # nobody is refused on its behalf
    assert max(sizes) < 60_000  # of 130,000
    assert dead.told.given_up > 200
    assert dead.told.last_error == "away"
    began = time.monotonic()
    assert not dead.drain(time.monotonic() + 2 * PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S  # nobody waits for it at the end
    assert alive.drain(time.monotonic() + PATIENCE_S)

    # It is back: what was kept for it arrives, and every item is one or the other.
    back = forwarding(journal, OtlpHttp(Target(target.url)), "otlp/dead", max_waiting_bytes=10_000)
    until(lambda: back.waiting_items == 0)
    assert back.drain(time.monotonic() + PATIENCE_S)
    assert dead.told.given_up + back.told.sent + back.told.given_up == 300


def test_who_is_dead_keeps_nothing_of_deleted_runs(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder_module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(forwarder_module, "DEAD_AFTER_S", 0.1)
    dead = forwarding(journal, Dead())
    append(journal, request("to be deleted"))
    journal.cursor(SINK_CURSOR).advance(journal.end)
    journal.wanted_gone = journal.next_sequence
    until(lambda: journal.rotate() or not journal.holds_before(journal.wanted_gone))
    dead.drain(time.monotonic() + 1)


# --------------------------------------------------------------------------- what leaves


def record(body: bytes, items: int = 1, project: str = "") -> Any:
    from collector.journal import Record

    return Record(1, Header(1, "default", project, "http", items), body)


def test_secrets_are_masked_and_the_rest_goes_byte_for_byte() -> None:
    secret, clean = request("my key is AKIAIOSFODNN7EXAMPLE"), request("nothing to hide")
    [parcel] = passage().parcels([record(secret), record(clean)])
    assert "AKIA" not in said(parcel.body)[0]
    assert parcel.body.endswith(clean)
    assert parcel.items == 2


def test_rules_of_projects_hold_for_what_leaves() -> None:
    settings = RedactionSettings(projects={"quiet": RedactionRules(mask=["email"], capture_input=False)})
    body = request("write to ann@example.com")
    message = ExportTraceServiceRequest.FromString(body)
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key="input.value").value.string_value = "question"
    span.attributes.add(key="openinference.span.kind").value.string_value = "LLM"

    def leaving(project: str) -> str:
        [parcel] = passage(settings).parcels([record(message.SerializeToString(), project=project)])
        return str(ExportTraceServiceRequest.FromString(parcel.body))

    assert "ann@example.com" in leaving("loud")
    assert "question" in leaving("loud")
    assert "ann@example.com" not in leaving("quiet")
    assert "question" not in leaving("quiet")


def test_deleted_runs_are_not_passed_on() -> None:
    gone, kept = request("gone", trace=7), request("kept", trace=8)
    [parcel] = passage(deleted=[("default", f"{7:032x}")]).parcels([record(gone), record(kept)])
    assert said(parcel.body) == ["kept"]
    assert parcel.items == 1


def test_any_value_survives_being_put_back() -> None:
    message = ExportTraceServiceRequest.FromString(request("AKIAIOSFODNN7EXAMPLE"))
    span = message.resource_spans[0].scope_spans[0].spans[0]
    values = span.attributes
    values.add(key="int").value.int_value = -(2**63)
    values.add(key="bool").value.bool_value = False
    values.add(key="real").value.double_value = 0.5
    values.add(key="bytes").value.bytes_value = b"\0\1"
    values.add(key="none")
    inner = values.add(key="list").value.array_value.values
    inner.add().string_value = "a"
    inner.add().kvlist_value.values.add(key="b").value.int_value = 1
    span.flags = 257
    span.dropped_attributes_count = 3
    [parcel] = passage().parcels([record(message.SerializeToString())])

    back = ExportTraceServiceRequest.FromString(parcel.body).resource_spans[0].scope_spans[0].spans[0]
    masked = {attribute.key: attribute.value for attribute in back.attributes}
    assert masked.pop("said").string_value != "AKIAIOSFODNN7EXAMPLE"
    before = {attribute.key: attribute.value for attribute in span.attributes}
    del before["said"]
    assert masked == before
    assert (back.flags, back.dropped_attributes_count, back.name) == (257, 3, span.name)


def test_spans_of_any_convention_carry_genai_attributes_on_wish() -> None:
    scenario = next(one for one in scenarios() if "openinference" in one.name and "openai" in one.name)
    for file in scenario.traces:
        before, _ = read_items(file.read_bytes())
        [parcel] = passage(gen_ai=True).parcels([record(file.read_bytes(), len(before))])
        spans, _ = read_items(parcel.body)
        calls = [span for span in spans if span.attributes.get("openinference.span.kind") == "LLM"]
        assert all(span.attributes.get("gen_ai.operation.name") for span in calls)
        assert all(span.attributes.get("gen_ai.usage.input_tokens") for span in calls)
        for old, new in zip(before, spans, strict=True):
            assert dict(old.attributes.items()).items() <= dict(new.attributes.items()).items()


@pytest.mark.parametrize("scenario", scenarios()[::25], ids=str)
def test_genai_attributes_change_no_meaning(scenario: Scenario) -> None:
    def runs(spans: Sequence[Any]) -> list[dict[str, Any]]:
        found = mapping_document(spans, [], Normalizer(), 10**19)["runs"]
        return [
            {name: run[name] for name in ("counts", "usage", "status", "models", "tools")} for run in found
        ]

    for file in (file for file in scenario.traces if not is_json(file)):
        spans, _ = read_items(file.read_bytes())
        [parcel] = passage(gen_ai=True).parcels([record(file.read_bytes(), len(spans))])
        assert runs(read_items(parcel.body)[0]) == runs(spans)


# --------------------------------------------------------------------------- files


def test_files_hold_what_came_and_are_read_again(tmp_path: Path) -> None:
    scenario = scenarios()[0]
    outlet = JsonLines(tmp_path / "out", max_bytes=1 << 20, max_files=2)
    for traces in scenario.traces:
        outlet.send("traces", traces.read_bytes(), "shop")
    outlet.close()

    file = tmp_path / "out" / "traces.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    spans, _ = read_items(file.read_bytes())
    before = [span for traces in scenario.traces for span in read_items(traces.read_bytes())[0]]
    assert [(span.trace_id, span.span_id, span.name, dict(span.attributes.items())) for span in spans] == [
        (span.trace_id, span.span_id, span.name, dict(span.attributes.items())) for span in before
    ]
    assert spans[0].resource.attributes["loop.project"] == "shop"


def test_files_are_closed_at_their_size_and_the_oldest_go(tmp_path: Path) -> None:
    outlet = JsonLines(tmp_path, max_bytes=2_000, max_files=2)
    for number in range(20):
        outlet.send("traces", request(str(number) * 300), "")
    outlet.close()
    files = sorted(tmp_path.glob("traces-*.jsonl"))
    assert len(files) == 2
    assert all(file.stat().st_size <= 2_000 for file in (*files, tmp_path / "traces.jsonl"))
    assert b"19" * 100 in (tmp_path / "traces.jsonl").read_bytes()


def test_a_line_that_a_crash_cut_off_leaves_no_trace(tmp_path: Path) -> None:
    outlet = JsonLines(tmp_path, max_bytes=1 << 20, max_files=2)
    outlet.send("traces", request("one"), "")
    outlet.close()
    file = tmp_path / "traces.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    outlet.send("traces", request("two"), "")
    outlet.close()
    spans, _ = read_items(file.read_bytes())
    assert [span.attributes["said"] for span in spans] == ["one", "two"]


def test_a_directory_that_can_not_be_written_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetryableError):
        JsonLines(tmp_path / "file" / "below", max_bytes=1 << 20, max_files=2).send("traces", request(), "")


# --------------------------------------------------------------------------- changed meanwhile


@pytest.fixture
def forwards(journal: Journal) -> Iterator[Forwards]:
    running = Forwards(Sinks(), {"traces": journal}, lambda signal, settings: passage())
    running.start()
    yield running
    asyncio.run(running.drain(PATIENCE_S))


def asked(**sinks: Any) -> Sinks:
    common = {"signals": ["traces"], "batch": {"flush_timeout": "10ms"}}
    return Sinks.model_validate(
        {kind: {name: common | one for name, one in named.items()} for kind, named in sinks.items()}
    )


def test_a_sink_that_is_changed_goes_on_where_it_was_and_a_new_one_gets_what_comes_then(
    journal: Journal, forwards: Forwards, target: HttpTarget, tmp_path: Path
) -> None:
    def texts() -> list[str]:
        return [text for _, _, body in target.taken for text in said(body)]

    append(journal, request("before"))
    forwards.take_over(asked(otlp={"x": {"endpoint": "http://127.0.0.1:9"}}))
    until(lambda: len(forwards.forwarders) == 1)
    append(journal, request("waits"))
    until(lambda: bool(forwards.forwarders[0].told.last_error))

    both = {"otlp": {"x": {"endpoint": target.url}}, "jsonl": {"y": {"path": str(tmp_path / "y")}}}
    forwards.take_over(asked(**both))
    until(lambda: len(forwards.forwarders) == 2)
    stays = next(one for one in forwards.forwarders if one.name == "jsonl/y")
    append(journal, request("for both"))
    until(lambda: texts() == ["waits", "for both"])

    both["otlp"]["x"]["headers"] = {"api-key": "new"}
    former = next(one for one in forwards.forwarders if one is not stays)
    forwards.take_over(asked(**both))
    until(lambda: former not in forwards.forwarders and len(forwards.forwarders) == 2)
    append(journal, request("with the new key"))
    until(lambda: "with the new key" in texts() and stays.told.sent == 2)
    assert target.taken[-1][1]["api-key"] == "new"
    assert stays in forwards.forwarders
    spans, _ = read_items((tmp_path / "y" / "traces.jsonl").read_bytes())
    assert [span.attributes["said"] for span in spans] == ["for both", "with the new key"]
    assert texts() == ["waits", "for both", "with the new key"]


def test_what_waits_for_a_sink_that_is_taken_away_is_let_go(journal: Journal, forwards: Forwards) -> None:
    forwards.take_over(asked(otlp={"x": {"endpoint": "http://127.0.0.1:9"}}))
    until(lambda: len(forwards.forwarders) == 1)
    for number in range(20):
        append(journal, request(f"{number}" * 300))
    journal.cursor(SINK_CURSOR).advance(journal.end)
    assert journal.size_bytes > 4_000
    forwards.take_over(asked())
    until(lambda: journal.size_bytes <= 2_000)
    assert forwards.forwarders == []
    assert not (journal.directory / "forward-otlp-x.cursor").exists()


# --------------------------------------------------------------------------- configured


@pytest.mark.parametrize(
    ("sinks", "why"),
    [
        ("{otlp: {x: {}}}", "endpoint"),
        ("{otlp: {x: {endpoint: 'localhost:4317'}}}", "endpoint"),
        ("{otlp: {x: {endpoint: 'http://h', protocol: grpc, compression: zstd}}}", "zstd is for"),
        ("{otlp: {x: {endpoint: 'http://h/p', protocol: grpc}}}", "no path"),
        ("{otlp: {x: {endpoint: 'http://h', headers: {'a b': c}}}}", "can not be sent"),
        ("{otlp: {'X/y': {endpoint: 'http://h'}}}", "pattern"),
        ("{otlp: {x: {endpoint: 'http://h', signals: []}}}", "signals"),
        ("{jsonl: {x: {}}}", "path"),
    ],
    ids=["none", "no scheme", "zstd", "path", "header", "name", "no signal", "no directory"],
)
def test_what_can_not_be_is_refused(sinks: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load([f"yaml:{{sinks: {sinks}}}"])


def test_validation_finds_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = load(
        [
            f"""yaml:
            data_dir: {tmp_path}
            sinks:
              otlp: {{x: {{endpoint: "https://h", tls: {{ca_file: /no/ca.pem}}}}}}
              jsonl: {{y: {{path: {tmp_path}/file/below}}, z: {{path: {tmp_path}/new/below}}}}
            """
        ]
    )
    found = [problem for problem in problems(settings) if problem.startswith("sinks.")]
    assert found == [
        "sinks.otlp.x.tls.ca_file: /no/ca.pem can not be read",
        f"sinks.jsonl.y.path: {tmp_path}/file/below can not be written",
    ]


def test_another_collector_comes_to_the_same_runs(server: Server, data_dir: Path, tmp_path: Path) -> None:
    config = f"""yaml:
    sinks:
      otlp:
        grpc: {{endpoint: "http://{server.endpoints["grpc"]}", protocol: grpc, signals: [traces]}}
        http: {{endpoint: "{server.endpoints["http"]}", signals: [logs], batch: {{flush_timeout: 50ms}}}}
        away: {{endpoint: "http://127.0.0.1:9"}}
      jsonl:
        files: {{path: "{tmp_path / "files"}"}}
    """
    first = Server(data_dir, "--config", config).start()
    chosen = [one for one in scenarios() if not any(is_json(file) for file in (*one.traces, *one.logs))][::60]
    for number, scenario in enumerate(chosen):
        for signal, files in (("traces", scenario.traces), ("logs", scenario.logs)):
            for captured in files:
                send = renamed(captured.read_bytes(), 0xA5, signal)
                response = first.api.post(
                    f"{first.endpoints['http']}/v1/{signal}",
                    content=send,
                    headers={"Content-Type": "application/x-protobuf", "X-Loop-Project": f"passed-{number}"},
                )
                assert response.status_code == 200
    items = first.settled()["pipeline"]
    accepted = {"traces": items["accepted"], "logs": items["logs"]["accepted"]}

    def passed_on(name: str, signal: str) -> int:
        told = first.get("/status")["forwards"][name]
        return int(told[signal]["sent"]) if signal in told else accepted[signal]

    until(
        lambda: all(
            passed_on(name, signal) == accepted[signal]
            for name in ("otlp/grpc", "otlp/http", "jsonl/files")
            for signal in accepted
        ),
        30,
    )
    server.settled()
    for number in range(len(chosen)):
        project = f"passed-{number}"
        assert [comparable(run) for run in server.runs(project=project, include="all")] == [
            comparable(run) for run in first.runs(project=project, include="all")
        ]
    away = first.get("/status")["forwards"]["otlp/away"]["traces"]
    assert away["waiting"] == accepted["traces"]
    assert away["last_error"]
    metrics = first.api.get(f"{first.endpoints['admin']}/metrics").text
    assert f'otelcol_exporter_sent_spans_total{{exporter="otlp/grpc"}} {float(accepted["traces"])}' in metrics
    assert first.stop() == 0


def is_json(file: Path) -> bool:
    return file.read_bytes().lstrip()[:1] == b"{"


def comparable(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in ("convention", "conventions")}
