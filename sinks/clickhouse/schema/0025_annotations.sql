-- What people say of runs; the newest row of a run holds. Kept as long as the run.
CREATE TABLE IF NOT EXISTS otel.annotations
(
    Tenant    LowCardinality(String),
    RunId     String CODEC(ZSTD(1)),
    Tags      Array(LowCardinality(String)) CODEC(ZSTD(1)),
    Note      String CODEC(ZSTD(1)),
    Pinned    Bool,
    UpdatedBy String CODEC(ZSTD(1)),
    UpdatedAt DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(UpdatedAt)
ORDER BY (Tenant, RunId);
