"""What stands before every door: servers and their limits, TLS, and who may come in."""
