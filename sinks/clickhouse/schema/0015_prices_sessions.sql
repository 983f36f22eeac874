-- Writes to a cache that lasts an hour cost more than others. A conversation id that a library made up yields to a
-- session id that a program chose. Where a twin shows that a call's own span leaves the cache out of its input, that
-- number is kept beside the true one.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS OwnInputTokens     Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER InputTokens,
    ADD COLUMN IF NOT EXISTS CacheWrite1hTokens Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER CacheWriteTokens,
    ADD COLUMN IF NOT EXISTS SessionIsWeak      Bool AFTER SessionId;
