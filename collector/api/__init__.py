"""The JSON API: runs, their events, spans and warnings, and the state of the collector."""
