"""The JavaScript SDKs get the same answers through the proxy as without it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.clients.test_python import comparable
from tests.collector.proxy.running import RunningProxy
from tests.provider import Provider

HERE = Path(__file__).parent


def results(openai: str, anthropic: str) -> dict[str, Any]:
    done = subprocess.run(
        ["node", "calls.mjs", openai, anthropic], cwd=HERE, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line.get("result") for line in lines}


def test_programs_see_no_difference(proxy: RunningProxy, provider: Provider) -> None:
    direct = results(f"{provider.url}/v1", provider.url)
    sent = [comparable(seen) for seen in provider.seen]
    provider.seen.clear()
    through = results(f"{proxy.url}/openai/v1", f"{proxy.url}/anthropic")
    assert [name for name, result in direct.items() if isinstance(result, dict) and "error" in result] == []
    assert through == direct
    assert [comparable(seen) for seen in provider.seen] == sent
