"""Where other machines can reach the proxy it relays for those who have a key; the key stays here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from collector.config import Settings
from collector.doors.exposure import ExposureError, ingest_needs_key, proxy_needs_key
from collector.doors.gate import Gate
from collector.doors.keys import Keys, Scope, keys_file
from tests.collector.proxy.running import RunningProxy
from tests.provider import Provider

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BEARER = {"authorization": "Bearer sk-the-providers"}
CHAT = "/openai/v1/chat/completions"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(keys_file(tmp_path_factory.mktemp("keys")))


@pytest.fixture(scope="module")
def keys(kept: Keys) -> dict[str, str]:
    return {
        "sender": kept.create("sender", [Scope.INGEST])[1],
        "shop": kept.create("shop", [Scope.INGEST], project="shop", tenant="acme")[1],
        "reader": kept.create("reader", [Scope.READ])[1],
    }


@pytest.fixture(scope="module")
def guarded(_provider: Provider, kept: Keys) -> Iterator[RunningProxy]:
    upstreams = {name: {"url": _provider.url} for name in ("openai", "anthropic")}
    gate = Gate(kept, token="the-api-token", ingest_needs_key=True)
    with RunningProxy(keys=gate, upstreams=upstreams) as running:
        yield running


def test_nobody_is_relayed_without_a_key(
    guarded: RunningProxy, provider: Provider, keys: dict[str, str]
) -> None:
    attempts: list[dict[str, str]] = [
        {},
        BEARER,
        {"authorization": f"Bearer {keys['sender']}"},
        {"x-loop-key": "edl_00000000_guess"},
        {"x-loop-key": keys["reader"]},
    ]
    for headers in attempts:
        refused = httpx.post(guarded.url + CHAT, json=ASKED, headers=headers)
        assert (refused.status_code, refused.headers["x-loop-error"]) == (401, "key")
    for path in ("/", "/-/status", "/-/metrics", "/otel/v1/traces", "/k/edl_00000000_guess/openai/v1/models"):
        assert httpx.get(guarded.url + path).status_code == 401
    assert httpx.post(guarded.url + "/anthropic/v1/messages", json=ASKED).json()["type"] == "error"
    assert httpx.get(guarded.url + "/-/healthz").status_code == 200
    assert httpx.get(guarded.url + "/-/readyz").status_code == 200
    guess = {"x-loop-key": "edl_00000000_guess"}
    assert httpx.get(guarded.url + "/-/healthz", headers=guess).status_code == 401
    assert provider.seen == []


def test_who_guesses_waits_for_the_answer(guarded: RunningProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gate, "pause_s", lambda gate, peer: 0.2 if peer == "127.0.0.1" else 0.0)
    began = time.monotonic()
    refused = httpx.post(guarded.url + CHAT, json=ASKED, headers={"x-loop-key": "edl_00000000_guess"})
    assert refused.status_code == 401
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("way", ["header", "path", "alias", "token"])
def test_a_key_opens_and_goes_no_further(
    guarded: RunningProxy, provider: Provider, keys: dict[str, str], way: str
) -> None:
    secret = "the-api-token" if way == "token" else keys["sender"]
    header = {"x-eddyline-key" if way == "alias" else "x-loop-key": secret} if way != "path" else {}
    url = f"{guarded.url}/k/{secret}{CHAT}" if way == "path" else guarded.url + CHAT
    assert httpx.post(url, json=ASKED, headers={**BEARER, **header}).status_code == 200
    (seen,) = provider.seen
    assert (seen.target, seen.header("authorization")) == ("/v1/chat/completions", BEARER["authorization"])
    assert secret not in seen.raw_head.decode("latin-1")
    for _, body in guarded.collected.requests:
        assert secret.encode() not in body


def test_a_key_needs_no_name_of_this_machine(guarded: RunningProxy, keys: dict[str, str]) -> None:
    headers = {"host": "proxy.corp:31300", "x-loop-key": keys["sender"]}
    assert httpx.post(guarded.url + CHAT, json=ASKED, headers=headers).status_code == 200


def test_the_keys_project_and_tenant_hold(guarded: RunningProxy, keys: dict[str, str]) -> None:
    headers = {"x-loop-key": keys["shop"], "x-loop-project": "another"}
    answer = httpx.post(guarded.url + CHAT, json={**ASKED, "model": "shops"}, headers=headers)
    (span,) = guarded.collected.wait(1, "chat shops")
    assert (span.span_id, span.project) == (answer.headers["x-loop-span-id"], "shop")
    assert ("acme", "shop") in guarded.collected.owners


def test_telemetry_brings_its_key_as_exporters_do(guarded: RunningProxy, keys: dict[str, str]) -> None:
    url = guarded.url + "/otel/v1/traces"
    assert httpx.post(url, content=b"1", headers={"x-api-key": keys["sender"]}).status_code == 200
    assert httpx.post(url, content=b"2", headers={"x-loop-key": keys["shop"]}).status_code == 200
    assert guarded.otlp_headers[b"x-api-key"].decode() == keys["shop"]
    below = f"{guarded.url}/k/{keys['shop']}/otel/v1/traces"
    assert httpx.post(below, content=b"3").status_code == 200
    assert guarded.otlp[-1] == ("/otel/v1/traces", b"3")


def test_a_door_to_other_machines_needs_keys(tmp_path: Path) -> None:
    def settings(endpoint: str, **auth: bool) -> Settings:
        return Settings.model_validate({"data_dir": tmp_path, "proxy": {"endpoint": endpoint}, "auth": auth})

    open_ = settings("0.0.0.0:31300")
    with pytest.raises(ExposureError, match=r"proxy on 0\.0\.0\.0:31300 .*without API keys"):
        ingest_needs_key(open_, keys=0)
    assert ingest_needs_key(open_, keys=1) is False  # the receivers are on this machine only
    assert proxy_needs_key(open_)
    assert not proxy_needs_key(settings("127.0.0.1:31300"))
    assert not proxy_needs_key(settings("0.0.0.0:31300", insecure=True))
    with pytest.raises(ExposureError, match=r"auth\.required is off"):
        ingest_needs_key(settings("0.0.0.0:31300", required=False), keys=1)
