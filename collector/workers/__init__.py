"""Doors in processes of their own: where a request is parsed, judged and journalled, no batch is in its way.

A worker has the OTLP doors and journals of its own, and nothing else; the process that started it follows these
journals. What is acknowledged is on the disk, so that either may end at any moment.
"""
