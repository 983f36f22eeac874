"""Calls that the proxy relayed, as they passed: writing them, listing them, adding them up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.model import DEFAULT_TENANT
from sinks.clickhouse.columns import (
    FLAG,
    INTEGER,
    REAL,
    TEXTS,
    TIME,
    Column,
    column_arrays,
    reader,
    selection,
)
from sinks.clickhouse.conditions import like_pattern
from sinks.clickhouse.store import Store

TABLE = "proxy_exchanges"


@dataclass(slots=True)
class StoredExchange:
    """One call. Times are nanoseconds: `start_ns` by the wall clock, the others since then."""

    exchange_id: str
    """An ULID, of `start_ns` and `span_id`."""
    tenant: str
    project: str
    trace_id: str
    span_id: str
    session_id: str
    session_method: str
    session_confidence: float
    start_ns: int
    duration_ns: int
    head_ns: int
    ttft_ns: int | None
    client: str
    user_agent: str
    key_hash: str
    method: str
    path: str
    upstream: str
    server: str
    api: str
    model: str
    response_model: str
    status: int
    """-1: there was no answer."""
    outcome: str
    error_type: str
    error_message: str
    streamed: bool
    retries: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    request_bytes: int
    response_bytes: int
    content_encoding: str
    flags: list[str] = field(default_factory=list)
    """Of `truncated_request`, `truncated_response`, `disconnected`, `unfinished`, `redacted`, `assembled`, and what was
    changed on the way."""
    request_headers: str = "[]"
    response_headers: str = "[]"
    """JSON lists of names and values."""
    request_body: str | None = None
    response_body: str | None = None
    """None: not kept. Without a content coding; `base64:` before what is no text."""
    chunk_ends: list[int] = field(default_factory=list)
    """Where, in bytes of `response_body`, each piece of a stream ended."""
    chunk_times: list[int] = field(default_factory=list)
    """When it came."""
    key_name: str = ""
    """That the configuration gives the API key; "" if none."""


_SUMMARY = (
    Column("ExchangeId", "exchange_id"),
    Column("Tenant", "tenant"),
    Column("Project", "project"),
    Column("TraceId", "trace_id"),
    Column("SpanId", "span_id"),
    Column("SessionId", "session_id"),
    Column("SessionMethod", "session_method"),
    Column("SessionConfidence", "session_confidence", REAL),
    Column("Start", "start_ns", TIME),
    Column("DurationNs", "duration_ns", INTEGER),
    Column("HeadNs", "head_ns", INTEGER),
    Column("TtftNs", "ttft_ns", INTEGER),
    Column("Client", "client"),
    Column("UserAgent", "user_agent"),
    Column("KeyHash", "key_hash"),
    Column("KeyName", "key_name"),
    Column("Method", "method"),
    Column("Path", "path"),
    Column("Upstream", "upstream"),
    Column("Server", "server"),
    Column("Api", "api"),
    Column("Model", "model"),
    Column("ResponseModel", "response_model"),
    Column("HttpStatus", "status", INTEGER),
    Column("Outcome", "outcome"),
    Column("ErrorType", "error_type"),
    Column("ErrorMessage", "error_message"),
    Column("Streamed", "streamed", FLAG),
    Column("Retries", "retries", INTEGER),
    Column("InputTokens", "input_tokens", INTEGER),
    Column("OutputTokens", "output_tokens", INTEGER),
    Column("CacheReadTokens", "cache_read_tokens", INTEGER),
    Column("CacheWriteTokens", "cache_write_tokens", INTEGER),
    Column("ReasoningTokens", "reasoning_tokens", INTEGER),
    Column("RequestBytes", "request_bytes", INTEGER),
    Column("ResponseBytes", "response_bytes", INTEGER),
    Column("ContentEncoding", "content_encoding"),
    Column("Flags", "flags", TEXTS),
)
_CONTENT = (
    Column("RequestHeaders", "request_headers"),
    Column("ResponseHeaders", "response_headers"),
    Column("RequestBody", "request_body"),
    Column("ResponseBody", "response_body"),
)
_COLUMNS = (*_SUMMARY, *_CONTENT)
_LISTS = (("ChunkEnds", "chunk_ends"), ("ChunkTimes", "chunk_times"))
_WHOLE = f"{selection(_COLUMNS)}, {', '.join(name for name, _ in _LISTS)}"

_read_summary = reader(_SUMMARY, lambda values: StoredExchange(**values))
_read_content = reader(_COLUMNS, lambda values: StoredExchange(**values))


def _read_whole(row: Sequence[Any]) -> StoredExchange:
    found: StoredExchange = _read_content(row[: len(_COLUMNS)])
    found.chunk_ends, found.chunk_times = (list(values) for values in row[len(_COLUMNS) :])
    return found


DIMENSIONS: Mapping[str, str] = {
    "key_hash": "KeyHash",
    "key_name": "KeyName",
    "model": "Model",
    "path": "Path",
    "client": "UserAgent",
    "status": "toString(HttpStatus)",
    "outcome": "Outcome",
    "upstream": "Upstream",
    "project": "Project",
    "session": "SessionId",
}
"""What sums may be split by."""


@dataclass(frozen=True, slots=True)
class ExchangeFilter:
    """Which calls. Alternatives within a field, all fields together; `*` in texts stands for anything; times are
    half-open [since, until)."""

    tenant: str = DEFAULT_TENANT
    within_project: str = ""
    """The only project that is looked at, whatever `projects` asks for; all if empty."""
    projects: Sequence[str] = ()
    keys: Sequence[str] = ()
    key_names: Sequence[str] = ()
    paths: Sequence[str] = ()
    models: Sequence[str] = ()
    """As asked for or as answered."""
    clients: Sequence[str] = ()
    """Addresses or user agents."""
    upstreams: Sequence[str] = ()
    apis: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    sessions: Sequence[str] = ()
    runs: Sequence[str] = ()
    statuses: Sequence[tuple[int, int]] = ()
    """Ranges, both ends included."""
    since_ns: int | None = None
    until_ns: int | None = None


Cursor = tuple[int, str]
"""(start_ns, exchange id) of the last one of a page."""


@dataclass(frozen=True, slots=True)
class ExchangePage:
    exchanges: Sequence[StoredExchange]
    next_cursor: Cursor | None
    """Set if more follow."""


@dataclass(frozen=True, slots=True)
class ExchangeSum:
    """What the calls with one value of a dimension add up to."""

    value: str
    calls: int
    failed: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cost_usd: float | None
    """Of those whose cost is known."""
    request_bytes: int
    response_bytes: int
    p50_ms: float
    p95_ms: float
    models: Sequence[str]
    first_ns: int
    last_ns: int


class Exchanges:
    """The calls of one store. May be used from any number of threads.

    Raises: RetryableError, PermanentError.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, exchanges: Sequence[StoredExchange]) -> None:
        """Writes them; once more changes nothing."""
        import pyarrow as pa

        columns = column_arrays(_COLUMNS, exchanges)
        for name, attribute in _LISTS:
            columns[name] = pa.array([getattr(one, attribute) for one in exchanges], pa.list_(pa.uint64()))
        self._store.insert_columns(TABLE, columns)

    def page(self, wanted: ExchangeFilter, limit: int, cursor: Cursor | None) -> ExchangePage:
        """Calls that match, the newest first, without what was said in them."""
        conditions, values = _conditions(wanted)
        if cursor is not None:
            conditions.append(
                "(toUnixTimestamp64Nano(Start), ExchangeId) < ({cursor_ns:Int64}, {cursor_id:String})"
            )
            conditions.append("Start <= fromUnixTimestamp64Nano({cursor_ns:Int64}, 'UTC')")
            values |= {"cursor_ns": cursor[0], "cursor_id": cursor[1]}
        rows = self._store.query(
            f"""
            SELECT {selection(_SUMMARY)} FROM otel.{TABLE} WHERE {" AND ".join(conditions)}
            ORDER BY Start DESC, ExchangeId DESC, IngestedAt DESC LIMIT 1 BY Start, ExchangeId
            LIMIT {{limit:UInt32}}
            """,
            {**values, "limit": limit + 1},
        )
        found = [_read_summary(row) for row in rows[:limit]]
        last = found[-1] if len(rows) > limit else None
        return ExchangePage(found, (last.start_ns, last.exchange_id) if last else None)

    def count(self, wanted: ExchangeFilter) -> tuple[int, int]:
        """(calls that match, bytes of what was said in them)."""
        conditions, values = _conditions(wanted)
        rows = self._store.query(
            f"""
            SELECT uniqExact(Start, ExchangeId), sum(length(ifNull(RequestBody, '')) + length(ifNull(ResponseBody, '')))
            FROM otel.{TABLE} WHERE {" AND ".join(conditions)}
            """,
            values,
        )
        return int(rows[0][0]), int(rows[0][1])

    def whole(self, wanted: ExchangeFilter, batch: int = 100) -> Iterator[StoredExchange]:
        """Calls that match, the newest first, with everything; read so many at a time."""
        cursor = None
        while True:
            page = self.page(wanted, batch, cursor)
            ids = {one.exchange_id: one for one in page.exchanges}
            yield from self._by_id(wanted.tenant, list(ids.values()))
            cursor = page.next_cursor
            if cursor is None:
                return

    def get(self, tenant: str, exchange_id: str, start_ms: int) -> StoredExchange | None:
        """One call with everything. `start_ms` is in its id."""
        rows = self._store.query(
            f"""
            SELECT {_WHOLE} FROM otel.{TABLE}
            WHERE Tenant = {{tenant:String}} AND ExchangeId = {{id:String}}
                AND Start >= fromUnixTimestamp64Milli({{from:Int64}}, 'UTC')
                AND Start < fromUnixTimestamp64Milli({{to:Int64}}, 'UTC')
            ORDER BY IngestedAt DESC LIMIT 1
            """,
            {"tenant": tenant, "id": exchange_id, "from": start_ms, "to": start_ms + 1},
        )
        return _read_whole(rows[0]) if rows else None

    def of_span(self, tenant: str, trace_id: str, span_id: str) -> StoredExchange | None:
        """The call that this span tells of, with everything."""
        rows = self._store.query(
            f"""
            SELECT {_WHOLE} FROM otel.{TABLE}
            WHERE Tenant = {{tenant:String}} AND TraceId = {{trace:String}} AND SpanId = {{span:String}}
            ORDER BY IngestedAt DESC LIMIT 1
            """,
            {"tenant": tenant, "trace": trace_id, "span": span_id},
        )
        return _read_whole(rows[0]) if rows else None

    def _by_id(self, tenant: str, summaries: Sequence[StoredExchange]) -> Iterator[StoredExchange]:
        if not summaries:
            return
        rows = self._store.query(
            f"""
            SELECT {_WHOLE} FROM otel.{TABLE}
            WHERE Tenant = {{tenant:String}} AND ExchangeId IN {{ids:Array(String)}}
                AND Start >= fromUnixTimestamp64Nano({{from:Int64}}, 'UTC')
                AND Start <= fromUnixTimestamp64Nano({{to:Int64}}, 'UTC')
            ORDER BY Start DESC, ExchangeId DESC, IngestedAt DESC LIMIT 1 BY Start, ExchangeId
            """,
            {
                "tenant": tenant,
                "ids": [one.exchange_id for one in summaries],
                "from": summaries[-1].start_ns,
                "to": summaries[0].start_ns,
            },
        )
        yield from map(_read_whole, rows)

    def costs(self, tenant: str, exchanges: Sequence[StoredExchange]) -> dict[tuple[str, str], float]:
        """US dollars by trace and span id, of calls whose cost is known."""
        if not exchanges:
            return {}
        rows = self._store.query(
            """
            SELECT RunId, SpanId, toFloat64(argMax(CostUsd, IngestedAt)) FROM otel.run_events
            WHERE Tenant = {tenant:String} AND RunId IN {runs:Array(String)} AND SpanId IN {spans:Array(String)}
                AND StartTime >= fromUnixTimestamp64Nano({from:Int64}, 'UTC')
                AND StartTime <= fromUnixTimestamp64Nano({to:Int64}, 'UTC')
            GROUP BY RunId, SpanId HAVING isNotNull(argMax(CostUsd, IngestedAt))
            """,
            {
                "tenant": tenant,
                "runs": sorted({one.trace_id for one in exchanges}),
                "spans": [one.span_id for one in exchanges],
                "from": min(one.start_ns for one in exchanges),
                "to": max(one.start_ns for one in exchanges),
            },
        )
        return {(run, span): cost for run, span, cost in rows}

    def sums(self, wanted: ExchangeFilter, by: str, limit: int) -> list[ExchangeSum]:
        """Sums by one of `DIMENSIONS`, the most calls first."""
        conditions, values = _conditions(wanted)
        rows = self._store.query(
            f"""
            SELECT {DIMENSIONS[by]} AS Value, count(), countIf(HttpStatus < 0 OR HttpStatus >= 400 OR ErrorType != ''),
                sum(InputTokens), sum(OutputTokens), sum(CacheReadTokens), sumOrNull(Cost.3),
                sum(RequestBytes), sum(ResponseBytes),
                quantileExact(0.5)(DurationNs) / 1e6, quantileExact(0.95)(DurationNs) / 1e6,
                arraySort(groupUniqArrayIf(20)(Model, Model != '')),
                toUnixTimestamp64Nano(min(Start)), toUnixTimestamp64Nano(max(Start))
            FROM
            (
                SELECT * FROM otel.{TABLE} WHERE {" AND ".join(conditions)}
                ORDER BY IngestedAt DESC LIMIT 1 BY Start, ExchangeId
            ) AS x
            LEFT JOIN
            (
                SELECT RunId AS CostRun, SpanId AS CostSpan,
                    tuple(RunId, SpanId, toFloat64(argMax(CostUsd, IngestedAt))) AS Cost
                FROM otel.run_events
                WHERE Tenant = {{tenant:String}} AND (RunId, SpanId) IN
                    (SELECT TraceId, SpanId FROM otel.{TABLE} WHERE {" AND ".join(conditions)})
                GROUP BY RunId, SpanId
            ) AS c ON x.TraceId = c.CostRun AND x.SpanId = c.CostSpan
            GROUP BY Value ORDER BY count() DESC, Value LIMIT {{limit:UInt32}}
            """,
            {**values, "limit": limit},
        )
        return [ExchangeSum(*row) for row in rows]


def _conditions(wanted: ExchangeFilter) -> tuple[list[str], dict[str, Any]]:
    conditions = ["Tenant = {tenant:String}"]
    values: dict[str, Any] = {"tenant": wanted.tenant}
    if wanted.within_project:
        conditions.append("Project = {within_project:String}")
        values["within_project"] = wanted.within_project
    for name, columns, alternatives in (
        ("projects", ("Project",), wanted.projects),
        ("keys", ("KeyHash",), wanted.keys),
        ("key_names", ("KeyName",), wanted.key_names),
        ("paths", ("Path",), wanted.paths),
        ("models", ("Model", "ResponseModel"), wanted.models),
        ("clients", ("Client", "UserAgent"), wanted.clients),
        ("upstreams", ("Upstream",), wanted.upstreams),
        ("apis", ("Api",), wanted.apis),
        ("outcomes", ("Outcome",), wanted.outcomes),
        ("sessions", ("SessionId",), wanted.sessions),
        ("runs", ("TraceId",), wanted.runs),
    ):
        if alternatives:
            parts = []
            for number, alternative in enumerate(alternatives):
                values[f"{name}{number}"] = like_pattern(alternative) if "*" in alternative else alternative
                operator = "LIKE" if "*" in alternative else "="
                parts += [f"{column} {operator} {{{name}{number}:String}}" for column in columns]
            conditions.append(f"({' OR '.join(parts)})")
    if wanted.statuses:
        parts = []
        for number, (low, high) in enumerate(wanted.statuses):
            parts.append(f"HttpStatus BETWEEN {{low{number}:Int64}} AND {{high{number}:Int64}}")
            values |= {f"low{number}": low, f"high{number}": high}
        conditions.append(f"({' OR '.join(parts)})")
    for name, operator, at_ns in (("since_ns", ">=", wanted.since_ns), ("until_ns", "<", wanted.until_ns)):
        if at_ns is not None:
            conditions.append(f"Start {operator} fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC')")
            values[name] = at_ns
    return conditions, values
