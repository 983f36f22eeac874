-- What a model's answer asked for, whether or not anything executed it; ArgsHash compares with that of tool events.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS ToolRequests Array(Tuple(Id String, Name String, ArgsHash UInt64)) CODEC(ZSTD(1)) AFTER FinishReasons;
