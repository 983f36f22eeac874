"""What the collector says of itself: status, health, metrics, logs, a look inside."""
