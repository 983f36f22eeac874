-- A batch that is sent again under its token is dropped by the store itself, so that the raw tables, which others
-- read without FINAL, have nothing twice. What is derived carries no token: it may differ, and replaces itself.
ALTER TABLE otel.otel_traces MODIFY SETTING non_replicated_deduplication_window = 1000;

ALTER TABLE otel.otel_logs MODIFY SETTING non_replicated_deduplication_window = 1000;
