"""A program's calls come through the proxy by its environment alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import PurePath

import pytest

from collector.process.endpoints import Endpoints
from collector.proxy.run import environment_for, name_of
from tests.collector.proxy.test_stored import run_of
from tests.provider import Provider
from tests.server import COMMAND, Server

TRACE = "a" * 32
ENDPOINTS = Endpoints(
    "127.0.0.1:4317", "http://127.0.0.1:4318", "http://127.0.0.1:4320", "http://127.0.0.1:31300", None, 1
)
BASE = f"http://127.0.0.1:31300/-/run/{TRACE}"

PROGRAM = """
import openai, sys
client = openai.OpenAI(api_key="k", default_headers={"X-Loop-Project": "proxy-run"})
for question in ("one", "two"):
    print(client.chat.completions.create(model="m", messages=[{"role": "user", "content": question}]).id)
sys.exit(7)
"""


def test_base_urls_and_otlp_are_set() -> None:
    found, kept = environment_for({}, ENDPOINTS, TRACE)
    assert found["OPENAI_BASE_URL"] == f"{BASE}/openai/v1"
    assert found["ANTHROPIC_BASE_URL"] == f"{BASE}/anthropic"
    assert found["GOOGLE_GEMINI_BASE_URL"] == f"{BASE}/gemini"
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
    assert kept == []


def test_what_is_set_already_is_kept_in_mind() -> None:
    environ = {
        "OPENAI_BASE_URL": "http://localhost:11434/v1/",
        "OPENAI_API_BASE": "https://api.openai.com/v1",
        "ANTHROPIC_BASE_URL": "https://gw.corp/anthropic",
        "AZURE_OPENAI_ENDPOINT": "https://My-Res.openai.azure.com/",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere",
    }
    found, kept = environment_for(environ, ENDPOINTS, TRACE)
    assert found["OPENAI_BASE_URL"] == f"{BASE}/openai/http/localhost:11434/v1"
    assert found["OPENAI_API_BASE"] == f"{BASE}/openai/v1"
    assert found["AZURE_OPENAI_ENDPOINT"] == f"{BASE}/azure/my-res"
    assert kept == ["ANTHROPIC_BASE_URL"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in found


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python3.11", "/srv/agent.py", "--fast"], "agent.py"),
        (["/usr/bin/python", "-u", "-m", "shop.agent"], "shop.agent"),
        (["python", "-c", "print(1)"], "python"),
        (["uv", "run", "agent.py"], "agent.py"),
        (["node", "dist/index.js"], "index.js"),
        (["/opt/my tool/agent~1"], "agent_1"),
    ],
)
def test_a_run_is_called_as_its_program_is(command: list[str], name: str) -> None:
    assert name_of(command) == name
    assert environment_for({}, ENDPOINTS, TRACE, name)[0]["OPENAI_BASE_URL"] == f"{BASE}~{name}/openai/v1"


def test_a_program_is_one_run_and_its_exit_code_is_ours(server: Server, provider: Provider) -> None:
    environ = {"OPENAI_BASE_URL": f"{provider.url}/v1", "PATH": "/usr/bin:/bin"}
    command = [*COMMAND, "run", "--data-dir", str(server.data_dir), "--", sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (7, "chatcmpl-1\nchatcmpl-1\n"), result.stderr
    run = run_of(server, "proxy-run", llm_calls=2)
    assert run["name"] == PurePath(sys.executable).name
    assert f"{server.endpoints['api']}/runs/{run['run_id']}\n" in result.stderr


def test_without_a_collector_it_says_so(tmp_path: object) -> None:
    command = [*COMMAND, "run", "--data-dir", str(tmp_path), "--", "true"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, "eddyline serve" in result.stderr) == (5, True)
