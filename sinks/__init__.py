"""Where runs are kept: the sink interface and its implementations."""
