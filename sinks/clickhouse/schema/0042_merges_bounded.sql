-- Events merge by column, too, as raw spans do, whenever what they make is large enough: only wide parts can. Ten parts of
-- events take 100 MB then instead of 180, at the time when ten of raw spans take theirs, since both get a part of each batch.
ALTER TABLE otel.run_events MODIFY SETTING min_bytes_for_wide_part = 67108864, vertical_merge_algorithm_min_rows_to_activate = 1, vertical_merge_algorithm_min_columns_to_activate = 1;

-- Fewer than so many are merged at once, which is ten: when merges were late, 24 parts took more than twice the memory.
ALTER TABLE otel.otel_traces MODIFY SETTING max_parts_to_merge_at_once = 11;

ALTER TABLE otel.otel_logs MODIFY SETTING max_parts_to_merge_at_once = 11;

ALTER TABLE otel.run_events MODIFY SETTING max_parts_to_merge_at_once = 11;
