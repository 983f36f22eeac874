-- What a span guessed of its output, where a twin of its call knows better.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS OwnOutputTokens Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER OutputTokens;
