"""Runs from events, as they come and in whatever order."""
