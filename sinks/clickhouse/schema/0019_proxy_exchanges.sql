-- Calls that the proxy relayed, as they passed: what was asked, what was answered, and when each piece of it came. Rows
-- are ordered by conversation, whose histories repeat themselves, so that they shrink to a fortieth.
CREATE TABLE IF NOT EXISTS otel.proxy_exchanges
(
    Tenant            LowCardinality(String),
    Project           LowCardinality(String),
    ExchangeId        String CODEC(ZSTD(1)),
    TraceId           String CODEC(ZSTD(1)),
    SpanId            String CODEC(ZSTD(1)),
    SessionId         String CODEC(ZSTD(1)),
    SessionMethod     LowCardinality(String),
    SessionConfidence Float64 CODEC(ZSTD(1)),
    Start             DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    DurationNs        Int64 CODEC(T64, ZSTD(1)),
    HeadNs            Int64 CODEC(T64, ZSTD(1)),
    TtftNs            Nullable(Int64) CODEC(T64, ZSTD(1)),
    Client            LowCardinality(String),
    UserAgent         LowCardinality(String),
    KeyHash           LowCardinality(String),
    Method            LowCardinality(String),
    Path              String CODEC(ZSTD(1)),
    Upstream          LowCardinality(String),
    Server            LowCardinality(String),
    Api               LowCardinality(String),
    Model             LowCardinality(String),
    ResponseModel     LowCardinality(String),
    HttpStatus        Int64 CODEC(T64, ZSTD(1)),
    Outcome           LowCardinality(String),
    ErrorType         LowCardinality(String),
    ErrorMessage      String CODEC(ZSTD(1)),
    Streamed          Bool,
    Retries           Int64 CODEC(T64, ZSTD(1)),
    InputTokens       Nullable(Int64) CODEC(T64, ZSTD(1)),
    OutputTokens      Nullable(Int64) CODEC(T64, ZSTD(1)),
    CacheReadTokens   Nullable(Int64) CODEC(T64, ZSTD(1)),
    CacheWriteTokens  Nullable(Int64) CODEC(T64, ZSTD(1)),
    ReasoningTokens   Nullable(Int64) CODEC(T64, ZSTD(1)),
    RequestBytes      Int64 CODEC(T64, ZSTD(1)),
    ResponseBytes     Int64 CODEC(T64, ZSTD(1)),
    ContentEncoding   LowCardinality(String),
    Flags             Array(LowCardinality(String)) CODEC(ZSTD(1)),
    RequestHeaders    String CODEC(ZSTD(1)),
    ResponseHeaders   String CODEC(ZSTD(1)),
    RequestBody       Nullable(String) CODEC(ZSTD(3)) TTL toDateTime(IngestedAt) + INTERVAL 7 DAY,
    ResponseBody      Nullable(String) CODEC(ZSTD(3)) TTL toDateTime(IngestedAt) + INTERVAL 7 DAY,
    ChunkEnds         Array(UInt64) CODEC(ZSTD(1)) TTL toDateTime(IngestedAt) + INTERVAL 7 DAY,
    ChunkTimes        Array(UInt64) CODEC(ZSTD(1)) TTL toDateTime(IngestedAt) + INTERVAL 7 DAY,
    IngestedAt        DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),

    INDEX idx_trace TraceId TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_start Start   TYPE minmax             GRANULARITY 1
)
ENGINE = ReplacingMergeTree(IngestedAt)
PARTITION BY toDate(Start)
ORDER BY (Tenant, Project, SessionId, Start, ExchangeId)
TTL toDateTime(IngestedAt) + INTERVAL 30 DAY;
