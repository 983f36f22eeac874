"""ClickHouse's HTTP interface in front of the real engine, for tests: several collectors can share it as a server.

`Front(directory).start()` runs it in a process of its own. It speaks what clickhouse-connect speaks: queries and
inserts in the URL or the body, settings and parameters in the URL, compression both ways, sessions, users, exceptions
with their codes. The engine is one process and one directory: replication, clusters and external data are not there.

Faults can be ordered (`Front.fault`): an answer of another kind, a delay, a connection that is closed before a
statement runs or after it ran. What came can be looked at (`Front.seen`).
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections import deque
from contextlib import suppress
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from tests import forked

START_S = 30.0
KEPT_QUERIES = 5000
NOT_SETTINGS = frozenset(
    {
        "query", "database", "user", "password", "query_id", "session_id", "session_timeout", "session_check",
        "quota_key", "compress", "decompress", "wait_end_of_query", "client_protocol_version", "role", "buffer_size",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression",
        "default_format", "cancel_http_readonly_queries_on_client_close",
    }
)  # fmt: skip
"""What is said in the URL and is no setting of the engine, or means something to a server only."""
STATUS = {36: 400, 62: 400, 47: 404, 60: 404, 81: 404, 159: 408, 192: 403, 497: 403, 516: 403, 202: 503}
"""HTTP status by the engine's error code; others are 500."""
INSERT = re.compile(rb"\s*(INSERT\s+INTO\s+.*?)\bFORMAT\s+(\w+)[ \t]*(?:;?\s*$|\r?\n)", re.I | re.S)
LITERAL = re.compile(r"'(?:\\.|[^'\\])*'", re.S)
SECOND_STATEMENT = re.compile(r";\s*\w")
"""The engine would run it too; a server does not."""
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)


class EngineError(Exception):
    """What a server says when it can not do something; begins with `Code: N.`"""


# --------------------------------------------------------------------------- in the tests' process


class Front:
    """A server on `directory`.

    Args:
        users: passwords by name; a name that begins with `reader` may only read. Without any, everybody may all.
        cert, key: PEM files; with them it speaks TLS.
        alone: false: takes statements for a cluster as if each table lived on this server alone.
        config: more of the engine's configuration, in XML.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: dict[str, str] | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        alone: bool = True,
        config: str = "",
        port: int = 0,
    ) -> None:
        self.directory = directory
        self._options = {
            "users": users or {},
            "cert": str(cert or ""),
            "key": str(key or ""),
            "alone": alone,
            "config": config,
            "port": port,
        }
        self._tls = cert is not None
        self.port = port
        self.process: subprocess.Popen[bytes] | forked.Process

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> Front:
        """Starts it, again on the same port if it ran before."""
        self._options["port"] = self.port
        command = [
            sys.executable,
            "-m",
            "tests.clickhouse_front",
            str(self.directory),
            json.dumps(self._options),
        ]
        reads, writes = os.pipe()
        with self.directory.with_suffix(".log").open("ab") as log, open(writes, "wb") as said:
            self.process = forked.start(command, said, log)
        with open(reads) as heard:
            line = heard.readline()
        if not line:
            raise AssertionError(f"no store:\n{self.directory.with_suffix('.log').read_text()}")
        self.port = int(line)
        return self

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=START_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def fault(self, match: str = "", *, times: int = 1, **how: Any) -> None:
        """The next `times` statements that `match` (a regular expression, of their text) is found in go wrong.

        How: `status` and `body` answer that instead; `code` answers an exception of the engine; `delay_s` waits before;
        `hang_up="before"` or `"after"` closes the connection without an answer before or after the statement runs.
        """
        self._control("POST", "/-/faults", {"match": match, "times": times, **how})

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self._control("DELETE", "/-/faults")

    def seen(self, match: str = "") -> list[dict[str, Any]]:
        """Statements that came, oldest first: `sql` (its beginning), `settings` and what the URL told, `encoding`."""
        found: list[dict[str, Any]] = self._control("GET", "/-/seen")
        return [one for one in found if re.search(match, one["sql"])]

    def query(self, sql: str) -> list[list[Any]]:
        """Rows of a SELECT, from somebody who may all."""
        answer = self._control("POST", "/-/query", {"sql": sql})
        rows: list[list[Any]] = answer["data"]
        return rows

    def _control(self, method: str, path: str, document: Any = None) -> Any:
        connection: http.client.HTTPConnection
        if self._tls:
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, json.dumps(document) if document is not None else None)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status == 200, content
        return json.loads(content) if content else None


# --------------------------------------------------------------------------- in the process of its own


class Engine:
    """Handles of the engine: one for each request, or for each session."""

    def __init__(self, directory: Path, *, alone: bool, more: str) -> None:
        import chdb

        from sinks.clickhouse.store import ENGINE_CONFIG

        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "server.xml"
        usual = ENGINE_CONFIG.format(memory=2 << 30)
        config.write_text(usual.replace("</clickhouse>", f"{more}</clickhouse>"), encoding="utf-8")
        self._connect = chdb.connect
        self._place = f"{os.path.realpath(directory)}?config-file={config}"
        self._kept = chdb.connect(self._place)  # the engine stays open with it
        self._alone = alone
        self._sessions: dict[str, tuple[Any, threading.Lock]] = {}
        self._lock = threading.Lock()

    def run(
        self, url: dict[str, str], statement: bytes, *, reads_only: bool
    ) -> tuple[bytes, str, dict[str, int]]:
        """What a statement answers, the format of that ("": there is nothing to show), and the summary.

        Raises: EngineError.
        """
        session = url.get("session_id", "")
        if session and (reads_only or "readonly" in url):
            session += "/reading"  # a handle that has become that can not be told otherwise
        handle, lock = self._session(session) if session else (self._connect(self._place), threading.Lock())
        if not lock.acquire(blocking=False):
            raise EngineError(
                "Code: 373. DB::Exception: Session is locked by a concurrent client. (SESSION_IS_LOCKED)"
            )
        settings = {
            name: value
            for name, value in url.items()
            if name not in NOT_SETTINGS and not name.startswith("param_")
        }
        try:
            if reads_only:
                handle.query("SET readonly = 2")
            if database := url.get("database"):
                handle.query(f"USE `{database.replace('`', '')}`")
            for name, value in settings.items():
                if not re.fullmatch(r"\w+", name):
                    raise EngineError(
                        f"Code: 115. DB::Exception: Unknown setting '{name}'. (UNKNOWN_SETTING)"
                    )
                escaped = value.replace("\\", "\\\\").replace("'", "\\'")
                handle.query(f"SET {name} = '{escaped}'")
            return self._run(handle, url, statement)
        except EngineError:
            raise
        except Exception as error:
            text = str(error)
            raise EngineError(text[text.find("Code: ") :] if "Code: " in text else text) from error
        finally:
            if session:  # settings are the statement's, also within a session
                for name in settings.keys() - {"readonly"}:
                    with suppress(Exception):  # there is no such setting
                        handle.query(f"SET {name} = DEFAULT")
            lock.release()
            if not session:
                handle.close()

    def _session(self, name: str) -> tuple[Any, threading.Lock]:
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self._connect(self._place), threading.Lock()
            return self._sessions[name]

    def _run(self, handle: Any, url: dict[str, str], statement: bytes) -> tuple[bytes, str, dict[str, int]]:
        if insert := INSERT.match(statement):
            head = insert[1].decode()
            with handle.send_insert(head, insert[2].decode()) as inserting:
                rows = memoryview(statement)[insert.end() :]
                for begin in range(0, len(rows), 1 << 20):
                    inserting.append(bytes(rows[begin : begin + (1 << 20)]))
                done = inserting.finish()
            return b"", "", {"written_rows": done.rows_written, "written_bytes": done.bytes_written}
        sql = statement.decode()
        if SECOND_STATEMENT.search(LITERAL.sub("''", sql)):
            raise EngineError(
                "Code: 62. DB::Exception: Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)"
            )
        if not self._alone:
            sql = as_one_server(sql)
        parameters = {name[6:]: value for name, value in url.items() if name.startswith("param_")}
        told = FORMAT.search(sql)
        form = told[1] if told else url.get("default_format", "TabSeparated")
        # Without names there is no telling an empty answer from none.
        plain = not told and form == "TabSeparated"
        result = handle.query(sql, "TabSeparatedWithNames" if plain else form, params=parameters)
        answer = result.bytes() or b""
        shows = bool(told or answer)
        if plain and answer:
            answer = answer[answer.index(b"\n") + 1 :]
        return (
            answer,
            form if shows else "",
            {"read_rows": result.rows_read(), "read_bytes": result.bytes_read()},
        )


def as_one_server(sql: str) -> str:
    """A statement for a cluster as one server without a keeper takes it: tables of the cluster are its own, and what
    spreads rows over shards is another name of the one table that holds them."""
    sql = re.sub(r"\s+ON CLUSTER (?:'[^']*'|`[^`]*`|\w+)", "", sql)
    sql = re.sub(r"\bReplicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?", r"\1(", sql)
    sql = re.sub(r"\bReplicated(\w*MergeTree)\b", r"\1", sql)
    sql = re.sub(r"(?<!non_)\breplicated_deduplication_window\b", "non_replicated_deduplication_window", sql)
    sql = re.sub(
        r"\s+AS otel\.\w+_local\s+ENGINE = Distributed\('[^']*', '(\w+)', '(\w+)'[^\n]*",
        r" ENGINE = Alias('\1', '\2')",
        sql,
    )
    return re.sub(r"\bcluster(?:AllReplicas)?\('[^']*', ([\w.]+)\)", r"\1", sql)


class Fault:
    def __init__(self, document: dict[str, Any]) -> None:
        self.match = re.compile(document.pop("match"))
        self.left = document.pop("times")
        self.how = document


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    engine: ClassVar[Engine]
    users: ClassVar[dict[str, str]] = {}
    faults: ClassVar[list[Fault]] = []
    queries: ClassVar[deque[dict[str, Any]]] = deque(maxlen=KEPT_QUERIES)
    lock: ClassVar[threading.Lock] = threading.Lock()

    def log_message(self, format: str, *values: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/ping", "/replicas_status"):
            self._answer(200, b"Ok.\n")
        elif path == "/-/seen":
            self._answer(200, json.dumps(list(self.queries)).encode())
        else:
            self._statement(b"")

    def do_DELETE(self) -> None:
        with self.lock:
            self.faults.clear()
        self._answer(200, b"")

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/-/faults":
            with self.lock:
                self.faults.append(Fault(json.loads(body)))
            self._answer(200, b"")
        elif self.path == "/-/query":
            answer, _, _ = self.engine.run(
                {}, json.loads(body)["sql"].encode() + b" FORMAT JSONCompact", reads_only=False
            )
            self._answer(200, answer or b'{"data": []}')
        else:
            self._statement(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _statement(self, body: bytes) -> None:
        url = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        encoding = self.headers.get("Content-Encoding", "")
        headers = {
            "X-ClickHouse-Query-Id": url.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Server-Display-Name": "front",
            "X-ClickHouse-Timezone": "UTC",
        }
        fault: dict[str, Any] = {}
        try:
            user = self._user(url)
            body = inflated(body, encoding)
            if (kind := self.headers.get("Content-Type", "")).startswith("multipart/form-data"):
                url, body = url | fields_of(kind, body), b""
            query = url.get("query", "").encode()
            statement = query + b"\n" + body if query and body else query or body
            fault = self._noted(statement, url, encoding)
            if fault.get("hang_up") == "before":
                self.close_connection = True
                return
            if "status" in fault:
                self._answer(fault["status"], fault.get("body", "").encode(), headers)
                return
            if "code" in fault:
                raise EngineError(f"Code: {fault['code']}. DB::Exception: This was ordered. (FAULT)")
            answer, form, summary = self.engine.run(url, statement, reads_only=user.startswith("reader"))
        except EngineError as error:
            found = re.match(r"Code: (\d+)", str(error))
            code = int(found[1]) if found else 1000
            headers["X-ClickHouse-Exception-Code"] = str(code)
            self._answer(STATUS.get(code, 500), f"{error} (version 26.9.2.1)\n".encode(), headers)
            return
        if fault.get("hang_up") == "after":
            self.close_connection = True
            return
        headers["X-ClickHouse-Summary"] = json.dumps({name: str(value) for name, value in summary.items()})
        if form:
            headers["X-ClickHouse-Format"] = form
        if url.get("enable_http_compression") == "1":
            answer, packed = deflated(answer, self.headers.get("Accept-Encoding", ""))
            if packed:
                headers["Content-Encoding"] = packed
        self._answer(200, answer, headers)

    def _user(self, url: dict[str, str]) -> str:
        """Raises: EngineError."""
        name, password = url.get("user", "default"), url.get("password", "")
        if (told := self.headers.get("Authorization", "")).startswith("Basic "):
            name, _, password = base64.b64decode(told[6:]).decode().partition(":")
        if self.users and self.users.get(name) != password:
            raise EngineError(
                f"Code: 516. DB::Exception: {name}: Authentication failed: password is incorrect, or there is no user"
                " with such name. (AUTHENTICATION_FAILED)"
            )
        return name

    def _noted(self, statement: bytes, url: dict[str, str], encoding: str) -> dict[str, Any]:
        """The fault that the statement meets; empty: none."""
        text = statement[:4000].decode(errors="replace")
        told = {name: value for name, value in url.items() if name not in ("query", "password")}
        with self.lock:
            self.queries.append(
                {"sql": text, "settings": told, "encoding": encoding, "bytes": len(statement)}
            )
            fault = next((one for one in self.faults if one.left and one.match.search(text)), None)
            if fault is None:
                return {}
            fault.left -= 1
        time.sleep(fault.how.get("delay_s", 0))
        return fault.how

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def fields_of(kind: str, body: bytes) -> dict[str, str]:
    """What a form says: long parameters do not go in the URL.

    Raises: EngineError, if there is something else in it.
    """
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    said = {}
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")
        if name != "query" and not name.startswith("param_"):
            raise EngineError(
                f"Code: 48. DB::Exception: External data ({name}) is not supported. (NOT_IMPLEMENTED)"
            )
        said[name] = part.get_payload(decode=True).decode()
    return said


def inflated(body: bytes, encoding: str) -> bytes:
    """Raises: EngineError."""
    try:
        if encoding == "lz4":
            import lz4.frame

            return bytes(lz4.frame.decompress(body))
        if encoding == "zstd":
            import zstandard

            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        if encoding == "br":
            import brotli

            return bytes(brotli.decompress(body))
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
    except Exception as error:
        raise EngineError(
            f"Code: 354. DB::Exception: inflate failed: {error}. (ZLIB_INFLATE_FAILED)"
        ) from error
    if encoding not in ("", "identity"):
        raise EngineError(
            f"Code: 79. DB::Exception: Unknown compression method {encoding}. (INCORRECT_FILE_NAME)"
        )
    return body


def deflated(content: bytes, accepted: str) -> tuple[bytes, str]:
    """In the first form that is accepted and known here, and its name."""
    for name in (part.split(";")[0].strip() for part in accepted.split(",")):
        if name == "lz4":
            import lz4.frame

            return bytes(lz4.frame.compress(content)), name
        if name == "zstd":
            import zstandard

            return zstandard.ZstdCompressor(level=1).compress(content), name
        if name == "gzip":
            return gzip.compress(content, 1), name
    return content, ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("options", type=json.loads)
    given = parser.parse_args()
    options = given.options
    Handler.engine = Engine(given.directory, alone=options["alone"], more=options["config"])
    Handler.users = options["users"]
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", options["port"]), Handler)
    if options["cert"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options["cert"], options["key"])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
