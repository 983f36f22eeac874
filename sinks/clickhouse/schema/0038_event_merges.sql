-- To write an event anew in a merge costs more than its insert. Merging ten parts at once and not fewer, as with raw
-- rows, an event is written a quarter less often. More than ten would be cheaper still, but a question for a run looks
-- into every part of every day.
ALTER TABLE otel.run_events MODIFY SETTING min_parts_to_merge_at_once = 10;
