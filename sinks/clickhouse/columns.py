"""Which column holds which field: one table for each kind of row, used for writing and for reading alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from operator import attrgetter
from typing import Any

import orjson

from mappers.model import Counts, Document, Event, Run, ToolRequest, Usage, Warning

TEXT = "text"
TEXTS = "texts"
MAP = "map"
FLAG = "flag"
INTEGER = "integer"
UNSIGNED = "unsigned"
REAL = "real"
MONEY = "money"
TIME = "time"
REQUESTS = "requests"
DOCUMENTS = "documents"
"""Kinds of columns. TIME is nanoseconds since the epoch; REQUESTS are tuples of id, name and hash, DOCUMENTS of id and
score. Any kind but these and TEXTS and MAP may be null."""

EARLIEST_NS = 0
NANO = Decimal("0.000000001")
MOST_USD = 10**9
"""What a `Decimal(18, 9)` can hold."""
LATEST_NS = 9_214_646_400 * 10**9
"""1970 to 2261, what a `DateTime64(9)` and the date of its partition can hold."""
TURNED = 128
"""Rows whose fields are turned into columns at a time."""
_BLANK_IF_FALSE = frozenset({TEXT, TEXTS, MAP, UNSIGNED, REQUESTS, DOCUMENTS})
"""Kinds whose columns can not be null in the store: what is not known is empty or 0 there."""


_EXPRESSIONS = {
    TIME: "toUnixTimestamp64Nano({})",
    # A tuple with names would come as a dict.
    REQUESTS: "arrayMap(x -> (x.1, x.2, x.3), {})",
    DOCUMENTS: "arrayMap(x -> (x.1, x.2), {})",
}


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    field: str
    """Path of the attribute in the model."""
    kind: str = TEXT

    @property
    def expression(self) -> str:
        """How it is selected so that nothing is lost on the way to Python."""
        return _EXPRESSIONS.get(self.kind, "{}").format(self.name)


EVENTS: Sequence[Column] = (
    Column("Tenant", "tenant"),
    Column("Project", "project"),
    Column("RunId", "run_id"),
    Column("TraceId", "trace_id"),
    Column("SpanId", "span_id"),
    Column("ParentSpanId", "parent_span_id"),
    Column("Seq", "seq", UNSIGNED),
    Column("Kind", "kind"),
    Column("Name", "name"),
    Column("StartTime", "start_ns", TIME),
    Column("EndTime", "end_ns", TIME),
    Column("Status", "status"),
    Column("ErrorType", "error_type"),
    Column("ErrorMessage", "error_message"),
    Column("IsRoot", "is_root", FLAG),
    Column("IsSetup", "is_setup", FLAG),
    Column("Service", "service"),
    Column("Instance", "instance"),
    Column("Environment", "environment"),
    Column("Scope", "scope"),
    Column("Source", "source"),
    Column("Convention", "convention"),
    Column("MapperVersion", "mapper_version", UNSIGNED),
    Column("Agent", "agent"),
    Column("SessionId", "session_id"),
    Column("SessionIsWeak", "session_is_weak", FLAG),
    Column("UserId", "user_id"),
    Column("Tags", "tags", TEXTS),
    Column("Metadata", "metadata", MAP),
    Column("Links", "links", TEXTS),
    Column("Provider", "provider"),
    Column("Operation", "operation"),
    Column("RequestModel", "request_model"),
    Column("ResponseModel", "response_model"),
    Column("ResponseId", "response_id"),
    Column("ServiceTier", "service_tier"),
    Column("FinishReasons", "finish_reasons", TEXTS),
    Column("ToolRequests", "tool_requests", REQUESTS),
    Column("Parameters", "parameters", MAP),
    Column("OfferedTools", "offered_tools", TEXTS),
    Column("OfferedToolsHash", "offered_tools_hash", UNSIGNED),
    Column("PromptName", "prompt_name"),
    Column("PromptVersion", "prompt_version"),
    Column("Documents", "documents", DOCUMENTS),
    Column("EmbeddingDimensions", "embedding_dimensions", INTEGER),
    Column("HttpStatus", "http_status", INTEGER),
    Column("Streaming", "streaming", FLAG),
    Column("TtftMs", "ttft_ms", REAL),
    Column("InputTokens", "input_tokens", INTEGER),
    Column("OwnInputTokens", "own_input_tokens", INTEGER),
    Column("OutputTokens", "output_tokens", INTEGER),
    Column("OwnOutputTokens", "own_output_tokens", INTEGER),
    Column("CacheReadTokens", "cache_read_tokens", INTEGER),
    Column("CacheWriteTokens", "cache_write_tokens", INTEGER),
    Column("CacheWrite1hTokens", "cache_write_1h_tokens", INTEGER),
    Column("ReasoningTokens", "reasoning_tokens", INTEGER),
    Column("AudioInputTokens", "audio_input_tokens", INTEGER),
    Column("AudioOutputTokens", "audio_output_tokens", INTEGER),
    Column("WebSearches", "web_searches", INTEGER),
    Column("UsageSource", "usage_source"),
    Column("CostUsd", "cost_usd", MONEY),
    Column("CostSource", "cost_source"),
    Column("PriceVersion", "price_version"),
    Column("Attempts", "attempts", UNSIGNED),
    Column("Tool", "tool"),
    Column("ToolCallId", "tool_call_id"),
    Column("ArgsHash", "args_hash", UNSIGNED),
    Column("ResultHash", "result_hash", UNSIGNED),
    Column("Signs", "signs", UNSIGNED),
    Column("History", "history"),
    Column("Input", "input"),
    Column("Output", "output"),
    Column("InputBytes", "input_bytes", INTEGER),
    Column("OutputBytes", "output_bytes", INTEGER),
    Column("Part", "part"),
    Column("DuplicateOf", "duplicate_of"),
    Column("HandoffFrom", "handoff_from"),
    Column("HandoffTo", "handoff_to"),
    Column("HandoffSource", "handoff_source"),
    Column("HandoffTold", "handoff_told"),
    Column("Filled", "filled", TEXTS),
)

RUNS: Sequence[Column] = (
    Column("Tenant", "tenant"),
    Column("Project", "project"),
    Column("RunId", "run_id"),
    Column("Start", "start_ns", TIME),
    Column("End", "end_ns", TIME),
    Column("Name", "name"),
    Column("Status", "status"),
    Column("HasRoot", "has_root", FLAG),
    Column("ErrorType", "error_type"),
    Column("ErrorMessage", "error_message"),
    Column("SessionId", "session_id"),
    Column("UserId", "user_id"),
    Column("Environment", "environment"),
    Column("Services", "services", TEXTS),
    Column("Agents", "agents", TEXTS),
    Column("Models", "models", TEXTS),
    Column("Tools", "tools", TEXTS),
    Column("Tags", "tags", TEXTS),
    Column("Metadata", "metadata", MAP),
    Column("Conventions", "conventions", TEXTS),
    Column("InputTokens", "usage.input", INTEGER),
    Column("OutputTokens", "usage.output", INTEGER),
    Column("CacheReadTokens", "usage.cache_read", INTEGER),
    Column("CacheWriteTokens", "usage.cache_write", INTEGER),
    Column("ReasoningTokens", "usage.reasoning", INTEGER),
    Column("EmbeddingTokens", "usage.embedding", INTEGER),
    Column("UsageMethod", "usage_method"),
    Column("CostUsd", "cost_usd", MONEY),
    Column("CostSource", "cost_source"),
    *(
        Column("".join(part.capitalize() for part in count.name.split("_")), f"counts.{count.name}", UNSIGNED)
        for count in fields(Counts)
    ),
    Column("SetupOnly", "setup_only", FLAG),
    Column("DuplicateOf", "duplicate_of"),
    Column("Input", "input"),
    Column("Output", "output"),
    Column("HealthScore", "health_score", INTEGER),
    Column("HealthLabel", "health_label"),
    Column("HealthReasons", "health_reasons", TEXTS),
    Column("TopWarning", "top_warning"),
    Column("TopSeverity", "top_severity"),
)

WARNINGS: Sequence[Column] = (
    Column("Tenant", "tenant"),
    Column("Project", "project"),
    Column("RunId", "run_id"),
    Column("WarningId", "warning_id"),
    Column("Type", "type"),
    Column("Category", "category"),
    Column("Severity", "severity"),
    Column("State", "state"),
    Column("Count", "count", UNSIGNED),
    Column("Message", "message"),
    Column("Suggestion", "suggestion"),
    Column("FirstEventId", "first_event_id"),
    Column("OnsetEventId", "onset_event_id"),
    Column("LastEventId", "last_event_id"),
    Column("Evidence", "evidence", TEXTS),
    Column("WastedTokens", "wasted_tokens", INTEGER),
    Column("WastedCostUsd", "wasted_cost_usd", MONEY),
    Column("Primary", "primary", FLAG),
    Column("IncidentId", "incident_id"),
    Column("Tool", "tool"),
    Column("Agent", "agent"),
    Column("Thread", "thread"),
    Column("SessionId", "session_id"),
    Column("EngineVersion", "engine_version"),
    Column("FirstSeen", "first_ns", TIME),
    Column("LastSeen", "last_ns", TIME),
)


def selection(columns: Sequence[Column]) -> str:
    """The list of a SELECT that `read` understands."""
    return ", ".join(column.expression for column in columns)


def reader(columns: Sequence[Column], build: Callable[..., Any]) -> Callable[[Sequence[Any]], Any]:
    """A function that makes a model object from a row of `selection(columns)`."""
    names = [column.field for column in columns]

    def read(row: Sequence[Any]) -> Any:
        return build(dict(zip(names, row, strict=True)))

    return read


def _event(values: dict[str, Any]) -> Event:
    values["tool_requests"] = tuple(ToolRequest(*request) for request in values["tool_requests"])
    values["documents"] = tuple(Document(*document) for document in values["documents"])
    return Event(**values)


def _run(values: dict[str, Any]) -> Run:
    usage = {name[6:]: values.pop(name) for name in list(values) if name.startswith("usage.")}
    counts = {name[7:]: values.pop(name) for name in list(values) if name.startswith("counts.")}
    return Run(**values, usage=Usage(**usage), counts=Counts(**counts))


def _warning(values: dict[str, Any]) -> Warning:
    return Warning(**values)


read_event: Callable[[Sequence[Any]], Event] = reader(EVENTS, _event)
read_run: Callable[[Sequence[Any]], Run] = reader(RUNS, _run)
read_warning: Callable[[Sequence[Any]], Warning] = reader(WARNINGS, _warning)


def unpack_run(packed: str) -> Run | None:
    """The run of a row of `run_rows`, where all columns are a JSON array; None if it was packed before a column was
    added."""
    row = orjson.loads(packed)
    if len(row) != len(RUNS):
        return None
    run: Run = read_run(
        [
            _UNPACKED[column.kind](value) if column.kind in _UNPACKED and value is not None else value
            for column, value in zip(RUNS, row, strict=True)
        ]
    )
    return run


def _unpacked_money(usd: str) -> Decimal:
    return Decimal(usd).quantize(NANO)


# Some servers write whole numbers of 64 bits as texts.
_UNPACKED: Mapping[str, Callable[[Any], Any]] = {
    TIME: int,
    INTEGER: int,
    UNSIGNED: int,
    MONEY: _unpacked_money,
}


# --------------------------------------------------------------------------- to Arrow


def arrow_array(kind: str, values: Sequence[Any]) -> Any:
    """An Arrow array of one column's values. A value that no column can hold does not cost the batch: half of a
    surrogate pair is replaced, a number out of range becomes the nearest or unknown, money is rounded."""
    import pyarrow as pa

    try:
        return _arrow_array(kind, values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return _arrow_array(kind, [_fitting(kind, value) for value in values])


def _fitting(kind: str, value: Any) -> Any:
    if kind == TEXT:
        return _clean(value)
    if kind == TEXTS:
        return [_clean(item) for item in value]
    if kind == DOCUMENTS:
        return [(_clean(identity), score) for identity, score in value]
    if kind == REQUESTS:
        return [(_clean(identity), _clean(name), number) for identity, name, number in value]
    if kind == INTEGER:
        return value if value is not None and abs(value) < 2**63 else None
    if kind == UNSIGNED:
        return min(max(value, 0), 2**64 - 1)
    if kind == MONEY:
        return _money(value)
    return value


def _money(usd: Decimal | None) -> Decimal | None:
    if usd is None or not usd.is_finite() or abs(usd) >= MOST_USD:
        return None
    rounded = usd.quantize(NANO)
    return rounded if abs(rounded) < MOST_USD else None


def _clean(text: Any) -> str:
    return str(text).encode("utf-8", "replace").decode()


def _arrow_array(kind: str, values: Sequence[Any]) -> Any:
    import pyarrow as pa

    if kind == TEXT:
        return pa.array(values, pa.string())
    if kind == TIME:
        return times(values)
    if kind == TEXTS:
        return pa.array(values, pa.list_(pa.string()))
    if kind == MAP:
        return maps(values)
    if kind == REQUESTS:
        return tuples(values, {"Id": pa.string(), "Name": pa.string(), "ArgsHash": pa.uint64()})
    if kind == DOCUMENTS:
        return tuples(values, {"Id": pa.string(), "Score": pa.float64()})
    types = {
        FLAG: pa.bool_(),
        INTEGER: pa.int64(),
        UNSIGNED: pa.uint64(),
        REAL: pa.float64(),
        MONEY: pa.decimal128(18, 9),
    }
    return pa.array(values, types[kind])


def clamped(values: Sequence[int]) -> Sequence[int]:
    """Nanoseconds, those that no column can hold moved to the nearest that it can."""
    if values and (min(values) < EARLIEST_NS or max(values) > LATEST_NS):
        return [min(max(value, EARLIEST_NS), LATEST_NS) for value in values]
    return values


def times(values: Sequence[int]) -> Any:
    """Nanoseconds as timestamps."""
    import pyarrow as pa

    return pa.array(clamped(values), pa.int64()).view(pa.timestamp("ns", "UTC"))


def maps(values: Sequence[Mapping[str, str]]) -> Any:
    """Mappings from text to text."""
    offsets = [0]
    keys: list[str] = []
    items: list[str] = []
    for value in values:
        if value:
            keys += value
            items += value.values()
        offsets.append(len(keys))
    return map_array(offsets, keys, items)


def tuples(values: Sequence[Sequence[tuple[Any, ...]]], members: Mapping[str, Any]) -> Any:
    """Lists of tuples, of these members by name and type."""
    import pyarrow as pa

    offsets = [0]
    flat: list[tuple[Any, ...]] = []
    for value in values:
        flat += value
        offsets.append(len(flat))
    columns = [pa.array([one[place] for one in flat], kind) for place, kind in enumerate(members.values())]
    structs = pa.StructArray.from_arrays(columns, list(members))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)


def map_array(offsets: list[int], keys: list[str], items: list[str]) -> Any:
    """Mappings that lie flat: the one at `n` has the keys and items from `offsets[n]` to `offsets[n + 1]`."""
    import pyarrow as pa

    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()), arrow_array(TEXT, keys), arrow_array(TEXT, items)
    )


def column_arrays(columns: Sequence[Column], rows: Sequence[Any]) -> dict[str, Any]:
    """Arrow arrays of model objects, by the columns' names. A column in which no row has anything is left out, as a
    third of them are in most batches: the engine fills it with what that means.

    All fields of a row are read at once and turned over, some rows at a time: reading them column by column goes
    through all rows eighty times, and so does turning over more rows than a cache holds.
    """
    read = attrgetter(*(column.field for column in columns))
    values: list[list[Any]] = [[] for _ in columns]
    for begin in range(0, len(rows), TURNED):
        for found, more in zip(
            values, zip(*map(read, rows[begin : begin + TURNED]), strict=True), strict=True
        ):
            found += more
    return {
        column.name: arrow_array(column.kind, found)
        for column, found in zip(columns, values, strict=True)
        if not _is_blank(column.kind, found)
    }


def _is_blank(kind: str, values: Sequence[Any]) -> bool:
    if kind in _BLANK_IF_FALSE:
        return not any(values)
    return values.count(None) == len(values)
