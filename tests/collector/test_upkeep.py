"""`eddyline journal` and `dead-letter`: what waits is listed, checked, taken out and sent again."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.cli import main
from collector.doors.keys import Keys, Scope, keys_file
from collector.intake.intake import Intake, Submission
from collector.intake.outcome import Outcome, Verdict
from collector.journal import Header, Journal, Record, Stretch
from collector.journal.atrest import Single
from collector.otlp import Signal, decode_traces
from collector.pipeline.deadletter import DeadLetters, DeadLettersFullError, Letter, read
from collector.working import _keep_aside
from tests.collector.pipeline.test_pipeline import Faulty, started
from tests.collector.receivers.test_http import request
from tests.corpus import select
from tests.listening import serving
from tests.otlp_json import to_json
from tests.server import Server
from tests.waiting import PATIENCE_S

BODY = next(select("openinference/openai/tools")).traces[0].read_bytes()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def waiting_in(data_dir: Path, received: Sequence[int], body: bytes = BODY) -> Path:
    journal = Journal(data_dir / "journal" / "traces")
    journal.open()
    journal.cursor("sink")
    for received_ns in received:
        done = threading.Event()
        header = Header(received_ns, project="carried", items=3)
        journal.append(header, body, lambda _, done=done: done.set())
        assert done.wait(PATIENCE_S)
    journal.close()
    return data_dir


@pytest.fixture
def at_rest(tmp_path: Path) -> Path:
    """A data directory whose collector has ended before the store had everything."""
    return waiting_in(tmp_path, received=(7, 7, 7))


def segment(data_dir: Path) -> Path:
    [file] = (data_dir / "journal" / "traces").glob("*.seg")
    return file


def test_ls_shows_segments_and_the_cursor(at_rest: Path) -> None:
    shown = run("journal", "ls", "--data-dir", str(at_rest))
    assert shown.exit_code == 0
    assert segment(at_rest).name in shown.output
    assert "sink goes on at record 1" in shown.output


def test_verify_names_damage_and_says_so_by_its_exit_code(at_rest: Path) -> None:
    whole = run("journal", "verify", "--data-dir", str(at_rest))
    assert (whole.exit_code, whole.output) == (0, "traces: 3 records with 9 items are whole\n")
    content = bytearray(segment(at_rest).read_bytes())
    content[len(content) // 2] ^= 1
    segment(at_rest).write_bytes(content)
    damaged = run("journal", "verify", "--data-dir", str(at_rest))
    assert damaged.exit_code == 65
    assert "are no record" in damaged.output
    assert "traces: 2 records with 6 items are whole" in damaged.output
    assert segment(at_rest).read_bytes() == content


def test_what_is_exported_can_be_replayed_elsewhere(at_rest: Path, tmp_path: Path, server: Server) -> None:
    file = tmp_path / "taken-out"
    exported = run("journal", "export", "--data-dir", str(at_rest), "--from", "2", str(file))
    assert exported.exit_code == 0, exported.output
    assert file.read_bytes() == segment(at_rest).read_bytes()[-len(file.read_bytes()) :]
    replayed = run("journal", "replay", "--to", server.endpoints["http"], str(file))
    assert (replayed.exit_code, replayed.output) == (0, "2 records sent\n")
    server.settled()
    assert sum(run["counts"]["spans"] for run in server.runs(project="carried", include="all")) == 3


def test_a_missing_journal_is_named(tmp_path: Path) -> None:
    shown = run("journal", "ls", "--data-dir", str(tmp_path))
    assert shown.exit_code == 3
    assert "there is no journal in" in shown.output


def test_dead_letters_are_listed_and_replayed(tmp_path: Path, server: Server) -> None:
    file = tmp_path / "dead-letters.jsonl"
    letters = DeadLetters(file, lambda signal, body, project: body)
    header = Header(1_790_000_000 * 10**9, project="mended", items=3)
    letters.keep([Letter(Record(7, header, BODY), "traces", "Code: 53. Type mismatch")])
    letters.keep([Letter(Record(8, header, b"\xff"), "traces", "can not be decoded")])
    letters.keep([Letter(Record(9, header, request(0x6200004).SerializeToString()), "traces", "later")])
    shown = run("dead-letter", "ls", "--data-dir", str(tmp_path))
    assert shown.exit_code == 0
    assert "2026-09-21T14:13:20.000+00:00  traces  3 items  mended  Code: 53. Type mismatch" in shown.output
    replayed = run("dead-letter", "replay", "--data-dir", str(tmp_path), "--to", server.endpoints["http"])
    assert replayed.exit_code == 1
    assert "after 1 sent: answered 400" in replayed.output
    assert [letter.record.sequence for _, letter in read(file)] == [8]
    assert file.stat().st_mode & 0o077 == 0
    server.settled()
    assert sum(run["counts"]["spans"] for run in server.runs(project="mended", include="all")) == 4


def test_lines_that_are_no_dead_letters_are_named(tmp_path: Path) -> None:
    file = tmp_path / "dead-letters.jsonl"
    letters = DeadLetters(file, lambda signal, body, project: body)
    letters.keep([Letter(Record(7, Header(1), b""), "traces", "a reason")])
    with file.open("ab") as more:
        more.write(b"garbage\n7\n" + file.read_bytes().replace(b'"received_ns":1', b'"received_ns":"x"'))
    shown = run("dead-letter", "ls", "--data-dir", str(tmp_path))
    assert shown.exit_code == 65
    assert shown.output.count("a reason") == 1
    assert "no dead letter in line 2, 3, 4" in shown.output


def test_a_letter_that_a_crash_cut_short_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "dead-letters.jsonl"
    letters = DeadLetters(file, lambda signal, body, project: body)
    letters.keep([Letter(Record(7, Header(1), b"whole"), "traces", "before")])
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    letters.keep([Letter(Record(8, Header(1), b"whole too"), "traces", "after")])
    damaged: list[int] = []
    assert [letter.reason for _, letter in read(file, damaged.append)] == ["before", "after"]
    assert damaged == [2]


@pytest.fixture
def two_tenants(tmp_path: Path) -> Path:
    """A journal taken out of a collector with records of two tenants and of nobody's."""
    journal = Journal(tmp_path / "elsewhere")
    journal.open()
    for number, tenant in enumerate(("acme", "zeta", ""), start=1):
        done = threading.Event()
        body = request(number).SerializeToString()
        journal.append(Header(7, tenant, "verträge", items=1), body, lambda _, done=done: done.set())
        assert done.wait(PATIENCE_S)
    journal.close()
    [file] = (tmp_path / "elsewhere").glob("*.seg")
    return file


class Shared:
    """A collector on a data directory, and a key for each of its tenants."""

    def __init__(self, data_dir: Path, *tenants: str) -> None:
        keys = Keys(keys_file(data_dir))
        scopes = [Scope.READ, Scope.INGEST]
        self.secrets = {tenant: keys.create("one", scopes, tenant=tenant)[1] for tenant in tenants}
        self.server = Server(data_dir).start()

    def seen(self) -> dict[str, set[str]]:
        """The runs that each tenant sees, once everything is stored."""
        self.server.settled()
        seen = {}
        for tenant, secret in self.secrets.items():
            answer = httpx.get(
                f"{self.server.endpoints['api']}/api/v1/runs?include=all",
                headers={"Authorization": f"Bearer {secret}"},
                timeout=15,
            )
            seen[tenant] = {run["run_id"] for run in answer.json()["data"]}
        return seen


def run_id(number: int) -> str:
    return (b"http" + number.to_bytes(12, "big")).hex()


def test_a_replay_leaves_every_record_with_its_tenant(two_tenants: Path, data_dir: Path) -> None:
    shared = Shared(data_dir, "acme", "zeta", "", "strange")
    stranger = ["--key", shared.secrets["strange"]]
    there = ["--to", shared.server.endpoints["http"]]
    refused = run("journal", "replay", *there, *stranger, str(two_tenants))
    assert refused.exit_code == 1
    assert "after 0 sent: answered 403, only the API token may send for another tenant" in refused.output
    assert run("journal", "replay", *there, str(two_tenants)).exit_code == 1  # nor may who has no key

    # To the collector of the data directory goes its own token, whatever key is about.
    replayed = run("journal", "replay", "--data-dir", str(data_dir), *stranger, str(two_tenants))
    assert (replayed.exit_code, replayed.output) == (0, "3 records sent\n")
    assert shared.seen() == {"acme": {run_id(1)}, "zeta": {run_id(2)}, "": {run_id(3)}, "strange": set()}
    assert {run["project"] for run in shared.server.runs(include="all")} == {"verträge"}

    taken_over = run("journal", "replay", *there, *stranger, "--as-key", str(two_tenants))
    assert (taken_over.exit_code, taken_over.output) == (0, "3 records sent\n")
    assert shared.seen()["strange"] == {run_id(1), run_id(2), run_id(3)}
    assert shared.server.stop() == 0


def test_dead_letters_go_back_to_their_tenants(data_dir: Path) -> None:
    shared = Shared(data_dir, "acme", "zeta", "")
    letters = DeadLetters(data_dir / "dead-letters.jsonl", lambda signal, body, project: body)
    for number, tenant in enumerate(("acme", "zeta"), start=1):
        header = Header(7, tenant, items=1)
        letters.keep([Letter(Record(number, header, request(number).SerializeToString()), "traces", "why")])
    replayed = run("dead-letter", "replay", "--data-dir", str(data_dir))
    assert (replayed.exit_code, replayed.output) == (0, "2 sent\n")
    assert shared.seen() == {"acme": {run_id(1)}, "zeta": {run_id(2)}, "": set()}
    assert shared.server.stop() == 0


def test_a_replay_waits_for_a_collector_that_is_busy(two_tenants: Path) -> None:
    answers = [503, 503, 200, 200, 503, 200]

    async def busy(scope: Any, receive: Any, send: Any) -> None:
        status = answers.pop(0)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    with serving(busy) as url:
        replayed = run("journal", "replay", "--to", url, str(two_tenants))
    assert (replayed.exit_code, replayed.output, answers) == (0, "3 records sent\n", [])


def test_nothing_is_called_kept_before_there_is_a_place_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.intake.intake.check", lambda *_: 1 / 0)
    intake = Intake({})  # as it is while the store opens
    outcomes: list[Outcome] = []
    for _ in range(6):
        intake.take(
            Submission(Signal.TRACES, request(0x6200003).SerializeToString(), "http"), outcomes.append
        )
    assert [outcome.verdict for outcome in outcomes] == [Verdict.REFUSED] * 6


@pytest.mark.parametrize("transport", ["protobuf", "json"])
def test_what_a_fault_of_ours_keeps_us_from_reading_is_kept(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    letters = DeadLetters(tmp_path / "dead-letters.jsonl", lambda signal, body, project: body)
    intake = Intake({})
    intake.given_up = partial(_keep_aside, letters, intake)
    outcomes: list[Outcome] = []
    made = request(0x6200001 if transport == "json" else 0x6200002)
    body = gzip.compress(to_json(made) if transport == "json" else made.SerializeToString())
    for judge in ("check", "transcode"):
        monkeypatch.setattr(f"collector.intake.intake.{judge}", lambda *_: 1 / 0)
    sent = Submission(Signal.TRACES, body, "http", json=transport == "json", encoding="gzip", project="kept")
    for _ in range(4):
        intake.take(sent, outcomes.append)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.REFUSED] * 3 + [Verdict.BAD]
    assert "dead letter" in outcomes[-1].message
    [(_, letter)] = read(tmp_path / "dead-letters.jsonl")
    assert "a fault of the collector" in letter.reason

    replayed = run("dead-letter", "replay", "--data-dir", str(tmp_path), "--to", server.endpoints["http"])
    assert (replayed.exit_code, replayed.output) == (0, "1 sent\n")
    server.settled()
    assert (b"http" + (0x6200001 if transport == "json" else 0x6200002).to_bytes(12, "big")).hex() in {
        run["run_id"] for run in server.runs(project="kept", include="all")
    }

    def full(request: Submission, reason: str) -> None:
        raise DeadLettersFullError("full")

    intake.given_up = full
    intake.take(sent, outcomes.append)
    assert outcomes[-1].verdict is Verdict.REFUSED  # it is nowhere else but at its client


def unexpected(path: Path, begin: int, end: int) -> None:
    pytest.fail(f"{path}: bytes {begin} to {end} are no record")


def skip(data_dir: Path, *arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, ["journal", "skip", "--data-dir", str(data_dir), *arguments], **options)


def restarted(data_dir: Path) -> tuple[dict[str, int], list[int]]:
    """What a collector makes of the journal: its balance, and the sequences of the records that it read."""
    journal = Journal(data_dir / "journal" / "traces")
    journal.open()
    done = threading.Event()
    begin = journal.cursor("sink").position
    journal.append(Header(99, items=3), BODY, lambda _: done.set())
    assert done.wait(PATIENCE_S)
    reader = journal.reader(begin)
    read = []
    while (record := reader.next()) is not None:
        read.append(record.header.received_ns)
    pipeline, flow, _ = started(journal, Faulty(), data_dir)
    assert pipeline.drain(PATIENCE_S)
    assert pipeline.settled_items == journal.next_items
    journal.close()
    return {"replayed": flow.replayed, "damaged": flow.damaged, "kept": flow.stored + flow.duplicates}, read


@pytest.mark.parametrize(
    ("arguments", "damaged", "left"),
    [
        (["1"], 3, [2, 3, 99]),
        (["2"], 3, [1, 3, 99]),
        (["1", "--until", "3"], 6, [3, 99]),
        (["3"], None, [1, 2, 99]),
        (["0", "--until", "100"], None, [99]),
    ],
    ids=["first", "between", "range", "last", "all"],
)
def test_W10_what_is_skipped_is_kept_aside_and_counted(
    tmp_path: Path, arguments: list[str], damaged: int | None, left: list[int]
) -> None:
    at_rest = waiting_in(tmp_path, received=(1, 2, 3))
    gone = [number for number in (1, 2, 3) if number not in left]
    skipped = skip(at_rest, *arguments, "--yes")
    assert skipped.exit_code == 0, skipped.output
    assert f"skipped {len(gone)} records with {3 * len(gone)} items" in skipped.output
    [kept] = (at_rest / "journal" / "traces" / "quarantine").glob("*.bad")
    assert str(kept) in skipped.output
    found = [(record.header, record.body) for record in Single(kept).records(unexpected)]
    assert [(header.received_ns, header.project) for header, _ in found] == [
        (number, "carried") for number in gone
    ]
    assert all(decode_traces(body) == decode_traces(BODY) for _, body in found)
    assert kept.stat().st_mode & 0o777 == 0o600
    verified = run("journal", "verify", "--data-dir", str(at_rest))
    assert verified.exit_code == 0
    assert f"{3 - len(gone)} records" in verified.output
    assert skip(at_rest, *arguments, "--yes").exit_code == 3, "they wait no more"
    balance, read = restarted(at_rest)
    assert read == left
    assert balance["kept"] == 3 * len(left)
    # At the end nothing tells of what was there: it is no part of what the next process takes over.
    assert balance["damaged"] == (0 if damaged is None else damaged)
    assert balance["replayed"] == balance["damaged"] + 3 * (len(left) - 1)


def test_W10_nothing_is_skipped_that_was_not_meant(at_rest: Path) -> None:
    before = segment(at_rest).read_bytes()
    declined = skip(at_rest, "2", input="n\n")
    assert (declined.exit_code, "Skip 1 records with 3 items" in declined.output) == (1, True)
    assert skip(at_rest, "4", "--yes").exit_code == 3
    assert skip(at_rest, "2", "--journal", "traces/worker-1", "--yes").exit_code == 3
    journal = Journal(at_rest / "journal" / "traces")
    journal.open()
    running = skip(at_rest, "2", "--yes")
    assert (running.exit_code, "a collector runs on" in running.output) == (75, True)
    journal.close()
    assert segment(at_rest).read_bytes() == before
    assert skip(at_rest, "2", input="y\n").exit_code == 0


def test_what_is_stored_ahead_of_the_cursor_is_shown_and_not_skipped(at_rest: Path) -> None:
    journal = Journal(at_rest / "journal" / "traces")
    journal.open()
    cursor = journal.cursor("sink")
    reader = journal.reader(cursor.position)
    places = [reader.position]
    while reader.next() is not None:
        places.append(reader.position)
    cursor.advance(places[0], Stretch(places[1], places[2]))
    journal.close()
    shown = run("journal", "ls", "--data-dir", str(at_rest))
    assert "sink goes on at record 1" in shown.output
    assert "sink has records 2 to 2 already" in shown.output
    assert skip(at_rest, "2", "--yes").exit_code == 3
    skipped = skip(at_rest, "0", "--until", "9", "--yes")
    assert "skipped 2 records with 6 items" in skipped.output


def test_W10_secrets_do_not_stay_in_what_is_skipped(tmp_path: Path) -> None:
    secret = "sk-proj-" + "a1B2c3D4e5" * 5
    sent = ExportTraceServiceRequest.FromString(BODY)
    sent.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="note").value.string_value = secret
    at_rest = waiting_in(tmp_path, received=(1,), body=sent.SerializeToString())
    assert skip(at_rest, "1", "--yes").exit_code == 0
    for file in (at_rest / "journal").rglob("*.*"):
        assert secret.encode() not in file.read_bytes(), file
    [kept] = (at_rest / "journal" / "traces" / "quarantine").glob("*.bad")
    assert len(list(Single(kept).records(unexpected))) == 1
