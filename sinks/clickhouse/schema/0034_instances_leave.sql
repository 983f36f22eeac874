-- A collector that stops says so: the others look after its runs at once, without missing it first.
ALTER TABLE otel.instances
    ADD COLUMN IF NOT EXISTS HasLeft Bool DEFAULT false CODEC(ZSTD(1));
