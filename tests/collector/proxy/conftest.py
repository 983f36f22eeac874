from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.collector.proxy.running import RunningProxy
from tests.provider import Provider


@pytest.fixture(scope="module")
def _provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def provider(_provider: Provider) -> Provider:
    _provider.seen.clear()
    _provider.script.clear()
    _provider.resets = 0
    return _provider


@pytest.fixture(scope="module")
def proxy(_provider: Provider) -> Iterator[RunningProxy]:
    """With the well-known providers at the fake one's address."""
    names = ("openai", "anthropic", "gemini", "openrouter", "ollama", "groq", "cohere", "bedrock")
    with RunningProxy(upstreams={name: {"url": _provider.url} for name in names}) as running:
        yield running
