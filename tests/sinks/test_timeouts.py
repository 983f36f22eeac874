"""A question that takes too long ends with a word on how to ask for less."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from collector.api.app import api_app
from collector.api.base import Api
from collector.doors.gate import Gate
from sinks.clickhouse import Reader, Store
from tests.server import TOKEN


class Slow(Reader):
    """Asks what takes longer than it may, of the real engine."""

    def runs(self, *_: Any) -> Any:
        return self._store.query(
            "SELECT sum(sipHash64(number)) FROM numbers(1e12) SETTINGS max_execution_time = 0.05"
        )


async def _asked(store: Store, path: str) -> httpx.Response:
    api = Api(Slow(store), None, None)  # type: ignore[arg-type]  # not asked here
    app = api_app(api, gate=Gate(None, token=TOKEN), hosts=(), local=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        return await client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("path", ["/api/v1/runs", "/compat/looplens/api/runs"])
def test_it_is_a_504_that_says_how_to_narrow_the_question(store: Store, path: str) -> None:
    answer = asyncio.run(_asked(store, path))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (504, "urn:eddyline:problem:timeout")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "since=-24h" in problem["detail"]
