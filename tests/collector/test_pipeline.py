"""From the journal to a sink that fails in every way a store can."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import collector.pipeline
from collector.config import RedactionSettings
from collector.deadletter import DeadLetters
from collector.deriver import Deriver
from collector.journal import Header, Journal
from collector.pipeline import Pipeline
from collector.redaction import Redaction
from collector.stages import Derivation, Flow, Totals, TraceStage
from mappers.conventions import BUILTIN
from mappers.normalize import Normalizer
from sinks.base import Batch, PermanentError, RetryableError
from tests.collector.test_deriver import Stored
from tests.corpus import select

BODY = next(select("openinference/openai/tools")).traces[0].read_bytes()
SPANS = 3


class Faulty:
    """A sink that fails as it is told, then keeps what it is given."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.batches: list[Batch] = []
        self.tries = 0

    def write(self, batch: Batch) -> None:
        self.tries += 1
        if self.faults:
            raise self.faults.pop(0)
        self.batches.append(batch)

    def close(self) -> None:
        pass

    @property
    def span_ids(self) -> list[str]:
        return [span.span_id for batch in self.batches for span in batch.spans]


class Rows(Stored):
    def event_rows(self, tenant: str, run_id: str, keys: Any) -> list[Any]:
        return []


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector.pipeline, "FIRST_RETRY_S", 0.01)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "traces")
    opened.open()
    yield opened
    opened.close()


def append(journal: Journal, *bodies: bytes) -> None:
    for body in bodies:
        done = threading.Event()
        journal.append(Header(0, items=SPANS), body, lambda _, done=done: done.set())
        assert done.wait(5)


def started(
    journal: Journal, sink: Faulty, tmp_path: Path, **options: Any
) -> tuple[Pipeline[Any], Flow, DeadLetters]:
    flow, rows = Flow(), Rows()
    dead_letters = DeadLetters(tmp_path / "dead.jsonl", lambda body, project: body)
    stage = TraceStage(
        Normalizer(),
        Redaction(RedactionSettings(), BUILTIN),
        Derivation(Deriver(rows, max_events=100), rows, Totals()),
        flow,
        live_from=1,
    )
    limits = {"max_items": 100, "max_bytes": 1 << 20, "flush_timeout": 0.01} | options
    pipeline: Pipeline[Any] = Pipeline(journal, stage, sink, dead_letters, signal="traces", **limits)
    pipeline.start()
    return pipeline, flow, dead_letters


@pytest.mark.parametrize(
    "fault", [RetryableError("away"), PermanentError("no table"), ZeroDivisionError("a bug")]
)
def test_a_batch_is_tried_until_it_is_stored(journal: Journal, tmp_path: Path, fault: Exception) -> None:
    sink = Faulty(fault, fault, fault)
    pipeline, flow, _ = started(journal, sink, tmp_path)
    append(journal, BODY)
    assert pipeline.drain(5)
    assert sink.tries == 4
    assert len(sink.span_ids) == SPANS
    assert flow.stored == SPANS
    assert pipeline.last_error == ""


def test_what_is_not_stored_at_the_end_stays_in_the_journal(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty(*[RetryableError("away")] * 1000)
    pipeline, flow, _ = started(journal, sink, tmp_path)
    append(journal, BODY)
    while not sink.tries:
        time.sleep(0.005)
    assert pipeline.last_error == "away"
    assert not pipeline.drain(0.05)
    assert flow.stored == 0
    replay = Faulty()
    again, _, _ = started(journal, replay, tmp_path)
    assert again.drain(5)
    assert len(replay.span_ids) == SPANS


def test_what_is_stored_is_not_read_again(journal: Journal, tmp_path: Path) -> None:
    first, _, _ = started(journal, Faulty(), tmp_path)
    append(journal, BODY)
    assert first.drain(5)
    sink = Faulty()
    second, _, _ = started(journal, sink, tmp_path)
    assert second.drain(5)
    assert sink.batches == []


def test_a_batch_is_written_when_it_is_full_or_when_it_is_time(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty()
    append(journal, *[BODY] * 5)
    pipeline, _, _ = started(journal, sink, tmp_path, max_items=2 * SPANS, flush_timeout=0.05)
    deadline = time.monotonic() + 5
    while len(sink.span_ids) < 5 * SPANS and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [len(batch.spans) for batch in sink.batches] == [2 * SPANS, 2 * SPANS, SPANS]
    assert pipeline.is_alive()
    assert pipeline.drain(5)


def test_a_record_that_can_not_be_decoded_is_kept_aside(journal: Journal, tmp_path: Path) -> None:
    sink = Faulty()
    pipeline, _, dead_letters = started(journal, sink, tmp_path)
    append(journal, BODY, b"\xff\xff", BODY)
    assert pipeline.drain(5)
    assert len(sink.span_ids) == 2 * SPANS
    assert dead_letters.items["traces"] == SPANS
    assert '"reason":"can not be decoded' in (tmp_path / "dead.jsonl").read_text()


def test_a_cursor_that_can_not_be_written_does_not_stop_the_rest(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Faulty()
    pipeline, flow, _ = started(journal, sink, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("os.pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        append(journal, BODY)
        while not sink.batches:
            time.sleep(0.005)
    append(journal, BODY)
    assert pipeline.drain(5)
    assert flow.stored + flow.duplicates == 2 * SPANS
