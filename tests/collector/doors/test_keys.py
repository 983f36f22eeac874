"""Who may do what: one matrix for both transports, the API's scopes, and that no secret ever shows."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from click.testing import CliRunner, Result
from google.rpc.status_pb2 import Status

from collector.api.app import routes_of
from collector.api.base import Api
from collector.cli import main
from collector.config import ConfigError, GivenKey, load, redacted
from collector.demo import captured
from collector.doors.exposure import ingest_needs_key
from collector.doors.gate import FAILURES_PER_MINUTE, Gate, UnauthenticatedError
from collector.doors.keys import LOOK_EVERY_S, PREFIX, Keys, KeysError, Scope, keys_file
from collector.intake.intake import Intake
from collector.receivers.grpc import GrpcReceiver
from collector.receivers.http import HttpReceiver
from tests import conftest
from tests.collector.receivers.test_http import PROTOBUF, request
from tests.listening import serving
from tests.sending import TRACES
from tests.server import TOKEN, Server
from tests.waiting import PATIENCE_S

server = conftest.alone


def command(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["token", *arguments, "--data-dir", str(data_dir)])


class Guarded:
    """A collector that takes telemetry only with a key, and its keys."""

    def __init__(self, server: Server) -> None:
        self.server = server
        keys = Keys(keys_file(server.data_dir))
        self.secrets = {
            "ingest": keys.create("sender", [Scope.INGEST])[1],
            "shop": keys.create("shop", [Scope.INGEST, Scope.READ], project="shop")[1],
            "acme": keys.create("acme", [Scope.INGEST, Scope.READ, Scope.CONTENT], tenant="acme")[1],
            "reader": keys.create("reader", [Scope.READ])[1],
            "content": keys.create("content", [Scope.CONTENT])[1],
            "admin": keys.create("admin", [Scope.ADMIN])[1],
            "shop admin": keys.create("shop admin", [Scope.ADMIN], project="shop")[1],
        }
        self.secrets["unknown"] = "edl_00000000_" + "x" * 43
        revoked, self.secrets["revoked"] = keys.create("revoked", [Scope.INGEST])
        keys.revoke(revoked.id)
        time.sleep(1.1)  # until the collector looks at the file again

    def over(self, transport: str, headers: dict[str, str], number: int = 1) -> str:
        """How a request ends: ok, unauthenticated or forbidden."""
        body = request(number).SerializeToString()
        if transport == "http":
            response = httpx.post(
                f"{self.server.endpoints['http']}/v1/traces",
                content=body,
                headers={"Content-Type": PROTOBUF} | headers,
            )
            if response.status_code == 401:
                assert response.headers["www-authenticate"].startswith("Bearer")
            if response.status_code != 200:
                assert Status.FromString(response.content).message
            return {200: "ok", 401: "unauthenticated", 403: "forbidden"}[response.status_code]
        with grpc.insecure_channel(self.server.endpoints["grpc"]) as channel:
            metadata = [(name.lower(), value) for name, value in headers.items()]
            try:
                channel.unary_unary(TRACES)(body, metadata=metadata, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                codes = {
                    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
                    grpc.StatusCode.PERMISSION_DENIED: "forbidden",
                }
                return codes[error.code()]
            return "ok"

    def api(self, who: str, method: str, path: str, accept: str = "*/*", **options: Any) -> httpx.Response:
        return httpx.request(
            method,
            f"{self.server.endpoints['api']}/api/v1{path}",
            headers={"Authorization": f"Bearer {self.secrets[who]}", "Accept": accept},
            **options,
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    data_dir = tmp_path_factory.mktemp("guarded") / "data"
    server = Server(data_dir, environ={"EDDYLINE_AUTH__REQUIRED": "true"}).start()
    made = Guarded(server)
    yield made
    assert server.stop() == 0
    shown = server.log.read_text()
    kept = b"".join(
        file.read_bytes() for file in data_dir.rglob("*") if file.is_file() and file.name != "token"
    )
    for secret in (*made.secrets.values(), TOKEN):  # T24
        assert secret not in shown
        assert secret.encode() not in kept


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize(
    ("form", "who", "ends"),
    [
        ("none", "ingest", "unauthenticated"),
        ("bearer", "ingest", "ok"),
        ("lower", "ingest", "ok"),
        ("x-api-key", "ingest", "ok"),
        ("basic", "ingest", "ok"),
        ("basic user", "ingest", "ok"),
        ("bearer", "shop", "ok"),
        ("bearer", "admin", "ok"),
        ("bearer", "reader", "forbidden"),
        ("bearer", "unknown", "unauthenticated"),
        ("bearer", "revoked", "unauthenticated"),
        ("x-api-key", "unknown", "unauthenticated"),
        ("cut", "ingest", "unauthenticated"),
        ("broken basic", "ingest", "unauthenticated"),
    ],
)
def test_T24_H22_G10_every_form_of_a_key_on_both_transports(
    guarded: Guarded, transport: str, form: str, who: str, ends: str
) -> None:
    secret = guarded.secrets[who]
    headers = {
        "none": {},
        "bearer": {"Authorization": f"Bearer {secret}"},
        "lower": {"authorization": f"bearer  {secret}"},
        "x-api-key": {"X-API-Key": secret},
        "basic": {"Authorization": basic("pk-lf-anything", secret)},
        "basic user": {"Authorization": basic(secret, "")},
        "cut": {"Authorization": f"Bearer {secret[:-1]}"},
        "broken basic": {"Authorization": "Basic ???"},
    }[form]
    assert guarded.over(transport, headers) == ends


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_the_project_of_a_key_wins_over_the_header(guarded: Guarded, transport: str) -> None:
    number = 0x7000001 + (transport == "grpc")
    headers = {"Authorization": f"Bearer {guarded.secrets['shop']}", "X-Loop-Project": "other"}
    assert guarded.over(transport, headers, number) == "ok"
    guarded.server.settled()
    run_id = (b"http" + number.to_bytes(12, "big")).hex()
    assert guarded.server.get(f"/runs/{run_id}")["project"] == "shop"


def test_a_key_reads_its_own_project_and_tenant_only(guarded: Guarded) -> None:
    for who, number in (("shop", 0x7100001), ("ingest", 0x7100002), ("acme", 0x7100003)):
        assert guarded.over("http", {"x-api-key": guarded.secrets[who]}, number) == "ok"
    guarded.server.settled()
    ids = {
        who: (b"http" + number.to_bytes(12, "big")).hex()
        for who, number in (("shop", 0x7100001), ("ingest", 0x7100002), ("acme", 0x7100003))
    }

    def listed(who: str) -> set[str]:
        found = {run["run_id"] for run in guarded.api(who, "GET", "/runs?limit=1000").json()["data"]}
        batch = guarded.api(who, "POST", "/runs:batch", json={"ids": list(ids.values())}).json()["data"]
        assert {run["run_id"] for run in batch} == found & set(ids.values())
        for run_id in ids.values():
            assert guarded.api(who, "GET", f"/runs/{run_id}").status_code == (200 if run_id in found else 404)
        return found & set(ids.values())

    assert listed("shop") == {ids["shop"]}
    assert listed("reader") == {ids["shop"], ids["ingest"]}
    assert listed("acme") == {ids["acme"]}


def test_no_route_shows_a_run_of_another_project_or_tenant(guarded: Guarded) -> None:
    assert guarded.over("http", {"x-api-key": guarded.secrets["ingest"]}, 0x7150001) == "ok"
    assert guarded.over("http", {"x-api-key": guarded.secrets["acme"]}, 0x7150002) == "ok"
    guarded.server.settled()
    names = {"span_id": "0" * 16, "event_id": "0" * 16 + ".end", "field": "input", "node_id": "0" * 16}
    needed = {"/runs/{run_id}/previews": "?ids=" + "0" * 16, "/runs/{run_id}/find": "?text=x"}
    paths = [
        route.path.removeprefix("/api/v1")
        for route in routes_of(Api.__new__(Api))
        if route.method == "GET" and "{run_id}" in route.path
    ]
    assert "/runs/{run_id}/tree" in paths
    for path in paths:
        for number in (0x7150001, 0x7150002):
            run_id = (b"http" + number.to_bytes(12, "big")).hex()
            asked = path.format(run_id=run_id, **names) + needed.get(path, "")
            answer = guarded.api("shop admin", "GET", asked)
            assert answer.status_code == 404, path
            assert run_id in answer.json()["detail"]


def test_warnings_sums_and_what_was_said_keep_to_a_key(guarded: Guarded) -> None:
    run_id, body = captured()
    headers = {"Content-Type": PROTOBUF, "X-API-Key": guarded.secrets["acme"]}
    assert httpx.post(
        f"{guarded.server.endpoints['http']}/v1/traces", content=body, headers=headers
    ).is_success
    mine, body = captured()
    headers = {"Content-Type": PROTOBUF, "X-API-Key": guarded.secrets["ingest"], "X-Loop-Project": "weather"}
    assert httpx.post(
        f"{guarded.server.endpoints['http']}/v1/traces", content=body, headers=headers
    ).is_success
    guarded.server.settled()

    def warned(who: str, query: str = "") -> set[str]:
        found = guarded.api(who, "GET", f"/warnings{query}").json()["data"]
        return {warning["run_id"] for warning in found} & {run_id, mine}

    assert warned("acme") == {run_id}
    assert warned("reader") == {mine}
    assert warned("shop") == warned("shop", "?project=weather") == set()
    assert guarded.api("acme", "GET", f"/runs/{mine}/warnings").status_code == 404
    runs = guarded.api("acme", "GET", "/runs").json()["data"]
    facets = guarded.api("acme", "GET", "/facets?of=project").json()["data"]
    assert facets == [{"value": "default", "count": len(runs)}]
    for by in ("projects", "users", "services", "agents", "tools", "models"):
        found = guarded.api("acme", "GET", f"/{by}").json()["data"]
        assert all(group["runs"] <= len(runs) for group in found), by
    assert guarded.api("shop", "GET", "/models?project=weather").json()["data"] == []
    projects = {group["value"] for group in guarded.api("shop", "GET", "/projects").json()["data"]}
    assert projects <= {"shop"}
    [sums] = guarded.api("acme", "GET", "/aggregates?metrics=runs").json()["data"]
    assert sums["values"] == {"runs": len(runs)}

    for who, allowed in (("admin", True), ("reader", False)):
        markdown = guarded.api(who, "GET", f"/runs/{mine}", "text/markdown")
        assert ("Paris" in markdown.text) == allowed
        compared = guarded.api(who, "GET", f"/compare?a={mine}&b={mine}").json()
        assert (compared["prompt_diff"] is None) == (compared["a"]["input"] is None) == (not allowed)
    assert guarded.api("acme", "GET", f"/compare?a={run_id}&b={mine}").status_code == 404
    assert guarded.api("shop admin", "GET", f"/compare?a={mine}&b={mine}").status_code == 404

    search = {"filter": {"field": "text", "op": "=", "value": "Paris"}}
    assert guarded.api("reader", "GET", "/search?q=Paris").status_code == 403
    assert guarded.api("admin", "GET", "/search?q=Paris&project=weather").json()["data"]
    assert guarded.api("shop admin", "GET", "/search?q=Paris&project=weather").json()["data"] == []
    for who, allowed in (("admin", True), ("reader", False)):
        run = guarded.api(who, "GET", f"/runs/{mine}").json()
        batch = guarded.api(who, "POST", "/runs:batch", json={"ids": [mine]}).json()["data"]
        assert batch == [run]
        assert bool(run["input"]) == bool(run["output"]) == allowed
        found = guarded.api(who, "POST", "/runs:search", json=search)
        assert found.status_code == (200 if allowed else 403)


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        ("ingest", "/runs", 403),
        ("reader", "/runs", 200),
        ("reader", "/runs/{run}/events", 200),
        ("reader", "/runs/{run}/events?fields=io", 403),
        ("reader", "/runs/{run}/events?%66ields=io", 403),
        ("reader", "/runs/{run}/spans", 403),
        ("reader", "/runs/{run}/spans%0A", 403),
        ("reader", "/spans/{run}/0000000000000001/mapping", 403),
        ("reader", "/runs?q=text:secret", 403),
        ("reader", "/runs?q=NOT+weather*", 403),
        ("reader", "/runs?attr.user.id=a*", 403),
        ("reader", "/aggregates?attr.user.id=a*", 403),
        ("reader", "/facets?of=attr.user.id", 403),
        ("reader", "/facets?of=attr", 200),
        ("reader", "/facets?of=model", 200),
        ("reader", "/aggregates", 200),
        ("reader", "/warnings", 200),
        ("reader", "/tokens", 403),
        ("content", "/runs", 200),
        ("content", "/runs?q=text:secret", 200),
        ("content", "/runs/{run}/spans", 200),
        ("content", "/tokens", 403),
        ("admin", "/runs/{run}/spans", 200),
        ("admin", "/tokens", 200),
        ("unknown", "/runs", 401),
        ("revoked", "/runs", 401),
    ],
)
def test_what_a_key_may_read(guarded: Guarded, who: str, path: str, status: int) -> None:
    assert guarded.over("http", {"x-api-key": guarded.secrets["ingest"]}, 0x7200001) == "ok"
    guarded.server.settled()
    run_id = (b"http" + (0x7200001).to_bytes(12, "big")).hex()
    response = guarded.api(who, "GET", path.format(run=run_id))
    assert response.status_code == status
    assert guarded.secrets[who] not in response.text


def test_keys_are_made_listed_and_revoked_over_the_api(guarded: Guarded) -> None:
    made = guarded.api("admin", "POST", "/tokens", json={"name": "ci", "scopes": ["ingest"], "project": "p"})
    assert made.status_code == 201
    secret = made.json()["token"]
    assert guarded.over("grpc", {"authorization": f"Bearer {secret}"}) == "ok"
    listed = guarded.api("admin", "GET", "/tokens")
    assert secret not in listed.text
    [shown] = [key for key in listed.json()["data"] if key["name"] == "ci"]
    assert (shown["scopes"], shown["project"]) == (["ingest"], "p")
    assert shown["last_used_at"] is not None
    assert guarded.api("admin", "DELETE", f"/tokens/{shown['id']}").status_code == 204
    assert guarded.api("admin", "DELETE", f"/tokens/{shown['id']}").status_code == 404
    assert guarded.over("http", {"Authorization": f"Bearer {secret}"}) == "unauthenticated"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "needs a name"),
        ({"name": "x\ny"}, "name must be one line"),
        ({"name": "x", "project": "y" * 201}, "project must be one line of at most 200 characters"),
        ({"name": "x", "scopes": ["root"]}, "scopes is a list of ingest"),
        ({"name": "x", "scopes": []}, "needs a scope"),
        ({"name": "x", "color": "red"}, "'color' is not known"),
        ({"name": 5}, "name must be text"),
        ({"name": "x", "project": []}, "project must be text"),
        ({"name": "x", "tenant": False}, "tenant must be text"),
    ],
)
def test_a_wrong_key_is_not_made(guarded: Guarded, body: dict[str, Any], says: str) -> None:
    response = guarded.api("admin", "POST", "/tokens", json=body)
    assert response.status_code == 400
    assert says in response.json()["detail"]


def test_an_administrator_of_a_project_makes_and_sees_keys_of_it_only(guarded: Guarded) -> None:
    assert (
        guarded.api("shop admin", "POST", "/tokens", json={"name": "x", "project": "other"}).status_code
        == 403
    )
    made = guarded.api("shop admin", "POST", "/tokens", json={"name": "x"}).json()
    assert made["project"] == "shop"
    seen = guarded.api("shop admin", "GET", "/tokens").json()["data"]
    assert {key["project"] for key in seen} == {"shop"}
    [sender] = [
        key for key in guarded.api("admin", "GET", "/tokens").json()["data"] if key["name"] == "sender"
    ]
    assert guarded.api("shop admin", "DELETE", f"/tokens/{sender['id']}").status_code == 404


def test_without_need_for_keys_those_of_others_are_no_mistake(server: Server) -> None:
    headers = {"Content-Type": PROTOBUF, "Authorization": basic("pk-lf-1", "sk-lf-2")}
    url = f"{server.endpoints['http']}/v1/traces"
    assert httpx.post(url, headers=headers).status_code == 200
    headers["Authorization"] = "Bearer edl_00000000_" + "x" * 43
    assert httpx.post(url, headers=headers).status_code == 401


# --------------------------------------------------------------------------- the file and the gate


def test_the_file_has_no_key_and_is_the_owners_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    _, secret = keys.create("one", [Scope.INGEST])
    assert secret not in (tmp_path / "keys.json").read_text()
    assert secret.split("_", 2)[2] not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    assert keys.find(secret) is not None
    assert keys.find(secret + "x") is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(KeysError, match=r"keys\.json can not be read"):
        Keys(tmp_path / "keys.json")


def test_keys_hold_while_their_file_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.doors.keys.LOOK_EVERY_S", 0.0)
    keys = Keys(tmp_path / "keys.json")
    _, secret = keys.create("one", [Scope.INGEST])
    whole = (tmp_path / "keys.json").read_text()
    (tmp_path / "keys.json").write_text("{")
    assert keys.find(secret) is not None
    with pytest.raises(KeysError):
        keys.create("two", [Scope.INGEST])
    (tmp_path / "keys.json").write_text(whole)
    assert [key.name for key in keys.all()] == ["one"]
    (tmp_path / "keys.json").unlink()
    assert keys.find(secret) is None


def given(**keys: dict[str, Any]) -> dict[str, GivenKey]:
    return {name: GivenKey(**entry) for name, entry in keys.items()}


def test_keys_of_the_configuration_hold_in_every_collector_that_has_them(tmp_path: Path) -> None:
    secret = PREFIX + secrets.token_urlsafe(32)
    entry = given(app={"key": secret, "scopes": ["ingest", "read"], "project": "shop", "tenant": "t"})
    one, other = (Keys(tmp_path / name / "keys.json", entry) for name in ("one", "other"))
    assert len(one) == 1
    key = one.find(secret)
    assert key is not None
    assert (key.name, key.scopes, key.project, key.tenant) == (
        "app", (Scope.INGEST, Scope.READ), "shop", "t",
    )  # fmt: skip
    found = other.find(secret)
    assert found is not None
    assert found.id == key.id
    assert one.find(secret[:-1]) is None
    _, made = one.create("made", [Scope.INGEST])
    assert one.find(made) is not None
    assert secret not in (tmp_path / "one" / "keys.json").read_text()
    one.give({})
    assert one.find(secret) is None
    assert one.find(made) is not None


def test_keys_come_from_several_documents_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {name: PREFIX + name * 32 for name in "abc"}
    monkeypatch.setenv("EDDYLINE_AUTH__KEYS__C__KEY", texts["c"])
    sources = [f"yaml:auth: {{keys: {{{name}: {{key: {texts[name]}}}}}}}" for name in "ab"]
    settings = load([*sources, "yaml:receivers: {otlp: {protocols: {http: {endpoint: '0.0.0.0:4318'}}}}"])
    assert {name: entry.key for name, entry in settings.auth.keys.items()} == texts
    assert ingest_needs_key(settings, keys=len(Keys(tmp_path / "keys.json", settings.auth.keys)))
    shown = json.dumps(redacted(settings))
    assert not any(text in shown or text in repr(settings) for text in texts.values())


@pytest.mark.parametrize(
    "text", ["edl_short", "x" * 40, "edl_" + "with space " * 4], ids=["short", "other", "spaces"]
)
def test_a_key_that_can_be_guessed_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match=r"auth\.keys\.app\.key") as raised:
        load([f"yaml:auth: {{keys: {{app: {{key: '{text}'}}}}}}"])
    assert text not in str(raised.value)


def test_who_guesses_too_often_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.doors.gate._minute", lambda: 1)
    gate = Gate(None, ingest_needs_key=True)
    for number in range(FAILURES_PER_MINUTE + 1):
        assert gate.pause_s("10.0.0.1") == 0, number
        with pytest.raises(UnauthenticatedError):
            gate.admit(Scope.INGEST, "Bearer guess", "", "10.0.0.1")
    assert (gate.pause_s("10.0.0.1"), gate.pause_s("10.0.0.2")) == (1.0, 0.0)
    monkeypatch.setattr("collector.doors.gate._minute", lambda: 2)
    assert gate.pause_s("10.0.0.1") == 0


def test_who_guesses_too_often_waits_on_both_transports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.doors.gate.TARPIT_S", 0.3)
    monkeypatch.setattr("collector.doors.gate.FAILURES_PER_MINUTE", 6)
    monkeypatch.setattr("collector.doors.gate._minute", lambda: 1)
    intake = Intake({}, gate=Gate(None, ingest_needs_key=True))
    receiver = GrpcReceiver(intake, max_message_bytes=1 << 20, workers=4)
    port = receiver.start("127.0.0.1:0")
    guess = {"authorization": "Bearer guess"}
    with (
        serving(HttpReceiver(intake)) as url,
        httpx.Client() as client,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):

        def seconds(transport: str) -> float:
            started = time.monotonic()
            if transport == "http":
                assert client.post(f"{url}/v1/traces", headers=guess).status_code == 401
            else:
                with pytest.raises(grpc.RpcError) as error:
                    channel.unary_unary(TRACES)(b"", metadata=list(guess.items()), timeout=PATIENCE_S)
                assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
            return time.monotonic() - started

        # One address is one peer, whichever transport it comes by.
        assert min(seconds(transport) for transport in ["http", "grpc"] * 3) < 0.3
        assert [seconds(transport) >= 0.3 for transport in ("http", "grpc")] == [True, True]
    receiver.stop(0)


def test_keys_that_are_not_known_cost_no_look_at_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.create("one", [Scope.INGEST])
    looks: list[Path] = []
    stat = Path.stat

    def counted(file: Path, **options: Any) -> Any:
        looks.append(file)
        return stat(file, **options)

    monkeypatch.setattr(Path, "stat", counted)
    now = [time.monotonic()]
    monkeypatch.setattr("collector.doors.keys.time.monotonic", lambda: now[0])
    for number in range(1000):
        assert keys.find(f"{PREFIX}{number:08x}_{'x' * 43}") is None
    assert looks == []
    now[0] += LOOK_EVERY_S
    assert keys.find(f"{PREFIX}{'0' * 8}_{'x' * 43}") is None
    assert len(looks) == 1


def test_keys_are_changed_one_after_the_other(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    gate = Gate(keys, ingest_needs_key=True)
    old, old_secret = keys.create("app, until May", [Scope.INGEST], project="shop")
    _, new_secret = keys.create("app, from May", [Scope.INGEST], project="shop")
    for secret in (old_secret, new_secret):
        assert gate.admit(Scope.INGEST, f"Bearer {secret}", "", "").project == "shop"
    keys.revoke(old.id)
    with pytest.raises(UnauthenticatedError):
        gate.admit(Scope.INGEST, f"Bearer {old_secret}", "", "")
    assert gate.admit(Scope.INGEST, f"Bearer {new_secret}", "", "").project == "shop"


def test_keys_from_the_command_line(tmp_path: Path) -> None:
    made = command(tmp_path, "create", "laptop", "--scope", "ingest", "--scope", "read", "--project", "shop")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    key = Keys(keys_file(tmp_path)).find(secret)
    assert key is not None
    assert (key.name, key.project, set(key.scopes)) == ("laptop", "shop", {Scope.INGEST, Scope.READ})
    listed = command(tmp_path, "ls").stdout
    assert "laptop" in listed
    assert secret not in listed
    assert command(tmp_path, "revoke", key.id).exit_code == 0
    assert command(tmp_path, "revoke", key.id).exit_code == 1
    assert json.loads(keys_file(tmp_path).read_text())["keys"] == []


def test_leaving_loopback_needs_a_key(data_dir: Path) -> None:
    server = Server(data_dir, "--http", "0.0.0.0:0", "--proxy", "off")
    with pytest.raises(AssertionError, match="without API keys"):
        server.start()
    _, secret = Keys(keys_file(data_dir)).create("sender", [Scope.INGEST])
    server.start()
    port = server.endpoints["http"].rpartition(":")[2]
    url = f"http://127.0.0.1:{port}/v1/traces"
    assert httpx.post(url, headers={"Content-Type": PROTOBUF}).status_code == 401
    assert httpx.post(url, headers={"Content-Type": PROTOBUF, "x-api-key": secret}).status_code == 200
    assert server.stop() == 0


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_only_the_api_token_sends_for_another_tenant(guarded: Guarded, transport: str) -> None:
    def sent_by(secret: str, tenant: str) -> str:
        return guarded.over(transport, {"x-api-key": secret, "X-Eddyline-Tenant": tenant}, 0xD0)

    assert sent_by(guarded.secrets["acme"], "acme") == "ok"
    assert [sent_by(guarded.secrets[who], "acme") for who in ("ingest", "admin")] == ["forbidden"] * 2
    assert sent_by(guarded.secrets["acme"], "") == "forbidden"
    assert sent_by(TOKEN, "acme") == "ok"


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("header", ["api-key", "api_key", "X-Auth-Token"])
def test_exporters_of_others_need_no_other_header(guarded: Guarded, transport: str, header: str) -> None:
    assert guarded.over(transport, {header: guarded.secrets["ingest"]}) == "ok"
    assert guarded.over(transport, {header: guarded.secrets["unknown"]}) == "unauthenticated"


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("header", ["Langsmith-Project", "projectName"])
def test_exporters_of_others_name_their_project(guarded: Guarded, transport: str, header: str) -> None:
    number = 0x7900001 + (transport == "grpc") + 2 * (header == "projectName")
    assert guarded.over(transport, {"x-api-key": guarded.secrets["ingest"], header: "theirs"}, number) == "ok"
    guarded.server.settled()
    run_id = (b"http" + number.to_bytes(12, "big")).hex()
    assert guarded.server.get(f"/runs/{run_id}")["project"] == "theirs"


def test_the_configuration_is_the_owners_and_holds_no_secret(server: Server) -> None:
    config = server.get("/config")["config"]
    assert config["journal"]["ack"] == "fsync"
    assert TOKEN not in json.dumps(config)
    assert "properties" in server.get("/config/schema")
    assert {"name": "otlp", "transports": ["grpc", "http"], "stability": "stable"} in server.get(
        "/config/components"
    )["receivers"]
    good = server.api.post("/api/v1/config:validate", json={"journal": {"ack": "write"}}).json()
    assert good == {"valid": True, "problems": []}
    wrong = server.api.post("/api/v1/config:validate", json={"journal": {"akc": 1}, "loops": {"replicas": 2}})
    assert (wrong.json()["valid"], wrong.json()["problems"][0][:24]) == (False, "journal.akc: unknown key")
    _, secret = Keys(keys_file(server.data_dir)).create("boss", [Scope.ADMIN])
    time.sleep(1.1)
    asked = httpx.get(
        f"{server.endpoints['api']}/api/v1/config", headers={"Authorization": f"Bearer {secret}"}
    )
    assert asked.status_code == 403


@pytest.mark.parametrize(
    ("who", "project", "may"),
    [
        ("reader", None, ["read"]),
        ("content", None, ["read", "content"]),
        ("shop", "shop", ["ingest", "read"]),
        ("shop admin", "shop", ["ingest", "read", "content", "delete", "admin"]),
    ],
)
def test_a_key_is_told_what_it_may(guarded: Guarded, who: str, project: str | None, may: list[str]) -> None:
    asker = guarded.api(who, "GET", "").json()["asker"]
    assert (asker["project"], asker["tenant"], asker["may"]) == (project, None, may)
    assert asker["key"]
