-- Every run under each value that it can be asked for by, in the order of time: the latest runs with a rare value are
-- neighbours here, whereas in otel.runs they are spread over the whole table. A row says that some version of the run
-- had the value; whether the newest has is asked there. Rows come here some time after they came to otel.runs: a view
-- would make two more parts of every batch, which costs more than the rows.
CREATE TABLE IF NOT EXISTS otel.run_values
(
    Tenant    LowCardinality(String),
    Field     LowCardinality(String),
    Value     String CODEC(ZSTD(1)),
    Start     DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    RunId     String CODEC(ZSTD(1)),
    DerivedAt DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(DerivedAt)
PARTITION BY toYYYYMM(Start)
ORDER BY (Tenant, Field, Value, Start, RunId)
TTL toDateTime(DerivedAt) + INTERVAL 10 YEAR;

-- The newest row of every run in one piece, in small portions by run id: to show fifty runs of anywhere, of otel.runs
-- sixty columns of fifty large portions would be read.
CREATE TABLE IF NOT EXISTS otel.run_rows
(
    Tenant    LowCardinality(String),
    RunId     String CODEC(ZSTD(1)),
    Start     DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    Packed    String CODEC(ZSTD(1)),
    Version   UInt128 CODEC(ZSTD(1)),
    DerivedAt DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(Version)
PARTITION BY toYYYYMM(Start)
ORDER BY (Tenant, RunId)
TTL toDateTime(DerivedAt) + INTERVAL 10 YEAR
SETTINGS index_granularity = 64, min_compress_block_size = 8192;

-- What was written lately.
ALTER TABLE otel.runs ADD INDEX IF NOT EXISTS idx_derived DerivedAt TYPE minmax GRANULARITY 1;

ALTER TABLE otel.runs MATERIALIZE INDEX idx_derived SETTINGS mutations_sync = 0;
