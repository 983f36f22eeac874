"""The JSON API as commands use it: an answer, or one line that says why there is none and the exit code for it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from collector.commands.failing import FINDING, NO_CONNECTION, NOT_ALLOWED, NOT_FOUND, TIMED_OUT, fail

TIMEOUT_S = 60.0
"""Longer than any query may take, and than the pause between two signs of life of a stream."""
PIECE_BYTES = 1 << 20
PAGE = 200
"""Rows that are asked for at a time."""

_EXIT_CODES = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 410: NOT_FOUND, 504: TIMED_OUT}

Query = Mapping[str, str | int | float | None]


class Client:
    """Every method ends the program if the collector does not answer, or not as asked.

    Args:
        address: of the API, `http://127.0.0.1:4320`.
        token: "" for none.
    """

    def __init__(self, address: str, token: str) -> None:
        self.address, self.token = address, token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path below `/api/v1`."""
        return self._document("GET", path, query)

    def post(self, path: str, body: Any) -> Any:
        return self._document("POST", path, None, body)

    def put(self, path: str, body: Any, query: Query | None = None) -> Any:
        return self._document("PUT", path, query, body)

    def patch(self, path: str, body: Any) -> Any:
        return self._document("PATCH", path, None, body)

    def delete(self, path: str) -> Any:
        """None if the answer has no body."""
        return self._document("DELETE", path, None)

    def rows(self, path: str, query: Query, limit: int | None) -> Iterator[dict[str, Any]]:
        """Rows of a list, page by page; all of them if `limit` is None."""
        cursor: str | None = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(limit, PAGE)
            page = self.get(path, {**query, "limit": size, "cursor": cursor})
            yield from page["data"]
            cursor = page["page"]["next_cursor"]
            if cursor is None:
                return
            limit = None if limit is None else limit - len(page["data"])

    def lines(self, path: str, query: Query) -> Iterator[Any]:
        """Documents of a stream of lines, until the collector ends."""
        with closing(self._connected()) as connection:
            try:
                response = self._answer(
                    connection, "GET", path, query, None, {"Accept": "application/x-ndjson"}
                )
                while line := response.readline():
                    if line.strip():
                        yield json.loads(line)
            except (OSError, http.client.HTTPException) as error:
                self._unreachable(error)

    def file(self, path: str, query: Query, header: str) -> tuple[str, Iterator[bytes]]:
        """A header of an answer, and its body piece by piece."""
        connection = self._connected()
        try:
            response = self._answer(connection, "GET", path, query, None, {})
        except (OSError, http.client.HTTPException) as error:
            self._unreachable(error)
        return response.getheader(header) or "", self._pieces(connection, response)

    def _pieces(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> Iterator[bytes]:
        with closing(connection):
            try:
                while piece := response.read(PIECE_BYTES):
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                self._unreachable(error)

    def send(self, path: str, query: Query, pieces: Iterable[bytes]) -> Any:
        """The answer's document to a body that is sent piece by piece."""
        with closing(self._connected()) as connection:
            try:
                return json.loads(self._answer(connection, "POST", path, query, pieces, {}).read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._unreachable(error)

    def _document(self, method: str, path: str, query: Query | None, body: Any = None) -> Any:
        with closing(self._connected()) as connection:
            try:
                content = self._answer(connection, method, path, query, body, {}).read()
                return json.loads(content) if content else None
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._unreachable(error)

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Query | None,
        body: Any,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        target = f"/api/v1{path}" + (f"?{urlencode(given)}" if given else "")
        content = json.dumps(body) if isinstance(body, (dict, list)) else body
        connection.request(method, target, body=content, headers={**self._headers, **headers})
        response = connection.getresponse()
        if response.status >= 300:
            fail(_refusal(response), _EXIT_CODES.get(response.status, FINDING))
        return response

    def _connected(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.netloc, timeout=TIMEOUT_S)

    def _unreachable(self, error: Exception) -> NoReturn:
        if isinstance(error, TimeoutError):
            fail(f"{self.address}: no answer within {TIMEOUT_S:.0f} seconds", TIMED_OUT)
        fail(f"{self.address}: {error or type(error).__name__}", NO_CONNECTION)


def segment(*parts: str) -> str:
    """A path of parts that may hold anything."""
    return "".join("/" + quote(part, safe="") for part in parts)


def _refusal(response: http.client.HTTPResponse) -> str:
    """What a problem document says, with the values that would have been right."""
    try:
        problem = json.loads(response.read())
        lines = [str(problem["detail"])]
        for error in problem.get("errors") or ():
            allowed: Sequence[Any] = error.get("allowed") or ()
            if allowed:
                lines.append(f"allowed: {', '.join(map(str, allowed))}")
        return "\n".join(lines)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"answered {response.status}"
