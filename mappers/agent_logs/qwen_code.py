"""Qwen Code, which logs as Gemini CLI does."""

from dataclasses import replace

from mappers.agent_logs.gemini_cli import AGENT as GEMINI_CLI

AGENT = replace(GEMINI_CLI, id="qwen_code", prefixes=("qwen-code.",))
