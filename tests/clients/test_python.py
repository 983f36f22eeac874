"""SDKs get the same answers and send the same requests through the proxy as without it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.clients.calls import CALLS, Bases
from tests.collector.proxy.running import RunningProxy
from tests.provider import Provider, Seen

DIFFERENT = {"host", "connection", "transfer-encoding", "keep-alive"}
CHANGING = {"x-stainless-read-timeout", "idempotency-key", "x-goog-api-client", "amz-sdk-invocation-id"}


def bases(url: str, *, proxied: bool) -> Bases:
    def base(name: str, path: str = "") -> str:
        return f"{url}/{name}{path}" if proxied else url + path

    return {
        "openai": base("openai", "/v1"),
        "anthropic": base("anthropic"),
        "gemini": base("gemini"),
        "ollama": base("ollama"),
        "bedrock": base("bedrock"),
    }


def comparable(seen: Seen) -> tuple[Any, ...]:
    """All that should be the same each time; what separates the parts of a form is drawn by lot."""
    boundary = (seen.header("content-type") or "").partition("boundary=")[2] or "\0"
    headers = Counter(
        (name.lower(), value.replace(boundary, "…"))
        for name, value in seen.headers
        if name.lower() not in DIFFERENT | CHANGING
    )
    return seen.method, seen.target, headers, seen.body.decode("latin-1").replace(boundary, "…")


@pytest.mark.parametrize("name", CALLS)
def test_a_program_sees_no_difference(proxy: RunningProxy, provider: Provider, name: str) -> None:
    direct = CALLS[name](bases(provider.url, proxied=False))
    sent = [comparable(seen) for seen in provider.seen]
    provider.seen.clear()
    proxy.collected.clear()
    through = CALLS[name](bases(proxy.url, proxied=True))
    assert through == direct
    assert [comparable(seen) for seen in provider.seen] == sent
    if name != "openai_models":
        spans = proxy.collected.wait(1 if "count" in name or "embed" in name else 2)
        outcomes = {span.attributes.get("eddyline.proxy.outcome") for span in spans}
        assert outcomes <= {None, "complete", *OTHER_OUTCOMES.get(name.partition("_")[2], ())}


OTHER_OUTCOMES = {
    "hangs_up": {"client_abort"},
    "async_cancelled": {"client_abort"},
    "error": {"provider_error"},
    "retry": {"provider_error"},
    "fails_within": {"mid_stream_error"},
    "breaks_off": {"upstream_abort"},
}
"""How else a call may have ended, by what was done in it."""
