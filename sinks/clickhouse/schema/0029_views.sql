-- For dashboards: what is stored, each thing once, and calls as they count. Tables may have a row twice until it is
-- merged away, and twins of one call are rows of their own: sums over tables would be too high.
CREATE VIEW IF NOT EXISTS otel.spans_current AS
SELECT * FROM otel.otel_traces FINAL;

CREATE VIEW IF NOT EXISTS otel.llm_calls_current AS
SELECT StartTime AS Time, Tenant, Project, RunId, SpanId, Service, Environment, Agent, SessionId, UserId, Kind,
    Provider, if(ResponseModel != '', ResponseModel, RequestModel) AS Model, Operation, Status, ErrorType,
    DurationNs / 1e6 AS DurationMs, TtftMs, InputTokens, OutputTokens, CacheReadTokens, CacheWriteTokens,
    ReasoningTokens, CostUsd, CostSource, Convention, Source
FROM otel.run_events FINAL
WHERE Part = '' AND DuplicateOf = '' AND Kind IN ('LLM', 'EMBEDDING', 'RERANKER');

CREATE VIEW IF NOT EXISTS otel.tool_calls_current AS
SELECT StartTime AS Time, Tenant, Project, RunId, SpanId, Service, Environment, Agent, SessionId, UserId, Tool, Status,
    ErrorType, DurationNs / 1e6 AS DurationMs, Convention, Source
FROM otel.run_events FINAL
WHERE Part = '' AND DuplicateOf = '' AND Kind = 'TOOL' AND HandoffSource = '';
