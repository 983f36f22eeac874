"""Spans of coding agents that tell their sessions as log records (`agent_logs`).

The spans are plumbing, most of them traces of their own, and name no session or not all of the calls; what is in
them is in the records too. They are kept, but are no runs of their own.
"""

from mappers.conventions.base import Convention, KindByName, Quirk
from mappers.model import Kind

_SCOPES = r"^(gemini-cli|qwen-code|codex_(exec|cli_rs|tui|mcp_server|app_server))@"

CONVENTION = Convention(
    id="cli_spans",
    priority=5,
    scopes=(_SCOPES,),
    kinds=(KindByName(Kind.OTHER, r""),),
    quirks=(Quirk(scope=_SCOPES, setup=True),),
)
