"""`eddyline run -- COMMAND`: a program with its LLM calls through the proxy, without a change to it.

The base URLs that SDKs read from the environment lead below `/-/run/{trace id}/`, so that all calls of the program
are one run, whose address is known before it begins.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from urllib.parse import urlsplit

from collector.process.endpoints import Endpoints, for_exporters
from collector.proxy.app import RUN

BASE_URLS = {
    "OPENAI_BASE_URL": "/openai/v1",
    "OPENAI_API_BASE": "/openai/v1",
    "ANTHROPIC_BASE_URL": "/anthropic",
    "ANTHROPIC_API_BASE": "/anthropic",
    "GOOGLE_GEMINI_BASE_URL": "/gemini",
    "GROQ_BASE_URL": "/groq",
    "MISTRAL_BASE_URL": "/mistral",
    "DEEPSEEK_API_BASE": "/deepseek",
    "XAI_API_BASE": "/xai/v1",
    "COHERE_BASE_URL": "/cohere",
    "CO_API_URL": "/cohere",
    "TOGETHER_BASE_URL": "/together/v1",
}
"""Variables that SDKs read, and where they lead."""
AZURE = ("AZURE_OPENAI_ENDPOINT", "AZURE_API_BASE")
_RESOURCE = re.compile(r"https://([a-z0-9-]+)\.openai\.azure\.com/?", re.IGNORECASE)
LONGEST_NAME = 80
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class RunError(Exception):
    """The program can not be started so."""


def run(command: Sequence[str], endpoints: Endpoints, tell: Callable[[str], None]) -> int:
    """Runs the command to its end; returns its exit code. `tell` is called with lines for people.

    Raises:
        RunError: the command can not be started, or the collector has no proxy.
    """
    if endpoints.proxy is None:
        raise RunError("the collector that runs here has its proxy switched off")
    trace_id = secrets.token_hex(16)
    environment, kept = environment_for(os.environ, endpoints, trace_id, name_of(command))
    for name in kept:
        tell(
            f"{name} is set to a server elsewhere and stays as it is; name it in proxy.upstreams to see its calls"
        )
    if endpoints.api:
        tell(f"its calls will be at {endpoints.api}/runs/{trace_id}")
    try:
        process = subprocess.Popen(list(command), env=os.environ | environment)
    except OSError as error:
        raise RunError(f"{command[0]}: {error.strerror}") from None
    # Ctrl-C reaches the program as well: how it ends is its own affair, and so is its exit code.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return 128 - code if code < 0 else code


def name_of(command: Sequence[str]) -> str:
    """What the run is called: the program, or the script or module that an interpreter is given; without what can not
    stand in a path."""
    program, *arguments = command
    called = PurePath(program).name
    if re.fullmatch(r"(python|pypy)[\d.]*|node|bun|deno|ruby|uv|npx|tsx", called):
        words = [word for word in arguments if word != "run"]
        script = next((word for word in words if not word.startswith("-")), "")
        if script and "-c" not in words[: words.index(script)] and "-e" not in words[: words.index(script)]:
            called = PurePath(script).name
    return re.sub(r"[^\w.-]", "_", called, flags=re.ASCII)[:LONGEST_NAME]


def environment_for(
    environ: Mapping[str, str], endpoints: Endpoints, trace_id: str, name: str = ""
) -> tuple[dict[str, str], list[str]]:
    """Variables to set, and the names of those that lead to servers the proxy may not reach by itself.

    A base URL that is set already is kept in mind: one of this machine leads there through the proxy.
    """
    base = f"{endpoints.proxy}{RUN}{trace_id}" + (f"~{name}" if name else "")
    found: dict[str, str] = {}
    kept = []
    for name, path in BASE_URLS.items():
        given = environ.get(name, "")
        if not given:
            found[name] = base + path
        elif local := _through(given):
            found[name] = base + local
        elif not given.startswith(str(endpoints.proxy)):
            kept.append(name)
    for name in AZURE:
        if match := _RESOURCE.fullmatch(environ.get(name, "")):
            found[name] = f"{base}/azure/{match[1].lower()}"
    if exporters := for_exporters(endpoints):
        endpoint, protocol = exporters
        telemetry = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
        }
        found |= {name: value for name, value in telemetry.items() if name not in environ}
    return found, kept


def _through(url: str) -> str:
    """The path below the proxy for a base URL of this machine, or of a provider's own; "" for others."""
    parts = urlsplit(url)
    if parts.hostname in _LOOPBACK and parts.scheme in ("http", "https"):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"/openai/{parts.scheme}/{host}:{port}{parts.path.rstrip('/')}"
    for name, host in (("openai", "api.openai.com"), ("anthropic", "api.anthropic.com")):
        if parts.hostname == host:
            return f"/{name}{parts.path.rstrip('/')}"
    return ""
