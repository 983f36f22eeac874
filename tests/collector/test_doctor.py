"""`eddyline doctor` finds each thing that keeps spans from arriving, and says what to do about it."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from collector.doctor import FAILED, OK, WARNING, Doors, Finding, diagnose, disk, store
from collector.journal.room import Room
from tests import forked
from tests.server import COMMAND, TOKEN, Server
from tests.waiting import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("doctor") / "data").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def reading(server: Server) -> str:
    """A key that may not delete: what the doctor sent stays, which spares the store most of the work."""
    made = server.api.post("/api/v1/tokens", json={"name": "reading", "scopes": ["read"]})
    token: str = made.json()["token"]
    return token


def doors(server: Server, token: str, **given: Any) -> Doors:
    known = {name: server.endpoints[name] for name in ("http", "grpc", "proxy", "api")}
    return Doors(**{"environ": {}, "token": token, "directory": server.data_dir, **known, **given})


def found(doors: Doors, state: str, **given: Callable[[], float]) -> list[Finding]:
    return [finding for finding in diagnose(doors, **given) if finding.state == state]


def found_before_sending(doors: Doors, state: str, **given: Callable[[], float]) -> list[Finding]:
    """Without the journeys of spans, which take most of the time."""
    looked = itertools.takewhile(
        lambda finding: not finding.check.startswith("OTLP/"), diagnose(doors, **given)
    )
    return [finding for finding in looked if finding.state == state]


def test_nothing_is_wrong_with_a_collector_that_is_well(server: Server) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": server.endpoints["http"],
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    findings = list(diagnose(doors(server, TOKEN, environ=environ)))
    assert [finding for finding in findings if finding.state != OK] == []
    assert {finding.check.split()[0] for finding in findings} == {
        *("environment", "collector", "clock", "disk", "store", "OTLP/HTTP", "OTLP/gRPC", "LLM"),
    }


def test_the_protocol_of_the_other_port_is_named(server: Server, reading: str) -> None:
    http, grpc = server.endpoints["http"], f"http://{server.endpoints['grpc']}"
    for endpoint, protocol, spoken, better in (
        (http, "grpc", "HTTP", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        (grpc, "http/protobuf", "GRPC", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    ):
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        [wrong] = found(doors(server, reading, environ=environ), FAILED)
        assert wrong.detail == f"{spoken} is spoken there"
        assert better in wrong.fix


@pytest.mark.parametrize(("port", "protocol", "other"), [(4317, "http/protobuf", 4318), (4318, "grpc", 4317)])
def test_swapped_default_ports_are_named(
    server: Server, reading: str, port: int, protocol: str, other: int
) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    wrong = [
        one
        for one in found_before_sending(doors(server, reading, environ=environ), FAILED)
        if one.check == "environment"
    ]
    assert len(wrong) == 1
    assert f"send to port {other}" in wrong[0].fix


def test_a_port_where_nothing_listens_is_named(server: Server, reading: str) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    [wrong] = found(doors(server, reading, environ=environ), FAILED)
    assert wrong.detail == "nothing listens there"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "the SDK sends nothing"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "traces go elsewhere"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "drops every trace"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "is not a URL"),
    ],
)
def test_variables_that_stop_a_program_from_sending_are_named(
    server: Server, reading: str, environ: dict[str, str], says: str
) -> None:
    wrong = found_before_sending(doors(server, reading, environ=environ), FAILED)
    assert any(says in finding.detail for finding in wrong)


def test_a_proxy_of_the_environment_is_warned_of(server: Server, reading: str) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": server.endpoints["http"],
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "HTTP_PROXY": "http://proxy.example:3128",
    }
    [warned] = found(doors(server, reading, environ=environ), WARNING)
    assert warned.fix == "export NO_PROXY=127.0.0.1"
    assert found(doors(server, reading, environ=environ | {"NO_PROXY": "127.0.0.1,localhost"}), WARNING) == []


@pytest.mark.parametrize(
    ("ahead_s", "state", "says"),
    [(3600, FAILED, "ahead of"), (-3600, FAILED, "behind"), (20, WARNING, "ahead")],
)
def test_a_clock_that_is_off_is_named(
    server: Server, reading: str, ahead_s: float, state: str, says: str
) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": server.endpoints["http"],
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    looked = found if ahead_s == 20 else found_before_sending
    [wrong] = looked(doors(server, reading, environ=environ), state, clock_s=lambda: time.time() + ahead_s)
    assert wrong.check == "clock"
    assert says in wrong.detail


def test_a_missing_key_is_named(data_dir: Path) -> None:
    server = Server(data_dir, "--set", "auth.required=true").start()
    try:
        key = forked.run([*COMMAND, "token", "create", "agent", "--data-dir", str(data_dir)]).stdout.split()[
            0
        ]
        refused = found(doors(server, TOKEN), FAILED)
        assert len(refused) == 3  # by each protocol
        assert all("eddyline token create" in finding.fix for finding in refused)
        sent = {"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{key}"}
        # The collector looks at its keys once a second.
        until(lambda: not found(doors(server, TOKEN, environ=sent), FAILED))
        [wrong] = found(doors(server, "wrong", environ=sent), FAILED)
        assert (wrong.check, "give --token" in wrong.fix) == ("collector", True)
    finally:
        server.stop()


def test_no_collector_is_named_and_the_exit_code_says_so(tmp_path: Path) -> None:
    command = [*COMMAND, "doctor", "--json", "--data-dir", str(tmp_path)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ended = forked.run(command, environ=environ)
    assert ended.returncode == 1
    by_check = {finding["check"]: finding for finding in json.loads(ended.stdout)}
    assert "start one with `eddyline serve`" in by_check["collector"]["fix"]
    assert by_check["OTLP"]["state"] == "skipped"


def test_what_the_program_would_send_leaves_nothing_behind(server: Server) -> None:
    def sent() -> int:
        return sum(run["services"] == ["eddyline-doctor"] for run in server.runs(include="all"))

    before = sent()
    assert found(doors(server, TOKEN), FAILED) == []
    server.settled()
    until(lambda: sent() == before)  # a busy collector may delete them after the doctor has gone


def test_a_host_that_is_no_address_does_not_end_the_search(server: Server, reading: str) -> None:
    assert urlsplit(server.endpoints["http"]).port
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://no-such-host.invalid:4318",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    [wrong] = found(doors(server, reading, environ=environ), FAILED)
    assert "no-such-host" in wrong.check


def test_a_full_disk_is_named(server: Server, reading: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize, f_blocks = 1000, 4096, 10_000_000

    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _: Full)
        refuses = Room(server.data_dir, 0, 1 << 30).refusal(0)
    [wrong] = disk(doors(server, reading), {"journal": {"traces": {"refuses": refuses}}})
    assert (wrong.check, wrong.state) == ("disk", FAILED)
    assert "4096000 bytes free" in wrong.detail


def test_a_store_that_is_away_is_named_without_its_password() -> None:
    away = Doors(environ={}, store="http://default:s3cret@127.0.0.1:9/otel")
    [wrong] = store(away, {})
    assert (wrong.check, wrong.state) == ("store", FAILED)
    assert "http://127.0.0.1:9 can not be reached" in wrong.detail
    assert "s3cret" not in str(wrong)
    [wrong] = store(Doors(environ={}), {"sink": {"traces": {"last_error": "Connection refused"}}})
    assert "Connection refused" in wrong.detail
