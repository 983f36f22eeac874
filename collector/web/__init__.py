"""The page: plain ES modules that the collector serves as they stand."""
