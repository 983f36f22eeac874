"""`eddyline serve`, `proxy`, `run`, `map` and `demo`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.commands.config import CONFIG, SETS
from collector.commands.failing import EX_CONFIG, EX_DATAERR, NO_CONNECTION, fail
from collector.commands.options import Command, data_dir_option

if TYPE_CHECKING:
    from collector.config import Settings
    from collector.process.endpoints import Endpoints


_DATA_DIR = data_dir_option("Journal, database and token.")


def _door(name: str, what: str, default: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{name}",
        metavar="HOST:PORT",
        help=f"{what}; port 0 takes a free one, `off` none. [default: {default}]",
    )


CAPTURE_FILE = click.option(
    "--capture-file", metavar="FILE", help="Write all traffic of the LLM proxy there, for debugging."
)


@click.command()
@CONFIG
@SETS
@_DATA_DIR
@_door("grpc", "OTLP/gRPC", "127.0.0.1:4317")
@_door("http", "OTLP/HTTP", "127.0.0.1:4318")
@_door("api", "JSON API", "127.0.0.1:4320")
@_door("proxy", "LLM proxy", "127.0.0.1:31300")
@_door("admin", "Health for probes", "127.0.0.1:13133")
@CAPTURE_FILE
def serve(
    configs: tuple[str, ...], sets: tuple[str, ...], data_dir: Path | None, **flags: str | None
) -> None:
    """Run the collector until it is told to end (SIGTERM, Ctrl-C)."""
    import gc

    from collector.config import ConfigError, files_among, load
    from collector.config.sources import ConfigFiles
    from collector.telemetry.telemetry import configure_logging

    def read() -> Settings:
        return load(configs, sets=sets, flags={"data_dir": data_dir, **flags})

    gc.disable()  # until all has started: what is imported stays, and looking through it again and again takes a second
    files = ConfigFiles(files_among(configs))  # as they are before they are read
    try:
        settings = read()
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
    configure_logging(settings.service.telemetry.log_level)

    from collector.process.exits import ServiceError
    from collector.process.interpreter import event_loop
    from collector.service import serve as run

    try:
        event_loop()(run(settings, lambda endpoints: _announce(settings, endpoints), read, files))
    except ServiceError as error:
        fail(str(error), error.exit_code)


def _announce(settings: Settings, endpoints: Endpoints) -> None:
    from collector.doors.exposure import ingest_needs_key
    from collector.process.endpoints import for_exporters

    lines = ["", "  eddyline is up.", ""]
    for name, where in (
        ("OTLP/HTTP", endpoints.http),
        ("OTLP/gRPC", endpoints.grpc),
        ("page", endpoints.api and f"{endpoints.api}/  (with its token: eddyline open)"),
        ("API", endpoints.api and f"{endpoints.api}/api/v1"),
        ("LLM proxy", endpoints.proxy),
        ("health", endpoints.admin and f"{endpoints.admin}/healthz"),
        ("data", str(settings.data_dir)),
        ("API token", str(settings.data_dir / "token")),
    ):
        lines.append(f"  {name:<10} {where or 'off'}")
    if exporters := for_exporters(endpoints):
        target, protocol = exporters
        lines += [
            "",
            "  Point a program at it:",
            "",
            f"    export OTEL_EXPORTER_OTLP_ENDPOINT={target}",
            f"    export OTEL_EXPORTER_OTLP_PROTOCOL={protocol}",
            "    export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true",
        ]
        if ingest_needs_key(settings, keys=1):
            lines.append("    export OTEL_EXPORTER_OTLP_HEADERS=x-api-key=KEY  # eddyline token create NAME")
    if endpoints.proxy:
        lines += [
            "",
            "  Or send its LLM calls through the proxy:",
            "",
            f"    export OPENAI_BASE_URL={endpoints.proxy}/openai/v1",
            f"    export ANTHROPIC_BASE_URL={endpoints.proxy}/anthropic",
        ]
    click.echo("\n".join(lines) + "\n")


@click.command()
@CONFIG
@SETS
@_DATA_DIR
@click.option(
    "--listen", "proxy", metavar="HOST:PORT", help="Where clients come in. [default: 127.0.0.1:31300]"
)
@click.option("--upstream", metavar="URL", help="Send every path there, instead of by the route table.")
@click.option(
    "--collector", metavar="URL", help="Where spans go, by OTLP/HTTP. [default: http://127.0.0.1:4318]"
)
@CAPTURE_FILE
def proxy(configs: tuple[str, ...], sets: tuple[str, ...], **flags: Any) -> None:
    """Run the LLM proxy alone, beside a program; its spans go to a collector."""
    from collector.config import ConfigError, load
    from collector.process.interpreter import event_loop
    from collector.proxy.sidecar import SidecarError
    from collector.proxy.sidecar import serve as run
    from collector.telemetry.telemetry import configure_logging

    try:
        settings = load(configs, sets=sets, flags=flags)
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
    configure_logging(settings.service.telemetry.log_level)
    try:
        event_loop()(run(settings, lambda url: click.echo(f"eddyline proxy is up: {url}")))
    except SidecarError as error:
        fail(str(error), error.exit_code)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_DATA_DIR
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(data_dir: Path | None, command: tuple[str, ...]) -> None:
    """Run a program with its LLM calls through the proxy of the collector that runs here.

    Base URLs and OTLP variables are set in its environment; its exit code is ours.
    """
    from collector.config import default_data_dir
    from collector.process.endpoints import find
    from collector.proxy.run import RunError
    from collector.proxy.run import run as run_program

    endpoints = find(data_dir or default_data_dir())
    if endpoints is None:
        fail("no collector runs here; start one with `eddyline serve`", NO_CONNECTION)
    try:
        sys.exit(run_program(command, endpoints, lambda line: click.echo(f"eddyline: {line}", err=True)))
    except RunError as error:
        fail(str(error), 127)


@click.command("map")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    help="[default: table on a terminal, else json]",
)
def map_files(files: tuple[str, ...], form: str | None) -> None:
    """Say how the spans and log records in FILES are understood, and why.

    A file holds OTLP requests in protobuf or JSON, gzipped or not; `-` is the standard input. Nothing is sent or
    stored.
    """
    import time

    import orjson

    from collector.understanding.mapping import NotReadableError, mapping_document, read_items, table_lines
    from collector.understanding.plugins import load_conventions
    from mappers.conventions import BUILTIN
    from mappers.normalize import Normalizer

    spans, records = [], []
    for file in files:
        try:
            content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
            found_spans, found_records = read_items(content)
        except (NotReadableError, OSError) as error:
            fail(f"{file}: {error}", EX_DATAERR)
        spans += found_spans
        records += found_records
    conventions, _ = load_conventions()
    document = mapping_document(spans, records, Normalizer([*BUILTIN, *conventions]), time.time_ns())
    if (form or ("table" if sys.stdout.isatty() else "json")) == "json":
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    else:
        for line in table_lines(document):
            click.echo(line)


@click.command()
@_DATA_DIR
def demo(data_dir: Path | None) -> None:
    """Replay a captured run of an agent that goes round in circles, and show it.

    Uses the collector that runs on the data directory, else one of its own.
    """
    from collector.demo import DemoError
    from collector.demo import demo as run

    try:
        run(data_dir)
    except DemoError as error:
        fail(str(error), 1)
