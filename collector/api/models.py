"""What the API answers and takes, as types: `render` and the routes make them, the OpenAPI document tells them.

They cost nothing when a request is answered: a TypedDict is a dict. Fields may be added within v1, none is taken
away. Null means "not known" or "has none", never zero.
"""

from __future__ import annotations

from typing import (
    Any,
    Literal,
    NotRequired,  # pydantic can not read those of Python 3.11
)

from pydantic import with_config
from typing_extensions import TypedDict

from mappers.model import RunStatus

described = with_config(use_attribute_docstrings=True)
"""Takes the texts below fields over into the schema."""

Time = str
"""RFC 3339 in UTC with nine decimals."""


class Usage(TypedDict):
    """Tokens of LLM calls. Input includes cache reads and writes, output includes reasoning."""

    input: int | None
    output: int | None
    total: int | None
    cache_read: int | None
    cache_write: int | None
    reasoning: int | None
    embedding: int | None


class Error(TypedDict):
    """What went wrong."""

    type: str | None
    message: str | None


@described
class Counts(TypedDict):
    """How often what happened, twins counted once."""

    spans: int
    llm_calls: int
    llm_errors: int
    embeddings: int
    tool_calls: int
    tool_errors: int
    handoffs: int
    retries: int
    warnings: int
    """Loop warnings that are not retracted."""
    unpriced_calls: int
    """Model calls whose cost is not known: the run cost at least `cost_usd`."""


@described
class RunHealth(TypedDict):
    """How the run looks."""

    score: int | None
    """0 to 100."""
    label: str | None
    reasons: list[str]


class TopWarning(TypedDict):
    """The worst loop warning that stands."""

    type: str
    severity: str


@described
class Run(TypedDict):
    """One trace as a whole."""

    run_id: str
    """The trace id, 32 hex digits."""
    project: str
    name: str
    status: RunStatus
    started_at: Time
    ended_at: Time | None
    """Null while it runs."""
    duration_ms: float | None
    session_id: str | None
    user_id: str | None
    environment: str | None
    services: list[str]
    agents: list[str]
    models: list[str]
    """Those that answered, else those that were asked for."""
    tools: list[str]
    tags: list[str]
    """Of its spans, and those that people gave it."""
    note: str | None
    pinned: bool
    """It is kept, whatever its age."""
    usage: Usage
    usage_method: str
    """leaf_sum: the sum of its calls; root_reported: what its root says."""
    cost_usd: float | None
    cost_source: str | None
    """reported, override, computed or mixed."""
    counts: Counts
    error: Error | None
    health: RunHealth
    top_warning: TopWarning | None
    setup_only: bool
    """It only creates or configures something."""
    duplicate_of: str | None
    """Id of the run whose calls it repeats."""
    input: str | None
    """A preview of what it read; only for who may see content."""
    output: str | None
    """A preview of what it wrote; only for who may see content."""


Handoff = TypedDict("Handoff", {"from": str | None, "to": str | None, "source": str})


class ToolRequest(TypedDict):
    """A tool that a model's answer asks for."""

    id: str | None
    name: str


class Prompt(TypedDict):
    """The template that an input was made from."""

    name: str | None
    version: str | None


class Document(TypedDict):
    """What a retriever or reranker gave back."""

    id: str | None
    score: float | None


class AudioTokens(TypedDict):
    """Parts of the tokens read and written."""

    input: int | None
    output: int | None


@described
class EventContent(TypedDict):
    """What was read and written; only when it is asked for, and of an entry that tells of a span also how."""

    input: NotRequired[str | None]
    output: NotRequired[str | None]
    response_id: NotRequired[str | None]
    parameters: NotRequired[dict[str, str]]
    """Of the request, by their usual names."""
    offered_tools: NotRequired[list[str]]
    tool_requests: NotRequired[list[ToolRequest]]
    prompt: NotRequired[Prompt | None]
    documents: NotRequired[list[Document]]
    embedding_dimensions: NotRequired[int | None]
    audio_tokens: NotRequired[AudioTokens]
    http_status: NotRequired[int | None]
    service_tier: NotRequired[str | None]
    cost_source: NotRequired[str | None]
    price_version: NotRequired[str | None]
    tags: NotRequired[list[str]]
    metadata: NotRequired[dict[str, str]]


@described
class Event(EventContent):
    """One moment of a run's timeline."""

    event_id: str
    """Unique within its run."""
    seq: NotRequired[int]
    """Number in the run's timeline, from 1; a span that comes late moves those after it."""
    type: str
    """What began, ended, or failed: `llm_call_started`, `tool_call_completed`, `handoff_started`, …"""
    run_id: str
    span_id: str | None
    parent_span_id: str | None
    time: Time
    kind: str | None
    name: str
    agent: str | None
    provider: str | None
    model: str | None
    operation: str | None
    tool: str | None
    tool_call_id: str | None
    status: str
    """ok, error or running."""
    usage: Usage | None
    cost_usd: float | None
    latency_ms: float | None
    """Of closing entries."""
    ttft_ms: float | None
    """Time to the first token."""
    finish_reasons: list[str]
    error: Error | None
    handoff: Handoff | None
    convention: str | None
    duplicate_of: str | None
    """Id of the span that is counted instead."""


class PartialRun(TypedDict, total=False):
    """A run with some groups of its fields."""


class PartialEvent(TypedDict, total=False):
    """An entry with some groups of its fields."""


PartialRun.__annotations__.update(Run.__annotations__)
PartialEvent.__annotations__.update(Event.__annotations__)


@described
class Warning(TypedDict):
    """A loop or waste that was found, with its evidence."""

    warning_id: str
    run_id: str
    type: str
    category: str
    """loop or waste."""
    severity: str
    """info, warning or critical."""
    state: str
    """active, resolved or retracted."""
    count: int
    message: str
    suggestion: str | None
    first_event_id: str | None
    onset_event_id: str | None
    last_event_id: str | None
    evidence: list[str]
    """Ids of events."""
    wasted_tokens: int | None
    wasted_cost_usd: float | None
    primary: bool
    """Leads its incident."""
    incident_id: str | None
    tool: str | None
    agent: str | None
    project: str
    session_id: str | None
    first_at: Time
    last_at: Time
    engine_version: str | None


class SpanStatus(TypedDict):
    """A span's own status."""

    code: str
    message: str | None


class SpanScope(TypedDict):
    """The instrumentation scope."""

    name: str
    version: str | None
    attributes: dict[str, str]


class SpanEvent(TypedDict):
    """An event of a span."""

    time: Time
    name: str
    attributes: dict[str, str]


class SpanLink(TypedDict):
    """A link of a span."""

    trace_id: str
    span_id: str
    attributes: dict[str, str]


class Span(TypedDict):
    """A span as received; attributes as text."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    trace_state: str | None
    name: str
    kind: str
    started_at: Time
    duration_ms: float
    status: SpanStatus
    project: str
    resource: dict[str, str]
    scope: SpanScope
    attributes: dict[str, str]
    events: list[SpanEvent]
    links: list[SpanLink]


# --------------------------------------------------------------------------- lists


class Paging(TypedDict):
    """The way to the next page; null on the last."""

    next_cursor: str | None


class ListMeta(TypedDict):
    """How much there is."""

    count: int


class RunListMeta(TypedDict):
    """What was applied."""

    since: str | None
    until: str | None
    sort: str
    limit: int
    total: NotRequired[int]


class RunList(TypedDict):
    data: list[Run]
    page: Paging
    meta: RunListMeta


class PartialRunList(TypedDict):
    data: list[PartialRun]
    page: Paging
    meta: RunListMeta


class RunBatch(TypedDict):
    data: list[Run]
    missing: list[str]


class PartialRunBatch(TypedDict):
    data: list[PartialRun]
    missing: list[str]


class EventList(TypedDict):
    data: list[Event]
    page: Paging
    meta: ListMeta


class PartialEventList(TypedDict):
    data: list[PartialEvent]
    page: Paging
    meta: ListMeta


class SpanList(TypedDict):
    data: list[Span]
    page: Paging
    meta: ListMeta


class WarningList(TypedDict):
    data: list[Warning]
    page: Paging
    meta: ListMeta


class WarningPageMeta(TypedDict):
    """What was applied."""

    sort: str
    limit: int


class WarningPage(TypedDict):
    data: list[Warning]
    page: Paging
    meta: WarningPageMeta


# --------------------------------------------------------------------------- calls of the proxy


class ExchangeSession(TypedDict):
    """The conversation that a call belongs to, and what told it."""

    id: str
    method: str
    confidence: float


class ExchangeUsage(TypedDict):
    """Tokens as the provider counted them."""

    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None
    reasoning: int | None


class ExchangeBytes(TypedDict):
    """Lengths of the bodies as they passed."""

    request: int
    response: int


@described
class ExchangeSummary(TypedDict):
    """A call that the proxy relayed, without what was said in it."""

    id: str
    ts_start: Time
    ts_end: Time
    duration_ms: float
    ttft_ms: float | None
    """Until the model first said something."""
    project: str
    run_id: str
    span_id: str
    session: ExchangeSession
    client: str
    user_agent: str
    key_hash: str | None
    """A name for the API key; the key itself is not kept."""
    method: str
    path: str
    upstream: str
    server: str
    api: str | None
    model: str | None
    response_model: str | None
    status: int
    """-1 if there was no answer."""
    outcome: str
    """complete, provider_error, mid_stream_error, client_abort, upstream_abort or truncated_capture."""
    error: Error | None
    streamed: bool
    retries: int
    """How often the client had tried before."""
    usage: ExchangeUsage
    cost_usd: float | None
    """The cost of the call's event."""
    bytes: ExchangeBytes
    mutations: list[str]
    """What the proxy was told to change in it."""
    disconnected: bool
    """The client hung up before the end."""
    truncated_req: bool
    truncated_resp: bool


class ExchangePageMeta(TypedDict):
    """What was applied."""

    limit: int


class ExchangePage(TypedDict):
    data: list[ExchangeSummary]
    page: Paging
    meta: ExchangePageMeta


@described
class ExchangeRequest(TypedDict):
    """What was asked."""

    headers: dict[str, str]
    """Of those that may hold credentials only how long they were."""
    body: Any
    """Null if it was not kept."""
    body_b64: NotRequired[str]
    """Instead, if it is no text."""
    parse_error: NotRequired[str]
    """Why the body is no JSON."""


@described
class ExchangeEvent(TypedDict):
    """An event of a stream."""

    event: str
    data: Any
    raw: NotRequired[str]
    """The data, if it is no JSON."""
    t_delta_ms: float
    """Since the answer's head came."""


@described
class ExchangeResponse(TypedDict):
    """What was answered."""

    headers: dict[str, str]
    body: NotRequired[Any]
    body_b64: NotRequired[str]
    parse_error: NotRequired[str]
    events: NotRequired[list[ExchangeEvent] | None]
    """Of a stream; null if they were not kept."""
    chunks: NotRequired[list[Any]]
    """Of a stream, in exports: the pieces as they came, `[t_delta_ms, text]`."""
    assembled: NotRequired[bool]
    """The body is what the stream came to, because its pieces were not kept."""
    stream_done: NotRequired[bool]
    """The stream came to its end."""


class ExchangeRedaction(TypedDict):
    """Whether something was masked."""

    hits: bool


class ExchangeHttp(TypedDict):
    """How it was sent."""

    resend_count: int


@described
class Exchange(ExchangeSummary):
    """A call that the proxy relayed, as it passed."""

    schema: int
    trace_id: str
    content_encoding: str | None
    """What the answer was packed with; here it is unpacked."""
    redaction: ExchangeRedaction
    http: ExchangeHttp
    req: ExchangeRequest
    resp: ExchangeResponse


class Otlp(TypedDict):
    """OTLP/JSON: a request of traces, of logs, or both side by side, as `eddyline import` takes it."""

    resourceSpans: NotRequired[list[dict[str, Any]]]
    resourceLogs: NotRequired[list[dict[str, Any]]]


class HarCreator(TypedDict):
    """The program that made the archive."""

    name: str
    version: str


class HarLog(TypedDict):
    """HTTP calls as browsers' tools write them down; here one."""

    version: str
    creator: HarCreator
    entries: list[dict[str, Any]]


class Har(TypedDict):
    """An HTTP archive (HAR 1.2)."""

    log: HarLog


class ExchangeSumUsage(TypedDict):
    """Tokens, of calls whose provider counted them."""

    input: int | None
    output: int | None
    cache_read: int | None


class ExchangeTimes(TypedDict):
    """How long calls took, ms."""

    p50: float
    p95: float


@described
class ExchangeSum(TypedDict):
    """What the calls with one value add up to."""

    value: str
    """Of what they are split by."""
    calls: int
    failed: int
    usage: ExchangeSumUsage
    cost_usd: float | None
    """Of calls whose cost is known."""
    bytes: ExchangeBytes
    duration_ms: ExchangeTimes
    models: list[str]
    """Up to 20."""
    first_at: Time
    last_at: Time


class ExchangeSumsMeta(TypedDict):
    """What was applied."""

    by: str


class ExchangeSums(TypedDict):
    data: list[ExchangeSum]
    meta: ExchangeSumsMeta


@described
class ProxyPlugin(TypedDict):
    """A plugin of the proxy. Which members it needs depends on its type."""

    id: str
    type: Literal["path-filter", "text-replace", "text-append"]
    enabled: NotRequired[bool]
    paths: NotRequired[list[str]]
    """Provider's paths that it concerns, `*` stands for anything; all if empty."""
    projects: NotRequired[list[str]]
    where: NotRequired[Literal["request", "response", "both"]]
    find: NotRequired[str]
    replace: NotRequired[str]
    text: NotRequired[str]
    to: NotRequired[Literal["user", "system"]]


class ProxyPluginListMeta(TypedDict):
    """Where they come from: configuration or runtime."""

    source: str


class ProxyPluginList(TypedDict):
    data: list[ProxyPlugin]
    meta: ProxyPluginListMeta


class WantedProxyPlugins(TypedDict):
    """The plugins that are to hold, in order."""

    plugins: list[ProxyPlugin]


class ProxyPluginType(TypedDict):
    """A kind of plugin, and what it does."""

    type: str
    purpose: str


class ProxyPluginTypes(TypedDict):
    data: list[ProxyPluginType]


# --------------------------------------------------------------------------- values and sums


class FacetValue(TypedDict):
    """A value, and how many runs have it."""

    value: str
    count: int


class FacetValues(TypedDict):
    data: list[FacetValue]


class FieldDescription(TypedDict):
    """A field of the query language."""

    field: str
    type: str
    purpose: str
    operators: list[str]
    choices: list[str] | None
    aliases: list[str]


class FieldList(TypedDict):
    data: list[FieldDescription]


@described
class AggregateRow(TypedDict):
    """One combination of keys, within one interval if there are intervals."""

    time: NotRequired[Time]
    """Start of the interval."""
    keys: dict[str, str]
    values: dict[str, float | None]


class AggregateMeta(TypedDict):
    """What was applied."""

    since: str | None
    until: str | None
    interval: str
    tz: str
    truncated: bool


class AggregateTable(TypedDict):
    data: list[AggregateRow]
    meta: AggregateMeta


# --------------------------------------------------------------------------- why a span was understood so


class ScopeName(TypedDict):
    """The instrumentation scope."""

    name: str
    version: str | None


class ShownBy(TypedDict):
    """A convention, and what showed it."""

    id: str
    shown_by: str


class FoundValue(TypedDict):
    """A place that has a value for a field."""

    value: str
    source: str
    convention: str


class FieldReading(FoundValue):
    """Where a field's value was taken from, and which other places had one."""

    others: list[FoundValue]


@described
class Mapping(TypedDict):
    """How one span was understood."""

    trace_id: str
    span_id: str
    name: str
    scope: ScopeName
    conventions: list[ShownBy]
    kind: str
    kind_rule: str | None
    told_kind: str
    """The kind that the rules gave, before corrections."""
    quirks: list[str]
    status: str
    fields: dict[str, FieldReading]
    unread: list[str]
    """Attributes that no rule or field names."""
    entries: list[str]
    no_entry: str | None
    duplicate_of: str | None


# --------------------------------------------------------------------------- the configuration


class Configuration(TypedDict):
    """The configuration as it holds, without secrets."""

    config: dict[str, Any]


class ConfigurationCheck(TypedDict):
    """Whether a configuration could be used."""

    valid: bool
    problems: list[str]
    """Each with its setting."""


# --------------------------------------------------------------------------- keys


class Token(TypedDict):
    """An API key, without its secret."""

    id: str
    prefix: str
    name: str
    scopes: list[str]
    project: str | None
    tenant: str | None
    created_at: str
    last_used_at: str | None


@described
class NewToken(Token):
    """An API key as it is made."""

    token: str
    """Shown this once."""


class TokenList(TypedDict):
    data: list[Token]


class WantedToken(TypedDict):
    """A key that is to be made."""

    name: str
    scopes: NotRequired[list[Literal["ingest", "read", "content", "delete", "admin"]]]
    project: NotRequired[str | None]
    tenant: NotRequired[str | None]


# --------------------------------------------------------------------------- the database


class Table(TypedDict):
    table: str
    rows: int
    bytes: int
    parts: int


class Database(TypedDict):
    """What the database holds and does."""

    schema_version: int
    bytes: int
    merges: int
    mutations: int
    tables: list[Table]


@described
class RetentionPolicy(TypedDict, total=False):
    """How long what is kept, in days since it was written; null: for ever."""

    spans_days: int | None
    logs_days: int | None
    events_days: int | None
    exchanges_days: int | None
    runs_days: int | None
    """Of runs and warnings."""
    max_bytes: int | None
    """Of all tables; beyond that the oldest spans, logs, events and exchanges go."""


class ExpiredRows(TypedDict, total=False):
    """How many rows of each kind."""

    spans: int
    logs: int
    events: int
    exchanges: int
    runs: int


class RetentionRound(TypedDict):
    """What retention did last."""

    at: Time
    deleted: ExpiredRows
    error: str | None


@described
class Retention(TypedDict):
    """How long what is kept. Pinned runs are not asked."""

    policy: RetentionPolicy
    bytes: int
    """What the tables take now."""
    would_delete: ExpiredRows
    last: RetentionRound | None


class RedactionOfProject(TypedDict):
    """What is masked and not stored."""

    mask: list[Literal["email", "phone", "card"]]
    """Personal data, beside secrets, which always are."""
    capture_input: bool
    capture_output: bool


class Redaction(RedactionOfProject):
    """What is masked and not stored, by the configuration."""

    projects: dict[str, RedactionOfProject]
    """By name or pattern; the first that fits holds alone."""


@described
class Job(TypedDict):
    """Long work on the database."""

    job_id: str
    kind: Literal["compact", "remap"]
    state: Literal["running", "done", "stopped"]
    done: int
    """Tables, or runs."""
    total: int
    error: str | None
    began_at: Time
    ended_at: Time | None


class LastJob(TypedDict):
    job: Job | None


class WantedRemap(TypedDict):
    """Which runs to map anew: those that began since then."""

    since: str


# --------------------------------------------------------------------------- annotating


@described
class Annotation(TypedDict):
    """What people say of a run."""

    tags: list[str]
    note: str | None
    pinned: bool
    updated_by: str | None
    """Id of the key."""
    updated_at: Time | None


@described
class WantedAnnotation(TypedDict, total=False):
    """What to say of a run; what is not given stays."""

    tags: list[str]
    """All that people give it; those of its spans stay."""
    note: str | None
    pinned: bool


# --------------------------------------------------------------------------- deleting


@described
class DeletedRows(TypedDict):
    """How many of each kind."""

    runs: int
    warnings: int
    events: int
    spans: int
    logs: int
    exchanges: int
    """Calls as they passed the proxy."""
    annotations: int
    dead_letters: NotRequired[int]
    quarantined: NotRequired[int]


class RemainingRows(TypedDict):
    """How many of each kind were found when all was done."""

    runs: int
    run_rows: int
    """Of the tables that runs are found by, too."""
    run_values: int
    warnings: int
    events: int
    spans: int
    logs: int
    exchanges: int
    annotations: int
    journal: int
    quarantine: int
    dead_letters: int


@described
class Deletion(TypedDict):
    """The receipt of a deletion."""

    deletion_id: str
    state: Literal["accepted", "hidden", "purged"]
    """Nothing is taken any more; nobody can read them; nothing is left."""
    filter: dict[str, str]
    """Which runs; who was meant only as a hash."""
    reason: str | None
    requested_by: str | None
    """Id of the key."""
    requested_at: str | None
    hidden_at: str | None
    purged_at: str | None
    waits_for: str | None
    """What a deletion that goes on waits for."""
    matched: DeletedRows | None
    verified: RemainingRows | None
    not_covered: list[str]


class ExpectedDeletion(TypedDict):
    """What a deletion would delete."""

    dry_run: Literal[True]
    matched: DeletedRows


class DeletionFilter(TypedDict, total=False):
    """Which runs; all that is given must hold."""

    user: str
    session: str
    project: str
    before: str
    run_ids: list[str]


class WantedDeletion(TypedDict):
    """What is to be deleted."""

    filter: DeletionFilter
    dry_run: NotRequired[bool]
    reason: NotRequired[str]


# --------------------------------------------------------------------------- moving


@described
class Export(TypedDict):
    """What an export came to."""

    export_id: str
    shape: str
    format: str
    complete: bool
    """Everything was sent."""
    runs: int
    rows: int
    bytes: int
    """But for the last line of JSON Lines that tells rows and hash."""
    sha256: str | None
    """Of these bytes, in hex; null until the export is complete."""
    next_cursor: str | None
    """Where the next export goes on, if this one had a limit and more runs follow."""


@described
class RejectedLine(TypedDict):
    line: int
    """Its place in the file, counted from 1."""
    reason: str


@described
class Import(TypedDict):
    """What became of a file."""

    dry_run: bool
    format: str | None
    lines: int
    """Lines of JSON, or frames of protobuf, but for empty ones."""
    accepted: int
    """Spans and log records."""
    rejected_lines: int
    rejected_items: int
    rejected: list[RejectedLine]
    """The first thousand of them."""


# --------------------------------------------------------------------------- asking


@described
class RunSearch(TypedDict, total=False):
    """What to look for: everything that is given must hold."""

    filter: dict[str, Any]
    """`{"and": […]}`, `{"or": […]}`, `{"not": …}`, or `{"field": …, "op": …, "value": …}`."""
    q: str
    """A search text."""
    since: str
    until: str
    include: Literal["all"]
    sort: str
    limit: int
    cursor: str
    fields: str
    count: Literal["estimate", "exact"]


class RunIds(TypedDict):
    """Up to 500 of them."""

    ids: list[str]


# --------------------------------------------------------------------------- the collector itself


class RouteDescription(TypedDict):
    """A route."""

    method: str
    path: str
    purpose: str
    scope: str | None


class Discovery(TypedDict):
    """The way in."""

    name: str
    version: str
    openapi: str
    routes: list[RouteDescription]


class Stored(TypedDict):
    """What is stored, each counted once."""

    spans: int
    events: int
    runs: int


@with_config(extra="allow")
class Flow(TypedDict):
    """Of one signal, since the process started."""

    accepted: int
    stored: int
    queued: int
    dead_lettered: int
    duplicates: int
    filtered: int


@with_config(extra="allow")
class CollectorStatus(TypedDict):
    """How the collector is; each part adds what it counts. Keys see what is stored of their own alone."""

    version: str
    uptime_s: float
    stored: Stored
    pipeline: NotRequired[Flow]


@described
class ProblemEntry(TypedDict):
    """One thing that is wrong."""

    parameter: str
    detail: str
    allowed: NotRequired[list[str]]
    at: NotRequired[int]
    """Character of the search text, from 0."""
    pointer: NotRequired[str]
    """JSON pointer into the body."""


class Problem(TypedDict):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: NotRequired[list[ProblemEntry]]
