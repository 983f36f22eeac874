"""The front answers clickhouse-connect as a server does, so that what is tested against it holds for servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from tests.clickhouse_front import Front, as_one_server


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    running = Front(tmp_path_factory.mktemp("front") / "data", users={"default": "", "reader": "r"}).start()
    yield running
    running.stop()


def connect(front: Front, **options: Any) -> Any:
    return clickhouse_connect.get_client(host="127.0.0.1", port=front.port, **options)


@pytest.fixture
def client(front: Front) -> Any:
    return connect(front)


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip"], ids=str)
def test_rows_come_back_as_they_were_inserted_however_they_are_packed(
    front: Front, compress: bool | str
) -> None:
    client = connect(front, compress=compress)
    name = f"packed_{compress}".lower()
    client.command(
        f"CREATE TABLE {name} (id UInt64, tags Map(String, String), n Nullable(Float64)) ORDER BY id"
    )
    rows = [(number, {"a": str(number)}, None if number % 2 else 0.5) for number in range(3000)]

    client.insert(name, rows, column_names=["id", "tags", "n"])

    assert client.query(f"SELECT * FROM {name} ORDER BY id").result_rows == rows


def test_parameters_are_bound_and_settings_hold_for_their_statement_only(client: Any) -> None:
    values = {"text": "it's; --", "list": ["x", "y'z"], "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    [row] = client.query(
        "SELECT {text:String}, {list:Array(String)}, {when:DateTime('UTC')}", values
    ).result_rows
    assert row[:2] == ("it's; --", ["x", "y'z"])

    with pytest.raises(DatabaseError, match="Code: 158"):
        client.query("SELECT count() FROM numbers(100)", settings={"max_rows_to_read": 10})
    assert client.query("SELECT count() FROM numbers(100)").result_rows == [(100,)]


def test_many_values_are_one_parameter(client: Any) -> None:
    ids = [f"{number:032x}" for number in range(3000)]
    query = (
        "SELECT count() FROM numbers(5000) WHERE lower(leftPad(hex(number), 32, '0')) IN {ids:Array(String)}"
    )
    assert client.query(query, parameters={"ids": ids}).result_rows == [(3000,)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELEC 1", 62), ("SELECT * FROM nowhere", 60), ("SELECT * FROM no.where", 81), ("SELECT nothing", 47)],
    ids=["syntax", "table", "database", "column"],
)
def test_errors_have_the_engines_codes(client: Any, sql: str, code: int) -> None:
    with pytest.raises(DatabaseError) as raised:
        client.query(sql)
    assert raised.value.code == code


def test_a_session_keeps_its_temporary_tables(client: Any) -> None:
    client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    client.command("INSERT INTO mine VALUES (1)")
    assert client.query("SELECT * FROM mine").result_rows == [(1,)]


def test_users_need_their_password_and_readers_only_read(front: Front) -> None:
    with pytest.raises(DatabaseError, match="Code: 516"):
        connect(front, username="reader", password="wrong")
    reader = connect(front, username="reader", password="r")
    assert reader.query("SELECT 1").result_rows == [(1,)]
    with pytest.raises(DatabaseError, match="Code: 164"):
        reader.command("CREATE TABLE forbidden (a UInt8) ORDER BY a")


def test_the_asynchronous_client_runs_many_queries_at_once(front: Front) -> None:
    async def ask() -> list[int]:
        client = await clickhouse_connect.get_async_client(
            host="127.0.0.1", port=front.port, autogenerate_session_id=False
        )
        try:
            answers = await asyncio.gather(
                *(client.query("SELECT {n:UInt32}", parameters={"n": number}) for number in range(20))
            )
        finally:
            await client.close()
        return [answer.result_rows[0][0] for answer in answers]

    assert asyncio.run(ask()) == list(range(20))


def test_an_insert_with_a_token_that_was_seen_changes_nothing(client: Any) -> None:
    client.command(
        "CREATE TABLE once (id UInt64) ORDER BY id SETTINGS non_replicated_deduplication_window = 100"
    )
    for _ in range(2):
        client.insert("once", [[1], [2]], column_names=["id"], settings={"insert_deduplication_token": "t"})
    assert client.query("SELECT count() FROM once").result_rows == [(2,)]


def test_faults_happen_as_often_as_they_were_ordered(front: Front, client: Any) -> None:
    front.fault("ordered", times=1, status=500, body="out of order")
    with pytest.raises(DatabaseError, match="out of order"):
        client.query("SELECT 'ordered'")
    assert client.query("SELECT 'ordered'").result_rows == [("ordered",)]

    client.command("CREATE TABLE ran (id UInt64) ORDER BY id")
    front.fault("INSERT INTO .?ran", times=9, hang_up="after")
    with pytest.raises(OperationalError):
        client.insert("ran", [[1]], column_names=["id"])
    front.heal()
    assert client.query("SELECT count() >= 1 FROM ran").result_rows == [(True,)]
    assert front.seen("INSERT INTO .?ran")


def test_statements_for_a_cluster_become_those_for_one_server() -> None:
    assert as_one_server(
        "CREATE TABLE otel.a_local ON CLUSTER 'c' (x Int8) ENGINE = ReplicatedMergeTree"
    ) == ("CREATE TABLE otel.a_local (x Int8) ENGINE = MergeTree")
    assert "ENGINE = ReplacingMergeTree(V)" in as_one_server(
        "CREATE TABLE t (V Int8) ENGINE = ReplicatedReplacingMergeTree('/all/t', '{shard}-{replica}', V)"
    )
