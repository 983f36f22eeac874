-- Collectors that share the store: each says that it lives, and up to when it has looked at the runs that it owns.
CREATE TABLE IF NOT EXISTS otel.instances
(
    Instance String CODEC(ZSTD(1)),
    SweptTo  DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    Beat     DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(Delta(8), ZSTD(1))
)
ENGINE = ReplacingMergeTree(Beat)
ORDER BY Instance
TTL toDateTime(Beat) + INTERVAL 1 DAY;
