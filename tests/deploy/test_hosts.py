"""Units, image and their configuration fit the code: paths, ports, options, exit codes."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from collector.cli import COMMANDS, main
from collector.config import Settings, load
from collector.doors.exposure import ExposureError, endpoints_of, exposed, ingest_needs_key
from collector.doors.listening import REQUEST_GRACE_S
from collector.process import exits
from tests.deploy.manifests import SECRETS

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "deploy/systemd"
IMAGE = ROOT / "deploy/image"


def unit(file: Path) -> dict[str, list[str]]:
    """What is set in a unit, all sections together; a setting may come several times."""
    found: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("name", ["eddyline.service", "user/eddyline.service"])
def test_a_unit_starts_what_there_is_and_gives_it_time_to_end(name: str) -> None:
    found = unit(SYSTEMD / name)
    [command] = found["ExecStart"]
    program, name, *options = command.split()
    assert program.endswith("/bin/eddyline")
    assert name in COMMANDS
    known = {option for parameter in main.get_command(None, name).params for option in parameter.opts}  # type: ignore[arg-type, union-attr]  # it is there, and asks for no context
    assert {option.partition("=")[0] for option in options} <= known
    assert found["Type"] == ["notify"]
    shutdown = Settings().service.shutdown
    assert int(found["TimeoutStopSec"][0].removesuffix("s")) >= shutdown.timeout + REQUEST_GRACE_S
    assert {int(code) for code in found["RestartPreventExitStatus"][0].split()} == {
        exits.EX_TEMPFAIL,
        exits.EX_CONFIG,
    }


def test_the_unit_reads_and_writes_where_its_files_are() -> None:
    found = unit(SYSTEMD / "eddyline.service")
    assert found["Environment"] == [f"EDDYLINE_DATA_DIR=/var/lib/{found['StateDirectory'][0]}"]
    made = {
        line.split()[1]: line.split() for line in (SYSTEMD / "tmpfiles.conf").read_text().splitlines()[1:]
    }
    options = found["ExecStart"][0].split()
    given = [option.partition("=")[2] for option in options if option.startswith("--config")]
    credential, where = found["LoadCredential"][0].split(":")
    assert given == ["/etc/eddyline/eddyline.yaml", f"file:%d/{credential}"]
    assert made[where][2] == "0600"
    assert made["/etc/eddyline/eddyline.yaml"][-1] == "{}"
    sysusers = (SYSTEMD / "sysusers.conf").read_text()
    assert f"u {found['User'][0]} " in sysusers


def test_the_socket_is_the_one_that_the_collector_looks_for() -> None:
    assert unit(SYSTEMD / "eddyline.socket")["ListenStream"] == [endpoints_of(Settings())["http"]]


# --------------------------------------------------------------------------- image


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments; lines that go on are one."""
    text = (IMAGE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def test_the_image_runs_as_nobody_and_asks_the_collector_how_it_is() -> None:
    assert of("USER") == ["65532:65532"]
    [health] = of("HEALTHCHECK")
    program, name = json.loads(health.partition("CMD ")[2])
    assert (program, name in COMMANDS) == ("eddyline", True)
    assert json.loads(of("ENTRYPOINT")[0]) == ["eddyline"]
    name, option = json.loads(of("CMD")[0])
    assert name == "serve"
    assert [option.removeprefix("--config=")] == [
        copied.split()[-1] for copied in of("COPY") if "eddyline.yaml" in copied
    ]
    assert [line.split(" AS ")[1] for line in of("FROM")][-2:] == ["slim", "full"]


def test_what_the_image_copies_is_there_and_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for arguments in of("COPY"):
        if arguments.startswith("--from"):
            continue
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(fnmatch(source, pattern) for pattern in let_through), source
    packages = re.search(r"\npackages = (\[[^\]]*\])", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    assert set(json.loads(packages[1])) <= set(let_through)


def test_the_image_serves_others_on_the_ports_that_it_names_and_only_with_keys() -> None:
    config = IMAGE / "eddyline.yaml"
    settings = load([config])
    with pytest.raises(ExposureError, match="without API keys"):
        ingest_needs_key(settings, keys=0)
    assert ingest_needs_key(settings, keys=1)
    assert set(exposed(settings)) == {"grpc", "http", "api", "admin"}
    ports = {int(where.rpartition(":")[2]) for where in exposed(settings).values()}
    assert ports == {int(port) for port in of("EXPOSE")[0].split()}
    assert yaml.safe_load(config.read_text())["proxy"] == {"endpoint": "off"}


def test_the_first_line_of_the_image_s_configuration_shows_a_setting_that_works() -> None:
    [variable] = re.findall(r"(EDDYLINE_\w+)=edl_", (IMAGE / "eddyline.yaml").read_text())
    path = variable.removeprefix("EDDYLINE_").lower().replace("__", ".")
    assert load(sets=[f"{path}={SECRETS['ingest-key']}"]).auth.keys["app"].scopes == ["ingest"]


# --------------------------------------------------------------------------- compose

COMPOSE = ROOT / "deploy/compose"


@pytest.mark.parametrize("name", ["compose.yaml", "embedded.yaml"])
def test_a_composition_is_closed_and_what_it_mounts_is_there(name: str) -> None:
    text = (COMPOSE / name).read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked <= {line.partition("=")[0] for line in (COMPOSE / "env.example").read_text().splitlines()}
    assert not re.findall(r"\$\{\w+\}", text), "a variable that may be empty"
    for service, spec in document["services"].items():
        assert "no-new-privileges:true" in spec["security_opt"], service
        assert spec["mem_limit"], service
        assert ":" in spec["image"], service
        assert not spec["image"].endswith(":latest"), service
        assert all(port.startswith("127.0.0.1:") for port in spec.get("ports", ())), service
        for volume in spec["volumes"]:
            source = volume.split(":")[0]
            assert source in document["volumes"] or (COMPOSE / source).exists(), volume
        for needed, how in spec.get("depends_on", {}).items():
            assert needed in document["services"]
            assert how == {"condition": "service_healthy"}
    ours = document["services"]["eddyline"]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["build"]["target"] in [line.split(" AS ")[1] for line in of("FROM")]
    shutdown = Settings().service.shutdown
    assert int(ours["stop_grace_period"].removesuffix("s")) >= shutdown.timeout + REQUEST_GRACE_S


@pytest.mark.parametrize("name", ["compose.yaml", "embedded.yaml"])
def test_a_composition_starts_a_collector_that_can_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = yaml.safe_load((COMPOSE / name).read_text(encoding="utf-8"))["services"]["eddyline"]
    for variable, value in ours["environment"].items():
        given = SECRETS["ingest-key"] if "INGEST_KEY" in value else value.split(":?")[0]
        monkeypatch.setenv(variable, given)
    command, option = ours["command"]
    assert command == "serve"
    assert option.endswith(of("CMD")[0].split("=")[1].rstrip('"]'))
    settings = load([IMAGE / "eddyline.yaml"])
    assert ingest_needs_key(settings, keys=len(settings.auth.keys))
    assert settings.sinks.clickhouse.embedded == (name == "embedded.yaml")
    doors = {int(where.rpartition(":")[2]) for where in endpoints_of(settings).values() if where}
    assert {int(port.rpartition(":")[2]) for port in ours["ports"]} <= doors


def test_prometheus_asks_the_collector_of_the_composition() -> None:
    [job] = yaml.safe_load((COMPOSE / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    settings = load([IMAGE / "eddyline.yaml"])
    assert settings.admin.endpoint is not None
    port = settings.admin.endpoint.rpartition(":")[2]
    assert job["static_configs"] == [{"targets": [f"eddyline:{port}"]}]
    assert job["job_name"] == "eddyline", "the alerts ask for this job"


def test_a_reverse_proxy_leads_to_the_doors_and_keeps_the_stream_open() -> None:
    doors = endpoints_of(Settings())
    for name in ("nginx.conf", "Caddyfile"):
        text = (ROOT / "deploy/reverse-proxy" / name).read_text(encoding="utf-8")
        assert {f"127.0.0.1:{port}" for port in re.findall(r"127\.0\.0\.1:(\d+)", text)} == {
            doors["grpc"], doors["http"], doors["api"],
        }  # fmt: skip
        for setting in re.findall(r"^#   (\w+: \{.*\})$", text, re.MULTILINE):
            load([f"yaml:{setting}"])
