"""Coding agents that tell their sessions as log records: each module here that defines an `AGENT`."""

from importlib import import_module
from pkgutil import iter_modules

from mappers.agent_logs.base import AgentLogs

AGENTS: tuple[AgentLogs, ...] = tuple(
    module.AGENT
    for module in (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    if hasattr(module, "AGENT")
)

__all__ = ["AGENTS", "AgentLogs"]
