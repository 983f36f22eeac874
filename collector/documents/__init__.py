"""Runs, events, spans and warnings as JSON: the same in the API, the stream, webhooks and exports."""
