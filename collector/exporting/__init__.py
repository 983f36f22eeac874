"""Runs out of the store, as files that other programs read."""

from collector.exporting.export import Export, refusal
from collector.exporting.formats import Format
from collector.exporting.shapes import WITH_CONTENT, Rows, Shape
from collector.exporting.summary import Summary

__all__ = ["WITH_CONTENT", "Export", "Format", "Rows", "Shape", "Summary", "refusal"]
