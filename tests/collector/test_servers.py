"""`eddyline db migrate`, and what the configuration says of a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.cli import main
from collector.config import load, redacted
from collector.documents import ConfigError
from collector.store import server_of
from tests.clickhouse_front import Front


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
