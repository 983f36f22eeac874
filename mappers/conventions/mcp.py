"""Model Context Protocol: requests by their method, as the Python SDK (since 2) and others tell them."""

from mappers.conventions.base import Convention, KindByPattern, KindByValue, NameMatch, Quirk
from mappers.model import Kind

CONVENTION = Convention(
    id="mcp",
    priority=85,
    keys=("mcp.method.name",),
    scopes=(r"^mcp-python-sdk@",),
    kinds=(
        KindByValue("mcp.method.name", {"tools/call": Kind.TOOL}),
        KindByPattern(Kind.OTHER, "mcp.method.name", ""),
    ),
    quirks=(
        Quirk(
            scope=r"^mcp-python-sdk@",
            name=r"^(MCP send )?(initialize|ping|notifications/|(tools|prompts|resources)/list)",
            when=Kind.OTHER,
            setup=True,
        ),
    ),
    fields={
        "tool": ["gen_ai.tool.name", "mcp.tool.name", NameMatch(r"(?:MCP send )?tools/call (.+)")],
        "arguments": ["gen_ai.tool.call.arguments", "mcp.request.argument"],
        "result": ["gen_ai.tool.call.result", "mcp.response.value"],
    },
)
