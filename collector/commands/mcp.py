"""`eddyline mcp`: runs for assistants."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from collector.commands.common import TOKEN, URL, api_of, data_dir_option, fail

EX_UNAVAILABLE = 69


@click.command()
@URL
@TOKEN
@data_dir_option("Where the collector that runs here keeps its data.")
def mcp(url: str, token: str, data_dir: Path | None) -> None:
    """Serve runs to an assistant: MCP over standard input and output.

    Asks the collector that runs here, or the one at --url. A collector serves the same over HTTP at /mcp.
    """
    from collector.mcp.server import is_installed
    from collector.mcp.stdio import serve_stdio

    if not is_installed():
        fail("the package mcp is missing: pip install 'eddyline[mcp]'", EX_UNAVAILABLE)
    address, token = api_of(url, token, data_dir)
    asyncio.run(serve_stdio(address, token))
