"""What is mapped in another process is what is mapped here: same events, same requests, same faults, same counts."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import collector.apart.ahead
from collector.apart.ahead import Ahead
from collector.apart.processes import Piece, Processes
from collector.apart.telling import start_of
from collector.config import Settings
from collector.deriver.deriver import Deriver
from collector.journal import Header, Journal, Record
from collector.otlp import Signal, check, decode_traces
from collector.otlp.decode import keep_levels
from collector.otlp.limits import DEFAULT
from collector.otlp.messages import TracesRequest
from collector.pipeline.deadletter import DeadLetters
from collector.pipeline.flow import Flow
from collector.pipeline.mapped import Mapped, Outcome, SpanMapper
from collector.pipeline.pipeline import Pipeline
from collector.pipeline.stages import Derivation, Totals, TraceStage
from collector.pipeline.undecoded import Undecoded
from collector.understanding.plugins import MAPPERS
from collector.understanding.understanding import Understanding
from mappers.cost import Prices
from mappers.model import Event, Span
from sinks.base import Batch
from tests.bench.workloads import WORKLOADS, requests
from tests.collector.journal.test_journal import append
from tests.collector.pipeline.test_pipeline import Faulty, Rows
from tests.corpus import scenarios
from tests.mappers.spans import captured_requests
from tests.waiting import PATIENCE_S, until

KEY = "sk-proj-C4naRy0123456789abcdefghij"

PLUGIN = """
import os, sys
from mappers.conventions.base import Computed, Convention, KindByValue
from mappers.model import Kind

def do(get):
    told = get("odd.do")
    if told == "die" and "collector.apart.process" in " ".join(sys.orig_argv):
        os._exit(3)
    if told == "fail":
        raise RuntimeError("no")
    return told

odd = Convention(id="odd", priority=5, keys=("odd.do",),
                 kinds=(KindByValue("odd.do", {told: Kind.LLM for told in ("die", "fail", "go")}),),
                 fields={"response_model": [Computed(do, ("odd.do",))]})
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An installed package whose convention ends the process that maps, or fails anywhere."""
    packages = tmp_path_factory.mktemp("packages")
    metadata = packages / "odd-1.0.dist-info"
    metadata.mkdir()
    (packages / "odd_plugin.py").write_text(PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{MAPPERS}]\nodd = odd_plugin:odd\n")
    sys.path.insert(0, str(packages))
    yield
    sys.path.remove(str(packages))


class Both:
    """One understanding, by which is mapped elsewhere and here."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.understanding = Understanding(self.settings, Prices())
        self.processes = Processes(1, lambda: start_of(self.settings, ""))
        self.mapper = self.new_mapper()
        self.ahead = Ahead(self.processes, self.mapper, self.understanding)

    def new_mapper(self) -> SpanMapper:
        return SpanMapper(*self.understanding.of_pipeline("traces"), keep_sent=True)

    def elsewhere(
        self, records: Sequence[Record], meanwhile: Callable[[], object] = lambda: None
    ) -> tuple[Mapped[Span], list[tuple[int, str]]]:
        """What records mean, and those that can not be decoded. `meanwhile` is called once all is answered."""
        until(self.processes.are_ready)
        aside: list[tuple[int, str]] = []
        finish = self.ahead.begin(records)
        assert finish is not None
        wait([piece.answer for piece in finish.args[0]], PATIENCE_S)  # or they would be mapped here meanwhile
        meanwhile()
        mapped = finish(
            lambda record, why: aside.append((record.sequence, why)),
            lambda: [record for record in records if record.sequence not in dict(aside)],
            threading.Event(),
        )
        assert mapped is not None
        return mapped, aside


@pytest.fixture(scope="module")
def plain(plugin: None) -> Iterator[Both]:
    both = Both()
    yield both
    both.processes.close()


@pytest.fixture(scope="module")
def strict(plugin: None) -> Iterator[Both]:
    """With rules for projects."""
    both = Both(
        redaction={
            "mask": ["email"],
            "projects": {
                "hidden-*": {"capture_input": False, "capture_output": False},
                "half": {"capture_input": False},
            },
        }
    )
    yield both
    both.processes.close()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of spans is a batch worth the while."""
    monkeypatch.setattr(collector.apart.ahead, "FEW_SPANS", 1)
    monkeypatch.setattr(collector.apart.ahead, "PIECE_BYTES", 256 << 10)


def request(**attributes: str) -> bytes:
    made = ExportTraceServiceRequest()
    scope = made.resource_spans.add().scope_spans.add()
    for number in range(2):
        span = scope.spans.add(
            trace_id=bytes(15) + bytes([number + 1]), span_id=bytes(7) + b"\x01", name="odd"
        )
        span.start_time_unix_nano, span.end_time_unix_nano = (
            1_790_000_000_000_000_000,
            1_790_000_001_000_000_000,
        )
        for key, value in attributes.items():
            span.attributes.add(key=key.replace("_", ".")).value.string_value = value
    return made.SerializeToString()


NO_START = ExportTraceServiceRequest()
NO_START.resource_spans.add().scope_spans.add().spans.add(
    trace_id=b"\x01" * 16, span_id=b"\x02" * 8, name="when?"
)
ODD = [
    NO_START.SerializeToString(),
    b"",
    b"\xff\xff",
    request(input_value=f"use {KEY}", output_value="mail c4nary@mail.example.com"),
    request(odd_do="fail"),
    request(odd_do="go", input_value="\N{SNOWMAN}"),
]


def recorded(bodies: Sequence[bytes], *projects: str) -> list[Record]:
    """With projects in turn."""
    return [
        Record(
            number, Header(number, f"tenant {number % 2}", projects[number % len(projects)], items=1), body
        )
        for number, body in enumerate(bodies)
    ]


def corpus() -> list[bytes]:
    """Of every fourth scenario: all conventions are among them."""
    return [
        check(Signal.TRACES, made.SerializeToString()).body
        for scenario in scenarios()[::4]
        for made in captured_requests(scenario)
    ]


def made_up() -> list[bytes]:
    found = []
    for name in ("agents", "gen_ai"):
        source = requests(WORKLOADS[name])
        found += [check(Signal.TRACES, next(source).SerializeToString()).body for _ in range(3)]
    return found


def same(both: Both, records: Sequence[Record]) -> None:
    counts = [counted(both)]
    mapped, aside = both.elsewhere(records)
    counts.append(counted(both))
    here = both.new_mapper()
    outcome = here.each(records)
    counts.append(counted(both))
    spans = [
        () if fault else here.map(here.decode(record)).items
        for record, fault in zip(records, outcome.faults, strict=True)
    ]

    assert mapped.events == outcome.events
    assert [type(event.kind) for event in mapped.events] == [type(event.kind) for event in outcome.events]
    assert aside == [
        (record.sequence, fault) for record, fault in zip(records, outcome.faults, strict=True) if fault
    ]
    assert mapped.sent is not None
    assert messages(mapped.sent.requests) == messages(outcome.requests)
    assert likeness_of_spans(mapped.sent.rest) == likeness_of_spans(
        [span for each, body in zip(spans, outcome.requests, strict=True) if body is None for span in each]
    )
    everything = [span for each in spans for span in each]
    assert isinstance(mapped.items, Undecoded)
    assert [*mapped.items.keys] == [(span.tenant, span.trace_id) for span in everything]
    assert len(mapped.items) == len(everything)
    assert likeness_of_spans(mapped.items) == likeness_of_spans(everything)
    assert both.processes.faults == {}
    first, second, third = counts
    assert second - first == third - second


def messages(bodies: Iterable[bytes | None]) -> list[Any]:
    """Maps of protobuf are written in no order."""
    return [TracesRequest.FromString(body) for body in bodies if body is not None]


def counted(both: Both) -> Counter[str]:
    return Counter(both.understanding.mappers()["faults"]) + Counter(both.understanding.masked())


def likeness_of_spans(spans: Sequence[Span]) -> Any:
    return [
        [
            span.trace_id,
            span.span_id,
            span.name,
            span.start_ns,
            span.project,
            span.tenant,
            span.status_message,
            [
                dict(one.attributes.items())
                for one in (span, span.resource, span.scope, *span.events, *span.links)
            ],
        ]
        for span in spans
    ]


def test_bodies_of_what_was_answered_are_let_go_of(plain: Both) -> None:
    until(plain.processes.are_ready)
    finish = plain.ahead.begin(recorded([*made_up(), b"\xff\xff"], ""))
    assert finish is not None
    pieces = finish.args[0]
    wait([piece.answer for piece in pieces], PATIENCE_S)
    assert [record.body for piece in pieces for record in piece.records if record.body] == [b"\xff\xff"]


def test_what_was_answered_before_other_settings_held_is_mapped_anew(plain: Both) -> None:
    records = recorded([*made_up(), *ODD], "")
    before = plain.processes.spans
    mapped, aside = plain.elsewhere(records, meanwhile=lambda: plain.processes.renew(1))
    assert plain.processes.spans > before
    outcome = plain.new_mapper().each(records)
    assert mapped.events == outcome.events
    assert mapped.sent is not None
    assert messages(mapped.sent.requests) == messages(outcome.requests)
    assert [fault for _, fault in aside] == [*filter(None, outcome.faults)]


def test_the_corpus_means_the_same(plain: Both) -> None:
    same(plain, recorded(corpus(), "", "a project"))


def test_what_no_process_has_begun_is_mapped_here_while_another_piece_is_waited_for(plain: Both) -> None:
    begun: list[Piece] = []

    class Slow(Processes):
        def ask(self, piece: Piece) -> None:
            if not begun:
                assert piece.answer.set_running_or_notify_cancel()
                begun.append(piece)

    class Mapper(SpanMapper):
        def each(self, records: Sequence[Record]) -> Outcome:
            if records is not begun[0].records and len(left) == 1:
                begun[0].answer.set_result(None)  # only now
            left.discard(records[0].sequence)
            return super().each(records)

    records = recorded(made_up(), "")
    here = Mapper(*plain.understanding.of_pipeline("traces"), keep_sent=True)
    finish = Ahead(Slow(0, lambda: start_of(plain.settings, "")), here, plain.understanding).begin(records)
    assert finish is not None
    left = {piece.records[0].sequence for piece in finish.args[0][1:]}
    assert len(left) > 1
    mapped = finish(lambda record, why: None, lambda: records, threading.Event())
    assert mapped is not None
    assert not left
    assert mapped.events == plain.new_mapper().each(records).events


def test_deep_values_are_text_from_the_same_level_on(plugin: None) -> None:
    made = ExportTraceServiceRequest.FromString(request(openinference_span_kind="LLM"))
    for span in made.resource_spans[0].scope_spans[0].spans:
        value = span.attributes.add(key="input.value").value
        for _ in range(5):
            value = value.kvlist_value.values.add(key="in").value
        value.string_value = "the deep"
    both = Both(receivers={"otlp": {"limits": {"attribute_value_depth": 2}}})
    keep_levels(2)
    try:
        same(both, recorded([made.SerializeToString()], ""))
        [event, _] = both.elsewhere(recorded([made.SerializeToString()], ""))[0].events
    finally:
        keep_levels(DEFAULT.value_depth)
        both.processes.close()
    assert event.input == '{"in":{"in":"{\\"in\\": {\\"in\\": {\\"in\\": \\"the deep\\"}}}"}}'


def test_what_programs_send_means_the_same(plain: Both) -> None:
    same(plain, recorded(made_up(), ""))


@pytest.mark.parametrize("kind", ["plain", "strict"])
def test_odd_records_mean_the_same(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    both = request.getfixturevalue(kind)
    caplog.set_level(logging.CRITICAL)
    same(both, recorded([*ODD, *corpus()[:10]], "", "hidden-a", "half", "other"))


def test_with_rules_for_projects_all_is_mapped_here(plain: Both, strict: Both) -> None:
    until(strict.processes.are_ready)
    assert strict.ahead.depth == 0
    until(lambda: plain.ahead.depth == 2)


def test_few_spans_are_mapped_here(plain: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector.apart.ahead, "FEW_SPANS", 100)
    assert plain.ahead.begin(recorded(ODD, "")) is None


# --------------------------------------------------------------------------- in a pipeline


class Looking(Faulty):
    """A sink that looks at every span while the batch is being stored: later they can not be read again."""

    def write(self, batch: Batch) -> None:
        super().write(replace(batch, spans=list(batch.spans)))


def stored(
    both: Both, journal: Journal, directory: Path, events: list[Event], *, ahead: bool
) -> tuple[Faulty, Flow, DeadLetters]:
    """What a sink gets of all that the journal holds, in batches of 40 spans. `events` gets those that were read."""
    directory.mkdir()
    flow, rows, sink = Flow(), Rows(), Looking()
    dead_letters = DeadLetters(directory / "dead.jsonl", lambda signal, body, project: body)
    derivation = Derivation(Deriver(rows, max_events=10_000), rows, Totals())
    mapper = both.new_mapper()
    stage = TraceStage(
        mapper, derivation, flow, Ahead(both.processes, mapper, both.understanding) if ahead else None
    )
    stage.mapped.append(lambda read: events.extend(map(copy, read)))  # later they are settled
    pipeline: Pipeline[Any] = Pipeline(
        journal,
        stage,
        sink,
        dead_letters,
        signal="traces",
        flow=flow,
        max_items=40,
        max_bytes=64 << 10,
        flush_timeout=0.01,
    )
    pipeline.start()
    assert pipeline.drain(PATIENCE_S)
    return sink, flow, dead_letters


def take_nothing_back(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the collector wait until its processes begin what they are asked for: it would map that itself, if faster."""
    ask = processes.ask

    def ask_and_wait(piece: Piece) -> None:
        ask(piece)
        until(lambda: piece.answer.running() or piece.answer.done())

    monkeypatch.setattr(processes, "ask", ask_and_wait)


def test_a_backlog_becomes_the_same_batches(
    plain: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_nothing_back(plain.processes, monkeypatch)
    bodies = [*corpus()[:20], *ODD, *made_up()]
    found = []
    for ahead in (False, True):
        journal = Journal(tmp_path / str(ahead) / "traces")
        journal.open()
        for body in bodies:
            append(journal, body, header=Header(5, items=spans_in(body)))
        until(plain.processes.are_ready)
        before = plain.processes.spans
        events: list[Event] = []
        sink, flow, letters = stored(plain, journal, tmp_path / f"{ahead}-letters", events, ahead=ahead)
        journal.close()
        assert (plain.processes.spans > before) == ahead
        batches = [
            (batch.token.removeprefix(journal.id), likeness_of_spans(batch.spans)) for batch in sink.batches
        ]
        found.append((batches, events, flow.stored, flow.duplicates, flow.dead_lettered, letters.items))
    here, elsewhere = found
    assert elsewhere == here


def spans_in(body: bytes) -> int:
    try:
        return len(decode_traces(body))
    except ValueError:
        return 1


def test_a_process_that_dies_costs_nothing(
    plugin: None,
    journal: Journal,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = Both()
    take_nothing_back(both.processes, monkeypatch)
    spans = 0
    for number in range(200):
        append(
            journal, request(odd_do="die" if number == 90 else "go", n=str(number)), header=Header(5, items=2)
        )
        spans += 2
    until(both.processes.are_ready)
    sink, flow, _ = stored(both, journal, tmp_path / "letters", [], ahead=True)
    both.processes.close()
    assert sum(len(batch.spans) for batch in sink.batches) == spans
    assert both.processes.faults["died"] >= 1
    assert both.processes.spans > 0
    numbers = [span.attributes["n"] for batch in sink.batches for span in batch.spans]
    assert numbers == [str(number) for number in range(200) for _ in range(2)]
    assert flow.dead_lettered == 0
