"""`eddyline journal` and `dead-letter`: what waits is listed, checked, taken out and sent again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from collector.cli import main
from collector.deadletter import DeadLetters, Letter, read
from collector.journal import Header, Journal, Record
from tests.corpus import select
from tests.server import Server

BODY = next(select("openinference/openai/tools")).traces[0].read_bytes()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def at_rest(tmp_path: Path) -> Path:
    """A data directory whose collector has ended before the store had everything."""
    journal = Journal(tmp_path / "journal" / "traces")
    journal.open()
    journal.cursor("sink")
    for _ in range(3):
        done = threading.Event()
        journal.append(Header(7, project="carried", items=3), BODY, lambda _, done=done: done.set())
        assert done.wait(5)
    journal.close()
    return tmp_path


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
    assert shown.exit_code == 69
    assert "there is no journal in" in shown.output


def test_dead_letters_are_listed_and_replayed(tmp_path: Path, server: Server) -> None:
    file = tmp_path / "dead-letters.jsonl"
    letters = DeadLetters(file, lambda signal, body, project: body)
    header = Header(1_790_000_000 * 10**9, project="mended", items=3)
    letters.keep([Letter(Record(7, header, BODY), "traces", "Code: 53. Type mismatch")])
    letters.keep([Letter(Record(8, header, b"\xff"), "traces", "can not be decoded")])
    shown = run("dead-letter", "ls", "--data-dir", str(tmp_path))
    assert "2026-09-21T14:13:20.000+00:00  traces  3 items  mended  Code: 53. Type mismatch" in shown.output
    replayed = run("dead-letter", "replay", "--data-dir", str(tmp_path), "--to", server.endpoints["http"])
    assert replayed.exit_code == 1
    assert "after 1 sent: answered 400" in replayed.output
    assert [letter.record.sequence for _, letter in read(file)] == [8]
    assert file.stat().st_mode & 0o077 == 0
    server.settled()
    assert sum(run["counts"]["spans"] for run in server.runs(project="mended", include="all")) == 3
