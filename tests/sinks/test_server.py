"""The store as a server by URL: what holds for the embedded engine holds there, and what can go wrong on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from sinks.base import Batch, RetryableError, WrongStoreError
from sinks.clickhouse import ClickHouseSink, Reader, Store
from sinks.clickhouse import migrations as migrations_module
from sinks.clickhouse.migrations import LOCK, SchemaError, migrations
from sinks.clickhouse.server import Server
from tests.clickhouse_front import Front
from tests.server import with_schema
from tests.sinks import test_clickhouse as on_the_engine
from tests.sinks.test_clickhouse import full_event, full_run

sink, reader, trace_id = on_the_engine.sink, on_the_engine.reader, on_the_engine.trace_id

test_event = on_the_engine.test_an_event_is_read_as_it_was_written
test_run = on_the_engine.test_a_run_is_read_as_it_was_written
test_warning = on_the_engine.test_a_warning_is_read_as_it_was_written
test_span = on_the_engine.test_a_span_keeps_everything_it_came_with
test_record = on_the_engine.test_a_log_record_is_stored_once_however_often_it_comes
test_columns = on_the_engine.test_every_column_is_written_or_made_by_the_engine
test_missing_table = on_the_engine.test_a_missing_table_is_a_permanent_error
test_token = on_the_engine.test_a_batch_under_a_known_token_leaves_no_second_row
test_odd_values = on_the_engine.test_values_that_no_column_can_hold_do_not_cost_the_batch


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    users = {"collector": "päss/wörd", "reader": "r"}
    database = tmp_path_factory.mktemp("server") / "data"
    with_schema(database)
    running = Front(database, users=users).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(front: Front) -> Server:
    return Server(front.url, username="collector", password="päss/wörd", timeout_s=5)


@pytest.fixture(scope="module")
def store(server: Server) -> Iterator[Store]:
    opened = Store.open(server)
    yield opened
    opened.close()


def test_the_url_may_hold_user_and_password_in_escapes(front: Front, store: Store) -> None:
    address = front.url.replace("://", "://collector:p%C3%A4ss%2Fw%C3%B6rd@")
    Store.open(Server(address)).close()
    assert "p%C3" not in repr(Server(address))


def test_each_insert_has_an_id_by_which_the_servers_log_knows_it(
    front: Front, store: Store, trace_id: str
) -> None:
    batch = Batch(events=[full_event(trace_id)], runs=[full_run(trace_id)])
    ClickHouseSink(store).write(batch)
    told = {insert.table: insert for insert in batch.inserts}
    assert set(told) == {"run_events", "runs"}
    for table, insert in told.items():
        assert front.seen(rf"INSERT INTO otel.{table}\b")[-1]["settings"]["query_id"] == insert.query_id
        assert (insert.rows, insert.error) == (1, "")
        assert insert.size > 0
        assert insert.began_ns < insert.ended_ns
    assert len({insert.query_id for insert in batch.inserts}) == 2


def test_an_insert_that_fails_says_by_which_code(front: Front, store: Store, trace_id: str) -> None:
    batch = Batch(events=[full_event(trace_id)])
    front.fault("INSERT INTO otel.run_events", times=1, code=241)
    with pytest.raises(RetryableError):
        ClickHouseSink(store).write(batch)
    front.heal()
    [insert] = batch.inserts
    assert insert.error == "Code: 241"


@pytest.mark.parametrize("compression", ["zstd", "gzip", "off"])
def test_inserts_are_sent_as_they_are_to_be_packed(
    front: Front, server: Server, store: Store, trace_id: str, compression: Any
) -> None:
    other = Store.open(_changed(server, compression=compression))
    ClickHouseSink(other).write(Batch(events=[full_event(trace_id)]))
    assert _events(other, trace_id) == 1
    other.close()

    sent = front.seen("INSERT INTO otel.run_events")[-1]
    assert sent["encoding"] == ("" if compression == "off" else compression)
    assert "session_id" not in sent["settings"]
    assert sent["settings"]["async_insert"] == "0"


def test_what_goes_wrong_in_a_moment_is_retryable_and_the_handles_live_on(
    front: Front, store: Store, trace_id: str
) -> None:
    batch = Batch(events=[full_event(trace_id)])
    sink = ClickHouseSink(store)
    for fault in (
        {"status": 502, "body": "<html>Bad gateway</html>"},
        {"status": 503, "times": 9},
        {"code": 241},
        {"code": 252},
        {"code": 319},
        {"hang_up": "before", "times": 9},
        {"hang_up": "after", "times": 9},
    ):
        front.fault("INSERT INTO otel.run_events", **{"times": 1, **fault})
        with pytest.raises(RetryableError):
            sink.write(batch)
        front.heal()
    sink.write(batch)
    assert _events(store, trace_id) == 1


def test_a_server_that_is_silent_for_too_long_is_given_up(
    front: Front, server: Server, store: Store, trace_id: str
) -> None:
    impatient = Store.open(_changed(server, timeout_s=1))
    front.fault("INSERT INTO otel.run_events", times=9, delay_s=20)
    began = time.monotonic()
    with pytest.raises(RetryableError):
        ClickHouseSink(impatient).write(Batch(events=[full_event(trace_id)]))
    assert time.monotonic() - began < 15
    front.heal()
    impatient.close()


def test_a_server_that_is_away_is_retryable(tmp_path: Path) -> None:
    with pytest.raises(RetryableError):
        Store.open(Server("http://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"password": "wrong"}, 516), ({"username": "reader", "password": "r"}, 164)],
    ids=["wrong password", "may only read"],
)
def test_who_may_not_use_the_store_is_told_so_and_no_row_is_blamed(
    front: Front, server: Server, store: Store, changes: dict[str, Any], code: int
) -> None:
    store.command("INSERT INTO otel.schema_migrations (Version, State) VALUES (1, 'started')")
    try:
        with pytest.raises(WrongStoreError, match=f"Code: {code}"):
            Store.open(_changed(server, **changes))
    finally:
        Store.open(server).close()


def test_who_may_only_read_uses_a_schema_that_is_there(server: Server, store: Store) -> None:
    reading = Store.open(_changed(server, username="reader", password="r"))
    assert Reader(reading).totals() == Reader(store).totals()
    reading.close()


def test_of_collectors_that_come_at_once_one_makes_the_schema_if_it_may(tmp_path: Path) -> None:
    front = Front(tmp_path / "data").start()
    elsewhere = Server(front.url, create_schema=False)
    with pytest.raises(SchemaError, match="eddyline db migrate"):
        Store.open(elsewhere)
    failures: list[Exception] = []

    def come() -> None:
        try:
            Store.open(Server(front.url)).close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=come) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(front.seen("INSERT INTO otel.schema_migrations")) == 2 * len(migrations())
    assert front.query(f"SELECT name FROM system.tables WHERE name = '{LOCK}'") == []
    Store.open(elsewhere).close()
    front.stop()


def test_a_collector_that_died_while_it_applied_steps_holds_nobody_up(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.command(f"CREATE TABLE otel.{LOCK} (Held UInt8) ENGINE = Memory")
    store.command("INSERT INTO otel.schema_migrations (Version, State) VALUES (1, 'started')")
    waiting = threading.Thread(target=lambda: Store.open(server).close())
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive()
    monkeypatch.setattr(migrations_module, "GIVEN_UP_S", -1)
    waiting.join(30)
    assert store.query(f"SELECT 1 FROM system.tables WHERE name = '{LOCK}'") == []
    assert not waiting.is_alive()


def test_a_server_with_tls_is_known_by_its_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    cert.write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    front = Front(tmp_path / "data", cert=cert, key=key).start()

    with pytest.raises(RetryableError, match="certificate verify failed"):
        Store.unprepared(Server(front.url)).query("SELECT 1")
    store = Store.unprepared(Server(front.url, ca_file=str(ca)))
    assert store.query("SELECT 1") == [(1,)]
    store.close()
    front.stop()


def _changed(server: Server, **changes: Any) -> Server:
    return replace(server, **changes)


def _events(store: Store, run_id: str) -> int:
    rows = store.query(
        "SELECT count() FROM otel.run_events FINAL WHERE RunId = {run:String}", {"run": run_id}
    )
    return int(rows[0][0])
