"""The `eddyline` command. A command's module is imported when the command runs, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import click


class Place(NamedTuple):
    """Where a command is defined, and what it is for."""

    module: str
    name: str
    purpose: str


COMMANDS: Mapping[str, Place] = {
    "check": Place("check", "check", "Check runs for loops, cost, duration and steps, for CI."),
    "completion": Place("shell", "completion", "Print what makes a shell complete our commands."),
    "components": Place("config", "components", "List what this collector is made of, as YAML."),
    "config": Place("config", "config", "About configuration files."),
    "db": Place("database", "db", "The database: what it holds, how long, and work on it."),
    "dead-letter": Place("upkeep", "dead_letter", "Look into what was acknowledged and can not be stored."),
    "demo": Place(
        "running", "demo", "Replay a captured run of an agent that goes round in circles, and show it."
    ),
    "explain": Place("searching", "explain", "Say why an event looks as it does."),
    "doctor": Place("diagnosing", "doctor", "Find out why nothing arrives, and say what to do."),
    "export": Place("moving", "export_runs", "Write runs to FILE (- is the output), the newest first."),
    "healthcheck": Place(
        "diagnosing", "healthcheck", "Ask the collector that runs here whether it is ready, for containers."
    ),
    "import": Place(
        "moving",
        "import_files",
        "Take runs from FILES (- is the input): exports of spans or calls, OTLP, LoopLens, captures of proxies.",
    ),
    "journal": Place("upkeep", "journal", "Look into what was acknowledged and waits for the store."),
    "map": Place(
        "running", "map_files", "Say how the spans and log records in FILES are understood, and why."
    ),
    "mock-llm": Place(
        "wire", "mock_llm", "Play recorded calls as a provider would, for tests without a network."
    ),
    "mcp": Place("mcp", "mcp", "Serve runs to an assistant: MCP over standard input and output."),
    "open": Place("asking", "open_page", "Open the collector's page in the browser, signed in."),
    "print-config": Place(
        "config", "print_config", "Print the configuration as it holds, from all sources, without secrets."
    ),
    "profile": Place("profiles", "profile", "Collectors by name, for the commands that ask one."),
    "proxy": Place(
        "running", "proxy", "Run the LLM proxy alone, beside a program; its spans go to a collector."
    ),
    "replay": Place(
        "replaying",
        "replay",
        "Send a run again: its spans and log records by OTLP/HTTP, or the calls that the proxy relayed.",
    ),
    "run": Place(
        "running",
        "run",
        "Run a program with its LLM calls through the proxy of the collector that runs here.",
    ),
    "runs": Place(
        "asking",
        "runs",
        "Runs: list them, look at one, compare two, open a page, say what you think of one, delete some.",
    ),
    "search": Place("searching", "search", "Find events by what was said in them, the newest first."),
    "serve": Place("running", "serve", "Run the collector until it is told to end (SIGTERM, Ctrl-C)."),
    "sessions": Place("asking", "sessions", "Conversations over runs."),
    "tail": Place("asking", "tail", "Show runs, events and warnings as they are stored."),
    "tap": Place("watching", "tap", "Show samples of what passes, as it comes."),
    "token": Place("keys", "token", "API keys: who may send, read, delete."),
    "top": Place("watching", "top", "Show rates, queues, lag, drops and spending, live."),
    "validate": Place("config", "validate", "Check a configuration, and whether this machine can run it."),
    "version": Place("shell", "version", "Print the versions of this program and of what it is made of."),
    "wait-for-trace": Place(
        "diagnosing", "wait_for_trace", "Wait until a run arrives, and print it as JSON."
    ),
    "warnings": Place("asking", "warnings", "Loop and waste warnings of all runs."),
    "wire": Place("wire", "wire", "Captures of the LLM proxy's traffic (logging.capture_file)."),
}
"""By name; modules are those of `collector.commands`."""


class Commands(click.Group):
    """Commands that are imported when they are called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`eddyline --config=…` is `eddyline serve --config=…`: so the OpenTelemetry operator starts collectors."""
        if args and args[0].startswith("--config"):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command: click.Command = getattr(import_module(f"collector.commands.{place.module}"), place.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].purpose) for name in self.list_commands(ctx)])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eddyline", prog_name="eddyline")
def main() -> None:
    """An OpenTelemetry collector for LLM and agent traffic."""


if __name__ == "__main__":
    main()
