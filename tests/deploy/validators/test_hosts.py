"""What the programs that read our files say of them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import promql_parser
import pytest

from tests.deploy.render import CHART
from tests.deploy.test_dashboards import targets

DEPLOY = CHART.parents[1]
MOST_EXPOSED = 2.0
"""Of systemd's scale to 10: what a service that only needs the network can reach."""


def tool(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert found, f"needs {name}: apt install {package}"
    return found


def run(*command: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = run("hadolint", str(DEPLOY / "image/Dockerfile"))
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("name", ["compose.yaml", "embedded.yaml"])
def test_a_composition_fits_the_compose_specification(name: str) -> None:
    found = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose" / name))
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("target", targets("prometheus"), ids=str)
def test_a_panel_is_promql(target: object) -> None:
    expression = target.query["expr"]  # type: ignore[attr-defined]
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


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("eddyline.example.com")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    return tmp_path


def test_nginx_takes_its_sample(certificates: Path) -> None:
    nginx = tool("nginx", "nginx")
    site = (DEPLOY / "reverse-proxy/nginx.conf").read_text(encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = site.replace("/etc/ssl/eddyline", str(certificates)).replace(
        "listen 443", f"listen 127.0.0.1:{port}"
    )
    (certificates / "eddyline.conf").write_text(site)
    logs = f"error_log stderr; pid {certificates}/pid;"
    folders = "".join(
        f"{name}_temp_path {certificates}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"{logs} events {{}} http {{ access_log off; {folders} include {certificates}/eddyline.conf; }}"
    (certificates / "nginx.conf").write_text(main)
    checked = run(nginx, "-t", "-p", str(certificates), "-c", str(certificates / "nginx.conf"))
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


def test_caddy_takes_its_sample() -> None:
    caddy = tool("caddy", "caddy")
    file = str(DEPLOY / "reverse-proxy/Caddyfile")
    assert run(caddy, "validate", "--adapter", "caddyfile", "--config", file).returncode == 0
    assert run(caddy, "fmt", file).stdout == Path(file).read_text(encoding="utf-8")
