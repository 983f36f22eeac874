-- What is changed at run time and holds over restarts: a JSON document a name, `null` once it was taken back. Kept for ever.
CREATE TABLE IF NOT EXISTS otel.settings
(
    Tenant    LowCardinality(String),
    Name      String CODEC(ZSTD(1)),
    Value     String CODEC(ZSTD(1)),
    UpdatedBy String CODEC(ZSTD(1)),
    UpdatedAt DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(UpdatedAt)
ORDER BY (Tenant, Name);
