"""What is asked of the store, in modules by what it is asked about."""
