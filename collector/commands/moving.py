"""`eddyline export` and `eddyline import`: runs out to files, and in from files."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import click

from collector.commands.client import Client
from collector.commands.failing import EX_DATAERR, FINDING, fail
from collector.commands.options import asking

SHAPES = ("runs", "events", "spans", "messages", "openai-ft")
FORMATS = ("jsonl", "csv", "parquet", "otlp-json", "otlp-proto", "zip")
WHOLE = ("parquet", "zip")
"""Formats whose files can not be put together of parts."""
RUNS_AT_A_TIME = 1000
PIECE_BYTES = 1 << 20
SAY_EVERY_S = 5.0


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default="-")
@click.option("--shape", type=click.Choice(SHAPES), default="spans", show_default=True, help="What a row is.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("-q", "--query", default="", help="Runs that this search text finds.")
@click.option("--since", default="", help="Runs that began from then on: an RFC 3339 time, or like -24h.")
@click.option("--until", default="", help="Runs that began before then.")
@click.option("--project", default="", help="Runs of this project.")
@click.option("--include-all", is_flag=True, help="Set-up runs and duplicates, too.")
@asking
def export_runs(
    file: Path,
    shape: str,
    form: str,
    query: str,
    since: str,
    until: str,
    project: str,
    include_all: bool,
    client: Client,
) -> None:
    """Write runs to FILE (- is the output), the newest first.

    What `--shape spans` writes, `eddyline import` takes. An export to a file that was cut short goes on where it was
    when it is called again, but for parquet and zip.
    """
    asked = {
        "shape": shape,
        "format": form,
        "q": query,
        "since": since,
        "until": until,
        "project": project,
        "include": "all" if include_all else "",
        "bare": "true",
    }
    if str(file) == "-":
        output = sys.stdout.buffer
        total = _Total(asked)
        for piece in _all(client, total):
            output.write(piece)
        output.flush()
    else:
        total = _to_file(client, file, asked)
    click.echo(f"{total.rows} rows, sha256 {total.sha256}", err=True)


class _Total:
    """How far an export is, over all its parts."""

    def __init__(self, asked: Mapping[str, str], kept: Mapping[str, Any] | None = None) -> None:
        kept = kept or {}
        self.asked = asked
        self.rows: int = kept.get("rows", 0)
        self.bytes: int = kept.get("bytes", 0)
        self.cursor: str | None = kept.get("cursor")
        self.digest = hashlib.sha256()
        self.is_complete = False

    @property
    def sha256(self) -> str:
        return self.digest.hexdigest()

    def document(self) -> dict[str, Any]:
        return {"asked": dict(self.asked), "rows": self.rows, "bytes": self.bytes, "cursor": self.cursor}


def _all(client: Client, total: _Total) -> Iterator[bytes]:
    """The file's pieces. After each part, `total` tells how far it is."""
    form = total.asked["format"]
    said_at = time.monotonic()
    while True:
        part: dict[str, str | int | float | None] = {**total.asked, "cursor": total.cursor}
        if form not in WHOLE:
            part["limit"] = RUNS_AT_A_TIME
        digest, size = hashlib.sha256(), 0
        export_id, pieces = client.file("/export", part, "X-Eddyline-Export")
        first = form == "csv" and total.bytes > 0
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
            if first:  # the columns' names are there already; they are one line, which comes at once
                piece, first = piece.partition(b"\n")[2], False
            total.digest.update(piece)
            total.bytes += len(piece)
            yield piece
        summary = client.get(f"/exports/{export_id}")
        if not summary["complete"] or summary["sha256"] != digest.hexdigest() or summary["bytes"] != size:
            fail("what came is not what was sent; call it again to go on", FINDING)
        total.rows += summary["rows"]
        total.cursor = summary["next_cursor"]
        if total.cursor is None:
            total.is_complete = True
            return
        if time.monotonic() - said_at > SAY_EVERY_S:
            said_at = time.monotonic()
            click.echo(f"{total.rows} rows, {total.bytes >> 20} MiB …", err=True)


def _to_file(client: Client, file: Path, asked: Mapping[str, str]) -> _Total:
    part, mark = file.with_name(file.name + ".part"), file.with_name(file.name + ".part.json")
    kept = _kept(mark, asked)
    total = _Total(asked, kept)
    with part.open("r+b" if kept and part.exists() else "wb") as output:
        output.truncate(total.bytes)
        if total.bytes:
            with part.open("rb") as begun:
                total.digest = _digest(begun)
            output.seek(total.bytes)
            click.echo(f"going on after {total.rows} rows", err=True)
        cursor = total.cursor
        for piece in _all(client, total):
            if total.cursor != cursor:
                cursor = total.cursor
                output.flush()
                before = total.document() | {"bytes": total.bytes - len(piece)}
                mark.write_text(json.dumps(before), encoding="utf-8")
            output.write(piece)
    part.replace(file)
    mark.unlink(missing_ok=True)
    return total


def _kept(mark: Path, asked: Mapping[str, str]) -> Mapping[str, Any] | None:
    """How far the same export was when it was cut short."""
    try:
        kept = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if kept.get("asked") == dict(asked) else None


def _digest(file: BinaryIO) -> Any:
    digest = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    return digest


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "jsonl", "otlp-json", "otlp-proto", "looplens"]),
    default="auto",
    show_default=True,
)
@click.option("--project", default="", help="Whose it is, whatever the files say.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken.")
@asking
def import_files(
    files: tuple[str, ...],
    form: str,
    project: str,
    dry_run: bool,
    client: Client,
) -> None:
    """Take runs from FILES (- is the input): exports of spans or calls, OTLP, LoopLens, captures of proxies.

    What is there already changes nothing. Exits 65 if something was rejected; what, and why, is said line by line.
    """
    rejected = 0
    for name in files:
        asked = {"format": form, "project": project, "dry_run": "true" if dry_run else ""}
        with sys.stdin.buffer if name == "-" else Path(name).open("rb") as opened:
            report = client.send("/import", asked, _pieces(opened, name))
        for one in report["rejected"]:
            click.echo(f"{name}:{one['line']}: {one['reason']}", err=True)
        rejected += report["rejected_lines"]
        taken = "would be taken" if dry_run else "taken"
        click.echo(
            f"{name}: {report['accepted']} spans and log records {taken}, {report['rejected_lines']} lines rejected"
        )
    if rejected:
        sys.exit(EX_DATAERR)


def _pieces(opened: IO[bytes], name: str) -> Iterator[bytes]:
    size = Path(name).stat().st_size if name != "-" else 0
    sent, began, said_at = 0, time.monotonic(), time.monotonic()
    while piece := opened.read(PIECE_BYTES):
        yield piece
        sent += len(piece)
        now = time.monotonic()
        if now - said_at > SAY_EVERY_S:
            said_at, rate = now, sent / (now - began)
            left = f", {(size - sent) / rate:.0f} s left" if size else ""
            click.echo(f"{name}: {sent >> 20} MiB, {rate / (1 << 20):.1f} MiB/s{left}", err=True)
