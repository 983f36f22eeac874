-- Twins in other traces are found by the provider's response id, or by process and time. Content that came as log
-- records is rows of their own (Part), below their span; Filled names what a row has from those and from its twins.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS Instance LowCardinality(String) AFTER Service,
    ADD COLUMN IF NOT EXISTS Part     LowCardinality(String) AFTER OutputBytes,
    ADD COLUMN IF NOT EXISTS Filled   Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER HandoffSource,
    ADD INDEX IF NOT EXISTS idx_response ResponseId TYPE bloom_filter(0.001) GRANULARITY 1;

-- A run grows by spans and by what log records add to them: the state that knows more events holds.
ALTER TABLE otel.runs
    MODIFY COLUMN Version UInt128 DEFAULT bitShiftLeft(toUInt128(Spans) + toUInt128(Events), 64) + toUInt128(toUnixTimestamp64Micro(DerivedAt)) CODEC(ZSTD(1));
