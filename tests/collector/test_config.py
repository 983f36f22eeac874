from __future__ import annotations

import re
from pathlib import Path

import pytest

from collector.config import DOORS, ConfigError, load


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
    settings = load(file=file, flags={"api": "127.0.0.1:6"})
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
        ("sinks: {clickhouse: {ulr: x}}", "sinks.clickhouse.ulr: unknown key"),
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
        load(file=file)


def test_references_are_replaced_in_strings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "se$cret")
    file.write_text("token: '${env:SECRET}-${env:MISSING:-fallback}-$$'\n")
    assert load(file=file).token == "se$cret-fallback-$"


def test_a_token_is_not_printed() -> None:
    assert "hidden" not in repr(load(flags={}).model_copy(update={"token": "hidden"}))
