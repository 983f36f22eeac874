-- API keys have names where the configuration gives them (`proxy.capture.named_keys`); the keys themselves are nowhere.
ALTER TABLE otel.proxy_exchanges
    ADD COLUMN IF NOT EXISTS KeyName LowCardinality(String) AFTER KeyHash;
