"""Started as an init system or a container runtime starts it: on every address, with keys from a secret, and asked how
it is."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from collector.cli import main
from collector.config import load
from collector.config.meaning import no_engine
from tests import forked
from tests.server import COMMAND, Server

KEY = "edl_" + "k" * 32
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The supervisor's end of the notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def healthcheck(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run([*COMMAND, "healthcheck", "--data-dir", str(directory), *arguments])


def test_a_container_comes_up_with_keys_of_a_secret_and_says_how_it_is(
    tmp_path: Path, heard: socket.socket
) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text(f"auth: {{keys: {{app: {{key: {KEY}, project: shop}}}}}}\n")
    server = Server(tmp_path / "data", f"--config=file:{secret}", "--http", "0.0.0.0:0", "--proxy", "off")
    server.start()
    assert heard.recv(100) == b"READY=1"
    url = f"http://127.0.0.1:{server.endpoints['http'].rpartition(':')[2]}/v1/traces"
    assert httpx.post(url, headers=PROTOBUF).status_code == 401
    assert httpx.post(url, headers=PROTOBUF | {"x-api-key": KEY}).status_code == 200
    assert httpx.post(url, headers=PROTOBUF | {"x-api-key": KEY + "k"}).status_code == 401
    for arguments, said in (((), "ready"), (("--alive",), "ok")):
        asked = healthcheck(server.data_dir, *arguments)
        assert (asked.returncode, asked.stdout.strip()) == (0, said)
    assert server.stop() == 0
    assert heard.recv(100) == b"STOPPING=1"
    assert KEY not in server.log.read_text()


def test_health_of_nobody(tmp_path: Path) -> None:
    asked = healthcheck(tmp_path)
    assert asked.returncode == 5
    assert "no collector runs here" in asked.stderr


def test_who_gives_a_configuration_and_no_command_wants_to_serve(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_CONFIG", "receivers: {oltp: {}}")
    monkeypatch.setattr(sys, "argv", ["eddyline"])
    with pytest.raises(SystemExit) as ended:
        main(["--config=env:OTEL_CONFIG"])
    assert ended.value.code == 78
    assert "receivers.oltp: unknown key; did you mean 'otlp'?" in capsys.readouterr().err


def test_an_installation_without_the_engine_says_that_it_needs_a_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.config.meaning.find_spec", lambda name: None)
    assert "name a server" in "".join(no_engine(load()))
    assert no_engine(load(["yaml:sinks: {clickhouse: {url: 'http://localhost:8123'}}"])) == []
