"""The database itself: the embedded engine on a directory, or a server; its handles and its schema."""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import tempfile
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sinks.base import RetryableError
from sinks.clickhouse.errors import UNREADABLE_CODES, translated
from sinks.clickhouse.layout import DATABASE, Layout
from sinks.clickhouse.migrations import SchemaError, migrate, migrations, pending, statements
from sinks.clickhouse.requests import COLUMNS, MESSAGE, PROTO, REQUEST_SETTINGS, framed
from sinks.clickhouse.server import COMMAND_TIMEOUT_S, Server

ENGINE_CONFIG = """<clickhouse>
    <max_server_memory_usage>{memory}</max_server_memory_usage>
    <mark_cache_size>67108864</mark_cache_size>
    <index_mark_cache_size>16777216</index_mark_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <query_condition_cache_size>16777216</query_condition_cache_size>
    <merge_tree>
        <cleanup_delay_period>1</cleanup_delay_period>
        <cleanup_delay_period_random_add>0</cleanup_delay_period_random_add>
        <max_cleanup_delay_period>2</max_cleanup_delay_period>
    </merge_tree>
    <background_pool_size>2</background_pool_size>
    <background_schedule_pool_size>2</background_schedule_pool_size>
    <background_move_pool_size>1</background_move_pool_size>
    <background_fetches_pool_size>1</background_fetches_pool_size>
    <background_common_pool_size>2</background_common_pool_size>
    <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>
    <background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
    <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
    <tables_loader_foreground_pool_size>2</tables_loader_foreground_pool_size>
    <tables_loader_background_pool_size>2</tables_loader_background_pool_size>
</clickhouse>
"""
"""Without limits the engine takes up to 90 % of the machine's memory. It looks every few seconds, not minutes, for
parts that nobody needs any more, so that what was deleted leaves the disk soon."""

ENGINE_MEMORY_BYTES = 900 << 20

STREAMED_ROWS = 1_024
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""Of Arrow: a message that has no length."""

WRITE_SETTINGS = {
    "async_insert": 0,  # batches are made here
    "optimize_on_insert": 0,  # duplicates leave in merges; sorting them out at insert costs CPU twice
    "max_insert_threads": 1,
    "max_partitions_per_insert_block": 0,  # a batch of old spans is not an error
}
COMMAND_SETTINGS = {
    "mutations_sync": 2,
    "lightweight_deletes_sync": 2,
    "async_insert": 0,
    "max_threads": 2,
}
READ_SETTINGS = {
    "readonly": 2,
    "max_execution_time": 10,
    "max_memory_usage": 1 << 30,
    "max_threads": 2,
    "max_threads_min_free_memory_per_thread": 0,  # of a gigabyte for each that it asks for, the engine has none
    "do_not_merge_across_partitions_select_final": 1,
}


def unseen_token() -> str:
    """A deduplication token that no insert had: its rows are written whatever the engine takes for seen. That knows
    an insert without any token by a checksum of its rows, and drops what has the same."""
    return secrets.token_hex(16)


class Store:
    """Handles of one database. Use `Store.open`."""

    def __init__(
        self, target: Mapping[str, Any], directory: Path | None, server: Server | None = None
    ) -> None:
        self._target = target
        self._directory = directory
        self._server = server
        self.layout = server.layout if server is not None else Layout()
        self._request_settings: dict[str, Any] = {}
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[Any] = []
        self._idle_readers: list[Any] = []
        self._commanding = threading.Lock()
        self._latest = threading.Lock()
        """Held from reading what is latest until something is later."""
        self._commander: Any = None

    @classmethod
    def open(cls, where: Server | Path) -> Store:
        """Opens the database and brings its schema up to date.

        `where` is a server, or the directory of an embedded database.

        Raises:
            SchemaError: the database is newer than this code, or older and not to be changed here.
            RetryableError: it can not be reached, or another process has the directory open.
            PermanentError: it can not be used like this.
        """
        store = cls.unprepared(where)
        try:
            with translated():
                _settle_pandas()
                _settle_memory()
                store._migrate()
                store._learn_requests()
        except Exception as error:
            store.close()
            if isinstance(where, Path) and _is_locked(where / "status"):
                raise RetryableError(f"another process has {where} open, and only one can") from error
            raise
        return store

    @classmethod
    def unprepared(cls, where: Server | Path) -> Store:
        """The database as it is, whatever its schema.

        Raises: PermanentError, if that is no place for one.
        """
        if isinstance(where, Server):
            with translated():
                return cls(where.target, None, where)
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = where / "engine.xml"
        config.write_text(ENGINE_CONFIG.format(memory=ENGINE_MEMORY_BYTES), encoding="utf-8")
        options = {"config-file": str(config)}
        return cls({"interface": "chdb", "path": str(where), "chdb_options": options}, where)

    @classmethod
    def planned(cls, where: Server | Path, *, every: bool = False) -> list[str]:
        """What `open` would run to bring the schema up to date, or, with `every`, on an empty database; without asking
        this one.

        Raises: as `open` does.
        """
        layout = where.layout if isinstance(where, Server) else Layout()
        if every:
            return statements(migrations(), layout)
        store = cls.unprepared(where)
        try:
            with translated():
                client = store._client({})
                steps = pending(
                    lambda sql: client.query(sql).result_rows,
                    app_version=version("eddyline"),
                )
        finally:
            store.close()
        return statements(steps, layout) if steps else []

    def _migrate(self) -> None:
        """Raises: SchemaError, RetryableError, PermanentError."""
        app_version = version("eddyline")
        client = self._commanding_client() if self._server is not None else self._client({})

        def query(sql: str) -> Sequence[Sequence[Any]]:
            rows: Sequence[Sequence[Any]] = client.query(sql).result_rows
            return rows

        if self._server is not None and not self._server.create_schema:
            if missing := pending(query, app_version=app_version):
                raise SchemaError(
                    f"schema {missing[0].version} is not in the database, and create_schema is off:"
                    " `eddyline db migrate` brings it there"
                )
            return
        migrate(
            client.command, query, app_version=app_version, layout=self.layout, shared=self._directory is None
        )
        if self._directory is None:
            tables = query(f"SELECT name, engine_full FROM system.tables WHERE database = '{DATABASE}'")
            for statement in self.layout.tiering(dict(list(map(tuple, tables)))):
                client.command(statement)

    @property
    def _command_settings(self) -> dict[str, Any]:
        return COMMAND_SETTINGS | dict(self.layout.command_settings)

    def _client(self, settings: Mapping[str, Any], **changes: Any) -> Any:
        import clickhouse_connect

        client = clickhouse_connect.get_client(**{**self._target, **changes}, settings=dict(settings))
        with self._lock:
            self._open.append(client)
        return client

    # ------------------------------------------------------------------- reading

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Rows. Each query has a read-only handle to itself, because a handle answers one query at a time.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        with translated(), self._reader() as client:
            rows: Sequence[Sequence[Any]] = client.query(sql, parameters=dict(parameters or {})).result_rows
        return rows

    @contextmanager
    def _reader(self) -> Iterator[Any]:
        """There are as many handles as there were queries at one time, however many threads come and go."""
        try:
            client = self._idle_readers.pop()
        except IndexError:
            client = self._client(READ_SETTINGS | dict(self.layout.read_settings))
        try:
            yield client
        finally:
            self._idle_readers.append(client)

    # ------------------------------------------------------------------- writing

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Runs a statement that changes rows or tables; it is done when this returns.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        with translated(), self._commanding:
            if self._commander is None:
                self._commander = self._commanding_client()
            self._commander.command(self.layout.command(sql), parameters=dict(parameters or {}))

    def _commanding_client(self) -> Any:
        patience = {"send_receive_timeout": COMMAND_TIMEOUT_S} if self._directory is None else {}
        return self._client(self._command_settings, **patience)

    def new_query_id(self) -> str:
        """An id for an insert, by which a server's `system.query_log` knows it; "" for the embedded engine, which takes
        none and keeps no such log."""
        return str(uuid.uuid4()) if self._server is not None else ""

    def insert_columns(
        self, table: str, columns: Mapping[str, Any], token: str = "", *, query_id: str = ""
    ) -> int:
        """Inserts Arrow arrays by the names of their columns, as the query of that id if one is given; returns how many
        bytes that were.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        import pyarrow as pa

        size = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            for piece in _stream(pa.record_batch(dict(columns))):
                size += len(piece)
                yield piece

        self._insert(table, list(columns), pieces(), "ArrowStream", _token(token), query_id=query_id)
        return size

    def insert_latest(self, table: str, columns: Mapping[str, Any], time: str) -> None:
        """Inserts Arrow arrays as the rows that hold from now on, of a table in which the latest by its column `time`
        does. Whatever clocks say: one that was ahead is set back some day. For tables with few rows.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        import pyarrow as pa

        with self._latest:
            latest = f"greatest(now64(6), max({time}) + toIntervalMicrosecond(1))"
            at_us = self.query(f"SELECT toUnixTimestamp64Micro({latest}) FROM otel.{table}")[0][0]
            rows = len(next(iter(columns.values())))
            times = pa.array([at_us] * rows, pa.int64()).view(pa.timestamp("us", "UTC"))
            self.insert_columns(table, {**columns, time: times})

    def insert_arrow(
        self, table: str, columns: Sequence[str], stream: bytes, token: str = "", *, query_id: str = ""
    ) -> None:
        """Inserts an Arrow IPC stream with these columns. With a token that the table has seen, nothing happens.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        self._insert(table, columns, [stream], "ArrowStream", _token(token), query_id=query_id)

    def native(self, sql: str) -> bytes:
        """Rows as the engine writes them for itself; b"" if there are none. For a store that has a directory.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        with translated():
            rows: bytes = self._writer().query(sql, "Native").bytes() or b""
        return rows

    def insert_native(self, table: str, columns: Sequence[str], rows: bytes, token: str = "") -> None:
        """Inserts what `native` gave. With a token that the table has seen, nothing happens.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        self._insert(table, columns, [rows], "Native", _token(token))

    @property
    def reads_requests(self) -> bool:
        """Whether `insert_requests` is possible."""
        return bool(self._request_settings)

    def insert_requests(self, requests: Sequence[bytes], token: str = "", *, query_id: str = "") -> None:
        """Inserts the spans of labelled trace requests (`sinks.base.Sent`), as the query of that id if one is given.
        With a token that was seen, nothing happens.

        Raises:
            RetryableError, PermanentError: as `translated` says.
        """
        settings = self._request_settings | _token(token)
        self._insert(
            "trace_requests",
            COLUMNS,
            framed(requests),
            "Protobuf",
            settings,
            query_id=query_id,
            final=UNREADABLE_CODES,
        )

    def _insert(
        self,
        table: str,
        columns: Sequence[str],
        stream: Iterable[bytes],
        form: str,
        settings: Mapping[str, Any],
        *,
        query_id: str = "",
        final: Collection[int] = (),
    ) -> None:
        with translated(final):
            if self._server is not None:
                named = {"query_id": query_id} if query_id else {}
                body, encoding = self._server.packed(stream)
                self._writer().raw_insert(
                    f"{DATABASE}.{table}",
                    columns,
                    body,
                    settings=dict(settings) | named,
                    fmt=form,
                    compression=encoding,
                )
                return
            # Not by the engine's `send_insert`: that says nothing of what goes wrong once all is read. Rows for which
            # there was no space, or too many parts, were gone without an error.
            names = ", ".join(f"`{name}`" for name in columns)
            clause = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
            with _file_of(stream) as path:
                self._writer().query(
                    f"INSERT INTO {DATABASE}.{table} ({names}) FROM INFILE {_literal(path)} COMPRESSION 'none'"
                    + (f" SETTINGS {clause}" if clause else "")
                    + f" FORMAT {form}"
                )

    def _learn_requests(self) -> None:
        """Finds out how the engine is told what requests look like; older servers can not be told."""
        if self._directory is None:
            asked = (*REQUEST_SETTINGS, "format_schema_source", "format_schema_message_name")
            names = ", ".join(f"'{name}'" for name in asked)
            [[known]] = self.query(f"SELECT count() FROM system.settings WHERE name IN ({names})")
            if known == len(asked):
                told = {"format_schema_source": "string", "format_schema": PROTO}
                self._request_settings = REQUEST_SETTINGS | told | {"format_schema_message_name": MESSAGE}
            return
        # A schema that is given as text would be kept in a folder of the directory that we were started in.
        file = Path(os.path.realpath(self._directory)) / "requests.proto"
        if ":" not in str(file):  # after a colon the engine reads the message's name
            file.write_text(PROTO, encoding="utf-8")
            self._request_settings = REQUEST_SETTINGS | {"format_schema": f"{file}:{MESSAGE}"}

    def _writer(self) -> Any:
        writer = getattr(self._local, "writer", None)
        if writer is None:
            writer = self._local.writer = (
                self._client(WRITE_SETTINGS | dict(self._server.write_settings))
                if self._server is not None
                else self._engine_writer()
            )
        return writer

    def _engine_writer(self) -> Any:
        import chdb

        path, options = self._target["path"], self._target["chdb_options"]
        # The engine compares paths as text: this is how clickhouse-connect spells the same one.
        handle = chdb.connect(f"{os.path.realpath(path)}?{urlencode(options)}")
        handle.query("SET " + ", ".join(f"{name} = {value}" for name, value in WRITE_SETTINGS.items()))
        with self._lock:
            self._open.append(handle)
        return handle

    def close(self) -> None:
        """Closes every handle."""
        with self._lock:
            for handle in self._open:
                handle.close()
            self._open.clear()
            self._idle_readers.clear()


@contextmanager
def _file_of(stream: Iterable[bytes]) -> Iterator[str]:
    """The path of a file with these bytes, in memory where the system has such files.

    Raises: OSError.
    """
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("rows"), "wb") as file:
            file.writelines(stream)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as named:
            named.writelines(stream)
            named.flush()
            yield named.name


def _token(token: str) -> dict[str, Any]:
    return {"insert_deduplication_token": token} if token else {}


def _stream(batch: Any) -> Iterator[bytes]:
    """A record batch as an Arrow IPC stream, some rows at a time: memory for a whole batch would be asked of the system
    twice, for the stream and for a copy of it, and each page of it anew. The engine makes one block of them again."""
    yield batch.schema.serialize().to_pybytes()
    for begin in range(0, batch.num_rows, STREAMED_ROWS):
        yield batch.slice(begin, STREAMED_ROWS).serialize().to_pybytes()
    yield END_OF_STREAM


def _literal(value: Any) -> str:
    """A setting's value as it is written in a statement."""
    if not isinstance(value, str):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _is_locked(file: Path) -> bool:
    """Whether an engine holds its lock on this file. It names no reason of its own when it can not start."""
    try:
        with file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class _NoPandas:
    """A finder of modules by which there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("not now", name=name)


def _settle_pandas() -> None:
    """pyarrow imports pandas, if there is any, when it makes its first array, and never looks again. It comes with
    the engine, we have no use for it, and it takes a third of a second and 40 MB: so pyarrow looks now, in vain."""
    import pyarrow as pa

    finder: Any = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([""])
    finally:
        sys.meta_path.remove(finder)


def _settle_memory() -> None:
    """Columns of batches are asked of the system, and go back to it. Arrow's own way keeps 70 MB where never more than
    15 are in use."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
