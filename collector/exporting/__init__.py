"""Runs out of the store, as files that other programs read."""

from collector.exporting.export import Export, Format, Summary, refusal
from collector.exporting.shapes import WITH_CONTENT, Rows, Shape

__all__ = ["WITH_CONTENT", "Export", "Format", "Rows", "Shape", "Summary", "refusal"]
