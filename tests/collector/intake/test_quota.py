"""Projects that send more than they may: what is taken, and what is said to who sent the rest."""

from __future__ import annotations

import importlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from collector.config import QuotaRules, QuotaSettings
from collector.intake.intake import Intake, Submission
from collector.intake.outcome import Outcome, Verdict
from collector.intake.quota import Debts, Quota, Quotas
from collector.journal import JournalFullError
from collector.otlp import Signal
from collector.otlp.status import PROTOBUF
from collector.receivers.grpc import GrpcReceiver
from tests.collector.receivers.posting import posted, said
from tests.collector.receivers.test_http import request
from tests.sending import TRACES
from tests.server import Server
from tests.waiting import PATIENCE_S, until

SLOWLY = 0.0001
"""A rate at which nothing comes back within a test."""
SHOP = b"s" * 16
SPANS = request(1, spans=10).SerializeToString()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def quotas(**rules: Any) -> Quotas:
    return Quotas(QuotaSettings(**rules))


# --------------------------------------------------------------------------- what projects owe


def test_a_burst_is_taken_and_not_one_more(clock: Clock) -> None:
    debts, quota = Debts(clock=clock), Quota(items_per_s=2, items_burst=10)
    assert [debts.take(SHOP, quota, 5, 0) for _ in range(2)] == [0, 0]
    assert debts.take(SHOP, quota, 1, 0) == 0.5
    assert debts.ask(SHOP, quota, 4, 0) == 2
    clock.now += 2
    assert debts.take(SHOP, quota, 4, 0) == 0
    assert debts.take(SHOP, quota, 1, 0) > 0
    assert debts.take(b"others" + bytes(10), quota, 10, 0) == 0


def test_what_is_larger_than_the_burst_is_taken_when_nothing_is_owed(clock: Clock) -> None:
    debts, quota = Debts(clock=clock), Quota(items_per_s=1, items_burst=10)
    assert debts.take(SHOP, quota, 100, 0) == 0
    assert debts.take(SHOP, quota, 100, 0) == 100
    clock.now += 99.5
    assert debts.take(SHOP, quota, 100, 0) == 0.5
    clock.now += 0.5
    assert debts.take(SHOP, quota, 100, 0) == 0


def test_items_and_bytes_both_hold(clock: Clock) -> None:
    debts = Debts(clock=clock)
    quota = Quota(items_per_s=1, items_burst=10, bytes_per_s=100, bytes_burst=1000)
    assert debts.take(SHOP, quota, 1, 1000) == 0
    assert debts.take(SHOP, quota, 1, 100) == 1
    assert debts.take(SHOP, quota, 9, 0) == 0
    assert debts.take(SHOP, quota, 2, 50) == 2
    debts.add(SHOP, quota, -9, -1000)
    assert debts.take(SHOP, quota, 9, 1000) == 0


def test_over_time_the_rate_is_exact(clock: Clock) -> None:
    debts, quota = Debts(clock=clock), Quota(items_per_s=7, items_burst=50)
    taken = 0
    for step in range(10_000):
        clock.now += 0.01
        taken += 0 if debts.take(SHOP, quota, step % 13, 0) else step % 13
    assert 7 * 100 <= taken <= 7 * 100 + 50


def test_processes_that_share_a_file_share_what_is_owed(tmp_path: Path, clock: Clock) -> None:
    quota = Quota(items_per_s=1, items_burst=10)
    ours, theirs = (Debts(tmp_path / "quotas", clock) for _ in range(2))
    assert ours.take(SHOP, quota, 6, 0) == 0
    assert theirs.take(SHOP, quota, 6, 0) == 2
    assert theirs.take(SHOP, quota, 4, 0) == 0
    assert ours.take(SHOP, quota, 1, 0) == 1
    assert (tmp_path / "quotas").stat().st_mode & 0o777 == 0o600
    for debts in (ours, theirs):
        debts.close()


def test_names_that_are_made_up_take_no_more_room(clock: Clock) -> None:
    debts, quota = Debts(clock=clock), Quota(items_per_s=SLOWLY, items_burst=10)
    for number in range(5_000):
        clock.now += 0.001
        assert debts.take(number.to_bytes(16, "big"), quota, 10, 0) == 0
    assert debts.take((4_999).to_bytes(16, "big"), quota, 1, 0) > 0


def test_the_longest_silent_of_those_that_share_places_gives_way(clock: Clock) -> None:
    debts, quota = Debts(clock=clock), Quota(items_per_s=SLOWLY, items_burst=10)
    alike = [bytes(15) + bytes([number]) for number in range(1, 10)]  # one more than there are places
    for project in alike:
        clock.now += 1
        assert debts.take(project, quota, 10, 0) == 0
    assert [debts.ask(project, quota, 1, 0) > 0 for project in alike] == [False] + [True] * 8


# --------------------------------------------------------------------------- whose quota


def test_the_first_name_or_pattern_that_fits_holds_alone() -> None:
    named = {
        "team-*": QuotaRules(items_per_second=5),
        "free": QuotaRules(),
        "team-a": QuotaRules(items_per_second=9),
    }
    held = quotas(items_per_second=1, bytes_per_second="1KiB", bytes_burst="2KiB", projects=named)

    def quota(project: str) -> Quota | None:
        account = held.of("", project)
        return account.quota if account else None

    assert quota("team-a") == Quota(items_per_s=5, items_burst=50)
    assert quota("free") is None
    assert quota("") == quota("shop") == Quota(1, 10, 1024, 2048)


def test_tenants_have_each_their_own() -> None:
    held = quotas(items_per_second=SLOWLY, items_burst=10)
    first, second = held.of("a", "shop"), held.of("b", "shop")
    assert first
    assert second
    assert first.take(10, 0) == second.take(10, 0) == 0
    assert first.take(1, 0) > 0


def test_names_that_are_alike_for_long_are_one_project() -> None:
    held = quotas(items_per_second=SLOWLY, items_burst=10)
    first, second = held.of("", "n" * 256 + "a"), held.of("", "n" * 256 + "b")
    assert first
    assert second
    assert first.take(10, 0) == 0
    assert second.take(1, 0) > 0


def test_of_a_bounded_number_of_projects_it_is_remembered_what_holds_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.intake.quota.MOST_PROJECTS", 3)
    held = quotas(items_per_second=SLOWLY, items_burst=10)
    account = held.of("", "shop")
    assert account
    assert account.take(10, 0) == 0
    assert held.of("", "shop") is account
    for number in range(3):
        held.of("", f"made up {number}")
    again = held.of("", "shop")
    assert again is not account
    assert again
    assert again.take(1, 0) > 0, "what is owed is not forgotten with it"


def test_without_quotas_nothing_is_counted() -> None:
    assert Quotas().of("", "shop") is None


@pytest.mark.parametrize("wrong", [{"items_burst": 5}, {"items_per_second": 0}, {"bytes_per_second": 0}])
def test_quotas_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QuotaSettings(**wrong)


# --------------------------------------------------------------------------- at the doors


def send(intake: Intake, body: bytes, project: str = "shop", **headers: str) -> Any:
    return posted(intake, body, Content_Type=PROTOBUF, X_Loop_Project=project, **headers)


def spans(number: int, count: int) -> bytes:
    return request(number, spans=count).SerializeToString()


def test_over_its_quota_a_project_is_told_when_to_come_back() -> None:
    intake = Intake({}, quotas=quotas(items_per_second=2, items_burst=10))
    assert send(intake, spans(1, 10)).status == 200
    refused = send(intake, spans(2, 1))
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) in (1, 2)
    assert "quota" in said(refused)
    assert send(intake, spans(2, 1), "other").status == 200
    counted = intake.stats.of("http", Signal.TRACES)
    assert (counted.requests, counted.accepted, counted.over_quota_requests) == (3, 11, 1)
    assert (counted.refused_requests, counted.bad_requests) == (0, 0)
    assert intake.stats.over_quota == {("", "shop"): 1}


def test_the_items_of_what_was_looked_into_count_as_refused() -> None:
    intake = Intake({}, quotas=quotas(items_per_second=2, items_burst=10))
    assert send(intake, spans(1, 6)).status == 200
    assert send(intake, spans(2, 6)).status == 429
    assert send(intake, spans(3, 4)).status == 200
    assert intake.stats.of("http", Signal.TRACES).refused == 6


def test_who_has_nothing_left_is_refused_before_the_body_is_read() -> None:
    intake = Intake({}, quotas=quotas(items_per_second=SLOWLY, items_burst=10))
    assert send(intake, spans(1, 10)).status == 200
    assert send(intake, b"nonsense").status == 429
    by_bytes = Intake({}, quotas=quotas(bytes_per_second=1, bytes_burst=5000))
    assert send(by_bytes, SPANS).status == 200
    assert send(by_bytes, b"nonsense", Content_Length="4999").status == 429
    assert send(by_bytes, b"nonsense", Content_Length="8").status == 400


def test_bytes_count_decompressed_at_limit_and_one_more() -> None:
    import gzip

    body = spans(1, 100)
    packed = gzip.compress(body)
    intake = Intake({}, quotas=quotas(bytes_per_second=1, bytes_burst=2 * len(body)))
    assert send(intake, packed, Content_Encoding="gzip").status == 200
    assert send(intake, spans(2, 100)).status == 200
    assert send(intake, gzip.compress(spans(3, 1)), Content_Encoding="gzip").status == 429


def test_what_is_sent_again_does_not_count_again() -> None:
    intake = Intake({"traces": Safe()}, quotas=quotas(items_per_second=SLOWLY, items_burst=20))  # type: ignore[dict-item]  # a journal of these tests
    assert [send(intake, SPANS).status for _ in range(3)] == [200, 200, 200]
    assert send(intake, spans(2, 10)).status == 200
    assert send(intake, spans(3, 1)).status == 429


def test_what_the_journal_does_not_take_does_not_count() -> None:
    journal = Safe()
    intake = Intake({"traces": journal}, quotas=quotas(items_per_second=SLOWLY, items_burst=10))  # type: ignore[dict-item]  # a journal of these tests
    journal.error = JournalFullError("full")
    for journal.is_full in (False, True):
        assert [send(intake, SPANS).status for _ in range(3)] == [503, 503, 503]
    journal.error, journal.is_full = None, False
    assert send(intake, SPANS).status == 200


def test_metrics_are_not_counted() -> None:
    intake = Intake({}, quotas=quotas(items_per_second=SLOWLY, items_burst=10))
    assert send(intake, SPANS).status == 200
    assert posted(intake, b"", path="/v1/metrics", Content_Type=PROTOBUF, X_Loop_Project="shop").status == 200


@pytest.mark.parametrize("transport", ["proxy", "import"])
def test_what_does_not_come_by_otlp_counts_and_is_never_refused(transport: str) -> None:
    intake = Intake({}, quotas=quotas(items_per_second=SLOWLY, items_burst=15))
    outcomes: list[Outcome] = []
    for number in range(3):
        if transport == "import":
            intake.take(
                Submission(Signal.TRACES, spans(number, 10), transport, project="shop"), outcomes.append
            )
            continue
        intake.submit(Signal.TRACES, spans(number, 10), tenant="", project="shop", done=outcomes.append)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
    assert send(intake, spans(9, 1)).status == 429


class Safe:
    """A journal that has everything at once, or refuses it: at once if it is full."""

    error: Exception | None = None
    is_full = False

    def append(self, header: Any, body: bytes, done: Any) -> None:
        if self.is_full and self.error is not None:
            raise self.error
        done(self.error)


def test_over_grpc_both_trailers_say_when() -> None:
    intake = Intake({}, quotas=quotas(items_per_second=2, items_burst=10))
    receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=2)
    port = receiver.start("127.0.0.1:0")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            export = channel.unary_unary(TRACES)
            assert export(spans(1, 10), metadata=[("x-loop-project", "shop")], timeout=PATIENCE_S) == b""
            with pytest.raises(grpc.RpcError) as error:
                export(spans(2, 1), metadata=[("x-loop-project", "shop")], timeout=PATIENCE_S)
    finally:
        receiver.stop(1)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers = dict(error.value.trailing_metadata())
    delay = RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds
    assert delay in (1, 2)
    status = Status.FromString(trailers["grpc-status-details-bin"])
    packed = RetryInfo()
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert status.details[0].Unpack(packed)
    assert packed.retry_delay.seconds == delay


# --------------------------------------------------------------------------- a collector with workers, and exporters


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("quota")
    config = directory / "config.yaml"
    projects = {
        "retried-*": {"items_per_second": 20, "items_burst": 20},
        "exact": {"items_per_second": SLOWLY, "items_burst": 100},
    }
    config.write_text(json.dumps({"quotas": {"projects": projects}}))
    server = Server(directory / "data", "--config", str(config), "--set", "workers=2").start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def made_spans(count: int) -> list[ReadableSpan]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for number in range(count):
        provider.get_tracer("test").start_span(f"span {number}").end()
    return list(kept.get_finished_spans())


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_an_exporter_comes_back_when_it_may(limited: Server, transport: str) -> None:
    module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{transport}.trace_exporter")
    door = limited.endpoints["http"] + "/v1/traces" if transport == "http" else limited.endpoints["grpc"]
    headers = {"x-loop-project": f"retried-{transport}"}
    options = {} if transport == "http" else {"insecure": True}
    exporter = module.OTLPSpanExporter(endpoint=door, headers=headers, **options)
    try:
        assert exporter.export(made_spans(20)) is SpanExportResult.SUCCESS
        began = time.monotonic()
        assert exporter.export(made_spans(20)) is SpanExportResult.SUCCESS
        assert time.monotonic() - began >= 1  # it was asked to wait
    finally:
        exporter.shutdown()
    counted = limited.settled()["receivers"][transport]["traces"]
    assert counted["accepted"] >= 40
    assert counted["over_quota_requests"] >= 1


def test_workers_share_the_quota(limited: Server) -> None:
    url, headers = (
        limited.endpoints["http"] + "/v1/traces",
        {"Content-Type": PROTOBUF, "X-Loop-Project": "exact"},
    )
    answers = [
        # Each by a connection of its own, which may come to another worker.
        httpx.post(url, content=spans(0x990000 + number, 10), headers=headers, timeout=PATIENCE_S).status_code
        for number in range(30)
    ]
    assert answers == [200] * 10 + [429] * 20
    shown = httpx.get(f"{limited.endpoints['admin']}/metrics").text
    assert 'eddyline_quota_refused_requests_total{project="exact",tenant=""} 20.0' in shown
    assert 'outcome="quota",receiver="otlp",signal="traces",transport="http"} 2' in shown
    assert "project 'exact' is over its quota" in limited.log.read_text()
    assert {"tenant": "", "project": "exact", "requests": 20} in limited.settled()["over_quota"]


def test_other_quotas_hold_on_sighup(limited: Server) -> None:
    config = Path(limited.arguments[1])
    before = config.read_text()
    config.write_text(json.dumps({"quotas": {"items_per_second": SLOWLY, "items_burst": 1}}))
    limited.process.send_signal(signal.SIGHUP)
    url, headers = limited.endpoints["http"] + "/v1/traces", {"Content-Type": PROTOBUF}
    numbers = iter(range(0x9A0000, 0x9B0000))

    def is_refused() -> bool:
        body = spans(next(numbers), 1)
        return httpx.post(url, content=body, headers=headers, timeout=PATIENCE_S).status_code == 429

    until(is_refused)
    config.write_text(before)
    limited.process.send_signal(signal.SIGHUP)
    until(lambda: not is_refused())
