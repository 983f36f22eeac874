"""`eddyline db migrate` and `db move`, and what the configuration says of a server."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector import working
from collector.cli import main
from collector.config import ConfigError, load, redacted
from collector.pipeline.store import server_of
from collector.process.exits import ServiceError
from sinks.clickhouse.moving import Book, MoveError
from tests import forked
from tests.clickhouse_front import Front
from tests.server import Server as Collector
from tests.server import with_schema


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    running = Front(tmp_path_factory.mktemp("servers") / "data").start()
    yield running
    running.stop()


def test_the_schema_is_shown_made_and_then_up_to_date(front: Front, tmp_path: Path) -> None:
    def migrate(*arguments: str) -> str:
        command = ["db", "migrate", "--set", f"sinks.clickhouse.url={front.url}", "--data-dir", str(tmp_path)]
        result = CliRunner().invoke(main, [*command, *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    shown = migrate("--dry-run")
    assert "CREATE TABLE IF NOT EXISTS otel.runs\n" in shown
    assert front.query("SELECT name FROM system.databases WHERE name = 'otel'") == []

    migrate()

    assert front.query("SELECT name FROM system.tables WHERE name = 'runs'") == [["runs"]]
    assert migrate() == "the schema is up to date\n"
    assert "CREATE" not in migrate("--dry-run")
    on_cluster = migrate("--dry-run", "--all", "--set", "sinks.clickhouse.cluster.name=main")
    assert "otel.runs_local ON CLUSTER 'main'" in on_cluster


def test_everything_that_is_configured_reaches_the_client() -> None:
    settings = load(
        [
            """yaml:
            sinks:
              clickhouse:
                url: https://ch.example.com/proxied
                username: eddyline
                password: secret
                tls: {ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem}
                connect_timeout: 3s
                timeout: 1m
                compression: off
                create_schema: false
                cluster: {name: main, layout: replicated, insert_quorum: 2}
                storage: {policy: hot_cold, cold_volume: cold, cold_after_days: 30}
            """
        ]
    )
    server = server_of(settings.sinks.clickhouse)
    assert server is not None
    assert server.target == {
        "interface": "https",
        "host": "ch.example.com",
        "port": 8443,
        "username": "eddyline",
        "password": "secret",
        "proxy_path": "proxied",
        "connect_timeout": 3,
        "send_receive_timeout": 60,
        "compress": False,
        "client_name": "eddyline",
        "autogenerate_session_id": False,
        "ca_cert": "/ca.pem",
        "client_cert": "/c.pem",
        "client_cert_key": "/k.pem",
        "tls_mode": "strict",
    }
    assert not server.create_schema
    assert server.write_settings == {"insert_quorum": "2"}
    layout = server.layout
    assert (layout.cluster, layout.spreads, layout.storage_policy) == ("main", False, "hot_cold")
    assert (layout.cold_volume, layout.cold_after_days) == ("cold", 30)
    assert "secret" not in str(redacted(settings))
    assert "secret" not in repr(server)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{url: 'tcp://x:9000'}", "url is http"),
        ("{cluster: {name: main}}", "url is missing"),
        ("{url: 'http://x', cluster: {name: \"a'b\"}}", "pattern"),
        ("{url: 'http://x', cluster: {insert_quorum: 0}}", "pattern"),
        ("{url: 'http://x', storage: {cold_volume: cold}}", "needs policy"),
        ("{url: 'http://x', tls: {cert_file: x}}", "belong together"),
    ],
    ids=["tcp", "no url", "quoted name", "quorum of none", "no policy", "no key"],
)
def test_what_can_not_be_is_refused(document: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load([f"yaml:{{sinks: {{clickhouse: {document}}}}}"])


def test_a_server_that_comes_a_little_later_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_schema(tmp_path / "late")
    front = Front(tmp_path / "late").start()
    front.stop()
    settings = load(sets=[f"sinks.clickhouse.url={front.url}"], flags={"data_dir": tmp_path})
    monkeypatch.setattr(working, "PATIENCE_S", 0)
    monkeypatch.setattr(working, "LOOK_S", 0.1)
    with pytest.raises(ServiceError, match="can not be opened"):
        working._open_store(settings)

    monkeypatch.setattr(working, "PATIENCE_S", 60)
    coming = threading.Timer(0.5, front.start)
    coming.start()
    working._open_store(settings).close()
    coming.join()
    front.stop()


# --------------------------------------------------------------------------- moving

FILL = """
import sys
from pathlib import Path
from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink, Store, StoredSettings
from tests.sinks.test_clickhouse import full_event, full_run, span
store = Store.open(Path(sys.argv[1]))
sink = ClickHouseSink(store)
for number in range(6):
    ids = [f"{number * 1000 + one + 1:032x}" for one in range(200)]
    spans, events, runs = ([make(one) for one in ids] for make in (span, full_event, full_run))
    sink.write(Batch(spans=spans, events=events, runs=runs))
sink.write(Batch(events=[full_event(ids[0])]))  # once more
StoredSettings(store).put("kept", {"a": 1})
store.close()
"""
ROWS = {"otel_traces": 1200, "run_events": 1200, "runs": 1200, "settings": 1}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("filled") / "data"
    with_schema(directory / "clickhouse")
    forked.run([sys.executable, "-c", FILL, str(directory / "clickhouse")], check=True)
    return directory


@pytest.fixture
def embedded(tmp_path: Path, filled: Path) -> Path:
    """A data directory with an embedded database."""
    return shutil.copytree(filled, tmp_path / "data", symlinks=True)


def moving(embedded: Path, url: str, *arguments: str) -> list[str]:
    where = ["--data-dir", str(embedded), "--set", f"sinks.clickhouse.url={url}"]
    return [sys.executable, "-m", "collector.cli", "db", "move", *where, *arguments]


def test_a_move_that_is_killed_goes_on_and_everything_arrives_once(embedded: Path, tmp_path: Path) -> None:
    front = Front(tmp_path / "server").start()
    front.fault("INSERT INTO otel.run_events", delay_s=5)
    with Path("/dev/null").open("wb") as nothing:
        first = forked.start(moving(embedded, front.url), nothing, nothing)
    while not front.seen("INSERT INTO otel.run_events"):
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    front.heal()
    before = len(front.seen("INSERT INTO otel.otel_traces "))

    second = forked.run(moving(embedded, front.url))

    assert second.returncode == 0, second.stdout + second.stderr
    assert len(front.seen("INSERT INTO otel.otel_traces ")) == before  # these were there already
    assert "rows copied in" in second.stderr
    for table, rows in ROWS.items():
        assert front.query(f"SELECT count() FROM otel.{table} FINAL") == [[rows]]
        [line] = [line for line in second.stdout.splitlines() if line.startswith(f"{table} ")]
        assert line.split()[1:] == [f"{rows:,}", "here", f"{rows:,}", "there"]
    assert not (embedded / "move.json").exists()
    assert front.query("SELECT count() > 0 FROM otel.otel_traces_trace_id_ts") == [[1]]

    again = forked.run(moving(embedded, front.url))
    assert again.returncode == 1
    assert "has rows already" in again.stderr
    front.stop()


def test_a_move_repairs_what_a_server_lost_that_was_killed_while_it_was_written(
    embedded: Path, tmp_path: Path
) -> None:
    """An engine that is killed may know that it was given rows, and not have them."""
    with_schema(tmp_path / "server")
    front = Front(tmp_path / "server").start()
    front.fault("INSERT INTO otel.run_events", delay_s=5)
    with Path("/dev/null").open("wb") as nothing:
        first = forked.start(moving(embedded, front.url), nothing, nothing)
    while not front.seen("INSERT INTO otel.run_events"):
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    front.heal()
    front.query("ALTER TABLE otel.otel_traces DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert front.query("SELECT count() FROM otel.otel_traces") == [[0]]
    kept = json.loads((embedded / "move.json").read_text())
    del kept["done"]["otel_traces"]  # it was killed before it could note them
    (embedded / "move.json").write_text(json.dumps(kept))

    second = forked.run(moving(embedded, front.url))

    assert second.returncode == 0, second.stdout + second.stderr
    assert front.query("SELECT count() FROM otel.otel_traces FINAL") == [[ROWS["otel_traces"]]]
    front.stop()


def test_a_move_needs_a_database_that_nobody_uses_and_a_server(tmp_path: Path, server: Collector) -> None:
    def refused(directory: Path, *arguments: str) -> tuple[int, str]:
        command = ["db", "move", "--data-dir", str(directory), *arguments]
        result = CliRunner().invoke(main, command)
        return result.exit_code, result.output

    to = ("--set", "sinks.clickhouse.url=http://127.0.0.1:9")
    assert refused(server.data_dir, *to)[0] == 75
    assert refused(tmp_path, *to)[0] == 3
    assert refused(tmp_path)[0] == 2


def test_a_move_that_was_begun_to_one_place_does_not_go_on_to_another(tmp_path: Path) -> None:
    Book(tmp_path / "move.json", "http://one").keep()
    assert Book.open(tmp_path / "move.json", "http://one") is not None
    with pytest.raises(MoveError, match="http://one"):
        Book.open(tmp_path / "move.json", "http://two")
