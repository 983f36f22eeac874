from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.cli import main
from collector.config import DOORS, ConfigError, Settings, load, redacted
from collector.doors.exposure import endpoints_of
from tests import forked
from tests.collector.receivers.test_http import request
from tests.collector.telemetry.test_pushing import by_name
from tests.collector.telemetry.test_telemetry import metrics, of
from tests.collector.test_forwarding import HttpTarget, target
from tests.server import Server
from tests.test_documentation import leaves
from tests.waiting import until

__all__ = ["target"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "eddyline.yaml"


def test_nothing_needs_to_be_configured() -> None:
    settings = load()
    assert settings.receivers.otlp.protocols.grpc.endpoint == "127.0.0.1:4317"
    assert settings.receivers.otlp.protocols.http.endpoint == "127.0.0.1:4318"
    assert settings.api.endpoint == "127.0.0.1:4320"
    assert settings.sinks.clickhouse.embedded
    assert settings.sinks.clickhouse.flush_timeout == 0.2


def test_flags_win_over_environment_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        "api: {endpoint: 127.0.0.1:1}\nadmin: {endpoint: 127.0.0.1:2}\njournal: {ack: write}\n"
        "receivers: {otlp: {protocols: {http: {endpoint: 127.0.0.1:3}}}}\n"
    )
    monkeypatch.setenv("EDDYLINE_API__ENDPOINT", "127.0.0.1:4")
    monkeypatch.setenv("EDDYLINE_HTTP", "127.0.0.1:5")
    settings = load([file], flags={"api": "127.0.0.1:6"})
    assert settings.api.endpoint == "127.0.0.1:6"
    assert settings.receivers.otlp.protocols.http.endpoint == "127.0.0.1:5"
    assert settings.admin.endpoint == "127.0.0.1:2"
    assert settings.journal.ack == "write"


@pytest.mark.parametrize("door", DOORS)
def test_a_door_can_be_switched_off(door: str) -> None:
    tree: object = load(flags={door: "off"})
    for part in DOORS[door]:
        tree = getattr(tree, part)
    assert tree is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sinks: {clickhouse: {ulr: x}}",
            "sinks.clickhouse.ulr: unknown key; did you mean 'url'? There are url, username",
        ),
        ("api: {endpoint: nonsense:port}", "api.endpoint: an endpoint is HOST:PORT"),
        ("api: {endpoint: 127.0.0.1:99999}", "api.endpoint: an endpoint is HOST:PORT"),
        (
            "service: {shutdown: {timeout: 5 days}}",
            "service.shutdown.timeout: a duration is a number and a unit",
        ),
        ("journal: {ack: maybe}", "journal.ack:"),
        ("api: {endpoint: '${env:NOT_SET_ANYWHERE}'}", "environment variable NOT_SET_ANYWHERE is not set"),
        ("api: {}\napi: {}\n", "duplicate key 'api' at line 2"),
        ("[]", "the top level must be a mapping"),
        ("a: [", "while parsing"),
    ],
)
def test_what_is_wrong_is_named(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load([file])


def test_references_are_replaced_in_strings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "se$cret")
    file.write_text("token: '${env:SECRET}-${env:MISSING:-fallback}-$$'\n")
    assert load([file]).token == "se$cret-fallback-$"


def test_a_token_is_not_printed() -> None:
    assert "hidden" not in repr(load(flags={}).model_copy(update={"token": "hidden"}))


# --------------------------------------------------------------------------- sources


@pytest.mark.parametrize("door", DOORS)
def test_every_door_has_a_short_variable(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"EDDYLINE_{door.upper()}", "127.0.0.1:7")
    monkeypatch.setenv("EDDYLINE_API__HOSTS", '["a.example"]')
    settings = load()
    assert endpoints_of(settings)[door] == "127.0.0.1:7"
    assert settings.api.hosts == ["a.example"]


def test_documents_are_joined_and_lists_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below, above = tmp_path / "below.yaml", tmp_path / "above.yaml"
    below.write_text("journal: {ack: write, segment_size: 1MiB}\nproxy: {hosts: [one, two]}\n")
    above.write_text("journal: {ack: memory}\nproxy: {hosts: [three]}\n")
    monkeypatch.setenv("MORE", "admin: {endpoint: 127.0.0.1:9}")
    settings = load([below, f"file:{above}", "env:MORE", "yaml:api: {endpoint: off}"])
    assert (settings.journal.ack, settings.journal.segment_size) == ("memory", 1 << 20)
    assert settings.proxy.hosts == ["three"]
    assert (settings.admin.endpoint, settings.api.endpoint) == ("127.0.0.1:9", None)


def test_set_wins_over_environment_and_flags_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDYLINE_API__ENDPOINT", "127.0.0.1:1")
    monkeypatch.setenv("EDDYLINE_HTTP", "127.0.0.1:2")
    http = "receivers.otlp.protocols.http.endpoint"
    assert load(sets=["api.endpoint=127.0.0.1:3"]).api.endpoint == "127.0.0.1:3"
    assert load(sets=[f"{http}=127.0.0.1:4"]).receivers.otlp.protocols.http.endpoint == "127.0.0.1:4"
    settings = load(sets=["api.endpoint=127.0.0.1:3", "proxy.hosts=[a, b]"], flags={"api": "127.0.0.1:5"})
    assert (settings.api.endpoint, settings.proxy.hosts) == ("127.0.0.1:5", ["a", "b"])


def test_every_leaf_can_be_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EDDYLINE_")]:
        monkeypatch.delenv(name)
    before = load().model_dump()
    for name, default, _ in leaves(Settings):
        if isinstance(default, (bool, int, float)):
            unit = "s" if isinstance(default, float) and not name.endswith("_ratio") else ""
            monkeypatch.setenv(f"EDDYLINE_{name.upper().replace('.', '__')}", f"{default}{unit}")
    assert load().model_dump() == before


def test_what_stands_in_a_variable_stays_text_until_its_setting_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROJECT", "0123")
    monkeypatch.setenv("WORKERS", "7")
    settings = load(
        [
            "yaml:{proxy: {project: '${env:PROJECT}'}, "
            "receivers: {otlp: {protocols: {grpc: {workers: '${env:WORKERS}'}}}}}"
        ]
    )
    assert settings.proxy.project == "0123"
    assert settings.receivers.otlp.protocols.grpc.workers == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "recievers: {}",
            "recievers: unknown key; did you mean 'receivers'? There are data_dir, token, receivers",
        ),
        ("exporters: {}", "exporters: unknown key; here it is sinks. There are data_dir"),
        (
            "receivers: {otlp: {protocols: {grpc: {max_recv_msg_size_mib: 64}}}}",
            "receivers.otlp.protocols.grpc.max_recv_msg_size_mib: unknown key; did you mean 'max_recv_msg_size'?",
        ),
        (
            "sinks: {clickhouse: {url: '${env:NOT_SET}'}}",
            "sinks.clickhouse.url: environment variable NOT_SET is not set",
        ),
        ("proxy: {hosts: [a, '${file:b}']}", "proxy.hosts.1: a reference is written ${env:NAME}"),
        ("{api: {endpoint: off}", "yaml, line 1, column 22: while parsing a flow mapping, expected"),
        ("{[api]: 1}", "yaml: a key at line 1 is no text"),
        ("proxy: {project: 2026-13-45}", "yaml: a value at line 1 can not be read: month must be in 1..12"),
        ("proxy: &a {local: *a}", "yaml: it holds itself"),
        ("[" * 5000, "yaml: it is nested too deeply"),
        ("token: '${env:A'", "token: a reference is written ${env:NAME}"),
        (
            "receivers: {otlp: {limits: {span_bytes: many}}}",
            "receivers.otlp.limits.span_bytes: a size is a number of bytes, or",
        ),
        (
            "receivers: {otlp: {protocols: {http: {tls: {cert_file: a}}}}}",
            "cert_file and key_file belong together",
        ),
    ],
)
def test_mistakes_are_named_with_their_path_and_a_way_out(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load([f"yaml:{text}"])


def test_what_can_not_be_parsed_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as error:
        load(["yaml:token: geheim: geheim"])
    assert str(error.value) == "yaml, line 1, column 14: mapping values are not allowed here"


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        load(["yaml:{journal: {ack: maybe}, api: {endpoint: x}, admin: {prot: 1}}"])
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == [
        "journal.ack",
        "api.endpoint",
        "admin.prot",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sets": ["journal.ack"]}, "--set journal.ack: write PATH=VALUE"),
        ({"sets": ["journal.akc=write"]}, "journal.akc: unknown key; did you mean 'ack'?"),
        ({"configs": ["env:NOT_SET_ANYWHERE"]}, "environment variable NOT_SET_ANYWHERE is not set"),
        ({"configs": ["file:/nowhere/eddyline.yaml"]}, "/nowhere/eddyline.yaml: No such file"),
    ],
)
def test_mistakes_on_the_command_line_are_named(arguments: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(**arguments)  # type: ignore[arg-type]  # from a table of cases


def test_a_variable_that_is_no_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDYLINE_RECIEVERS__OTLP__LIMITS__SPAN_BYTES", "1MiB")
    with pytest.raises(ConfigError, match=r"EDDYLINE_RECIEVERS__OTLP.*there is no setting 'recievers'"):
        load()


# --------------------------------------------------------------------------- commands


def command(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environ)


def test_validate_says_what_is_wrong_and_exits_78(tmp_path: Path, server: Server) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    free = [f"--set={'.'.join(path)}=0" for path in DOORS.values()]
    assert command("validate", *data, *free).exit_code == 0
    wrong = command("validate", *data, "--set", "journal.ack=maybe")
    assert (wrong.exit_code, "eddyline: journal.ack: " in wrong.stderr) == (78, True)
    taken = server.endpoints["api"].removeprefix("http://")
    sets = [*free, f"--set=api.endpoint={taken}", "--set=receivers.otlp.protocols.http.endpoint=0.0.0.0:0"]
    sets.append("--set=receivers.otlp.protocols.http.tls={cert_file: /no/cert, key_file: /no/key}")
    found = command("validate", *data, *sets)
    assert found.exit_code == 78
    assert f"eddyline: api.endpoint: {taken}: Address already in use" in found.stderr
    assert "eddyline: receivers.otlp.protocols.http.tls: /no/cert: No such file" in found.stderr
    assert "eddyline: auth: http on 0.0.0.0:0 would be open to other machines" in found.stderr
    assert command("validate", *data, *sets, "--no-environment").exit_code == 0


def test_print_config_shows_what_holds_without_secrets(tmp_path: Path) -> None:
    secret = "canary-7f3a"
    printed = command(
        "print-config",
        "--set",
        f"sinks.clickhouse.url=https://user:{secret}@db.example:8443",
        EDDYLINE_TOKEN=secret,
        EDDYLINE_JOURNAL__ACK="write",
    )
    assert secret not in printed.stdout + printed.stderr
    document = yaml.safe_load(printed.stdout)
    assert document["token"] == "[redacted]"
    assert document["sinks"]["clickhouse"]["url"] == "https://[redacted]@db.example:8443"
    assert document["journal"]["ack"] == "write"
    assert document["receivers"]["otlp"]["limits"]["span_bytes"] == "8MiB"
    again = tmp_path / "again.yaml"
    again.write_text(printed.stdout)
    assert load([again], sets=["token=", "sinks.clickhouse.url=''"]).journal.ack == "write"


CANARY = "canary-0b5c1f"
WITH_SECRETS = f"""
token: {CANARY}
auth: {{keys: {{app: {{key: edl_{CANARY * 3}}}}}}}
sinks:
  clickhouse: {{url: "https://user:{CANARY}@db.example:8443?password={CANARY}", password: {CANARY}}}
  otlp:
    team:
      endpoint: "https://user:{CANARY}@collector.example/otlp?api_key={CANARY}"
      headers: {{x-api-key: {CANARY}, authorization: "Bearer {CANARY}"}}
proxy:
  export: {{headers: {{authorization: "Bearer {CANARY}"}}}}
  capture: {{named_keys: {{prod: {CANARY}}}}}
  upstreams: {{corp: {{url: "https://gw.example", inject_key: {CANARY * 2}}}}}
notifications: {{webhooks: [{{url: "https://hooks.example.com/services/{CANARY}?key={CANARY}", secret: {CANARY}}}]}}
"""


def test_no_secret_of_the_configuration_is_shown(file: Path) -> None:
    file.write_text(WITH_SECRETS)
    settings = load([file])
    printed = command("print-config", "--config", str(file))
    assert printed.exit_code == 0
    wrong = [
        command("validate", "--no-environment", "--config", str(file), "--set", said)
        for said in (
            "auth={keys: {app: {key: " + CANARY + "}}}",
            "sinks.otlp={team: {endpoint: " + CANARY + "}}",
            "sinks.clickhouse.url=" + CANARY,
            "notifications.webhooks=[{url: " + CANARY + ", secret: [" + CANARY + "]}]",
            "token=[" + CANARY + "]",
            "proxy.export.headers={authorization: [" + CANARY + "]}",
            "proxy.capture.named_keys={prod: [" + CANARY + "]}",
            "proxy.upstreams={corp: {url: https://gw.example, inject_key: " + CANARY + "}}",
            "proxy.upstreams={corp: {url: https://gw.example, inject_key: " + CANARY * 2 + " x}}",
        )
    ]
    assert [result.exit_code for result in wrong] == [78] * len(wrong)
    shown = [printed.output, repr(settings), str(settings), json.dumps(redacted(settings))]
    shown += [result.output for result in wrong]
    try:
        raise RuntimeError(settings)
    except RuntimeError as error:
        shown += traceback.format_exception(error)
    assert [text for text in shown if CANARY in text] == []
    assert redacted(settings)["notifications"]["webhooks"][0]["url"] == "https://hooks.example.com/[redacted]"


def test_components_and_schema_are_printed() -> None:
    document = yaml.safe_load(command("components").stdout)
    assert {"otlp", "proxy"} == {receiver["name"] for receiver in document["receivers"]}
    assert {"clickhouse", "otlp", "jsonl"} == {sink["name"] for sink in document["sinks"]}
    assert {"metrics", "traces"} == {one["name"] for one in document["telemetry"]}
    assert "openinference" in {convention["name"] for convention in document["conventions"]}
    schema = json.loads(command("config", "schema").stdout)
    assert schema["additionalProperties"] is False
    assert schema["properties"].keys() == Settings.model_fields.keys()


# --------------------------------------------------------------------------- reload


def test_a_reload_takes_over_and_an_invalid_one_keeps_the_old(
    data_dir: Path, tmp_path: Path, target: HttpTarget
) -> None:
    file = tmp_path / "eddyline.yaml"
    file.write_text("receivers: {otlp: {limits: {spans_per_request: 2}}}\n")
    running = Server(data_dir, "--config", str(file)).start()
    allowed: list[bool] = []

    def rejected() -> int:
        response = httpx.post(
            f"{running.endpoints['http']}/v1/traces",
            content=request(0x8000001 + len(allowed), spans=3).SerializeToString(),
            headers={"Content-Type": "application/x-protobuf", "Origin": "https://app.example"},
        )
        allowed.append("access-control-allow-origin" in response.headers)
        return int(ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans)

    def reloaded(text: str, said: str) -> None:
        file.write_text(text)
        running.process.send_signal(signal.SIGHUP)
        until(lambda: said in running.log.read_text(), running.log.read_text)

    def reloads_well() -> float:
        return of(metrics(running), "eddyline_config_last_reload_successful")

    assert rejected() == 1
    assert reloads_well()
    reloaded("receivers: {otlp: {limits: {spans_per_request: none}}}\n", "the old configuration stays")
    assert rejected() == 1
    assert not reloads_well()
    reloaded("loops: {disabled: [nonsense]}\n", "there is no loop detector 'nonsense'")
    reloaded(
        "receivers: {otlp: {limits: {spans_per_request: 3}, "
        "protocols: {http: {cors: {allowed_origins: ['https://app.example']}}}}}\njournal: {ack: write}\n",
        "only a restart takes over: journal.ack",
    )
    assert rejected() == 0
    assert allowed == [False, False, True]
    assert reloads_well()

    files = tmp_path / "passed-on"
    reloaded(
        f"redaction: {{mask: [email]}}\nsinks: {{jsonl: {{files: {{path: '{files}'}}}}}}\n"
        "journal: {ack: write}\n",
        "sinks.jsonl.files.path",
    )
    until(lambda: "jsonl/files" in running.get("/status")["forwards"])
    said = request(0x8000100)
    said.resource_spans[0].scope_spans[0].spans[0].attributes.add(
        key="input.value"
    ).value.string_value = "write to jane@example.com"
    httpx.post(
        f"{running.endpoints['http']}/v1/traces",
        content=said.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
    )
    running.settled()
    run_id = said.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    assert "jane@" not in str(running.get(f"/runs/{run_id}/events", fields="io"))

    def passed() -> bytes:
        return b"".join(file.read_bytes() for file in files.glob("*"))

    until(lambda: b"write to" in passed())
    assert b"jane@" not in passed()

    # From here on without a signal.
    reloaded("service: {reload_interval: 50ms}\n", "service.reload_interval")
    key = "edl_" + "k" * 40
    file.write_text(
        f"auth: {{required: true, keys: {{shop: {{key: {key}}}}}}}\n"
        "journal: {max_bytes: 5GiB}\nservice: {telemetry: {log_level: debug}}\n"
    )
    until(lambda: "auth.keys.shop.key, auth.keys.shop.project" in running.log.read_text())
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]
    [said] = [line for line in lines if "auth.keys" in line["event"]]
    assert "journal.max_bytes" in said["event"]
    assert "only a restart" not in said["event"]
    statuses = [
        httpx.post(f"{running.endpoints['http']}/v1/traces", content=b"", headers=headers).status_code
        for headers in (
            {"Content-Type": "application/x-protobuf"},
            {"Content-Type": "application/x-protobuf", "x-api-key": key},
        )
    ]
    assert statuses == [401, 200]
    capacity = of(metrics(running), "eddyline_wal_capacity_bytes", signal="traces")
    assert capacity in (5 << 30, 10 << 30)  # with workers twice

    own = running.endpoints["http"].replace("127.0.0.1", "localhost")
    reloaded(f"service: {{telemetry: {{metrics: {{endpoint: '{own}'}}}}}}\n", "this collector itself (http)")
    assert not reloads_well()
    reloaded(
        f"service: {{telemetry: {{metrics: {{endpoint: '{target.url}'}}}}}}\n",
        "reloaded: auth.keys, auth.keys.shop.key",
    )
    said_last = {name.removesuffix("_total") for name, _ in metrics(running)}
    assert running.stop() == 0
    [(_, _, pushed)] = target.taken  # at the end
    assert {re.sub("_(bucket|sum|count|created)$", "", name) for name in said_last} == set(by_name(pushed))


RELOAD = """
import asyncio, gc, json, logging, sys
from pathlib import Path
from collector.understanding import understanding
from collector.apart.processes import Processes
from collector.config import load
from collector.pipeline.deadletter import DeadLetters
from collector.intake.intake import Intake
from collector.journal import Journal
from collector.notify import Notifier
from collector.pipeline.pipeline import Pipeline
from collector.receivers.http import HttpReceiver
from collector.pipeline.redaction import ProjectRules
from collector.config.reload import Reloadable, _leaves
from collector.service import collector

understanding.not_understood = lambda settings: []  # of what follows, only the names matter
logging.basicConfig(stream=sys.stdout, level="WARNING", format="%(message)s")
doors = ("receivers.otlp.protocols.grpc", "receivers.otlp.protocols.http", "api", "admin", "proxy")
addresses, where = [f"{door}.endpoint=127.0.0.1:0" for door in doors], {"data_dir": Path(sys.argv[1])}
settings = load(sets=addresses, flags=where)

def changed(model, path):
    name, *rest = path
    before = getattr(model, name)
    if rest:
        after = changed(before, rest)
    else:
        after = not before if isinstance(before, bool) else "127.0.0.1:9" if isinstance(before, str) else 9
    return model.model_copy(update={name: after})

def the(kind):
    return [one for one in gc.get_objects() if isinstance(one, kind)]

def reached():
    [intake], [http], [letters], [notifier], [mapping] = map(
        the, (Intake, HttpReceiver, DeadLetters, Notifier, Processes)
    )
    journals, pipelines = the(Journal), the(Pipeline)
    assert journals and pipelines
    return {
        "auth.required": intake.gate.ingest_needs_key,
        "journal.max_bytes": sorted({one._room._max_bytes for one in journals}),
        "journal.max_queue_size": sorted({one._max_queue_bytes for one in journals}),
        "journal.min_free_bytes": sorted({one._room._min_free_bytes for one in journals}),
        "mapping.processes": mapping.most,
        "memory.inflight": intake.budget.inflight_bytes,
        "memory.refuse_percentage": intake.budget._refuse_bytes,
        "notifications.webhooks": [one.url for one in notifier._webhooks],
        "quotas.items_per_second": intake.quotas.of("", "any").quota.items_per_s,
        "receivers.otlp.limits.span_bytes": intake.limits.item_bytes,
        "receivers.otlp.protocols.http.body_timeout": http.limits.total_s,
        "receivers.otlp.protocols.http.max_request_body_size": [intake.max_body_bytes, http.limits.max_bytes],
        "redaction.mask": sorted({mask for rules in the(ProjectRules) for mask in rules.settings.mask}),
        "service.telemetry.log_level": logging.getLogger().level,
        "sinks.clickhouse.batch.flush_timeout": sorted({one.gathering.bounds.wait_s for one in pipelines}),
        "sinks.clickhouse.batch.max_items": sorted({one.gathering.bounds.items for one in pipelines}),
        "sinks.clickhouse.dead_letter.max_bytes": letters.max_bytes,
    }

async def main():
    reloadable = Reloadable(settings)
    async with collector(settings, reloadable):
        names = [name for name, _ in _leaves(settings)]
        later = [name for name in names if not reloadable.takes(name)]
        for taken in reloadable._taken:
            assert any(name == taken or name.startswith(taken + ".") for name in names), taken
        other = settings
        for name in later:
            other = changed(other, name.split("."))
        assert reloadable.reload(lambda: other)
        print(json.dumps({"all": names, "later": later}))
        assert reloadable.reload(lambda: load(sets=[*addresses, *json.loads(sys.argv[2])], flags=where))
        print(json.dumps({"reached": reached()}))

asyncio.run(main())
"""


TAKEN_OVER: dict[str, tuple[str, object]] = {
    "auth.required": ("true", True),
    "journal.max_bytes": ("1GiB", [1 << 30]),
    "journal.max_queue_size": ("1MiB", [1 << 20]),
    "journal.min_free_bytes": ("2MiB", [2 << 20]),
    "mapping.processes": ("3", 3),
    "memory.inflight": ("70MiB", 70 << 20),
    "memory.refuse_percentage": ("50", 500),
    "notifications.webhooks": ("[{url: 'https://hooks.example/x'}]", ["https://hooks.example/x"]),
    "quotas.items_per_second": ("5", 5.0),
    "receivers.otlp.limits.span_bytes": ("5MiB", 5 << 20),
    "receivers.otlp.protocols.http.body_timeout": ("7s", 7.0),
    "receivers.otlp.protocols.http.max_request_body_size": ("6MiB", [6 << 20] * 2),
    "redaction.mask": ("[email, card]", ["card", "email"]),
    "service.telemetry.log_level": ("error", 40),
    "sinks.clickhouse.batch.flush_timeout": ("3s", [3.0]),
    "sinks.clickhouse.batch.max_items": ("77", [77]),
    "sinks.clickhouse.dead_letter.max_bytes": ("4MiB", 4 << 20),
}
"""What is set, and what is then found where it is used."""


def test_each_setting_is_taken_over_or_named_as_one_that_needs_a_restart(data_dir: Path) -> None:
    sets = [f"{name}={value}" for name, (value, _) in TAKEN_OVER.items()]
    arguments = [str(data_dir), json.dumps([*sets, "memory.limit=1000"])]
    ran = forked.run([sys.executable, "-c", RELOAD, *arguments], check=True)
    told, then = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert then["reached"] == {name: found for name, (_, found) in TAKEN_OVER.items()}
    assert f"only a restart takes over: {', '.join(sorted(told['later']))}\n" in ran.stdout
    taken = {name for name in told["all"] if name not in told["later"]}
    assert len(taken) > 20
    assert {name.split(".")[0] for name in taken} == {
        "auth",
        "journal",
        "loops",
        "mapping",
        "memory",
        "notifications",
        "pricing",
        "quotas",
        "receivers",
        "redaction",
        "service",
        "sinks",
    }
