"""What was recorded and is not yet safe elsewhere outlives the process."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from collector.config import RedactionSettings
from collector.pipeline.redaction import ProjectRules
from collector.proxy.archive import Archive
from collector.proxy.capture import Policy
from collector.proxy.exchange import read_exchange
from collector.proxy.recorder import Owner, RetryingOutlet
from collector.proxy.sessions import Resolver
from collector.proxy.spool import Spool
from sinks.base import RetryableError
from sinks.clickhouse.exchanges import StoredExchange
from tests.collector.proxy.tapes import tape
from tests.provider import chat_stream
from tests.waiting import PATIENCE_S, until

ASKED = {
    "model": "m",
    "stream": True,
    "messages": [{"role": "user", "content": "my key is AKIAIOSFODNN7EXAMPLE"}],
}
EVERYTHING = Policy(True, True, True, True, b"salt")


def kept(directory: Path) -> list[Path]:
    """What a spool that is at work has finished. A second spool would remove what the first is at."""
    return [file for file in directory.glob("*") if file.suffix != ".part"]


class Store:
    """As the store: away, or there."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.rows: list[StoredExchange] = []

    def write(self, rows: Sequence[StoredExchange]) -> None:
        if self.away:
            raise RetryableError("away")
        self.rows += rows


def archive(store: Store, directory: Path) -> Archive:
    return Archive(store.write, ProjectRules(RedactionSettings()), Spool(directory))


def keep(archive: Archive, number: int) -> None:
    exchange = read_exchange(
        tape("/v1/chat/completions", ASKED, [*chat_stream(ASKED)], span_id=f"{number:016x}")
    )
    archive.keep(exchange, Resolver().resolve(exchange), EVERYTHING)


def test_calls_that_the_store_has_not_taken_are_there_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.proxy.archive.GATHER_S", 0.02)
    directory = tmp_path / "spool"
    killed = archive(Store(away=True), directory)
    for number in (1, 2, 3):
        keep(killed, number)
    until(lambda: sum(file.read_bytes().count(b'"exchange_id"') for file in kept(directory)) == 3)
    # Nothing is closed: a second one begins with what the directory has.
    store = Store()
    again = archive(store, directory)
    until(lambda: len(store.rows) == 3)
    assert [row.span_id for row in store.rows] == [f"{number:016x}" for number in (1, 2, 3)]
    assert store.rows[0].chunk_ends
    assert all("AKIAIOSFODNN7EXAMPLE" not in (row.request_body or "") for row in store.rows)
    until(lambda: kept(directory) == [])
    again.close(PATIENCE_S)
    killed.close(0)


def test_nothing_secret_lies_in_a_file_and_nobody_else_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.proxy.archive.GATHER_S", 0.02)
    directory = tmp_path / "spool"
    away = archive(Store(away=True), directory)
    keep(away, 1)
    until(lambda: kept(directory))
    (file,) = kept(directory)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert b"AKIAIOSFODNN7EXAMPLE" not in file.read_bytes()
    away.close(PATIENCE_S)
    assert away.lost == 0
    assert file.exists()


def test_a_store_that_comes_back_gets_everything_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.proxy.archive.GATHER_S", 0.01)
    monkeypatch.setattr("collector.proxy.archive.PAUSE_S", 0.02)
    monkeypatch.setattr("collector.proxy.archive.MAX_BYTES", 10_000)  # most is in the spool only
    store = Store(away=True)
    running = archive(store, tmp_path / "spool")
    for number in range(1, 31):
        keep(running, number)
        until(lambda: running.document()["waiting"] == 0)
    store.away = False
    until(lambda: running.stored == 30)
    running.close(PATIENCE_S)
    assert [int(row.span_id, 16) for row in store.rows] == list(range(1, 31))
    assert (running.lost, Spool(tmp_path / "spool").waiting()) == (0, [])


def test_a_full_disk_leaves_calls_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.proxy.archive.GATHER_S", 0.01)
    (tmp_path / "spool").write_text("no directory")
    store = Store()
    running = Archive(store.write, ProjectRules(RedactionSettings()), Spool(tmp_path / "spool"))
    keep(running, 1)
    until(lambda: running.stored == 1)
    running.close(PATIENCE_S)
    assert running.lost == 0


def test_files_stay_within_their_total_and_what_goes_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1000)
    gone = [name for number in range(10) for name in spool.put({"n": number}, b"x" * 290)[1]]
    assert len(gone) == 7
    found = [spool.read(name) for name in spool.waiting()]
    assert [about["n"] for about, _ in filter(None, found)] == [7, 8, 9]


def test_what_is_torn_or_nothing_of_ours_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000001.part").write_bytes(b'{"calls":1}\n[{')
    (tmp_path / "00000000000000000002").write_bytes(b"not ours")
    (tmp_path / "00000000000000000003").write_bytes(b'{"calls":1}\n[{"another": "version"}]')
    store = Store()
    running = archive(store, tmp_path)
    until(lambda: not list(tmp_path.iterdir()))
    running.close(PATIENCE_S)
    assert store.rows == []


# --------------------------------------------------------------------------- spans of the sidecar


class Collector:
    def __init__(self) -> None:
        self.away = False
        self.took: list[tuple[Owner, bytes]] = []
        self.asked = threading.Semaphore(0)

    def take(self, owner: Owner, body: bytes, done: Callable[[bool, bool], None]) -> None:
        if not self.away:
            self.took.append((owner, body))
        done(not self.away, True)
        self.asked.release()


def test_spans_that_the_collector_has_not_taken_are_sent_after_a_kill(tmp_path: Path) -> None:
    collector = Collector()
    collector.away = True
    killed = RetryingOutlet(collector.take, Spool(tmp_path))
    killed.send(("", "shop"), b"first")
    killed.send(("acme", ""), b"second")
    for _ in range(2):
        assert collector.asked.acquire(timeout=PATIENCE_S)
    there = Collector()
    again = RetryingOutlet(there.take, Spool(tmp_path))
    until(lambda: len(there.took) == 2)
    assert there.took == [(("", "shop"), b"first"), (("acme", ""), b"second")]
    again.close(PATIENCE_S)
    assert Spool(tmp_path).waiting() == []


def test_what_is_safe_or_refused_for_good_is_kept_no_longer(tmp_path: Path) -> None:
    outlet = RetryingOutlet(lambda _, body, done: done(body == b"safe", False), Spool(tmp_path))
    outlet.send(("", ""), b"safe")
    outlet.send(("", ""), b"refused")
    outlet.close(PATIENCE_S)
    assert (outlet.sent, outlet.lost, Spool(tmp_path).waiting()) == (1, 1, [])
