"""The collector: receivers, journal, pipeline, deriver, API and command line."""
