"""Calls through the proxy of a collector that is killed: what was over for a second is stored, once, and conversations
go on in their runs."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.provider import Answer, Provider, chat
from tests.server import Server
from tests.waiting import until

ROUNDS = int(os.environ.get("CHAOS_PROXY_ROUNDS", "5"))
CALLS = 40


def test_calls_and_conversations_outlive_a_kill(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    history: list[dict[str, Any]] = []
    with Provider() as provider:
        for number in range(ROUNDS):
            server.start()
            url = f"{server.endpoints['proxy']}/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
            with httpx.Client() as client:
                for call in range(CALLS):
                    asked = [{"role": "user", "content": f"alone {number} {call}"}]
                    body = {"model": f"m-{number}-{call}", "messages": asked, "stream": call % 2 == 0}
                    assert client.post(url, json=body).status_code == 200
                history.append({"role": "user", "content": f"and then {number}"})
                said = chat({}, f"This is what I have to say to question number {number}.", id_=f"t{number}")
                provider.script.append(Answer.json(said))
                assert client.post(url, json={"model": "talk", "messages": history}).status_code == 200
                history.append(said["choices"][0]["message"])
            time.sleep(1.0)
            server.kill()
        server.start()
        server.settled()
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + 30
        while len(found) < ROUNDS * (CALLS + 1):
            assert time.monotonic() < deadline, len(found)
            found = server.get("/exchanges", limit=1000)["data"]
        calls = Counter(one["model"] for one in found)
        assert calls.pop("talk") == ROUNDS
        assert calls == {f"m-{number}-{call}": 1 for number in range(ROUNDS) for call in range(CALLS)}
        talks = [one for one in found if one["model"] == "talk"]
        assert len({one["run_id"] for one in talks}) == 1

        def counted() -> tuple[int, int]:
            talk = server.get(f"/runs/{talks[0]['run_id']}")["counts"]["llm_calls"]
            return talk, sum(run["counts"]["llm_calls"] for run in server.runs())

        # An exchange may be there before its call is stored, and a run a moment after its call.
        until(lambda: counted() == (ROUNDS, ROUNDS * (CALLS + 1)), counted)
        assert server.stop() == 0
