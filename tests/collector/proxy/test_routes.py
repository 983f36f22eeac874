"""Which base URL leads where, and which lead nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from collector.config import ProxySettings
from collector.proxy.errors import RelayError
from collector.proxy.gate import Gate
from collector.proxy.routes import Routes

SETTINGS = ProxySettings(
    upstreams={
        "mygw": {"url": "https://gw.corp/llm/", "provider": "acme"},
        "kept": {"url": "https://gw.corp", "strip_prefix": False, "format": "anthropic"},
    }
)
ROUTES = Routes(SETTINGS, Gate(paths=SETTINGS.local.paths))


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/openai/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("/openai/v1/responses", "https://api.openai.com/v1/responses"),
        ("/anthropic/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("/anthropic/v1/chat/completions", "https://api.anthropic.com/v1/chat/completions"),
        (
            "/gemini/v1beta/openai/chat/completions",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        ("/openrouter/api/v1/chat/completions", "https://openrouter.ai/api/v1/chat/completions"),
        ("/azure/res/chat/completions", "https://res.openai.azure.com/openai/v1/chat/completions"),
        (
            "/azure/res/openai/deployments/dep/chat/completions",
            "https://res.openai.azure.com/openai/deployments/dep/chat/completions",
        ),
        ("/azure/res.services.ai.azure.com/openai/v1/x", "https://res.services.ai.azure.com/openai/v1/x"),
        (
            "/azure/res.services.ai.azure.com/anthropic/v1/messages",
            "https://res.services.ai.azure.com/anthropic/v1/messages",
        ),
        (
            "/azure/res.services.ai.azure.com/models/chat/completions",
            "https://res.services.ai.azure.com/models/chat/completions",
        ),
        ("/azure/res/models", "https://res.openai.azure.com/openai/v1/models"),
        ("/azure/res/models/gpt-4o", "https://res.openai.azure.com/openai/v1/models/gpt-4o"),
        ("/openai/http/localhost:11434/v1/chat/completions", "http://localhost:11434/v1/chat/completions"),
        ("/openai/http/127.0.0.1:1234/api/chat", "http://127.0.0.1:1234/api/chat"),
        ("/openai/https/localhost/v1/models", "https://localhost/v1/models"),
        ("/openai/http/[::1]:8080/v1/models", "http://[::1]:8080/v1/models"),
        ("/ollama/api/chat", "http://127.0.0.1:11434/api/chat"),
        ("/groq/openai/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
        (
            "/vertex/us-central1/v1/x:generateContent",
            "https://us-central1-aiplatform.googleapis.com/v1/x:generateContent",
        ),
        (
            "/vertex/europe-west4/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
            "https://europe-west4-aiplatform.googleapis.com"
            "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
        ),
        ("/vertex/global/v1/x", "https://aiplatform.googleapis.com/v1/x"),
        (
            "/bedrock/eu-west-1/model/m/converse",
            "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse",
        ),
        ("/api/chat", "http://127.0.0.1:11434/api/chat"),
        ("/mygw/v1/chat/completions", "https://gw.corp/llm/v1/chat/completions"),
        ("/kept/v1/messages", "https://gw.corp/kept/v1/messages"),
        (
            "/openai/v1/a%2Fb//c/%2e%2e/é".encode().decode("latin-1"),
            "https://api.openai.com/v1/a%2Fb//c/%2e%2e/é".encode().decode("latin-1"),
        ),
    ],
)
def test_a_path_leads_to(path: str, url: str) -> None:
    assert str(ROUTES.find("POST", path, "").url) == url


@pytest.mark.parametrize(
    ("settings", "path", "provider", "family"),
    [
        ({}, "/azure/res/chat/completions", "azure.ai.openai", "openai"),
        (
            {},
            "/azure/res.services.ai.azure.com/anthropic/v1/messages",
            "azure.ai.inference",
            "anthropic",
        ),
        ({}, "/openai/http/localhost:8000/v1/chat/completions", "local", "openai"),
        ({"local": {"allow": ["api.x.ai"]}}, "/openai/https/api.x.ai/v1/chat/completions", "x_ai", "openai"),
        ({"upstream": "https://api.anthropic.com"}, "/v1/messages", "anthropic", "anthropic"),
        ({"upstream": "https://res.openai.azure.com"}, "/openai/v1/responses", "azure.ai.openai", "openai"),
        ({"upstream": "https://gw.corp"}, "/v1/messages", "gw.corp", "openai"),
        ({"upstreams": {"office": {"url": "https://api.openai.com"}}}, "/office/v1/x", "openai", "openai"),
        ({"upstreams": {"office": {"url": "https://gw.corp"}}}, "/office/v1/x", "office", "openai"),
        (
            {"upstreams": {"anthropic": {"url": "https://gw.corp"}}},
            "/anthropic/v1/x",
            "anthropic",
            "anthropic",
        ),
        (
            {"upstreams": {"g": {"url": "https://europe-west4-aiplatform.googleapis.com"}}},
            "/g/v1/x",
            "gcp.vertex_ai",
            "gemini",
        ),
    ],
)
def test_a_provider_is_known_by_its_address(
    settings: dict[str, Any], path: str, provider: str, family: str
) -> None:
    given = ProxySettings(**settings)
    gate = Gate(paths=given.local.paths, allow=given.local.allow)
    upstream = Routes(given, gate).find("POST", path, "").upstream
    assert (upstream.provider, upstream.family) == (provider, family)


def test_the_query_goes_along() -> None:
    route = ROUTES.find("POST", "/azure/res/openai/x", "api-version=2024-10-21&a=%2F")
    assert route.url.raw_path_qs == "/openai/x?api-version=2024-10-21&a=%2F"
    assert route.path == "/openai/x"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nobody/v1/x",
        "/api/v1/runs",
        "/api/delete",
        "/azure/evil.com%23/x",
        "/azure/evil.com/x",
        "/azure/-res/x",
        "/azure/RES@evil.com/x",
        "/azure//x",
        "/vertex/evil.com%2F/x",
        "/bedrock/a.b/x",
        "/openai/http//v1/x",
    ],
)
def test_a_path_leads_nowhere(path: str) -> None:
    with pytest.raises(RelayError):
        ROUTES.find("POST", path, "")


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "https://", "https://u:p@gw.corp", "gw.corp", "https://gw.corp/?a=1", "https://gw.corp/#f"],
)
def test_an_upstream_that_can_not_be_one_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"proxy\.upstreams\.gw"):
        Routes(ProxySettings(upstreams={"gw": {"url": url}}), Gate())
