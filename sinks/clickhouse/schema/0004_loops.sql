-- Loop warnings: what a tool's answer looks like at first sight, how well a run is, and which warnings belong together.
-- Signs is a set of bits, named in mappers/loops/signs.py; whether something was captured is InputBytes and OutputBytes.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS Signs UInt8 CODEC(ZSTD(1)) AFTER ResultHash,
    ADD COLUMN IF NOT EXISTS History String CODEC(ZSTD(1)) AFTER Signs;

ALTER TABLE otel.runs
    ADD COLUMN IF NOT EXISTS HealthScore Nullable(Int64) CODEC(T64, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS HealthLabel LowCardinality(String),
    ADD COLUMN IF NOT EXISTS HealthReasons Array(String) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS TopWarning LowCardinality(String),
    ADD COLUMN IF NOT EXISTS TopSeverity LowCardinality(String);

ALTER TABLE otel.loop_warnings
    ADD COLUMN IF NOT EXISTS IncidentId String CODEC(ZSTD(1)) AFTER Primary,
    ADD COLUMN IF NOT EXISTS Tool LowCardinality(String) AFTER IncidentId,
    ADD COLUMN IF NOT EXISTS Agent LowCardinality(String) AFTER Tool,
    ADD COLUMN IF NOT EXISTS Thread String CODEC(ZSTD(1)) AFTER Agent,
    ADD COLUMN IF NOT EXISTS SessionId String CODEC(ZSTD(1)) AFTER Thread;

CREATE OR REPLACE VIEW otel.runs_current AS
SELECT * FROM (SELECT *, DurationNs FROM otel.runs ORDER BY Version DESC LIMIT 1 BY Tenant, RunId);

CREATE OR REPLACE VIEW otel.loop_warnings_current AS
SELECT * FROM otel.loop_warnings FINAL WHERE State != 'retracted';
