"""The protocol over standard input and output, for assistants that start a program; it asks a running collector."""

from __future__ import annotations

from typing import Any

import aiohttp

from collector.mcp.server import server_of
from collector.mcp.tools import Ask, Query, RefusedError

TIMEOUT_S = 60.0


async def serve_stdio(address: str, token: str) -> None:
    """Serves until the input ends.

    Args:
        address: of the collector's API, `http://127.0.0.1:4320`.
        token: "" for none.
    """
    from mcp.server.stdio import stdio_server

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        server = server_of(lambda request: _over(session, address))
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())


def _over(session: aiohttp.ClientSession, address: str) -> Ask:
    async def ask(path: str, query: Query) -> Any:
        try:
            async with session.get(f"{address}/api/v1{path}", params=query) as response:
                document = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise RefusedError(f"{address} does not answer: {error or type(error).__name__}") from None
        if response.status != 200:
            raise RefusedError.told(document, response.status)
        return document

    return ask
