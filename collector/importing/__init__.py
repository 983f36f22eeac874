"""Runs into the collector from files: each line or frame becomes OTLP, and goes the way that all telemetry goes."""

from collector.importing.importer import FORMATS, Importer, RefusedError, Report

__all__ = ["FORMATS", "Importer", "RefusedError", "Report"]
