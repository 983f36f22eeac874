"""`eddyline journal` and `eddyline dead-letter`: looking into what waits and what could not be stored."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

import click

from collector.commands.config import CONFIG, SETS
from collector.commands.failing import EX_DATAERR, EX_TEMPFAIL, NO_CONNECTION, NOT_FOUND, fail
from collector.commands.options import data_dir_option
from collector.journal.places import SIGNALS, directory_of, lane, workers_in

if TYPE_CHECKING:
    from collector.journal import Header, Record

_DATA_DIR = data_dir_option("Where the journal is.")
_SIGNAL = click.option("--signal", type=click.Choice(SIGNALS), default="traces", show_default=True)
_TO = click.option("--to", metavar="URL", help="OTLP/HTTP; by default the collector on the data directory.")
_KEY = click.option(
    "--key",
    envvar="EDDYLINE_KEY",
    help="API key to send with; by default, to the collector on the data directory, its API token.",
)
_AS_KEY = click.option(
    "--as-key",
    is_flag=True,
    help="Let the key decide whose it is; by default every record stays its tenant's.",
)
TIMEOUT_S = 30.0
BUSY_S = 60.0
"""How long a collector may be busy before a replay is given up."""


@click.group()
def journal() -> None:
    """Look into what was acknowledged and waits for the store."""


@journal.command("ls")
@_DATA_DIR
def list_segments(data_dir: Path | None) -> None:
    """Segments, oldest first, and how far the store has come."""
    from collector.journal import Files

    for signal, directory in _journals(data_dir):
        files = Files(directory)
        click.echo(f"{signal}: {len(files.segments)} segments")
        for segment in files.segments:
            path = files.segment_path(segment)
            click.echo(f"  {path.name}  {files.readable_end(segment) or 0:>12} bytes")
        for name, position in files.cursors().items():
            where = f"record {position.sequence}, segment {position.segment} at byte {position.offset}"
            click.echo(f"  {name} goes on at {where}")
            if (ahead := files.ahead().get(name)) is not None:
                last = ahead.end.sequence - 1
                click.echo(f"  {name} has records {ahead.begin.sequence} to {last} already")
        kept = sorted((directory / "quarantine").glob("*.bad"))
        if kept:
            click.echo(f"  quarantine: {len(kept)} ranges, {sum(file.stat().st_size for file in kept)} bytes")


@journal.command()
@_DATA_DIR
def verify(data_dir: Path | None) -> None:
    """Read every record and check it; exits 65 if something is damaged."""
    from collector.journal import Files
    from collector.journal.quarantine import is_skipped

    damaged = 0
    for signal, directory in _journals(data_dir):
        records = items = 0

        def damage(path: Path, begin: int, end: int) -> None:
            nonlocal damaged
            if is_skipped(path, begin, end):
                click.echo(f"  {path.name}: bytes {begin} to {end} were skipped")
                return
            damaged += 1
            click.echo(f"  {path.name}: bytes {begin} to {end} are no record")

        for record in Files(directory).records(damage):
            records += 1
            items += record.header.items
        click.echo(f"{signal}: {records} records with {items} items are whole")
    if damaged:
        sys.exit(EX_DATAERR)


@journal.command()
@_DATA_DIR
@_SIGNAL
@click.option("--from", "first", type=int, default=0, help="First sequence, in each journal.")
@click.option("--until", type=int, help="Sequence to stop before.")
@click.argument("file", type=click.File("wb"))
def export(data_dir: Path | None, signal: str, first: int, until: int | None, file: BinaryIO) -> None:
    """Write records to FILE (- is the output): length-delimited OTLP requests, which `replay` takes."""
    from collector.journal import Files
    from collector.journal.record import encode

    count = 0
    for directory in [directory for _, directory in _journals(data_dir) if directory.name == signal]:
        for record in Files(directory).records(_mention):
            if record.sequence >= first and (until is None or record.sequence < until):
                count += 1
                for piece in encode(record.sequence, record.header, record.body, before=record.before):
                    file.write(piece)
    click.echo(f"{count} records", err=True)


@journal.command()
@_DATA_DIR
@_SIGNAL
@_TO
@_KEY
@_AS_KEY
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def replay(
    data_dir: Path | None, signal: str, to: str | None, key: str | None, as_key: bool, file: Path
) -> None:
    """Send what `export` wrote, or a segment, or what the quarantine kept, to a collector.

    What it has already changes nothing there. Records of other tenants need its API token.
    """
    with _sender(data_dir, to, key, as_key) as sender:
        for record in _records_of(file):
            sender.send(signal, record.header, record.body)
        click.echo(f"{sender.sent} records sent")


@journal.command()
@CONFIG
@SETS
@_DATA_DIR
@click.option("--journal", "name", default="traces", show_default=True, help="Which, as `ls` names it.")
@click.option("--until", type=int, help="Sequence to stop before; by default one record is skipped.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("sequence", type=int)
def skip(
    configs: tuple[str, ...],
    sets: tuple[str, ...],
    data_dir: Path | None,
    name: str,
    until: int | None,
    sequence: int,
    *,
    yes: bool,
) -> None:
    """Have records passed over, from SEQUENCE on, that wait and that nobody shall read any more.

    No collector may run on the data directory meanwhile. They go to the quarantine, without secrets, and `replay` can
    send them again. The next collector counts what was in them as damaged.
    """
    from collector.commands.servers import settings_of
    from collector.journal import JournalLockedError, lock
    from collector.journal.skip import Waiting
    from collector.pipeline.redaction import ProjectRules, Redaction
    from mappers.conventions import BUILTIN

    settings = settings_of(configs, sets, data_dir)
    journals = dict(_journals(settings.data_dir))
    if name not in journals:
        fail(f"there is no journal {name!r}; `eddyline journal ls` lists them", NOT_FOUND)
    directory = journals[name]
    with ExitStack() as held:
        try:
            for each in journals.values():
                held.callback(os.close, lock(each))
        except JournalLockedError:
            fail(f"a collector runs on {settings.data_dir}; stop it first", EX_TEMPFAIL)
        waiting = Waiting(directory, sequence, sequence + 1 if until is None else until)
        records = items = size = 0
        for placed in waiting:
            records, items, size = (
                records + 1,
                items + placed.record.header.items,
                size + placed.end - placed.begin,
            )
        if not records:
            fail(f"no such record waits in {directory}", NOT_FOUND)
        what = f"{records} records with {items} items, {size} bytes"
        if not yes:
            click.confirm(f"Skip {what} of {name}?", abort=True)
        redaction = Redaction(ProjectRules(settings.redaction), BUILTIN)
        kept = waiting.skip(
            lambda record: redaction.masked_request(directory.name, record.body, record.header.project)
        )
    click.echo(f"skipped {what}; `eddyline journal replay --signal {directory.name} {kept}` sends them again")


@click.group("dead-letter")
def dead_letter() -> None:
    """Look into what was acknowledged and can not be stored."""


@dead_letter.command("ls")
@_DATA_DIR
def list_letters(data_dir: Path | None) -> None:
    """What is kept, oldest first, with the reason; exits 65 if some of it can not be read."""
    from collector.pipeline.deadletter import read

    file = _letters_file(data_dir)
    damaged: list[int] = []
    for _, letter in read(file, damaged.append):
        header = letter.record.header
        came = datetime.fromtimestamp(header.received_ns / 1e9, UTC).isoformat(timespec="milliseconds")
        click.echo(f"{came}  {letter.signal}  {header.items} items  {header.project or '-'}  {letter.reason}")
    if damaged:
        fail(f"{file}: no dead letter in line {', '.join(map(str, damaged))}", EX_DATAERR)


@dead_letter.command("replay")
@_DATA_DIR
@_TO
@_KEY
@_AS_KEY
def replay_letters(data_dir: Path | None, to: str | None, key: str | None, as_key: bool) -> None:
    """Send what is kept to a collector, and drop what it takes. What still can not be stored comes back.

    What other tenants sent needs its API token.
    """
    from collector.pipeline.deadletter import read, remove

    file = _letters_file(data_dir)
    taken: set[bytes] = set()
    refused: list[str] = []
    with _sender(data_dir, to, key, as_key) as sender:
        try:
            for line, letter in list(read(file)):
                try:
                    sender.send(letter.signal, letter.record.header, letter.record.body, json=letter.json)
                except _NotTakenError as error:
                    refused.append(error.message)
                else:
                    taken.add(line)
        finally:
            if taken:
                remove(file, taken)
    click.echo(f"{len(taken)} sent")
    if refused:
        raise click.ClickException(f"{len(refused)} stay; {refused[0]}")


def _letters_file(data_dir: Path | None) -> Path:
    from collector.pipeline.deadletter import DEAD_LETTERS

    return _directory(data_dir) / DEAD_LETTERS


class _NotTakenError(click.ClickException):
    """This request is wrong in itself; others may be taken."""


class _Sender:
    """Sends requests as their clients did, each in the name of its tenant unless `as_key`."""

    def __init__(self, url: str, key: str | None, *, as_key: bool) -> None:
        self._connection, self._prefix = _connection(url)
        self._headers = {"Content-Type": b"application/x-protobuf"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}".encode()
        self._as_key = as_key
        self.sent = 0

    def send(self, signal: str, header: Header, body: bytes, *, json: bool = False) -> None:
        """Raises: click.ClickException: it was not taken; what came before was."""
        headers = dict(self._headers)
        if json:
            headers["Content-Type"] = b"application/json"
        if header.project:
            headers["X-Eddyline-Project"] = header.project.encode()
        if not self._as_key:
            headers["X-Eddyline-Tenant"] = header.tenant.encode()
        give_up_at = time.monotonic() + BUSY_S
        while (answer := self._post(f"{self._prefix}/v1/{signal}", body, headers))[0] == 503:
            if time.monotonic() > give_up_at:
                break
            time.sleep(1)
        status, said = answer
        if status != 200:
            failed = _NotTakenError if status in (400, 413) else click.ClickException
            raise failed(f"after {self.sent} sent: answered {status}{said and f', {said}'}")
        self.sent += 1

    def _post(self, path: str, body: bytes, headers: dict[str, bytes]) -> tuple[int, str]:
        """The answer's status and what it says.

        Raises: click.ClickException.
        """
        from google.protobuf.message import DecodeError
        from google.rpc.status_pb2 import Status

        try:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except OSError as error:
            raise click.ClickException(f"after {self.sent} sent: {error}") from None
        if response.status == 200:
            return 200, ""
        try:
            return response.status, Status.FromString(content).message
        except DecodeError:  # something else answers there
            return response.status, ""

    def close(self) -> None:
        self._connection.close()


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to `http(s)://host:port/prefix` or `unix:/path`, and the prefix of paths there."""
    if url.startswith("unix:"):
        return _UnixConnection(url.removeprefix("unix:")), ""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc, timeout=TIMEOUT_S), parts.path.rstrip("/")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


@contextmanager
def _sender(data_dir: Path | None, to: str | None, key: str | None, as_key: bool) -> Iterator[_Sender]:
    if to is None:
        from collector.process.endpoints import find, kept_token

        directory = _directory(data_dir)
        endpoints = find(directory)
        if endpoints is None or endpoints.http is None:
            fail("no collector with OTLP/HTTP runs on the data directory; name one with --to", NO_CONNECTION)
        to = endpoints.http
        # The token stays on this machine: it is read for this collector only, never sent to one named by --to.
        key = key if as_key else kept_token(directory) or key
    sender = _Sender(to, key, as_key=as_key)
    try:
        yield sender
    finally:
        sender.close()


def _records_of(file: Path) -> Iterator[Record]:
    """Whole records of any file that has some."""
    from collector.journal.atrest import Single

    yield from Single(file).records(_mention)


def _mention(path: Path, begin: int, end: int) -> None:
    click.echo(f"{path.name}: bytes {begin} to {end} are no record", err=True)


def _directory(data_dir: Path | None) -> Path:
    from collector.config import default_data_dir

    return data_dir or default_data_dir()


def _journals(data_dir: Path | None) -> list[tuple[str, Path]]:
    """By lane."""
    base = _directory(data_dir) / "journal"
    places = [(signal, base / signal) for signal in SIGNALS]
    for worker in workers_in(base.parent):
        places += [(lane(signal, worker), directory_of(base.parent, worker, signal)) for signal in SIGNALS]
    found = [(name, directory) for name, directory in places if directory.is_dir()]
    if not found:
        fail(f"there is no journal in {base}", NOT_FOUND)
    return found
