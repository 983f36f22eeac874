-- The first schema. One statement ends with a semicolon and an empty line.
-- Identity of a row is (tenant, trace id, span id, …) and is its table's sorting key, so that a row written again
-- replaces itself. Times have a zone in their type: without one, a change of the host's zone would break that.
-- Retention counts from IngestedAt, never from a span's own time, so that imported history is not born expired.

-- As received. Names and types are those of the OpenTelemetry ClickHouse exporter; the last four columns are ours.
CREATE TABLE IF NOT EXISTS otel.otel_traces
(
    Timestamp          DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    TraceId            String CODEC(ZSTD(1)),
    SpanId             String CODEC(ZSTD(1)),
    ParentSpanId       String CODEC(ZSTD(1)),
    TraceState         String CODEC(ZSTD(1)),
    SpanName           LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind           LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName        LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName          String CODEC(ZSTD(1)),
    ScopeVersion       String CODEC(ZSTD(1)),
    SpanAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration           UInt64 CODEC(ZSTD(1)),
    StatusCode         LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage      String CODEC(ZSTD(1)),
    Events Nested
    (
        Timestamp  DateTime64(9, 'UTC'),
        Name       LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested
    (
        TraceId    String,
        SpanId     String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Tenant             LowCardinality(String),
    Project            LowCardinality(String),
    ScopeAttributes    Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    IngestedAt         DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),

    INDEX idx_trace_id      TraceId                 TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_service       ServiceName             TYPE set(100)            GRANULARITY 1,
    INDEX idx_span_name     SpanName                TYPE set(200)            GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01)  GRANULARITY 1,
    INDEX idx_duration      Duration                TYPE minmax              GRANULARITY 1
)
ENGINE = ReplacingMergeTree(IngestedAt)
PARTITION BY toDate(Timestamp)
PRIMARY KEY (toStartOfHour(Timestamp), TraceId)
ORDER BY (toStartOfHour(Timestamp), TraceId, Timestamp, SpanId, Tenant)
TTL toDateTime(IngestedAt) + INTERVAL 14 DAY
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- Trace id to time range, which dashboards made for the exporter look up first.
CREATE TABLE IF NOT EXISTS otel.otel_traces_trace_id_ts
(
    TraceId String CODEC(ZSTD(1)),
    Start   SimpleAggregateFunction(min, DateTime('UTC')) CODEC(Delta(4), ZSTD(1)),
    End     SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta(4), ZSTD(1)),
    Hour    DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    Seen    SimpleAggregateFunction(max, DateTime('UTC')) DEFAULT now() CODEC(Delta(4), ZSTD(1)),

    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(Hour)
ORDER BY (Hour, TraceId)
TTL Seen + INTERVAL 15 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS otel.otel_traces_trace_id_ts_mv TO otel.otel_traces_trace_id_ts AS
SELECT TraceId, toStartOfHour(Timestamp) AS Hour, min(toDateTime(Timestamp)) AS Start,
    max(toDateTime(Timestamp)) AS End, max(toDateTime(IngestedAt)) AS Seen
FROM otel.otel_traces
GROUP BY TraceId, Hour;

-- Log records as received; RowHash tells two records of one span and one time apart.
CREATE TABLE IF NOT EXISTS otel.otel_logs
(
    Timestamp          DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    TimestampTime      DateTime('UTC') DEFAULT toDateTime(Timestamp) CODEC(Delta(4), ZSTD(1)),
    TraceId            String CODEC(ZSTD(1)),
    SpanId             String CODEC(ZSTD(1)),
    TraceFlags         UInt8,
    SeverityText       LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber     UInt8,
    ServiceName        LowCardinality(String) CODEC(ZSTD(1)),
    Body               String CODEC(ZSTD(1)),
    ResourceSchemaUrl  LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeSchemaUrl     LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName          String CODEC(ZSTD(1)),
    ScopeVersion       LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes    Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    LogAttributes      Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    EventName          LowCardinality(String) CODEC(ZSTD(1)),
    Tenant             LowCardinality(String),
    Project            LowCardinality(String),
    RowHash            UInt64 DEFAULT cityHash64(Body, EventName, SeverityNumber, LogAttributes) CODEC(ZSTD(1)),
    IngestedAt         DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),

    INDEX idx_trace_id     TraceId                TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_service      ServiceName            TYPE set(100)            GRANULARITY 1,
    INDEX idx_event_name   EventName              TYPE set(100)            GRANULARITY 1,
    INDEX idx_log_attr_key mapKeys(LogAttributes) TYPE bloom_filter(0.01)  GRANULARITY 1
)
ENGINE = ReplacingMergeTree(IngestedAt)
PARTITION BY toDate(TimestampTime)
PRIMARY KEY (toStartOfHour(TimestampTime), TraceId)
ORDER BY (toStartOfHour(TimestampTime), TraceId, Timestamp, SpanId, Tenant, RowHash)
TTL toDateTime(IngestedAt) + INTERVAL 30 DAY
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- One row for each thing that happened. Content is a preview; the whole stays in otel_traces.
CREATE TABLE IF NOT EXISTS otel.run_events
(
    Tenant           LowCardinality(String),
    Project          LowCardinality(String),
    RunId            String CODEC(ZSTD(1)),
    TraceId          String CODEC(ZSTD(1)),
    SpanId           String CODEC(ZSTD(1)),
    ParentSpanId     String CODEC(ZSTD(1)),
    Seq              UInt16,
    Kind             LowCardinality(String),
    Name             LowCardinality(String),
    StartTime        DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    EndTime          DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    DurationNs       UInt64 MATERIALIZED greatest(0, toUnixTimestamp64Nano(EndTime) - toUnixTimestamp64Nano(StartTime)) CODEC(ZSTD(1)),
    Status           LowCardinality(String),
    ErrorType        LowCardinality(String),
    ErrorMessage     String CODEC(ZSTD(1)),
    IsRoot           Bool,
    IsSetup          Bool,
    Service          LowCardinality(String),
    Environment      LowCardinality(String),
    Scope            LowCardinality(String),
    Source           LowCardinality(String),
    Convention       LowCardinality(String),
    MapperVersion    UInt16,
    Agent            LowCardinality(String),
    SessionId        String CODEC(ZSTD(1)),
    UserId           String CODEC(ZSTD(1)),
    Tags             Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Metadata         Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Links            Array(String) CODEC(ZSTD(1)),
    Provider         LowCardinality(String),
    Operation        LowCardinality(String),
    RequestModel     LowCardinality(String),
    ResponseModel    LowCardinality(String),
    ResponseId       String CODEC(ZSTD(1)),
    FinishReasons    Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Streaming        Nullable(Bool),
    TtftMs           Nullable(Float64) CODEC(ZSTD(1)),
    InputTokens      Nullable(Int64) CODEC(T64, ZSTD(1)),
    OutputTokens     Nullable(Int64) CODEC(T64, ZSTD(1)),
    CacheReadTokens  Nullable(Int64) CODEC(T64, ZSTD(1)),
    CacheWriteTokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    ReasoningTokens  Nullable(Int64) CODEC(T64, ZSTD(1)),
    UsageSource      LowCardinality(String),
    CostUsd          Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    CostSource       LowCardinality(String),
    Attempts         UInt16,
    Tool             LowCardinality(String),
    ToolCallId       String CODEC(ZSTD(1)),
    ArgsHash         UInt64 CODEC(ZSTD(1)),
    ResultHash       UInt64 CODEC(ZSTD(1)),
    Input            String CODEC(ZSTD(1)),
    Output           String CODEC(ZSTD(1)),
    InputBytes       Nullable(Int64) CODEC(T64, ZSTD(1)),
    OutputBytes      Nullable(Int64) CODEC(T64, ZSTD(1)),
    DuplicateOf      String CODEC(ZSTD(1)),
    HandoffFrom      LowCardinality(String),
    HandoffTo        LowCardinality(String),
    HandoffSource    LowCardinality(String),
    IngestedAt       DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),

    INDEX idx_run      RunId      TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_session  SessionId  TYPE bloom_filter(0.01)  GRANULARITY 1,
    INDEX idx_user     UserId     TYPE bloom_filter(0.01)  GRANULARITY 1,
    INDEX idx_ingested IngestedAt TYPE minmax              GRANULARITY 1
)
ENGINE = ReplacingMergeTree(IngestedAt)
PARTITION BY toDate(StartTime)
PRIMARY KEY (Tenant, toStartOfHour(StartTime), RunId)
ORDER BY (Tenant, toStartOfHour(StartTime), RunId, StartTime, SpanId, Seq)
TTL toDateTime(IngestedAt) + INTERVAL 30 DAY
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1;

-- One row for each run, derived from its events whenever one of them is touched; the newest Version holds.
-- The hour in the key moves when an earlier span arrives late: read the newest Version of a run, not FINAL.
CREATE TABLE IF NOT EXISTS otel.runs
(
    Tenant           LowCardinality(String),
    Project          LowCardinality(String),
    RunId            String CODEC(ZSTD(1)),
    Start            DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    End              DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    DurationNs       UInt64 MATERIALIZED greatest(0, toUnixTimestamp64Nano(End) - toUnixTimestamp64Nano(Start)) CODEC(ZSTD(1)),
    Name             LowCardinality(String),
    Status           LowCardinality(String),
    HasRoot          Bool,
    ErrorType        LowCardinality(String),
    ErrorMessage     String CODEC(ZSTD(1)),
    SessionId        String CODEC(ZSTD(1)),
    UserId           String CODEC(ZSTD(1)),
    Environment      LowCardinality(String),
    Services         Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Agents           Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Models           Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Tools            Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Tags             Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Metadata         Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Conventions      Array(LowCardinality(String)) CODEC(ZSTD(1)),
    InputTokens      Nullable(Int64) CODEC(T64, ZSTD(1)),
    OutputTokens     Nullable(Int64) CODEC(T64, ZSTD(1)),
    CacheReadTokens  Nullable(Int64) CODEC(T64, ZSTD(1)),
    CacheWriteTokens Nullable(Int64) CODEC(T64, ZSTD(1)),
    ReasoningTokens  Nullable(Int64) CODEC(T64, ZSTD(1)),
    EmbeddingTokens  Nullable(Int64) CODEC(T64, ZSTD(1)),
    UsageMethod      LowCardinality(String),
    CostUsd          Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    CostSource       LowCardinality(String),
    Spans            UInt32 CODEC(ZSTD(1)),
    Events           UInt32 CODEC(ZSTD(1)),
    LlmCalls         UInt32 CODEC(ZSTD(1)),
    LlmErrors        UInt32 CODEC(ZSTD(1)),
    Embeddings       UInt32 CODEC(ZSTD(1)),
    ToolCalls        UInt32 CODEC(ZSTD(1)),
    ToolErrors       UInt32 CODEC(ZSTD(1)),
    Handoffs         UInt32 CODEC(ZSTD(1)),
    Retries          UInt32 CODEC(ZSTD(1)),
    Errors           UInt32 CODEC(ZSTD(1)),
    Warnings         UInt32 CODEC(ZSTD(1)),
    SetupOnly        Bool,
    DuplicateOf      String CODEC(ZSTD(1)),
    Input            String CODEC(ZSTD(1)),
    Output           String CODEC(ZSTD(1)),
    DerivedAt        DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),
    Version          UInt128 DEFAULT bitShiftLeft(toUInt128(Spans), 64) + toUInt128(toUnixTimestamp64Micro(DerivedAt)) CODEC(ZSTD(1)),

    INDEX idx_run     RunId     TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_start   Start     TYPE minmax              GRANULARITY 1,
    INDEX idx_project Project   TYPE set(100)            GRANULARITY 1,
    INDEX idx_session SessionId TYPE bloom_filter(0.01)  GRANULARITY 1,
    INDEX idx_user    UserId    TYPE bloom_filter(0.01)  GRANULARITY 1
)
ENGINE = ReplacingMergeTree(Version)
PARTITION BY toYYYYMM(Start)
PRIMARY KEY (Tenant, toStartOfHour(Start), RunId)
ORDER BY (Tenant, toStartOfHour(Start), RunId)
TTL toDateTime(DerivedAt) + INTERVAL 180 DAY
SETTINGS index_granularity = 8192;

-- Loop and waste findings; a finding keeps its id, so a later word on it replaces the earlier.
CREATE TABLE IF NOT EXISTS otel.loop_warnings
(
    Tenant        LowCardinality(String),
    Project       LowCardinality(String),
    RunId         String CODEC(ZSTD(1)),
    WarningId     String CODEC(ZSTD(1)),
    Type          LowCardinality(String),
    Category      LowCardinality(String),
    Severity      LowCardinality(String),
    State         LowCardinality(String),
    Count         UInt32 CODEC(ZSTD(1)),
    Message       String CODEC(ZSTD(1)),
    Suggestion    String CODEC(ZSTD(1)),
    FirstEventId  String CODEC(ZSTD(1)),
    OnsetEventId  String CODEC(ZSTD(1)),
    LastEventId   String CODEC(ZSTD(1)),
    Evidence      Array(String) CODEC(ZSTD(1)),
    WastedTokens  Nullable(Int64) CODEC(T64, ZSTD(1)),
    WastedCostUsd Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    Primary       Bool,
    EngineVersion LowCardinality(String),
    FirstSeen     DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    LastSeen      DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    IngestedAt    DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),

    INDEX idx_last LastSeen TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(IngestedAt)
ORDER BY (Tenant, RunId, WarningId)
TTL toDateTime(IngestedAt) + INTERVAL 180 DAY;

-- The current row of every run and warning, for dashboards.
CREATE VIEW IF NOT EXISTS otel.runs_current AS
SELECT * FROM (SELECT *, DurationNs FROM otel.runs ORDER BY Version DESC LIMIT 1 BY Tenant, RunId);

CREATE VIEW IF NOT EXISTS otel.loop_warnings_current AS
SELECT * FROM otel.loop_warnings FINAL WHERE State != 'retracted';
