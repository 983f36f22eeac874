-- What a computed cost was computed from, and by which prices.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS ServiceTier LowCardinality(String) AFTER ResponseId,
    ADD COLUMN IF NOT EXISTS AudioInputTokens Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER ReasoningTokens,
    ADD COLUMN IF NOT EXISTS AudioOutputTokens Nullable(Int64) CODEC(T64, ZSTD(1)) AFTER AudioInputTokens,
    ADD COLUMN IF NOT EXISTS PriceVersion LowCardinality(String) AFTER CostSource;

-- Model calls of a run whose cost is not known.
ALTER TABLE otel.runs
    ADD COLUMN IF NOT EXISTS UnpricedCalls UInt32 CODEC(ZSTD(1)) AFTER Warnings;

-- The view names its columns as they were when it was made.
CREATE OR REPLACE VIEW otel.runs_current AS
SELECT * FROM (SELECT *, DurationNs FROM otel.runs ORDER BY Version DESC LIMIT 1 BY Tenant, RunId);
