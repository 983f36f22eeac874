"""The schema on a cluster: the engine understands every statement, and what holds on one server holds on tables that
are spread. What a single engine can not show: rows on several servers, and replication."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Reader, Store
from sinks.clickhouse.erasing import Deletion, Eraser
from sinks.clickhouse.layout import MOVED, SHARDED, Layout
from sinks.clickhouse.migrations import migrations, statements
from sinks.clickhouse.server import Server
from tests.clickhouse_front import Front
from tests.sinks import test_clickhouse as on_one_server
from tests.sinks import test_expiry as expiry
from tests.sinks.test_clickhouse import full_event

SHARDS = Layout(cluster="main")
REPLICAS = Layout(cluster="main", sharded=False)
TIERED = Layout(cluster="main", storage_policy="hot_cold", cold_volume="cold", cold_after_days=3)
PLAIN = Layout()
POLICY = """
    <storage_configuration>
        <disks><cheap><path>{cheap}/</path></cheap></disks>
        <policies><hot_cold><volumes>
            <hot><disk>default</disk></hot><cold><disk>cheap</disk></cold>
        </volumes></hot_cold></policies>
    </storage_configuration>
"""
COMMANDS = (
    "DELETE FROM otel.runs WHERE RunId = 'x'",
    "OPTIMIZE TABLE otel.run_events FINAL",
    "ALTER TABLE otel.otel_logs APPLY DELETED MASK",
    "ALTER TABLE otel.annotations MODIFY SETTING old_parts_lifetime = 1",
    "SYSTEM START MERGES otel.otel_traces",
)


def test_the_engine_understands_every_statement(front: Front) -> None:
    for layout in (PLAIN, SHARDS, REPLICAS, TIERED):
        made = [*statements(migrations(), layout), *map(layout.command, COMMANDS)]
        made += layout.tiering({layout.physical(table): "TTL toDateTime(x)" for table in SHARDED})
        for statement in made:
            assert (" ON CLUSTER 'main'" in statement) == bool(layout.cluster), statement
            quoted = statement.replace("\\", "\\\\").replace("'", "\\'")
            assert front.query(f"SELECT formatQuery('{quoted}')")


def test_without_a_cluster_the_schema_is_as_it_is_written() -> None:
    written = [statement for step in migrations() for statement in step.statements]
    assert statements(migrations(), PLAIN)[-len(written) :] == written


def test_what_grows_is_spread_by_trace_and_what_is_small_lies_everywhere() -> None:
    made = statements(migrations(), SHARDS)
    tables = {
        found[1]: sql for sql in made if (found := re.match(r"CREATE TABLE IF NOT EXISTS otel\.(\w+)", sql))
    }
    for table, key in SHARDED.items():
        assert "Replicated" in tables[f"{table}_local"]
        assert "/{shard}/" in tables[f"{table}_local"]
        last = [sql for sql in made if re.match(rf"CREATE (OR REPLACE )?TABLE .*otel\.{table} ", sql)][-1]
        assert f"ENGINE = Distributed('main', 'otel', '{table}_local', cityHash64({key}))" in last
    whole = (
        tables.keys()
        - {f"{table}_local" for table in SHARDED}
        - SHARDED.keys()
        - {"requests", "trace_requests"}
    )
    assert {"settings", "tombstones", "annotations", "instances", "schema_migrations"} <= whole
    for table in whole:
        assert f"'/clickhouse/tables/all/otel/{table}', '{{shard}}-{{replica}}'" in tables[table]


def test_a_view_that_fills_a_spread_table_works_on_each_servers_part() -> None:
    [times] = [sql for sql in statements(migrations(), SHARDS) if "otel_traces_trace_id_ts_mv" in sql]
    assert "TO otel.otel_traces_trace_id_ts_local" in times
    assert "FROM otel.otel_traces_local" in times
    [requests] = [
        sql for sql in statements(migrations(), SHARDS) if "VIEW IF NOT EXISTS otel.trace_requests_mv" in sql
    ]
    assert "TO otel.otel_traces AS" in requests  # to whichever shard the trace belongs


# --------------------------------------------------------------------------- on tables that are spread

sink, reader, trace_id = on_one_server.sink, on_one_server.reader, on_one_server.trace_id
test_event = on_one_server.test_an_event_is_read_as_it_was_written
test_run = on_one_server.test_a_run_is_read_as_it_was_written
test_span = on_one_server.test_a_span_keeps_everything_it_came_with
test_record = on_one_server.test_a_log_record_is_stored_once_however_often_it_comes
test_columns = on_one_server.test_every_column_is_written_or_made_by_the_engine
test_age = expiry.test_age_is_counted_from_the_arrival_and_pinned_runs_stay
test_token = on_one_server.test_a_batch_under_a_known_token_leaves_no_second_row


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("cluster")
    (directory / "cheap").mkdir()
    config = POLICY.format(cheap=directory / "cheap")
    running = Front(directory / "data", alone=False, config=config).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def store(front: Front) -> Iterator[Store]:
    opened = Store.open(Server(front.url, layout=TIERED, insert_quorum="auto"))
    yield opened
    opened.close()


def test_a_deleted_run_leaves_every_part(store: Store, front: Front, trace_id: str) -> None:
    event = full_event(trace_id)
    ClickHouseSink(store).write(Batch(events=[event]))
    eraser = Eraser(store)
    deletion = Deletion("d1", event.tenant, "shop", "running", {})
    eraser.bury(event.tenant, [trace_id], "d1")
    assert eraser.rows(deletion)["events"] == 1

    eraser.hide(deletion)
    eraser.erase(deletion)

    assert eraser.rows(deletion)["events"] == 0
    assert eraser.purge(lambda seconds: time.sleep(seconds) or False, lambda what: None)
    deleted = front.seen(r"DELETE FROM otel.run_events")[-1]
    assert deleted["sql"].startswith("DELETE FROM otel.run_events_local ON CLUSTER 'main' IN PARTITION ID '")
    assert deleted["settings"]["mutations_execute_subqueries_on_initiator"] == "1"


def test_the_database_is_described_by_the_names_of_its_tables(store: Store) -> None:
    assert {"runs", "otel_traces", "settings"} <= {one["table"] for one in Reader(store).tables()}
    assert Reader(store).busy() == (0, 0)


def test_rows_move_to_the_cold_volume_when_they_are_old_and_that_can_be_changed(
    store: Store, front: Front
) -> None:
    def engines() -> dict[str, str]:
        return dict(front.query("SELECT name, engine_full FROM system.tables WHERE database = 'otel'"))

    for table in MOVED:
        assert "toIntervalDay(3) TO VOLUME 'cold'" in engines()[f"{table}_local"]
        assert "storage_policy = 'hot_cold'" in engines()[f"{table}_local"]
    before = len(front.seen("MODIFY TTL"))
    Store.open(Server(front.url, layout=TIERED)).close()
    assert len(front.seen("MODIFY TTL")) == before

    Store.open(Server(front.url, layout=replace(TIERED, cold_volume=""))).close()
    assert not any("TO VOLUME" in engine for engine in engines().values())


def test_inserts_ask_for_their_quorum_and_wait_for_the_shards(
    store: Store, front: Front, trace_id: str
) -> None:
    ClickHouseSink(store).write(Batch(events=[full_event(trace_id)]))
    told = front.seen("INSERT INTO otel.run_events ")[-1]["settings"]
    assert told["insert_quorum"] == "auto"
    assert told["distributed_foreground_insert"] == "1"
    Reader(store).totals()
    assert front.seen("SELECT")[-1]["settings"]["distributed_product_mode"] == "global"


def test_what_is_missing_is_told_before_it_is_run(store: Store, front: Front) -> None:
    server = Server(front.url, layout=TIERED)
    assert Store.planned(server) == []
    assert Store.planned(Server("http://127.0.0.1:9", layout=SHARDS), every=True) == statements(
        migrations(), SHARDS
    )
