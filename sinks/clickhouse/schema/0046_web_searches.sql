-- Providers charge for the searches of the web that they make within a call, beside its tokens.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS WebSearches Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER AudioOutputTokens;
