"""How the collector is, of all its parts: for people, for Prometheus, for who looks inside."""
