"""Collectors that share a store: each looks at its share of the runs that any of them touched."""
