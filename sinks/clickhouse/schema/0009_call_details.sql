-- What a call was made with and about: names, numbers and hashes, never texts or vectors.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS Parameters Map(LowCardinality(String), String) CODEC(ZSTD(1)) AFTER ToolRequests,
    ADD COLUMN IF NOT EXISTS OfferedTools Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER Parameters,
    ADD COLUMN IF NOT EXISTS OfferedToolsHash UInt64 CODEC(ZSTD(1)) AFTER OfferedTools,
    ADD COLUMN IF NOT EXISTS PromptName LowCardinality(String) AFTER OfferedToolsHash,
    ADD COLUMN IF NOT EXISTS PromptVersion LowCardinality(String) AFTER PromptName,
    ADD COLUMN IF NOT EXISTS Documents Array(Tuple(Id String, Score Nullable(Float64))) CODEC(ZSTD(1)) AFTER PromptVersion,
    ADD COLUMN IF NOT EXISTS EmbeddingDimensions Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER Documents,
    ADD COLUMN IF NOT EXISTS HttpStatus Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER EmbeddingDimensions;
