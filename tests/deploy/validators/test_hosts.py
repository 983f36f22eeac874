"""What the programs that read our files say of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import promql_parser
import pytest
import trustme

from collector.demo import captured
from tests.deploy.manifests import SECRETS
from tests.deploy.render import CHART
from tests.deploy.test_dashboards import Target, targets
from tests.sending import TRACES, renamed
from tests.server import TOKEN, Server

DEPLOY = CHART.parents[1]
MOST_EXPOSED = 2.0
"""Of systemd's scale to 10: what a service that only needs the network can reach."""


def tool(name: str, package: str = "") -> str:
    """Where the program is; without a package it is one of our own dependencies."""
    beside = str(Path(sys.executable).parent)
    found = (
        shutil.which(name, path=beside) or shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    )
    assert found, f"needs {name}: apt install {package}"
    return found


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = run(tool("hadolint"), str(DEPLOY / "image/Dockerfile"))
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("name", ["compose.yaml", "embedded.yaml"])
def test_a_composition_fits_the_compose_specification(name: str) -> None:
    found = run(
        tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose" / name)
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("target", targets("prometheus"), ids=str)
def test_a_panel_is_promql(target: Target) -> None:
    expression = target.query["expr"]
    promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def test_promtool_takes_the_alerts_and_each_fires_when_it_should() -> None:
    promtool = tool("promtool", "prometheus")
    checked = run(promtool, "check", "rules", str(CHART / "files/alerts.yaml"))
    assert checked.returncode == 0, checked.stderr
    tried = run(promtool, "test", "rules", str(Path(__file__).parent / "alerts.yaml"))
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    text = (DEPLOY / "compose/prometheus.yml").read_text(encoding="utf-8")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/alerts.yaml", str(CHART / "files/alerts.yaml")))
    checked = run(tool("promtool", "prometheus"), "check", "config", str(file))
    assert checked.returncode == 0, checked.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The system's unit, with a program that is there."""
    for name in ("eddyline.service", "eddyline.socket"):
        text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/opt/eddyline/bin/eddyline", "/bin/true"))
    return tmp_path / "eddyline.service"


def test_systemd_knows_every_line_of_the_units(unit: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    checked = run(analyze, "verify", str(unit), str(unit.with_suffix(".socket")))
    ours = [line for line in checked.stderr.splitlines() if "eddyline" in line]
    assert ours == []  # it exits 0 whatever it says


def test_the_unit_is_hardly_exposed(unit: Path) -> None:
    limit = str(int(MOST_EXPOSED * 10))
    asked = run(
        tool("systemd-analyze", "systemd"), "security", "--offline=true", f"--threshold={limit}", str(unit)
    )
    assert asked.returncode == 0, asked.stdout


def test_users_and_folders_are_made(tmp_path: Path) -> None:
    sysusers = tool("systemd-sysusers", "systemd")
    (tmp_path / "etc").mkdir()
    made = run(sysusers, f"--root={tmp_path}", str(DEPLOY / "systemd/sysusers.conf"))
    assert made.returncode == 0, made.stderr
    assert "eddyline:" in (tmp_path / "etc/passwd").read_text()
    tmpfiles = tool("systemd-tmpfiles", "systemd")
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\n")
    made = run(tmpfiles, f"--root={tmp_path}", "--create", str(DEPLOY / "systemd/tmpfiles.conf"))
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "etc/eddyline/secrets.yaml").stat().st_mode & 0o777 == 0o600


# --------------------------------------------------------------------------- reverse proxies

NAME = "eddyline.example.com"
PROXY_START_S = 10.0


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector as the samples ask for it: on loopback, with the name, and only with keys."""
    environ = {"EDDYLINE_AUTH__KEYS__APP__KEY": SECRETS["ingest-key"], "EDDYLINE_API__HOSTS": f'["{NAME}"]'}
    running = Server(
        tmp_path_factory.mktemp("behind") / "data", "--set", "auth.required=true", environ=environ
    ).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    issued.private_key_pem.write_to_path(folder / "tls.key")
    issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    return folder


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def to(server: Server, text: str) -> str:
    """The sample with the ports of this collector."""
    ports = {
        "4317": server.endpoints["grpc"].rpartition(":")[2],
        "4318": server.endpoints["http"].rpartition(":")[2],
        "4320": server.endpoints["api"].rpartition(":")[2],
    }
    return re.sub(r"(127\.0\.0\.1):(431[78]|4320)", lambda found: f"{found[1]}:{ports[found[2]]}", text)


def nginx(folder: Path, certificates: Path, server: Server, port: int) -> list[str]:
    """Its command, with the sample as its only site."""
    site = (DEPLOY / "reverse-proxy/nginx.conf").read_text(encoding="utf-8")
    site = site.replace("/etc/ssl/eddyline", str(certificates)).replace(
        "listen 443", f"listen 127.0.0.1:{port}"
    )
    (folder / "eddyline.conf").write_text(to(server, site))
    folders = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; error_log {folder}/error.log; pid {folder}/pid; events {{}}"
        f" http {{ access_log off; {folders} include {folder}/eddyline.conf; }}"
    )
    return [tool("nginx", "nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, certificates: Path, server: Server, port: int) -> list[str]:
    """Its command; the certificate is ours, since it can not get one here."""
    site = (DEPLOY / "reverse-proxy/Caddyfile").read_text(encoding="utf-8")
    site = to(server, site).replace(
        f"{NAME} {{",
        f"{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificates}/tls.crt {certificates}/tls.key",
        1,
    )
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    return [tool("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def port(
    request: pytest.FixtureRequest, tmp_path: Path, certificates: Path, collector: Server
) -> Iterator[int]:
    """Where the reverse proxy listens."""
    port = free_port()
    command = request.param(tmp_path, certificates, collector, port)
    environ = os.environ | {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    deadline = time.monotonic() + PROXY_START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)
    yield port
    process.terminate()  # nginx ends its workers so
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=3)
    process.kill()  # Caddy waits for streams
    process.wait(timeout=10)


def test_all_doors_are_reached_through_a_reverse_proxy(
    port: int, certificates: Path, collector: Server
) -> None:
    authority = (certificates / "ca.crt").read_bytes()
    run_id, body = captured()
    headers = {"Content-Type": "application/x-protobuf", "Host": NAME}
    key = {"x-api-key": SECRETS["ingest-key"]}
    with httpx.Client(
        verify=ssl.create_default_context(cadata=authority.decode()), base_url=f"https://127.0.0.1:{port}"
    ) as client:
        named = {"extensions": {"sni_hostname": NAME}}
        assert client.post("/v1/traces", content=body, headers=headers, **named).status_code == 401
        assert client.post("/v1/traces", content=body, headers=headers | key, **named).status_code == 200
        token = {"Host": NAME, "Authorization": f"Bearer {TOKEN}"}
        collector.settled()
        assert client.get(f"/api/v1/runs/{run_id}", headers=token, **named).status_code == 200
        assert client.get("/", headers={"Host": NAME}, **named).status_code == 200
        credentials = grpc.ssl_channel_credentials(authority)
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.enable_http_proxy", 0)]
        with client.stream("GET", "/api/v1/stream", headers=token, timeout=10, **named) as stream:
            assert stream.status_code == 200
            with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
                call = channel.unary_unary(TRACES)
                sent = renamed(body, 1)
                with pytest.raises(grpc.RpcError) as refused:
                    call(sent, timeout=10)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
                assert call(sent, metadata=list(key.items()), timeout=10) == b""
            lines = (line for line in stream.iter_lines() if line.startswith("data:"))
            assert next(lines)  # it came while the answer goes on


def test_who_is_away_behind_nginx_is_said_so_that_exporters_come_back(
    tmp_path: Path, certificates: Path, collector: Server
) -> None:
    port = free_port()
    command = nginx(tmp_path, certificates, collector, port)
    site = (tmp_path / "eddyline.conf").read_text()
    grpc_port = collector.endpoints["grpc"].rpartition(":")[2]
    (tmp_path / "eddyline.conf").write_text(
        site.replace(f"127.0.0.1:{grpc_port}", f"127.0.0.1:{free_port()}")
    )
    process = subprocess.Popen(command)
    try:
        credentials = grpc.ssl_channel_credentials((certificates / "ca.crt").read_bytes())
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.enable_http_proxy", 0)]
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(TRACES)(b"", timeout=10, wait_for_ready=True)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert refused.value.details() == "unavailable"
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_caddy_takes_its_sample_as_it_is_formatted() -> None:
    file = DEPLOY / "reverse-proxy/Caddyfile"
    assert run(tool("caddy", "caddy"), "fmt", str(file)).stdout == file.read_text(encoding="utf-8")
