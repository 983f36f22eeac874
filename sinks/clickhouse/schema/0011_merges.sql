-- Raw rows are large and read by their key: a few parts more cost a query nothing, while every merge writes them anew.
-- Merging ten parts at once and not fewer, a row is written about half as often.
ALTER TABLE otel.otel_traces MODIFY SETTING min_parts_to_merge_at_once = 10;

ALTER TABLE otel.otel_logs MODIFY SETTING min_parts_to_merge_at_once = 10;
