-- Which run a record belongs to: a session that an agent tells in records has no trace id.
ALTER TABLE otel.otel_logs
    ADD COLUMN IF NOT EXISTS RunId String DEFAULT TraceId CODEC(ZSTD(1)) AFTER Project,
    ADD INDEX IF NOT EXISTS idx_run RunId TYPE bloom_filter(0.001) GRANULARITY 1;

-- Deleted runs: what comes of them later is refused. Kept for ever.
CREATE TABLE IF NOT EXISTS otel.tombstones
(
    Tenant     LowCardinality(String),
    RunId      String CODEC(ZSTD(1)),
    DeletionId String CODEC(ZSTD(1)),
    DeletedAt  DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1)),

    INDEX idx_deletion DeletionId TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(DeletedAt)
ORDER BY (Tenant, RunId, DeletionId);

-- What was asked to be deleted and what became of it; the newest row of an id holds. Kept for ever.
CREATE TABLE IF NOT EXISTS otel.deletions
(
    Tenant      LowCardinality(String),
    Project     LowCardinality(String),
    DeletionId  String CODEC(ZSTD(1)),
    Document    String CODEC(ZSTD(1)),
    State       LowCardinality(String),
    UpdatedAt   DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(UpdatedAt)
ORDER BY (Tenant, DeletionId);
