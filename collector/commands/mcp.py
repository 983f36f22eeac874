"""`eddyline mcp`: runs for assistants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from collector.commands.failing import EX_UNAVAILABLE, fail
from collector.commands.options import asking

if TYPE_CHECKING:
    from collector.commands.client import Client


@click.command()
@asking
def mcp(client: Client) -> None:
    """Serve runs to an assistant: MCP over standard input and output.

    Asks the collector that runs here, or the one at --url. A collector serves the same over HTTP at /mcp.
    """
    from collector.mcp.server import HOW_TO_INSTALL, is_installed
    from collector.mcp.stdio import serve_stdio

    if not is_installed():
        fail(f"the package mcp is missing: {HOW_TO_INSTALL}", EX_UNAVAILABLE)
    asyncio.run(serve_stdio(client.address, client.token))
