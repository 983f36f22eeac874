-- Where the target of a handoff is a guess, what told of the handoff: the guess may turn out wrong.
ALTER TABLE otel.run_events
    ADD COLUMN IF NOT EXISTS HandoffTold LowCardinality(String) AFTER HandoffSource;
