-- Merged row by row, ten parts of raw spans are all in memory at once, and the hundred streams of the new part with
-- them: 370 MB for 170 of rows. Column by column it is 210, and takes 0.85 of the processor's time.
ALTER TABLE otel.otel_traces MODIFY SETTING vertical_merge_algorithm_min_rows_to_activate = 1, vertical_merge_algorithm_min_columns_to_activate = 1, merge_max_block_size = 2048;

ALTER TABLE otel.otel_logs MODIFY SETTING vertical_merge_algorithm_min_rows_to_activate = 1, vertical_merge_algorithm_min_columns_to_activate = 1, merge_max_block_size = 2048;
