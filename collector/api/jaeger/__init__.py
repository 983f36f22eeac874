"""Jaeger's query API, version 1 and version 3, over our runs: for the Jaeger UI, Grafana's Jaeger data source, and
whatever else asks Jaeger. Spans carry the GenAI attributes in whichever convention they came, and our warnings are
Jaeger's warnings."""
