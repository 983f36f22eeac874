-- What is kept how long is decided at run time, and pinned runs stay: rows leave by deletion. This is for whoever
-- never runs a collector on the database again.
ALTER TABLE otel.otel_traces MODIFY TTL toDateTime(IngestedAt) + INTERVAL 10 YEAR;

ALTER TABLE otel.otel_logs MODIFY TTL toDateTime(IngestedAt) + INTERVAL 10 YEAR;

ALTER TABLE otel.run_events MODIFY TTL toDateTime(IngestedAt) + INTERVAL 10 YEAR;

ALTER TABLE otel.runs MODIFY TTL toDateTime(DerivedAt) + INTERVAL 10 YEAR;

ALTER TABLE otel.loop_warnings MODIFY TTL toDateTime(IngestedAt) + INTERVAL 10 YEAR;

ALTER TABLE otel.proxy_exchanges MODIFY TTL toDateTime(IngestedAt) + INTERVAL 10 YEAR;
