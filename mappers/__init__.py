"""Spans to meaning, without I/O, clock or network: conventions, messages, events, runs."""
